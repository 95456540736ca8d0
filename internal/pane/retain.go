package pane

import (
	"context"
	"slices"

	"github.com/gridloom/gridloom"
)

// Bounds say how far retention has come: each is the start of a UTC day, or 0 if nothing is
// past it yet. PanesFrom is never after RawFrom. They stand in the manifest and never move back.
type Bounds struct {
	RawFrom   gridloom.Millis // readings that start before are not served any more, nor taken
	PanesFrom gridloom.Millis // panes that start before are not served any more
}

// Later returns of each bound the later one.
func (b Bounds) Later(o Bounds) Bounds {
	return Bounds{max(b.RawFrom, o.RawFrom), max(b.PanesFrom, o.PanesFrom)}
}

// Passed reports whether all that a segment holds is past retention. What was refused for being
// past it is listed for as long as readings are kept that were logged with it.
func (b Bounds) Passed(g *Segment) bool {
	switch g.Kind {
	case KindRaw:
		return g.MaxEnd <= b.RawFrom
	case KindPane:
		return g.MaxEnd <= b.PanesFrom
	case KindExpired:
		return g.MaxLogged < b.RawFrom
	case KindSnapshot, KindRegistry, KindAudit:
	}
	return false
}

// Bounds tells how far retention has come in m.
func (m *Manifest) Bounds() Bounds { return Bounds{m.RawFrom, m.PanesFrom} }

// Retain takes the segments out of m that are past b, and returns them. dropped are the files
// that m names no more; after a failure, which leaves m as it was, the lists that were made
// in vain.
func (s *Store) Retain(ctx context.Context, m *Manifest, b Bounds) (gone []Segment, dropped []string, err error) {
	passed := func(g Segment) bool { return b.Passed(&g) }
	visit := func(d *DayRef) bool { return d.MinStart < max(b.RawFrom, b.PanesFrom) }
	next, err := s.editTree(ctx, m, visit, func(list []Segment) []Segment {
		if !slices.ContainsFunc(list, passed) {
			return list
		}
		out := make([]Segment, 0, len(list))
		for _, g := range list {
			if passed(g) {
				gone = append(gone, g)
			} else {
				out = append(out, g)
			}
		}
		return out
	})
	if err != nil {
		return nil, next.madeLists, err
	}
	m.Recent, m.Days = next.recent, next.days
	dropped = next.dropped
	for i := range gone {
		dropped = append(dropped, gone[i].Path)
	}
	return gone, dropped, nil
}
