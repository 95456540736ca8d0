package pane

import (
	"context"
	"slices"
)

// ReplaceSegments returns list with the segments of inputs, which are paths, taken out
// and outputs in the place of the first of them, and how many it found. list stays as it is.
func ReplaceSegments(list []Segment, inputs map[string]bool, outputs []Segment) (out []Segment, found int) {
	for i := range list {
		if !inputs[list[i].Path] {
			continue
		}
		found++
		if found == 1 {
			out = make([]Segment, 0, len(list)+len(outputs)-1)
			out = append(append(out, list[:i]...), outputs...)
		}
	}
	if found == 0 {
		return list, 0
	}
	first := slices.IndexFunc(list, func(g Segment) bool { return inputs[g.Path] })
	for _, g := range list[first+1:] {
		if !inputs[g.Path] {
			out = append(out, g)
		}
	}
	return out, found
}

// Replace puts outputs in the place of the segments of m whose paths are inputs: what
// a merge has made of them. Outputs stand where the first input stood, so that inputs
// must be neighbours among the segments of their kind for the order of commits to
// hold. Where m lists not all of inputs any more, ok is false and m stays as it is.
// Lists that change are written anew. dropped are the files that no manifest names
// from now on: inputs and lists if ok, else, after a failure as well, the lists that were
// made in vain.
func (s *Store) Replace(ctx context.Context, m *Manifest, inputs []string, outputs []Segment) (dropped []string, ok bool, err error) {
	want := make(map[string]bool, len(inputs))
	for _, path := range inputs {
		want[path] = true
	}
	found := 0
	rest := outputs
	next, err := s.editTree(ctx, m, nil, func(list []Segment) []Segment {
		list, n := ReplaceSegments(list, want, rest)
		if n > 0 {
			rest = nil // they stand once, where the first input stood
		}
		found += n
		return list
	})
	if err != nil || found != len(want) {
		return next.madeLists, false, err
	}
	m.Recent, m.Days = next.recent, next.days
	return append(next.dropped, inputs...), true, nil
}

// edited is what becomes of a manifest's tree.
type edited struct {
	recent    []Segment
	days      []DayRef
	dropped   []string // lists that are not named any more
	madeLists []string
}

// editTree gives every list of segments of m to change, oldest first, passing over
// the sealed lists that visit (nil: none) says hold nothing of interest. change
// returns its argument if there is nothing to do. m stays as it is. After a failure there
// is nothing but the lists that were made.
func (s *Store) editTree(ctx context.Context, m *Manifest, visit func(*DayRef) bool, change func([]Segment) []Segment) (edited, error) {
	e := editor{s: s, ctx: ctx, where: Where{m.Head.Generation, m.Head.Partition, m.Head.Epoch}, visit: visit, change: change}
	days, err := e.editDays(m.Days)
	if err != nil {
		return edited{madeLists: e.madeLists}, err
	}
	e.days, e.recent = days, change(m.Recent)
	return e.edited, nil
}

// editor carries one walk of editTree.
type editor struct {
	edited
	s      *Store
	ctx    context.Context //nolint:containedctx // lives as long as one call of editTree
	where  Where
	visit  func(*DayRef) bool
	change func([]Segment) []Segment
}

func (e *editor) editDays(days []DayRef) ([]DayRef, error) {
	var out []DayRef // nil as long as nothing has changed
	for i := range days {
		d := &days[i]
		if e.visit == nil || e.visit(d) {
			became, changed, err := e.editDay(d)
			if err != nil {
				return nil, err
			}
			if changed {
				if out == nil {
					out = slices.Clone(days[:i])
				}
				e.dropped = append(e.dropped, d.Path)
				if became != nil {
					out = append(out, *became)
				}
				continue
			}
		}
		if out != nil {
			out = append(out, *d)
		}
	}
	if out == nil {
		return days, nil
	}
	return out, nil
}

// editDay edits what d names. became is nil if nothing of it is left.
func (e *editor) editDay(d *DayRef) (became *DayRef, changed bool, err error) {
	l, err := e.s.readList(e.ctx, d)
	if err != nil {
		return nil, false, err
	}
	before, segments := l.Days, l.Segments
	if l.Days, err = e.editDays(l.Days); err != nil {
		return nil, false, err
	}
	l.Segments = e.change(l.Segments)
	if same(before, l.Days) && same(segments, l.Segments) {
		return nil, false, nil
	}
	if len(l.Days) == 0 && len(l.Segments) == 0 {
		return nil, true, nil
	}
	ref, err := e.s.putList(e.ctx, e.where, l, d.Depth)
	if err != nil {
		return nil, false, err
	}
	e.madeLists = append(e.madeLists, ref.Path)
	return &ref, true, nil
}

// same reports whether two slices are one.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Tree calls f for every file that m names: segments of all kinds, the snapshot, and
// the lists that hold them.
func (s *Store) Tree(ctx context.Context, m *Manifest, f func(path string, g *Segment)) error {
	if m.Snapshot != nil {
		f(m.Snapshot.Path, m.Snapshot)
	}
	for i := range m.Recent {
		f(m.Recent[i].Path, &m.Recent[i])
	}
	return s.treeDays(ctx, m.Days, f)
}

func (s *Store) treeDays(ctx context.Context, days []DayRef, f func(path string, g *Segment)) error {
	for i := range days {
		f(days[i].Path, nil)
		l, err := s.readList(ctx, &days[i])
		if err != nil {
			return err
		}
		for k := range l.Segments {
			f(l.Segments[k].Path, &l.Segments[k])
		}
		if err := s.treeDays(ctx, l.Days, f); err != nil {
			return err
		}
	}
	return nil
}
