package aggregate

import (
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// rowBytes and paneBytes are what a row and a new pane of the tail count against
// the commit bounds: about their size in memory, strings being shared. A pane is
// held twice, as the kernel's accumulator and, during a commit, as a row.
const (
	rowBytes  = 152
	paneBytes = 120 + 208
)

// tail is what is not yet in a segment: the raw rows of the frames after the
// head's position and, once a commit has frozen it, the panes of that commit.
type tail struct {
	readings []gridloom.Reading
	panes    []gridloom.Pane
	bytes    int64
}

func (t *tail) add(r *gridloom.Reading) {
	t.readings = append(t.readings, *r)
	t.bytes += rowBytes
}

// each calls f for the uncommitted raw rows, oldest first.
func (p *partition) eachTailReading(f func(*gridloom.Reading)) {
	for _, t := range []*tail{p.frozen, p.current} {
		if t == nil {
			continue
		}
		for i := range t.readings {
			f(&t.readings[i])
		}
	}
}

// answer builds one consistent answer for a query: the committed head and every
// row after it that the selector chooses. Series with readings that came out of
// order are refolded first.
func (p *partition) answer(sel pane.Selector) (*pane.Tail, error) {
	if err := p.refold(sel.Meters, sel.Registers); err != nil {
		return nil, err
	}
	out := &pane.Tail{Head: p.head, LogTime: p.logTime, Watermark: p.watermark(), NextSeq: p.nextSeq}
	pick := newPicker(sel)
	if sel.Only != pane.KindPane {
		p.eachTailReading(func(r *gridloom.Reading) {
			if pick.series(r.Meter, r.Register) && pick.span(r.Start, r.Length) {
				out.Readings = append(out.Readings, *r)
			}
		})
	}
	if sel.Only == pane.KindRaw {
		return out, nil
	}

	// The state of a series tells the newest form of each pane that it still holds,
	// so it goes over what the commit in flight has frozen.
	type key struct {
		meter    string
		register gridloom.RegisterID
		start    gridloom.Millis
	}
	at := map[key]int{}
	put := func(pn *gridloom.Pane) {
		k := key{pn.Meter, pn.Register, pn.Start}
		if i, ok := at[k]; ok {
			out.Panes[i] = *pn
			return
		}
		at[k] = len(out.Panes)
		out.Panes = append(out.Panes, *pn)
	}
	if p.frozen != nil {
		for i := range p.frozen.panes {
			pn := &p.frozen.panes[i]
			if pick.series(pn.Meter, pn.Register) && pick.span(pn.Start, pn.Length) {
				put(pn)
			}
		}
	}
	direct := len(at) == 0 // nothing can be replaced: skip the map
	revision := p.nextSeq - 1
	p.table.matching(sel.Meters, sel.Registers, func(s *series) {
		emit := func(pn *gridloom.Pane) {
			if !pick.span(pn.Start, pn.Length) {
				return
			}
			pn.Meter, pn.Register = p.table.meters[s.meter], s.register
			pn.Revision, pn.ComputedAt = revision, p.logTime
			if old, ok := s.stored[pn.Start]; ok && window.SamePane(&old, pn) { // a refold gave it again as it was
				pn.Revision, pn.ComputedAt = old.Revision, old.ComputedAt
			}
			if direct {
				out.Panes = append(out.Panes, *pn)
				return
			}
			put(pn)
		}
		for i := range s.empty {
			emit(&s.empty[i])
		}
		p.cfg.Window.Open(s.kind, &s.state, out.Watermark, emit)
	})
	return out, nil
}

// picker tests rows against a selector.
type picker struct {
	sel    pane.Selector
	meters map[string]bool
}

func newPicker(sel pane.Selector) picker {
	p := picker{sel: sel}
	if sel.Meters != nil {
		p.meters = make(map[string]bool, len(sel.Meters))
		for _, m := range sel.Meters {
			p.meters[m] = true
		}
	}
	return p
}

func (p *picker) series(meter string, reg gridloom.RegisterID) bool {
	if p.meters != nil && !p.meters[meter] {
		return false
	}
	return p.sel.Registers == nil || slices.Contains(p.sel.Registers, reg)
}

// span reports whether a row that starts at start overlaps the selector's span.
func (p *picker) span(start, length gridloom.Millis) bool {
	if start+max(length, 1) <= p.sel.From {
		return false
	}
	return p.sel.To == 0 || start < p.sel.To
}

// seriesInfo lists what the states know of each series.
func (p *partition) seriesInfo() []pane.SeriesInfo {
	out := make([]pane.SeriesInfo, 0, len(p.table.series))
	for i := range p.table.series {
		s := &p.table.series[i]
		last, known := s.state.Last()
		if !known && len(s.pending) == 0 {
			continue
		}
		info := pane.SeriesInfo{
			Meter: p.table.meters[s.meter], Register: s.register, Serial: last.Serial,
			LastAt: last.Start, LastLength: last.Length, LastValue: last.Value, LastVoid: last.Void, LastQuality: last.Quality,
		}
		// Readings that wait for a refold may be newer than the state knows, or correct what it knows.
		for j := range s.pending {
			if r := &s.pending[j]; !known || r.Start > last.Start || r.Start == last.Start && r.Order >= last.Order {
				known, last.Start, last.Order = true, r.Start, r.Order
				info.LastAt, info.LastLength, info.Serial = r.Start, r.Length, r.Serial
				info.LastValue, info.LastVoid, info.LastQuality = r.Value, r.Void, r.Quality
			}
		}
		out = append(out, info)
	}
	return out
}
