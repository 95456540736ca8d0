package window

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// TestAFrozenStateGoesOnAsBefore: panes from the bound on are the same whether a state was frozen
// there or not, and whether they are folded from its carry, from that of the first pane since, or from everything.
func TestAFrozenStateGoesOnAsBefore(t *testing.T) {
	cfg := Defaults()
	for _, k := range []gridloom.Kind{gridloom.Counter, gridloom.Gauge, gridloom.Interval, gridloom.Event} {
		for seed := range uint64(200) {
			rnd := rand.New(rand.NewPCG(seed, uint64(k)))
			day := gridloom.Millis(1_770_000_000_000).Floor(gridloom.Day)
			at := day + gridloom.Millis(3+rnd.IntN(3))*gridloom.Day // the bound
			var rows []Reading
			start, value := day+gridloom.Hour, int64(1000)
			for range 1 + rnd.IntN(40) {
				r := Reading{Start: start, Value: value, Sequence: uint64(len(rows) + 1), LoggedAt: start}
				start += gridloom.Millis(1+rnd.IntN(90*(1+rnd.IntN(12)))) * gridloom.Minute
				if value += int64(rnd.IntN(500)); rnd.IntN(8) == 0 {
					value /= 2
				}
				if k == gridloom.Interval {
					r.Length = min(start-r.Start, gridloom.Millis(5+rnd.IntN(90))*gridloom.Minute)
				}
				rows = append(rows, r)
			}
			final := cfg
			final.Final = at
			end := start + 30*gridloom.Day
			// add adds rows first to last, and folds anew what they decide.
			add := func(s *State, first, last int) {
				for i := first; i < last; i++ {
					r := rows[i]
					if cfg.Add(k, s, &r) != Disorder {
						continue
					}
					st, err := final.Refold(k, s.Bound(), s.Carry(), since(rows[:i+1], s.Bound()))
					if err != nil {
						t.Fatal(err)
					}
					*s = st
				}
			}
			panesOf := func(s *State) map[gridloom.Millis]gridloom.Pane {
				got := map[gridloom.Millis]gridloom.Pane{}
				cfg.Open(k, s, end, func(p *gridloom.Pane) { got[p.Start] = *p })
				return got
			}
			from := func(all map[gridloom.Millis]gridloom.Pane) map[gridloom.Millis]gridloom.Pane {
				for start := range all {
					if start < at {
						delete(all, start)
					}
				}
				return all
			}
			n := len(rows) - len(since(rows, at))
			var whole, frozen State
			add(&whole, 0, len(rows))
			want := from(panesOf(&whole))
			add(&frozen, 0, n)
			closed := map[gridloom.Millis]gridloom.Pane{}
			cfg.Close(k, &frozen, at+2*gridloom.Day, func(p *gridloom.Pane) { closed[p.Start] = *p })
			cfg.Freeze(k, &frozen, at)
			name := fmt.Sprintf("kind %d seed %d", k, seed)
			if frozen.Bound() < at { // an interval may end after it
				t.Fatalf("%s: bound %s, want %s or later", name, frozen.Bound(), at)
			}
			carry, bound := frozen.Carry(), frozen.Bound()
			add(&frozen, n, len(rows))
			maps.Copy(closed, panesOf(&frozen))
			if diff := cmp.Diff(want, from(closed)); diff != "" {
				t.Fatalf("%s: a frozen state goes on otherwise (-whole +frozen)\n%.2000s", name, diff)
			}
			// What the first pane since holds is what was carried over the bound.
			first := gridloom.Millis(0)
			for start, p := range want {
				if p.Carry != nil && (first == 0 || start < first) {
					first = start
				}
			}
			if first == 0 {
				continue
			}
			got, err := CarryFrom(k, want[first].Carry, first, at)
			if err != nil {
				t.Fatalf("%s: CarryFrom: %v", name, err)
			}
			refold := func(carry []byte, at gridloom.Millis) map[gridloom.Millis]gridloom.Pane {
				s, err := final.Refold(k, at, carry, since(rows, at))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				return panesOf(&s)
			}
			if diff := cmp.Diff(want, refold(got, at)); diff != "" {
				t.Fatalf("%s: folded from the carry of the first pane (-whole +folded)\n%.2000s", name, diff)
			}
			if bound > at {
				continue
			}
			if diff := cmp.Diff(want, refold(carry, at)); diff != "" {
				t.Fatalf("%s: folded from the state's carry (-whole +folded)\n%.2000s", name, diff)
			}
		}
	}
}

// since returns a copy of the rows that start at an instant or later.
func since(rows []Reading, at gridloom.Millis) (out []Reading) {
	for _, r := range rows {
		if r.Start >= at {
			out = append(out, r)
		}
	}
	return out
}

// TestACarryOfReadingsSinceIsRefused: it cannot be what was carried over an earlier instant.
func TestACarryOfReadingsSinceIsRefused(t *testing.T) {
	cfg := Defaults()
	day := gridloom.Millis(1_770_000_000_000).Floor(gridloom.Day)
	var s State
	cfg.Add(gridloom.Counter, &s, &Reading{Start: day + gridloom.Hour, Value: 1, Sequence: 1})
	cfg.Close(gridloom.Counter, &s, day+gridloom.Day, func(*gridloom.Pane) {})
	cfg.Freeze(gridloom.Counter, &s, day+gridloom.Day)
	if _, err := CarryFrom(gridloom.Counter, s.Carry(), s.Bound(), day); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("CarryFrom = %v, want ErrCorrupt", err)
	}
	if _, err := CarryFrom(gridloom.Counter, s.Carry(), s.Bound(), day+gridloom.Day); err != nil {
		t.Errorf("CarryFrom its own bound = %v", err)
	}
}
