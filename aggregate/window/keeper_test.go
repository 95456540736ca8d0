package window_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// keeper keeps one series as an aggregator does: rows that are not repetitions,
// panes as Close emitted them, refolds put off until somebody looks.
type keeper struct {
	t         *testing.T
	c         window.Config
	k         gridloom.Kind
	rng       *rand.Rand
	state     window.State
	rows      []window.Reading // stored
	stored    map[gridloom.Millis]gridloom.Pane
	pending   bool
	from      gridloom.Millis // earliest instant that what is pending affects
	watermark gridloom.Millis
	outcomes  map[window.Outcome]int
	restarts  int // refolds from a carry
	earlier   int // that had to start earlier
}

func newKeeper(t *testing.T, c window.Config, k gridloom.Kind, rng *rand.Rand) *keeper {
	t.Helper()
	return &keeper{t: t, c: c, k: k, rng: rng, stored: map[gridloom.Millis]gridloom.Pane{}, outcomes: map[window.Outcome]int{}}
}

func (a *keeper) add(r window.Reading) {
	o := a.c.Add(a.k, &a.state, &r)
	a.outcomes[o]++
	switch o {
	case window.Duplicate:
		return
	case window.Disorder:
		if a.repeats(&r) {
			return
		}
		at := a.c.AffectedFrom(a.k, &a.state, &r)
		if at > a.state.Bound() {
			a.t.Fatalf("AffectedFrom = %s, after Bound = %s", at, a.state.Bound())
		}
		if !a.pending || at < a.from {
			a.pending, a.from = true, at
		}
	}
	a.rows = append(a.rows, r)
}

// repeats reports whether the winner of r's identity, edits apart, says what r says, with no lower order.
func (a *keeper) repeats(r *window.Reading) bool {
	if r.Order.Class() >= gridloom.ClassEdit {
		return false
	}
	var best *window.Reading
	for i := range a.rows {
		if o := &a.rows[i]; o.Order.Class() < gridloom.ClassEdit && o.Start == r.Start && o.Length == r.Length && (best == nil || beats(*o, *best)) {
			best = o
		}
	}
	return best != nil && best.Void == r.Void && best.Value == r.Value && best.Quality == r.Quality && best.Order >= r.Order
}

func (a *keeper) close(watermark gridloom.Millis) {
	a.watermark = max(a.watermark, watermark)
	due := a.c.Due(a.k, &a.state)
	n, before := 0, gridloom.Millis(math.MinInt64)
	a.c.Close(a.k, &a.state, a.watermark, func(p *gridloom.Pane) {
		if !p.Closed || p.Start <= before {
			a.t.Fatalf("Close(%s) emits %+v after the pane at %s", a.watermark, *p, before)
		}
		n, before = n+1, p.Start
		a.stored[p.Start] = *p
	})
	if (n > 0) != (due <= a.watermark) {
		a.t.Fatalf("Close(%s) emits %d panes, Due said %s", a.watermark, n, due)
	}
}

// crash replaces the state by its encoding.
func (a *keeper) crash() {
	b := window.AppendState(nil, &a.state)
	s, err := decodeState(b)
	if err != nil {
		a.t.Fatal(err)
	}
	if again := window.AppendState(nil, &s); string(again) != string(b) {
		a.t.Fatalf("a state of %x decodes to one of %x", b, again)
	}
	a.state = s
}

// settle does the refold that is put off, from the state's own bound or a stored carry or from nothing.
func (a *keeper) settle() {
	if !a.pending {
		return
	}
	s, bound := a.refold()
	a.state, a.pending = s, false
	there := map[gridloom.Millis]bool{}
	a.c.Open(a.k, &a.state, a.watermark, func(p *gridloom.Pane) { there[p.Start] = true })
	for at := range a.stored {
		if at >= bound && !there[at] {
			a.stored[at] = window.EmptyPane(at, a.c.Width)
		}
	}
	a.close(a.watermark)
}

// refold folds the rows anew from the nearest carry that will do, and returns where that was.
func (a *keeper) refold() (window.State, gridloom.Millis) {
	bound, carry := gridloom.Millis(math.MinInt64), []byte(nil)
	if b := a.state.Bound(); b <= a.from {
		bound, carry = b, a.state.Carry()
	} else {
		for at, p := range a.stored {
			if p.Carry != nil && at <= a.from && at > bound {
				bound, carry = at, p.Carry
			}
		}
	}
	if bound > math.MinInt64 {
		a.restarts++
	}
	var rows []window.Reading
	for _, r := range a.rows {
		if r.Start >= bound {
			rows = append(rows, r)
		}
	}
	a.rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	s, err := a.c.Refold(a.k, bound, carry, rows)
	if early, ok := errors.AsType[*window.EarlierError](err); ok {
		if early.At >= bound {
			a.t.Fatalf("a refold from %s has to start at %s", bound, early.At)
		}
		a.from = early.At
		a.earlier++
		return a.refold()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return s, bound
}

// view returns what a query sees, by time: stored panes, replaced by the open ones.
func (a *keeper) view() []gridloom.Pane {
	a.settle()
	see := map[gridloom.Millis]gridloom.Pane{}
	for at, p := range a.stored {
		if !window.IsEmpty(&p) {
			see[at] = p
		}
	}
	a.c.Open(a.k, &a.state, a.watermark, func(p *gridloom.Pane) { see[p.Start] = *p })
	return sorted(see)
}

func sorted(m map[gridloom.Millis]gridloom.Pane) []gridloom.Pane {
	var out []gridloom.Pane
	for _, p := range m {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b gridloom.Pane) int { return int(a.Start - b.Start) })
	return out
}

func foldAll(c window.Config, k gridloom.Kind, rows []window.Reading, watermark gridloom.Millis) []gridloom.Pane {
	var out []gridloom.Pane
	c.Fold(k, slices.Clone(rows), watermark, func(p *gridloom.Pane) { out = append(out, *p) })
	return out
}

// uncarried empties the carries, so that panes compare with the definition.
func uncarried(ps []gridloom.Pane) []gridloom.Pane {
	out := slices.Clone(ps)
	for i := range out {
		if out[i].Carry != nil {
			out[i].Carry = []byte{}
		}
	}
	return out
}

func diff(want, got []gridloom.Pane) string {
	if len(want) == 0 && len(got) == 0 {
		return ""
	}
	return cmp.Diff(want, got)
}

// decodeState decodes into a state that has seen nothing.
func decodeState(b []byte) (window.State, error) {
	var s window.State
	err := s.Decode(b)
	return s, err
}
