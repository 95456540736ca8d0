package aggregate

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// firstCarries gives jobs for which no carry is stored since the bound of retention and before
// what they must refold what is carried over that bound: what the series' first pane after it
// holds, or else its state, as nothing starts between.
func (p *partition) firstCarries(ctx context.Context, jobs []*refoldJob, bySeries *seriesJobs) error {
	from := p.bounds.RawFrom
	missing := slices.Clone(jobs)
	for _, ahead := range []gridloom.Millis{2 * gridloom.Day, 32 * gridloom.Day, 0} {
		missing = slices.DeleteFunc(missing, func(j *refoldJob) bool { return j.found })
		if len(missing) == 0 {
			return nil
		}
		sel := selectorOf(missing)
		sel.From = from
		if ahead > 0 {
			for _, j := range missing {
				sel.To = max(sel.To, j.s.wait.refoldFrom+ahead)
			}
		}
		first := map[paneKey]gridloom.Pane{} // panes in their newest form
		err := p.eachStoredPane(ctx, sel, pane.AllColumns, func(pn *gridloom.Pane) {
			j := bySeries.of(pn.Meter, pn.Register)
			if j == nil || j.found || pn.Start < from {
				return
			}
			k := paneKey{j, pn.Start}
			if old, ok := first[k]; !ok || pn.Revision >= old.Revision {
				first[k] = keepPane(pn)
			}
		})
		if err != nil {
			return err
		}
		for _, j := range missing {
			for at, pn := range j.s.wait.restated {
				if sel.To == 0 || at < sel.To {
					first[paneKey{j, at}] = pn
				}
			}
		}
		at := map[*refoldJob]gridloom.Millis{}
		for k, pn := range first {
			if old, ok := at[k.j]; pn.Carry != nil && (!ok || k.start < old) {
				at[k.j] = k.start
			}
		}
		for j, start := range at {
			if err := j.startFrom(first[paneKey{j, start}].Carry, start, from); err != nil {
				return err
			}
		}
	}
	for _, j := range missing {
		if st := p.table.state(j.i); !j.found && st.Bound() != math.MinInt64 {
			if err := j.startFrom(st.Carry(), st.Bound(), from); err != nil {
				return err
			}
		}
	}
	return nil
}

// startFrom lets a job start at the bound of retention, by the carry of the first pane after it.
func (j *refoldJob) startFrom(carry []byte, bound, from gridloom.Millis) error {
	carry, err := window.CarryFrom(j.s.kind, carry, bound, from)
	if err != nil {
		return fmt.Errorf("%s %s: %w", j.name, j.s.register, err)
	}
	j.found, j.first, j.bound, j.carry = true, true, from, carry
	return nil
}
