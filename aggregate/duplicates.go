package aggregate

import (
	"context"
	"math"
	"slices"

	"github.com/gridloom/gridloom"
)

// standing is what is known of one identity. What edits say of it is kept apart: an edit may
// be undone, and then all that was said beside it counts, so that nothing may be dropped
// because an edit has said it.
type standing struct {
	said  gridloom.Reading // the winner among rows that no edit made
	known bool
	edits []gridloom.Reading // rows of edits and of undos
}

func (s *standing) take(r *gridloom.Reading) {
	switch {
	case r.Order.Class() >= gridloom.ClassEdit:
		s.edits = append(s.edits, *r)
	case !s.known || r.Outranks(&s.said):
		s.said, s.known = *r, true
	}
}

// repeats reports whether r says again what was said, with no higher order, and is no edit's.
func (s *standing) repeats(r *gridloom.Reading) bool {
	return r.Order.Class() < gridloom.ClassEdit && s.known && r.SameValue(&s.said) && r.Order <= s.said.Order
}

// winner returns the row that counts; ok is false if none does.
func (s *standing) winner() (w gridloom.Reading, ok bool) {
	w, ok = s.said, s.known
	if len(s.edits) == 0 {
		return w, ok
	}
	for _, r := range gridloom.Competing(slices.Clone(s.edits), (*gridloom.Reading).Rank) {
		if !ok || r.Outranks(&w) {
			w, ok = r, true
		}
	}
	return w, ok
}

// dropDuplicates compares what is pending with the stored and uncommitted rows of
// the same identity. An equal value of no higher order is counted and dropped; of
// a higher order it becomes a raw row that only ranks; anything else changes panes.
// Rows of edits and of undos are never dropped.
// A row of the newest reading's identity changes the state too, even if it only ranks
// or loses: what is added next is judged against that reading.
func (p *partition) dropDuplicates(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) error {
	known, err := p.findStandings(ctx, jobs, bySeries)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		newest, _ := p.table.last(j.i)
		for i := range j.s.wait.pending {
			r := &j.s.wait.pending[i]
			st := known[r.Identity()]
			if st == nil {
				st = &standing{}
				known[r.Identity()] = st
			}
			if st.repeats(r) {
				p.duplicate()
				continue
			}
			_, undoes := r.Order.Undoes()
			if w, ok := st.winner(); ok && !undoes && (r.SameValue(&w) || !r.Outranks(&w)) {
				// It ranks only, or it loses already and is kept as a row that lost.
				p.metrics.ranked.Inc()
				j.changes = j.changes || r.Start == newest.Start
			} else {
				j.changes = true
			}
			p.current.addReading(p.table, j.i, r)
			st.take(r)
		}
		j.starts = nil
	}
	return nil
}

// findStandings collects what is known of the identities of what is pending, and tells each job
// whether its state is behind of stored rows.
func (p *partition) findStandings(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) (map[gridloom.Identity]*standing, error) {
	known := map[gridloom.Identity]*standing{}
	lo, hi := gridloom.Millis(math.MaxInt64), gridloom.Millis(math.MinInt64)
	for _, j := range jobs {
		j.changes = j.s.wait.behind
		j.starts = make(map[gridloom.Millis]struct{}, len(j.s.wait.pending))
		for i := range j.s.wait.pending {
			r := &j.s.wait.pending[i]
			lo, hi = min(lo, r.Start), max(hi, r.Start)
			j.starts[r.Start] = struct{}{}
		}
	}
	if lo > hi {
		return known, nil
	}
	consider := func(r *gridloom.Reading) {
		j := bySeries.of(r.Meter, r.Register)
		if j == nil {
			return
		}
		if _, ok := j.starts[r.Start]; !ok {
			return
		}
		id := r.Identity()
		id.Meter = j.name
		st := known[id]
		if st == nil {
			st = &standing{}
			known[id] = st
		}
		st.take(r)
	}
	sel := selectorOf(jobs)
	sel.From, sel.To = lo, hi+1
	if err := p.eachStoredReading(ctx, sel, consider); err != nil {
		return nil, err
	}
	p.eachTailReading(p.marksOf(jobs), func(_ uint32, r *gridloom.Reading) { consider(r) })
	return known, nil
}
