package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// refold brings the chosen series that have readings out of order up to date (nil
// chooses all): it drops the duplicates among what is pending, restates what concerns the
// past alone (restate.go), and folds the rest anew from the nearest stored carry before the
// earliest instant that it may change, state included, from stored and uncommitted rows. It takes as long as
// it takes: what was begun anew after a time-out would never be done.
func (p *partition) refold(meters []string, registers []gridloom.RegisterID) error {
	if len(p.disordered) == 0 {
		return nil
	}
	for some := range slices.Chunk(p.refoldJobs(meters, registers), refoldAtOnce) {
		if err := p.refoldSome(some); err != nil {
			return err
		}
	}
	p.compactDisordered()
	return nil
}

// refoldNext brings some of the series up to date, so that a loop with a commit before it looks
// at questions meanwhile: as many as take about refoldStep, but not so few that reading the same
// files in each step comes to more than the work. again: it goes on with what the call before has left. It
// reports whether others are left.
func (p *partition) refoldNext(again bool) (more bool, err error) {
	if len(p.disordered) == 0 {
		return false, nil
	}
	began := p.cfg.Clock()
	jobs := p.refoldJobs(nil, nil)
	if !again {
		p.refoldLeast = min(max(len(jobs)/refoldSteps, refoldFew), refoldAtOnce)
	}
	p.refoldSize = max(p.refoldSize, p.refoldLeast)
	some := jobs[:min(len(jobs), p.refoldSize)]
	if err := p.refoldSome(some); err != nil {
		return false, err
	}
	p.compactDisordered()
	switch took := p.cfg.Clock().Sub(began); {
	case took > refoldStep:
		p.refoldSize /= 2
	case took < refoldStep/4:
		p.refoldSize = min(2*p.refoldSize, refoldAtOnce)
	}
	return len(some) < len(jobs), nil
}

// refoldJobs lists the chosen series that wait for a refold.
func (p *partition) refoldJobs(meters []string, registers []gridloom.RegisterID) (jobs []*refoldJob) {
	want := p.table.chosen(&pane.Selector{Meters: meters, Registers: registers})
	seen := make(map[uint32]bool, len(p.disordered))
	for _, i := range p.disordered {
		s := p.table.at(i)
		if want != nil && !want[i] || seen[i] || !s.needsRefold() {
			continue // a round that failed half-way has left it on the list
		}
		seen[i] = true
		jobs = append(jobs, &refoldJob{i: i, s: s, name: p.table.meterName(i), bound: math.MinInt64})
	}
	slices.SortFunc(jobs, func(a, b *refoldJob) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.s.register, b.s.register))
	})
	return jobs
}

// How many series one step brings up to date.
const (
	refoldStep  = 100 * time.Millisecond
	refoldFew   = 64 // if that many take longer, it is their rows that take it
	refoldSteps = 4  // at most, unless they would be larger than refoldAtOnce
)

// refoldAtOnce bounds the series whose rows are in memory at the same time. Neighbours lie in the
// same row groups, so that few are read twice.
const refoldAtOnce = 512

// refoldSome brings some series up to date.
func (p *partition) refoldSome(jobs []*refoldJob) error {
	ctx := context.Background()
	bySeries := newSeriesJobs(jobs)
	if err := p.dropDuplicates(ctx, jobs, bySeries); err != nil {
		return fmt.Errorf("refold: %w", err)
	}
	live := make([]*refoldJob, 0, len(jobs))
	for _, j := range jobs {
		if j.changes {
			live = append(live, j)
		}
		p.settle(j.s, j.changes) // a failure from here on leaves the series behind, to be refolded next time
	}
	live, err := p.restate(ctx, live, newSeriesJobs(live))
	if err != nil {
		return fmt.Errorf("refold: %w", err)
	}
	p.metrics.refolds.Add(float64(len(live)))
	for len(live) > 0 { // what has to start earlier does so each time, at the beginning of the series in the end
		bySeries = newSeriesJobs(live)
		if err := p.findCarries(ctx, live, bySeries); err != nil {
			return fmt.Errorf("refold: find carries: %w", err)
		}
		if err := p.loadRows(ctx, live, bySeries); err != nil {
			return fmt.Errorf("refold: load rows: %w", err)
		}
		again := live[:0]
		for _, j := range live {
			switch ok, err := p.refoldOne(j); {
			case err != nil:
				return err
			case !ok:
				again = append(again, j)
			}
		}
		live = again
	}
	return nil
}

// refoldJob is one series on its way through a round of refolds.
type refoldJob struct {
	i       uint32
	s       *series
	name    string
	changes bool                         // something pending may change a pane
	starts  map[gridloom.Millis]struct{} // of what is pending
	found   bool                         // bound and carry are where it starts
	first   bool                         // and nothing is stored between bound and what it must refold
	bound   gridloom.Millis
	carry   []byte
	rows    []window.Reading
	panes   map[gridloom.Millis]gridloom.Pane

	spans []span // of the past that can be restated
	state bool   // something concerns the state as well
}

// seriesJobs finds the job of a series. Rows come series by series, so that it is mostly
// the one of the row before.
type seriesJobs struct {
	byKey map[gridloom.Series]*refoldJob
	key   gridloom.Series
	job   *refoldJob
}

func newSeriesJobs(jobs []*refoldJob) *seriesJobs {
	s := &seriesJobs{byKey: make(map[gridloom.Series]*refoldJob, len(jobs))}
	for _, j := range jobs {
		s.byKey[gridloom.Series{Meter: j.name, Register: j.s.register}] = j
	}
	return s
}

// of returns the job of a series, nil if there is none.
func (s *seriesJobs) of(meter string, register gridloom.RegisterID) *refoldJob {
	if meter != s.key.Meter || register != s.key.Register {
		s.key = gridloom.Series{Meter: strings.Clone(meter), Register: register} // a row's meter may be lent
		s.job = s.byKey[s.key]
	}
	return s.job
}

// windowReading returns a stored row as the kernel wants it.
func (p *partition) windowReading(r *gridloom.Reading) window.Reading {
	return window.Reading{
		Start: r.Start, Length: r.Length, Value: r.Value, Void: r.Void, Quality: r.Quality, Order: r.Order,
		Sequence: r.Sequence, Place: r.Place, LoggedAt: r.LoggedAt, Serial: p.table.Names[p.table.intern(r.Serial)],
	}
}

// settle ends the waiting of a series' pending rows, which are now rows of the tail
// or gone; behind says whether the state has still to be folded anew from them.
func (p *partition) settle(s *series, behind bool) {
	p.current.bytes -= int64(len(s.wait.pending)) * pendingBytes
	s.wait.pending, s.wait.behind = nil, behind
	if !behind {
		s.wait.late, s.wait.merged = nil, 0
	}
}

func (p *partition) compactDisordered() {
	keep := p.disordered[:0]
	for _, i := range p.disordered {
		if p.table.at(i).needsRefold() {
			keep = append(keep, i)
		}
	}
	p.disordered = keep
}

// findCarries gives every job the nearest stored carry at or before what it must
// refold, since the bound of retention, or else what is carried over that, or the beginning
// of the series. It looks back a little first, since most late readings are recent.
func (p *partition) findCarries(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) error {
	missing := append([]*refoldJob(nil), jobs...)
	for _, j := range missing {
		st := p.table.state(j.i)
		switch {
		case j.s.wait.refoldFrom == math.MinInt64: // nothing stored can help
			j.found = true
		case st.Bound() != math.MinInt64 && st.Bound() <= j.s.wait.refoldFrom:
			j.found, j.bound, j.carry = true, st.Bound(), st.Carry()
		}
	}
	for _, back := range []gridloom.Millis{2 * gridloom.Day, 32 * gridloom.Day, 0} {
		missing = slices.DeleteFunc(missing, func(j *refoldJob) bool { return j.found })
		if len(missing) == 0 {
			return nil
		}
		sel := selectorOf(missing)
		kept := max(gridloom.MinInstant, p.bounds.RawFrom)
		lo, hi := gridloom.Millis(math.MaxInt64), gridloom.Millis(math.MinInt64)
		for _, j := range missing {
			lo, hi = min(lo, j.s.wait.refoldFrom), max(hi, j.s.wait.refoldFrom)
		}
		sel.From, sel.To = kept, hi+1
		if back > 0 {
			sel.From = max(sel.From, lo-back)
		}
		newest := map[paneKey]gridloom.Pane{} // panes that hold a carry, in their newest form
		err := p.eachStoredPane(ctx, sel, pane.AllColumns, func(pn *gridloom.Pane) {
			j := bySeries.of(pn.Meter, pn.Register)
			if j == nil || j.found || pn.Start > j.s.wait.refoldFrom || pn.Start < kept {
				return
			}
			k := paneKey{j, pn.Start}
			if old, ok := newest[k]; !ok || pn.Revision >= old.Revision {
				newest[k] = keepPane(pn)
			}
		})
		if err != nil {
			return err
		}
		for _, j := range missing { // what was restated since the last commit is newer than anything stored
			for at, pn := range j.s.wait.restated {
				if at <= j.s.wait.refoldFrom && at >= sel.From {
					newest[paneKey{j, at}] = pn
				}
			}
		}
		got := map[*refoldJob]bool{}
		for k, pn := range newest {
			if pn.Carry != nil && (!got[k.j] || k.start > k.j.bound) {
				k.j.bound, k.j.carry, got[k.j] = k.start, pn.Carry, true
			}
		}
		for j := range got {
			j.found = true
		}
	}
	if p.bounds.RawFrom == 0 {
		return nil
	}
	return p.firstCarries(ctx, missing, bySeries)
}

// keepPane copies a pane that is only lent, its carry included.
func keepPane(pn *gridloom.Pane) gridloom.Pane {
	kept := *pn
	kept.Carry = slices.Clone(pn.Carry)
	return kept
}

type paneKey struct {
	j     *refoldJob
	start gridloom.Millis
}

// loadRows collects, for each job, all raw rows from its bound on and the newest
// form of each stored pane from there.
func (p *partition) loadRows(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) error {
	sel := selectorOf(jobs)
	sel.From = math.MaxInt64
	for _, j := range jobs {
		sel.From = min(sel.From, max(j.bound, gridloom.MinInstant))
		j.panes = map[gridloom.Millis]gridloom.Pane{}
	}
	see := func(r *gridloom.Reading) {
		j := bySeries.of(r.Meter, r.Register)
		if j == nil || r.Start < j.bound || r.Start < p.bounds.RawFrom {
			return
		}
		j.rows = append(j.rows, p.windowReading(r))
	}
	if err := p.eachStoredReading(ctx, sel, see); err != nil {
		return err
	}
	p.eachTailReading(p.marksOf(jobs), func(_ uint32, r *gridloom.Reading) { see(r) })
	return p.eachStoredPane(ctx, sel, pane.AllColumns, func(pn *gridloom.Pane) {
		j := bySeries.of(pn.Meter, pn.Register)
		if j == nil || pn.Start < j.bound || pn.Start < p.bounds.RawFrom {
			return
		}
		if old, ok := j.panes[pn.Start]; !ok || pn.Revision >= old.Revision {
			j.panes[pn.Start] = keepPane(pn)
		}
	})
}

// refoldOne replaces the state of a series by the fold of its rows; false if that has to start
// earlier, which refoldFrom tells then.
func (p *partition) refoldOne(j *refoldJob) (ok bool, err error) {
	s := j.s
	st, err := p.window(s).Refold(s.kind, j.bound, j.carry, j.rows)
	if early, ok := errors.AsType[*window.EarlierError](err); ok && early.At < j.bound {
		s.wait.refoldFrom = max(early.At.Floor(p.cfg.Window.Width), p.bounds.RawFrom)
		*j = refoldJob{i: j.i, s: s, name: j.name, changes: true, bound: math.MinInt64}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("refold %s %s from %s: %w", j.name, s.register, j.bound, err)
	}
	state := p.table.state(j.i)
	st.Replaces(state)
	*state = st
	w := s.wait
	w.dropRestated(j.bound)
	if w.stored == nil {
		w.stored = j.panes
	} else {
		maps.Copy(w.stored, j.panes)
	}
	// What the store has and the fold no longer has is superseded by an empty pane.
	w.empty = w.empty[:0]
	exists := map[gridloom.Millis]bool{}
	s.window.Open(s.kind, state, p.watermark(), func(pn *gridloom.Pane) { exists[pn.Start] = true })
	var gone []gridloom.Millis
	for at := range w.stored {
		if at >= j.bound && !exists[at] {
			gone = append(gone, at)
		}
	}
	empties := p.emptyPanes(s.kind, j.bound, j.carry, gone, exists)
	for i := range empties {
		if old := w.stored[empties[i].Start]; !window.SamePane(&old, &empties[i]) {
			w.empty = append(w.empty, empties[i])
		}
	}
	p.noteState(j.i, s)
	p.settle(s, false)
	return true, nil
}

// emptyPanes returns the empty panes that stand for those that are gone, by start, after a fold from bound on, with
// carry carried in, that made the panes of exists. Where these come before all others, the first
// holds the carry-in: what follows, or comes late, may need it when the rows before it are past retention.
func (p *partition) emptyPanes(k gridloom.Kind, bound gridloom.Millis, carry []byte, gone []gridloom.Millis, exists map[gridloom.Millis]bool) (list []gridloom.Pane) {
	slices.Sort(gone)
	for _, at := range gone {
		list = append(list, window.EmptyPane(at, p.cfg.Window.Width))
	}
	if len(list) == 0 || carry == nil {
		return list
	}
	first := &list[0]
	for at := range exists {
		if at >= bound && at < first.Start {
			return list
		}
	}
	// The carry of a state that stands within a day is refused: then a pane before it holds that day's.
	if c, err := window.CarryFrom(k, carry, bound, first.Start); err == nil {
		first.Carry = c
	}
	return list
}

// marksOf marks the series of jobs.
func (p *partition) marksOf(jobs []*refoldJob) []bool {
	marks := make([]bool, p.table.len())
	for _, j := range jobs {
		marks[j.i] = true
	}
	return marks
}

// selectorOf chooses the series of jobs, at any time.
func selectorOf(jobs []*refoldJob) pane.Selector {
	meters := map[string]struct{}{}
	regs := map[gridloom.RegisterID]struct{}{}
	for _, j := range jobs {
		meters[j.name] = struct{}{}
		regs[j.s.register] = struct{}{}
	}
	return pane.Selector{Meters: sortedKeys(meters), Registers: sortedKeys(regs)}
}

// eachStoredReading calls f for the committed raw rows that sel chooses.
func (p *partition) eachStoredReading(ctx context.Context, sel pane.Selector, f func(*gridloom.Reading)) error {
	return p.eachSegment(ctx, pane.KindRaw, sel, func(seg pane.Segment) error {
		return p.store.ReadRaw(ctx, seg, sel, func(r *gridloom.Reading) error { f(r); return nil })
	})
}

// eachStoredPane calls f for the panes in segments and in the commit in flight
// that sel chooses; the one with the greatest revision is the newest of its place.
func (p *partition) eachStoredPane(ctx context.Context, sel pane.Selector, cols pane.PaneColumns, f func(*gridloom.Pane)) error {
	err := p.eachSegment(ctx, pane.KindPane, sel, func(seg pane.Segment) error {
		return p.store.ReadPanes(ctx, seg, sel, cols, func(pn *gridloom.Pane) error { f(pn); return nil })
	})
	if err != nil || p.frozen == nil {
		return err
	}
	pick := newPicker(sel)
	for i := range p.frozen.panes {
		if pn := &p.frozen.panes[i]; pick.series(pn.Meter, pn.Register) && pick.span(pn.Start, pn.Length) {
			f(pn)
		}
	}
	return nil
}
