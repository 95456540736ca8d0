package window_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// TestAddNextIsAdd: a state that readings are added to by AddNext, where it takes them, tells the same,
// whichever way it is looked at first, as one that goes the long way of Add because it was just decoded.
func TestAddNextIsAdd(t *testing.T) {
	c := window.Defaults()
	rng := rand.New(rand.NewPCG(3, 7))
	for _, k := range kinds {
		var fast, slow window.State
		r := window.Reading{Start: day1, Value: 1000, LoggedAt: day1}
		taken := 0
		for i := range 40_000 {
			step(rng, k, &r)
			if err := slow.Decode(window.AppendState(nil, &slow)); err != nil {
				t.Fatal(err)
			}
			panes, open, bound := fast.Panes(), fast.OpenPanes(), fast.Bound()
			got, want := window.Folded, c.Add(k, &slow, &r)
			if c.AddNext(k, &fast, &r) {
				taken++
				if panes != fast.Panes() || open != fast.OpenPanes() || bound != fast.Bound() {
					t.Fatalf("%s, reading %d: AddNext changed more than the newest pane", k, i)
				}
			} else {
				got = c.Add(k, &fast, &r)
			}
			if got != want {
				t.Fatalf("%s, reading %d: %s, want %s", k, i, got, want)
			}
			look := looks[rng.IntN(len(looks))]
			if diff := cmp.Diff(look(&c, k, &slow, &r), look(&c, k, &fast, &r)); diff != "" {
				t.Fatalf("%s, reading %d, %+v (-want +got):\n%s", k, i, r, diff)
			}
		}
		if taken < 10_000 {
			t.Errorf("%s: AddNext took %d readings of 40000, want 10000 at least", k, taken)
		}
	}
}

// looks are ways to see a state, after the reading r.
var looks = [...]func(c *window.Config, k gridloom.Kind, s *window.State, r *window.Reading) any{
	func(_ *window.Config, _ gridloom.Kind, s *window.State, _ *window.Reading) any {
		return window.AppendState(nil, s)
	},
	func(c *window.Config, k gridloom.Kind, s *window.State, _ *window.Reading) any { return c.Due(k, s) },
	func(_ *window.Config, _ gridloom.Kind, s *window.State, _ *window.Reading) any {
		last, _ := s.Last()
		return last
	},
	func(c *window.Config, k gridloom.Kind, s *window.State, r *window.Reading) any {
		var panes []gridloom.Pane
		c.Close(k, s, r.Start-2*gridloom.Minute, func(p *gridloom.Pane) { panes = append(panes, *p) })
		return panes
	},
	func(c *window.Config, k gridloom.Kind, s *window.State, r *window.Reading) any {
		var panes []gridloom.Pane
		c.Open(k, s, r.Start, func(p *gridloom.Pane) { panes = append(panes, *p) })
		return panes
	},
	func(c *window.Config, k gridloom.Kind, s *window.State, r *window.Reading) any {
		return c.AffectedFrom(k, s, &window.Reading{Start: r.Start - 3*gridloom.Minute})
	},
	func(*window.Config, gridloom.Kind, *window.State, *window.Reading) any { return nil },
	func(*window.Config, gridloom.Kind, *window.State, *window.Reading) any { return nil },
}

// step makes r the next reading of a series that mostly is in steady flow, and now and then
// void, repeated, late, gone for long, of another device, of another quality or far off.
func step(rng *rand.Rand, k gridloom.Kind, r *window.Reading) {
	r.Sequence++
	r.Void, r.Quality = false, 0
	if k == gridloom.Interval {
		r.Length = gridloom.Minute
	}
	advance := gridloom.Minute
	switch rng.IntN(30) {
	case 0:
		r.Void = true
	case 1:
		advance = 0
	case 2:
		advance = gridloom.Millis(rng.IntN(200)) * gridloom.Minute
	case 3:
		r.Serial = [...]string{"", "a", "b"}[rng.IntN(3)]
	case 4:
		r.Quality = gridloom.ClockSuspect
	case 5:
		r.Value -= rng.Int64N(1000)
	case 6:
		if k == gridloom.Interval {
			r.Length = gridloom.Millis(rng.IntN(40)) * gridloom.Minute
		}
	case 7:
		r.Order += gridloom.Order(rng.IntN(2))
	case 8:
		r.LoggedAt += gridloom.Hour // is late for a while: the log's time does not fall
	default:
		r.Value += rng.Int64N(1000)
	}
	r.Start += advance
	if k == gridloom.Interval {
		r.Start += max(r.Length-gridloom.Minute, 0) * gridloom.Millis(rng.IntN(2))
	}
	r.LoggedAt = max(r.LoggedAt, r.Start)
}
