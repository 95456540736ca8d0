package window_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// life is ten years of a meter of which everything is known: what it really counted up to each
// reading, and what was used while nobody could see it.
type life struct {
	rows   []window.Reading
	truth  []int64 // mWh used since the beginning, at each reading
	unseen int64   // across resets and exchanges
	events map[string]int
}

// liveTenYears lets a household's register of three digits be read every hour. It wraps every month or two,
// and every few weeks something happens to it or to its reader.
func liveTenYears(rng *rand.Rand) *life {
	const digits = 1_000_000_000
	l := &life{events: map[string]int{}}
	used, offset := int64(0), -rng.Int64N(digits)
	serial := "M1"
	at, quiet := day1, 10
	for hour := 0; hour < 10*365*24; hour++ {
		at += gridloom.Hour
		used += rng.Int64N(3_000_000)
		shown := (used - offset) % digits
		// Soon after something has happened nothing else does: each is certain after three readings, and a reset after a
		// day. Nor so close to a wrap that a reset could be one, or a wrong zero could be where it begins.
		calm := shown > 60_000_000 && shown < digits-60_000_000
		if quiet--; quiet > 0 || !calm {
			l.read(at, shown, used, serial)
			continue
		}
		what := rng.IntN(1200)
		if what < 5 {
			quiet = 8
		}
		switch what {
		case 0:
			serial += "I"
			offset = used - rng.Int64N(digits/2)
			l.lost("exchange", used)
			l.read(at, used-offset, used, serial)
		case 1:
			if shown < digits/4 {
				l.read(at, shown, used, serial)
				continue
			}
			offset, quiet = used-rng.Int64N(1000), 30
			l.lost("reset", used)
			l.read(at, used-offset, used, serial)
		case 2:
			if shown > digits-120_000_000 { // nobody could tell a wrap in a gap, from below the last 5 %, from a reset
				l.read(at, shown, used, serial)
				continue
			}
			l.events["gap"]++
			for range rng.IntN(40) {
				hour++
				at += gridloom.Hour
				used += rng.Int64N(3_000_000)
			}
		case 3:
			l.events["high"]++
			l.wrong(at, shown+100_000_000+rng.Int64N(digits), serial)
		case 4:
			l.events["low"]++
			l.wrong(at, rng.Int64N(1000), serial)
		default:
			l.read(at, shown, used, serial)
		}
	}
	return l
}

func (l *life) read(at gridloom.Millis, shown, used int64, serial string) {
	n := len(l.rows) + 1
	l.rows = append(l.rows, window.Reading{Start: at, Value: shown, Serial: serial, Sequence: uint64(n), LoggedAt: at})
	l.truth = append(l.truth, used)
}

// wrong adds a sample that tells nothing.
func (l *life) wrong(at gridloom.Millis, shown int64, serial string) {
	l.read(at, shown, -1, serial)
}

// lost notes that a register's new course begins, and what was used since the last reading before it.
func (l *life) lost(event string, used int64) {
	l.events[event]++
	for _, before := range slices.Backward(l.truth) {
		if before >= 0 {
			l.unseen += used - before
			return
		}
	}
}

// TestEnergyIsTheTruthOrSaysHowItIsNot: of meters whose every watt-hour is known, a window without a mark tells
// just what was used in it, and all windows together what was used but for what no reading shows.
func TestEnergyIsTheTruthOrSaysHowItIsNot(t *testing.T) {
	t.Parallel()
	c := window.Defaults()
	c.Width = gridloom.Hour
	marks := map[gridloom.Quality]int{}
	for seed := range uint64(max(3, runs(t)/10)) {
		rng := rand.New(rand.NewPCG(seed, 41))
		l := liveTenYears(rng)
		for _, what := range []string{"exchange", "reset", "gap", "high", "low"} {
			if l.events[what] == 0 {
				t.Fatalf("seed %d: no %s in ten years", seed, what)
			}
		}
		truth := map[gridloom.Millis]int64{}
		first, last := l.truth[0], int64(0)
		for i, r := range l.rows {
			if u := l.truth[i]; u >= 0 {
				truth[r.Start], last = u, u
			}
		}
		var sum int64
		c.Fold(gridloom.Counter, l.rows, math.MaxInt64/2, func(p *gridloom.Pane) {
			sum += p.Energy
			for q := gridloom.Quality(1); q != 0 && q <= p.Quality; q <<= 1 {
				if p.Quality&q != 0 {
					marks[q]++
				}
			}
			a, okA := truth[p.Start]
			b, okB := truth[p.Start+p.Length]
			if p.Quality&^gridloom.Rollover == 0 && (!okA || !okB || p.Energy != b-a) {
				t.Fatalf("seed %d: %s tells %d mWh without a mark, %d were used (%t, %t)", seed, p.Start, p.Energy, b-a, okA, okB)
			}
		})
		if sum != last-first-l.unseen {
			t.Errorf("seed %d: the windows tell %d mWh, %d were used and %d of them not seen: %d too much", seed, sum, last-first, l.unseen, sum-(last-first-l.unseen))
		}
	}
	for _, q := range []gridloom.Quality{gridloom.Rollover, gridloom.Reset, gridloom.Exchange, gridloom.Glitch, gridloom.CatchUp, gridloom.Missing} {
		if marks[q] == 0 {
			t.Errorf("no window with %s", q)
		}
	}
	if n := marks[gridloom.Suspect]; n > 0 {
		t.Errorf("%d windows are SUSPECT though everything became certain", n)
	}
}
