package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// A reading that comes days late changes a few panes of its time and nothing since: from the
// nearest stored carry before it the stretch is folded anew up to the first stored carry that
// it arrives at again. What is between goes into the next commit, the state of the series stays as it is.

// stretch says what a reading that came out of order may change: panes from an instant
// on, by a reading at another.
type stretch struct{ from, at gridloom.Millis }

// maxStretches bounds what a series remembers of them; beyond, those of neighbouring days become one.
const maxStretches = 64

// stretchSlack is how long after midnight the first pane of a day may start whose carry is looked at.
const stretchSlack = 6 * gridloom.Hour

// note remembers a stretch.
func (w *waiting) note(x stretch) {
	w.late = append(w.late, x)
	if len(w.late) >= maxStretches && len(w.late) >= 2*w.merged {
		w.late = mergeStretches(w.late, gridloom.Day)
		w.merged = len(w.late)
	}
}

// mergeStretches sorts stretches and joins those that are less than gap apart.
func mergeStretches(list []stretch, gap gridloom.Millis) []stretch {
	slices.SortFunc(list, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	out := list[:0]
	for _, x := range list {
		if n := len(out); n > 0 && (out[n-1].from == math.MinInt64 || x.from-out[n-1].at < gap) {
			out[n-1].at = max(out[n-1].at, x.at)
			continue
		}
		out = append(out, x)
	}
	return out
}

// span is a part of a series' past that is being restated.
type span struct {
	stretch
	lo, hi gridloom.Millis // of the rows and panes that are loaded
	rows   []window.Reading
	panes  map[gridloom.Millis]gridloom.Pane // in their newest stored form
	start  gridloom.Millis                   // where it is folded from, MinInt64 if nothing is before
	carry  []byte
	found  bool
}

// restate brings up to date what can be without touching the states of jobs, and returns
// the jobs that need more: those that concern the state, or whose stretches of the past do
// not come to an end soon. Their refoldFrom tells from where.
func (p *partition) restate(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) ([]*refoldJob, error) {
	var rest, past []*refoldJob
	for _, j := range jobs {
		if p.spansOf(j) {
			past = append(past, j)
		} else {
			rest = append(rest, j)
		}
	}
	if len(past) == 0 {
		return rest, nil
	}
	if err := p.loadSpans(ctx, past, bySeries); err != nil {
		return nil, fmt.Errorf("load rows: %w", err)
	}
	if err := p.findStarts(ctx, past, bySeries); err != nil {
		return nil, fmt.Errorf("find carries: %w", err)
	}
	for _, j := range past {
		from := gridloom.Millis(math.MaxInt64)
		for i := range j.spans {
			ok, err := p.restateSpan(j, &j.spans[i])
			if err != nil {
				return nil, fmt.Errorf("restate %s %s from %s: %w", j.name, j.s.register, j.spans[i].start, err)
			}
			if !ok {
				from = min(from, j.spans[i].from)
			}
		}
		j.spans = nil
		bound := p.table.peek(j.i).Bound()
		if j.state {
			from = min(from, bound)
		}
		if from == math.MaxInt64 {
			p.settle(j.s, false)
			continue
		}
		j.s.wait.refoldFrom = from
		rest = append(rest, j)
	}
	return rest, nil
}

// spansOf splits what a job has to do into spans of the past and what concerns the state. It
// returns false if it has to do everything from refoldFrom on.
func (p *partition) spansOf(j *refoldJob) bool {
	bound := p.table.peek(j.i).Bound()
	if bound == math.MinInt64 {
		return false
	}
	j.s.wait.late = mergeStretches(j.s.wait.late, 1)
	list := j.s.wait.late
	past := list[:0:0]
	for _, x := range list {
		switch {
		case x.from >= bound:
			j.state = true
		case x.from == math.MinInt64 || x.at >= bound:
			return false
		default:
			past = append(past, x)
		}
	}
	for _, x := range past {
		s := span{stretch: x, lo: x.from.Floor(gridloom.Day), hi: x.at.Floor(gridloom.Day) + gridloom.Day + stretchSlack + p.cfg.Window.Lookahead()}
		if n := len(j.spans); n > 0 && s.lo <= j.spans[n-1].hi {
			j.spans[n-1].at, j.spans[n-1].hi = s.at, s.hi
			continue
		}
		s.panes = map[gridloom.Millis]gridloom.Pane{}
		j.spans = append(j.spans, s)
	}
	return len(j.spans) > 0
}

// spanAt returns the span of j that an instant lies in, nil if none.
func (j *refoldJob) spanAt(at gridloom.Millis) *span {
	for i := range j.spans {
		if s := &j.spans[i]; at >= s.lo && at < s.hi {
			return s
		}
	}
	return nil
}

// loadSpans collects the raw rows and the panes of the spans of jobs.
func (p *partition) loadSpans(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) error {
	sel := selectorOf(jobs)
	sel.From, sel.To = math.MaxInt64, math.MinInt64
	for _, j := range jobs {
		sel.From = min(sel.From, max(j.spans[0].lo, gridloom.MinInstant))
		sel.To = max(sel.To, j.spans[len(j.spans)-1].hi)
	}
	see := func(r *gridloom.Reading) {
		j := bySeries.of(r.Meter, r.Register)
		if j == nil {
			return
		}
		if s := j.spanAt(r.Start); s != nil {
			s.rows = append(s.rows, p.windowReading(r))
		}
	}
	if err := p.eachStoredReading(ctx, sel, see); err != nil {
		return err
	}
	p.eachTailReading(p.marksOf(jobs), func(_ uint32, r *gridloom.Reading) { see(r) })
	return p.eachStoredPane(ctx, sel, pane.AllColumns, func(pn *gridloom.Pane) {
		j := bySeries.of(pn.Meter, pn.Register)
		if j == nil {
			return
		}
		if s := j.spanAt(pn.Start); s != nil {
			if old, ok := s.panes[pn.Start]; !ok || pn.Revision >= old.Revision {
				s.panes[pn.Start] = keepPane(pn)
			}
		}
	})
}

// findStarts gives each span the carry that it is folded from: the last one at or before it
// on its first day or, of the first span of a series, wherever that is.
func (p *partition) findStarts(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) error {
	var open []*refoldJob
	for _, j := range jobs {
		for i := range j.spans {
			s := &j.spans[i]
			s.start = math.MinInt64
			j.eachKnown(s, func(at gridloom.Millis, pn *gridloom.Pane) {
				if at <= s.from && at > s.start && pn.Carry != nil {
					s.start, s.carry, s.found = at, pn.Carry, true
				}
			})
		}
		if !j.spans[0].found {
			j.s.wait.refoldFrom = j.spans[0].from
			open = append(open, j)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if err := p.findCarries(ctx, open, bySeries); err != nil {
		return err
	}
	for _, j := range open {
		// What starts before the rows that were loaded needs all of the rows from there.
		s := &j.spans[0]
		if s.found = j.bound == math.MinInt64 || j.first; j.first {
			s.start, s.carry = j.bound, j.carry
		}
		j.found, j.first, j.bound, j.carry = false, false, math.MinInt64, nil
	}
	return nil
}

// eachKnown calls f for the panes of a span in their newest form, stored or not.
func (j *refoldJob) eachKnown(s *span, f func(at gridloom.Millis, pn *gridloom.Pane)) {
	restated := j.s.wait.restated
	for at, pn := range s.panes {
		if _, ok := restated[at]; !ok {
			f(at, &pn)
		}
	}
	for at, pn := range restated {
		if at >= s.lo && at < s.hi {
			f(at, &pn)
		}
	}
}

// restateSpan folds a span anew; false if it does not come to an end.
func (p *partition) restateSpan(j *refoldJob, s *span) (bool, error) {
	if !s.found {
		return false, nil
	}
	st := p.table.peek(j.i)
	bound := st.Bound()
	var points []window.Checkpoint
	j.eachKnown(s, func(at gridloom.Millis, pn *gridloom.Pane) {
		if at > s.at && at < bound && pn.Carry != nil {
			points = append(points, window.Checkpoint{Start: at, Carry: pn.Carry})
		}
	})
	if bound > s.at && bound < s.hi {
		points = append(points, window.Checkpoint{Start: bound, Carry: st.Carry()})
	}
	slices.SortFunc(points, func(a, b window.Checkpoint) int { return cmp.Compare(a.Start, b.Start) })
	rows := slices.DeleteFunc(s.rows, func(r window.Reading) bool { return r.Start < s.start })
	w := j.s.wait
	fresh := map[gridloom.Millis]bool{}
	agreed, ok, err := p.window(j.s).Restate(j.s.kind, s.start, s.carry, rows, s.hi, p.watermark(), points, func(pn *gridloom.Pane) {
		fresh[pn.Start] = true
		p.putRestated(w, s, pn)
	})
	if early, ok := errors.AsType[*window.EarlierError](err); ok && early.At < s.start {
		s.from = max(early.At.Floor(p.cfg.Window.Width), p.bounds.RawFrom)
		return false, nil
	}
	if err != nil || !ok {
		return false, err
	}
	// What there was and is no longer is superseded by an empty pane.
	var gone []gridloom.Millis
	j.eachKnown(s, func(at gridloom.Millis, _ *gridloom.Pane) {
		if at >= s.start && at < agreed && !fresh[at] {
			gone = append(gone, at)
		}
	})
	empties := p.emptyPanes(j.s.kind, s.start, s.carry, gone, fresh)
	for i := range empties {
		p.putRestated(w, s, &empties[i])
	}
	p.metrics.restated.Inc()
	return true, nil
}

// putRestated keeps a pane for the next commit, unless it is stored as it is.
func (p *partition) putRestated(w *waiting, s *span, pn *gridloom.Pane) {
	old, stored := s.panes[pn.Start]
	if stored && window.SamePane(&old, pn) || !stored && window.IsEmpty(pn) {
		p.metrics.unchanged.Inc()
		delete(w.restated, pn.Start)
		return
	}
	if w.restated == nil {
		w.restated = map[gridloom.Millis]gridloom.Pane{}
	}
	if _, ok := w.restated[pn.Start]; !ok {
		p.current.bytes += paneBytes
	}
	w.restated[pn.Start] = *pn
}

// eachRestated calls f for the panes that restating changed since the last commit, in time order.
func (w *waiting) eachRestated(f func(*gridloom.Pane)) {
	for _, at := range slices.Sorted(maps.Keys(w.restated)) {
		pn := w.restated[at]
		f(&pn)
	}
}

// dropRestated forgets those from an instant on: the state tells them now.
func (w *waiting) dropRestated(from gridloom.Millis) {
	maps.DeleteFunc(w.restated, func(at gridloom.Millis, _ gridloom.Pane) bool { return at >= from })
}
