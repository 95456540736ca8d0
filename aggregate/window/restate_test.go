package window_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// TestRestateTellsWhatAFoldOfEverythingTells: a series is stored, then some of its readings come
// late. From every carry before them that is stored, a stretch folded anew gives up to where it
// agrees the panes that the fold of all rows gives, and from there on those were stored already.
func TestRestateTellsWhatAFoldOfEverythingTells(t *testing.T) {
	t.Parallel()
	agreements := map[gridloom.Kind]int{}
	for _, k := range kinds {
		for seed := range uint64(*long) {
			rng := rand.New(rand.NewPCG(seed, uint64(k)+100))
			c := randomConfig(rng)
			rows := randomLog(rng, randomSeries(rng, k, 40+rng.IntN(400)))
			for i := range rows {
				rows[i].Sequence, rows[i].LoggedAt = uint64(i+1), day1
			}
			at := rows[rng.IntN(len(rows))].Start
			lateFrom, lateTo := at, at+gridloom.Millis(rng.IntN(5))*gridloom.Hour
			before := slices.DeleteFunc(slices.Clone(rows), func(r window.Reading) bool {
				return r.Start >= lateFrom && r.Start <= lateTo && rng.IntN(3) == 0
			})
			watermark := lateTo + gridloom.Millis(rng.IntN(96))*gridloom.Hour
			stored, all := panesAt(c, k, before, watermark), panesAt(c, k, rows, watermark)
			reach := lateFrom
			if k == gridloom.Counter || k == gridloom.Gauge {
				reach -= max(c.Bridge, 1)
			}
			agreements[k] += checkRestate(t, fmt.Sprintf("%s, seed %d", k, seed), c, k, rows, stored, all, reach.Floor(c.Width), lateTo, watermark, rng)
		}
	}
	for _, k := range kinds {
		if agreements[k] < *long/4 {
			t.Errorf("%s: only %d stretches came to an end in %d runs", k, agreements[k], *long)
		}
	}
}

// panesAt returns the panes of rows by start.
func panesAt(c window.Config, k gridloom.Kind, rows []window.Reading, watermark gridloom.Millis) (panes []gridloom.Pane) {
	c.Fold(k, slices.Clone(rows), watermark, func(p *gridloom.Pane) { panes = append(panes, *p) })
	return panes
}

// checkRestate restates from every stored carry at or before from, and returns how often it agreed.
func checkRestate(t *testing.T, what string, c window.Config, k gridloom.Kind, rows []window.Reading, stored, all []gridloom.Pane, from, late, watermark gridloom.Millis, rng *rand.Rand) (agreements int) {
	t.Helper()
	var points []window.Checkpoint
	starts := []window.Checkpoint{{Start: math.MinInt64}}
	for _, p := range stored {
		switch {
		case p.Carry == nil:
		case p.Start <= from:
			starts = append(starts, window.Checkpoint{Start: p.Start, Carry: p.Carry})
		case p.Start > late:
			points = append(points, window.Checkpoint{Start: p.Start, Carry: p.Carry})
		}
	}
	for _, s := range starts {
		end := late + gridloom.Millis(rng.IntN(72))*gridloom.Hour
		if len(points) > 0 && rng.IntN(2) == 0 { // hardly after a checkpoint
			end = max(late+1, points[rng.IntN(len(points))].Start+gridloom.Millis(rng.Int64N(int64(c.Lookahead()+gridloom.Hour))))
		}
		var some []window.Reading
		for _, r := range rows {
			if r.Start >= s.Start && r.Start < end {
				some = append(some, r)
			}
		}
		var got []gridloom.Pane
		agreed, ok, err := c.Restate(k, s.Start, s.Carry, some, end, watermark, points, func(p *gridloom.Pane) { got = append(got, *p) })
		if early, ok := errors.AsType[*window.EarlierError](err); ok && k == gridloom.Counter && early.At < s.Start {
			continue
		}
		if err != nil {
			t.Fatalf("%s from %v: %v", what, s.Start, err)
		}
		if !ok {
			if len(got) > 0 {
				t.Fatalf("%s: %d panes and no agreement", what, len(got))
			}
			continue
		}
		agreements++
		for _, p := range got {
			if !p.Closed {
				t.Fatalf("%s: the pane of %s is restated and open at %s", what, p.Start, watermark)
			}
		}
		part := func(panes []gridloom.Pane, lo, hi gridloom.Millis) (out []gridloom.Pane) {
			for _, p := range panes {
				if p.Start >= lo && p.Start < hi {
					out = append(out, p)
				}
			}
			return out
		}
		same := func(what string, want, got []gridloom.Pane) {
			t.Helper()
			if !slices.EqualFunc(want, got, func(a, b gridloom.Pane) bool { return window.SamePane(&a, &b) }) {
				t.Fatalf("%s, from %v to %v (-want +got):\n%s", what, s.Start, agreed, cmp.Diff(want, got))
			}
		}
		same(what+": restated", part(all, s.Start, agreed), got)
		same(what+": stored and not the same any more", part(stored, agreed, math.MaxInt64), part(all, agreed, math.MaxInt64))
	}
	return agreements
}
