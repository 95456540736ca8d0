package window_test

import (
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// TestDialsSayWhereARegisterWraps: told its dials, a register wraps there and nowhere else.
func TestDialsSayWhereARegisterWraps(t *testing.T) {
	f := func(dials int, before, after, wantEnergy int64, want gridloom.Quality) {
		t.Helper()
		c := window.Defaults()
		c.Dials = dials
		var rows []window.Reading
		for i, v := range []int64{before, after, after + 1, after + 2, after + 3} {
			rows = append(rows, window.Reading{Start: day1 + gridloom.Millis(i)*15*gridloom.Minute, Value: v * 1000, Sequence: uint64(i + 1), LoggedAt: day1})
		}
		var energy int64
		var quality gridloom.Quality
		c.Fold(gridloom.Counter, rows, day1+5*gridloom.Hour, func(p *gridloom.Pane) {
			energy += p.Energy
			quality |= p.Quality &^ gridloom.Missing
		})
		if energy != wantEnergy*1000 || quality != want {
			t.Errorf("dials %d, %d then %d: %d Wh %s, want %d Wh %s", dials, before, after, energy/1000, quality, wantEnergy, want)
		}
	}
	f(0, 999_500, 700, 1203, gridloom.Rollover)
	f(6, 999_500, 700, 1203, gridloom.Rollover)
	f(7, 999_500, 700, 3, gridloom.Reset) // it shows seven digits: it has started again
	f(5, 999_500, 700, 3, gridloom.Reset)
	f(0, 99_900, 50, 3, gridloom.Reset) // five digits of Wh are too few to be guessed
	f(5, 99_900, 50, 153, gridloom.Rollover)
	f(3, 995, 5, 13, gridloom.Rollover)
	f(12, 999_999_999_500, 700, 1203, gridloom.Rollover)
	f(12, 99_999_999_500, 700, 3, gridloom.Reset)
}
