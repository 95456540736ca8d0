package window_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// TestOpeningIsAdd: a state to which the readings that open a window are added in the short way, where
// it takes them, tells the same as one that goes the long way of Add because it was just decoded:
// on the bound and beside it, at the limits of rises and gaps, whatever was closed or frozen before.
func TestOpeningIsAdd(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 5))
	for _, k := range kinds {
		opened, shared, emitted := 0, 0, 0
		for range max(*long/2, 20) {
			c := randomConfig(rng)
			if rng.IntN(4) == 0 {
				c.Rating = 0 // the default
			}
			var fast, slow window.State
			r := window.Reading{Start: day1 - gridloom.Hour, Value: 1000, LoggedAt: day1}
			watermark := gridloom.Millis(0)
			for i := range 400 {
				before, held, open := r.Start, fast.Panes(), fast.OpenPanes()
				stepOver(rng, &c, k, &r)
				if err := slow.Decode(window.AppendState(nil, &slow)); err != nil {
					t.Fatal(err)
				}
				got, want := window.Folded, c.Add(k, &slow, &r)
				if c.AddOpening(k, &fast, &r) {
					opened++
					if r.Start.Floor(c.Width) != r.Start && before.Floor(c.Width)+c.Width == r.Start.Floor(c.Width) {
						shared++
					}
					if open < held || held == 0 {
						emitted++
					}
				} else if got = c.Add(k, &fast, &r); got == window.Disorder && rng.IntN(2) == 0 {
					r.Start, r.Value = before+1, r.Value+5000 // go on soon
				}
				if got != want {
					t.Fatalf("%s, reading %d: %s, want %s", k, i, got, want)
				}
				look := looks[rng.IntN(len(looks))]
				if want, got := look(&c, k, &slow, &r), look(&c, k, &fast, &r); !reflect.DeepEqual(want, got) {
					t.Fatalf("%s, reading %d, %+v of %+v (-want +got):\n%s", k, i, r, c, cmp.Diff(want, got))
				}
				switch rng.IntN(12) {
				case 0, 1, 2: // as a log that is ahead, in step or behind
					watermark = max(watermark, r.Start+gridloom.Minute*gridloom.Millis(rng.IntN(200)-40))
					for _, s := range []*window.State{&fast, &slow} {
						c.Close(k, s, watermark, func(*gridloom.Pane) {})
					}
				case 3:
					watermark = max(watermark, r.Start+3*gridloom.Hour)
					for _, s := range []*window.State{&fast, &slow} {
						c.Close(k, s, watermark, func(*gridloom.Pane) {})
						c.Freeze(k, s, r.Start.Floor(gridloom.Day))
					}
				}
				if slow.Bound() != fast.Bound() || !bytes.Equal(slow.Carry(), fast.Carry()) {
					t.Fatalf("%s, reading %d: the carry is %x at %s, want %x at %s", k, i, fast.Carry(), fast.Bound(), slow.Carry(), slow.Bound())
				}
			}
			if want, got := window.AppendState(nil, &slow), window.AppendState(nil, &fast); !bytes.Equal(want, got) {
				t.Fatalf("%s of %+v: state %x, want %x", k, c, got, want)
			}
		}
		t.Logf("%s: %d opened, %d beside the bound, %d after a closed pane", k, opened, shared, emitted)
		if opened < 500 || shared < 200 || emitted < 50 {
			t.Errorf("%s: the short way took %d readings, %d beside the bound, %d after a closed pane; want 500, 200 and 50", k, opened, shared, emitted)
		}
	}
}

// stepOver makes r the next reading of a series that mostly goes from one window into the next.
func stepOver(rng *rand.Rand, c *window.Config, k gridloom.Kind, r *window.Reading) {
	r.Sequence++
	r.Void, r.Quality = false, 0
	bound := r.Start.Floor(c.Width) + c.Width
	switch rng.IntN(10) {
	case 0, 1, 2:
		r.Start = bound
	case 3:
		r.Start = max(bound-1, r.Start+1)
	case 4:
		r.Start = bound + 1
	case 5:
		r.Start = bound + c.Width - gridloom.Millis(rng.IntN(3))
	case 6:
		r.Start += c.Bridge + gridloom.Millis(rng.IntN(3)-1)
	case 7:
		r.Start += gridloom.Minute
	default:
		r.Start += gridloom.Millis(1 + rng.Int64N(2*int64(c.Width)))
	}
	if k == gridloom.Interval { // up to a bound, or a little less or more
		r.Length = c.Width - (r.Start - r.Start.Floor(c.Width))
		if rng.IntN(3) == 0 {
			r.Length = max(1, r.Length+gridloom.Millis(rng.IntN(3)-1))
		}
		if rng.IntN(8) == 0 {
			r.Length = 1 + gridloom.Millis(rng.Int64N(2*int64(c.Width)))
		}
	}
	least := c.Rating / 4 // of a quarter of an hour
	if least == 0 {
		least = window.DefaultRating / 4
	}
	rise := rng.Int64N(least)
	switch rng.IntN(20) {
	case 0:
		rise = least + int64(rng.IntN(3)-1)
	case 1:
		rise = -rng.Int64N(least)
	case 2:
		rise = 0
	case 3:
		r.Void = true
	case 4:
		r.Serial = [...]string{"", "a", "b"}[rng.IntN(3)]
	case 5, 6:
		r.Quality = []gridloom.Quality{gridloom.Test, gridloom.Outage, gridloom.ClockSuspect}[rng.IntN(3)]
	case 7:
		r.Order++
	case 8:
		r.LoggedAt = max(r.LoggedAt, r.Start.Floor(c.Width)+c.Width+c.Lateness+gridloom.Millis(rng.IntN(2)))
	}
	if k == gridloom.Counter {
		r.Value += rise
	} else {
		r.Value = rise - least/2
	}
	r.LoggedAt = max(r.LoggedAt, r.Start)
}
