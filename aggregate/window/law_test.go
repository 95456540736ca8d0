package window_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

var long = flag.Int("runs", 60, "random series of each kind in each law")

var kinds = []gridloom.Kind{gridloom.Counter, gridloom.Interval, gridloom.Gauge, gridloom.Event}

// day1 is a UTC midnight; series start in the evening before.
const day1 gridloom.Millis = 1_795_305_600_000

func randomConfig(rng *rand.Rand) window.Config {
	pick := func(of ...gridloom.Millis) gridloom.Millis { return of[rng.IntN(len(of))] }
	return window.Config{
		Width:    gridloom.Minute * pick(5, 15, 15, 15, 30, 60),
		Lateness: gridloom.Minute * pick(0, 10),
		Bridge:   gridloom.Minute * pick(0, 10, 45, 120, 120),
		Rating:   int64(pick(0, 400_000, 1_500_000, 5_000_000)),
	}
}

// randomSeries returns what a device says over about a day and a half, in time order and without ranks:
// instants that like round minutes, so that bounds and limits are hit exactly.
func randomSeries(rng *rand.Rand, k gridloom.Kind, n int) []window.Reading {
	at := day1 - gridloom.Millis(rng.IntN(5*60))*gridloom.Minute
	value := int64(rng.IntN(1000))
	if rng.IntN(3) == 0 {
		value = 1_000_000_000 - int64(rng.IntN(4_000_000)) // about to wrap
	}
	rows := make([]window.Reading, n)
	for i := range rows {
		switch rng.IntN(12) {
		case 0:
			at += gridloom.Millis(1+rng.IntN(8)) * gridloom.Hour
		case 1:
			at += gridloom.Millis(1 + rng.IntN(3_000_000))
		case 2:
			at = at.Floor(15*gridloom.Minute) + 15*gridloom.Minute - gridloom.Millis(rng.IntN(2))
		default:
			at += gridloom.Millis(1+rng.IntN(9)) * 5 * gridloom.Minute
		}
		value += int64(rng.IntN(3) * rng.IntN(100_000))
		r := window.Reading{Start: at, Value: value}
		switch k {
		case gridloom.Counter:
			switch rng.IntN(12) {
			case 0:
				r.Value -= int64(rng.IntN(500_000)) // a glitch
			case 1:
				if rng.IntN(4) == 0 {
					value -= int64(rng.IntN(1_000_000)) // from here on
				}
			case 2:
				r.Value += int64(rng.IntN(4_000_000)) // a glitch upwards
			case 3:
				if rng.IntN(3) == 0 {
					value, r.Value = 0, int64(rng.IntN(2)) // it starts again
				}
			}
			if value >= 1_000_000_000 && value < 1_001_000_000 {
				value -= 1_000_000_000
			}
		case gridloom.Interval:
			r.Value = int64(rng.IntN(100_000) - 5000)
			switch rng.IntN(8) {
			case 0:
				r.Length = gridloom.Millis(1+rng.IntN(30)) * gridloom.Hour
			case 1:
				r.Length = gridloom.Second + gridloom.Millis(rng.IntN(4_000_000))
			default:
				r.Length = gridloom.Millis(1+rng.IntN(6)) * 5 * gridloom.Minute
			}
			switch rng.IntN(4) {
			case 0:
				at += r.Length // else the next one overlaps
			case 1:
				at -= gridloom.Millis(rng.IntN(3)) * 5 * gridloom.Minute
			}
			at = max(at, day1-6*gridloom.Hour)
		case gridloom.Gauge, gridloom.Event:
			r.Value = int64(rng.IntN(200_000) - 100_000)
		}
		if rng.IntN(6) == 0 {
			r.Quality = []gridloom.Quality{gridloom.Test, gridloom.Outage, gridloom.ClockSuspect}[rng.IntN(3)]
		}
		r.Serial = []string{"", "EMH1", "EMH2"}[i*3/n]
		rows[i] = r
	}
	return rows
}

// randomLog adds corrections, voids and repetitions. Orders of one identity rise with what is said later.
func randomLog(rng *rand.Rand, device []window.Reading) []window.Reading {
	var rows []window.Reading
	seq := uint32(0)
	for _, r := range device {
		for {
			seq++
			r.Order = gridloom.NewOrder(gridloom.ClassDevice, 7, seq)
			rows = append(rows, r)
			for rng.IntN(6) == 0 {
				again := r
				if rng.IntN(2) == 0 {
					seq++
					again.Order = gridloom.NewOrder(gridloom.ClassDevice, 7, seq) // told again with a higher rank
				}
				rows = append(rows, again)
			}
			if rng.IntN(8) != 0 {
				break
			}
			switch rng.IntN(3) {
			case 0:
				r.Void, r.Value = !r.Void, 0
				if !r.Void {
					r.Value = int64(rng.IntN(500_000))
				}
			case 1:
				r.Void, r.Value = false, r.Value+int64(rng.IntN(20_000)-10_000)
			case 2:
				r.Quality ^= gridloom.Test
			}
		}
	}
	return rows
}

// stamp gives rows their places in a log, a few to a frame, log times that never fall.
func stamp(rng *rand.Rand, rows []window.Reading) {
	at := day1 - gridloom.Day
	seq, place := uint64(1), uint32(0)
	for i := range rows {
		rows[i].Sequence, rows[i].Place = seq, place
		if rng.IntN(10) > 0 {
			at = max(at, rows[i].Start)
		}
		rows[i].LoggedAt = at
		if place++; rng.IntN(3) == 0 {
			seq, place = seq+1+uint64(rng.IntN(2)), 0
			at += gridloom.Millis(rng.IntN(20)) * gridloom.Minute
		}
	}
}

// arrange brings rows into some order of arrival.
func arrange(rng *rand.Rand, rows []window.Reading) {
	switch rng.IntN(4) {
	case 0: // as told, nearly
		for i := 1; i < len(rows); i++ {
			if j := i - 1 - rng.IntN(3); rng.IntN(8) == 0 && j >= 0 {
				rows[i], rows[j] = rows[j], rows[i]
			}
		}
	case 1: // newest first
		slices.Reverse(rows)
	case 2: // the second half first: a spool that was offline
		h := len(rows) / 2
		copy(rows, slices.Concat(rows[h:], rows[:h]))
	case 3:
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
}

// liveLog returns rows as they come from a fleet that works: nearly all in order and soon
// after they were read, sometimes a recent one late, corrected, put back or withdrawn.
func liveLog(rng *rand.Rand, c window.Config, k gridloom.Kind, n int) []window.Reading {
	device := randomSeries(rng, k, n)
	for i := 1; i < n; i++ { // gaps of exactly the bridging limit, and one ms to either side
		if gap := c.Bridge + gridloom.Millis(rng.IntN(3)-1); rng.IntN(10) == 0 && gap > 0 {
			shift := device[i-1].Start + gap - device[i].Start
			for j := i; j < n; j++ {
				device[j].Start += shift
			}
		}
	}
	if k == gridloom.Interval && rng.IntN(2) == 0 { // back to back
		for i := 1; i < n; i++ {
			device[i].Start = max(device[i].Start, device[i-1].Start+device[i-1].Length)
		}
	}
	var rows, recent []window.Reading
	ranked := rng.IntN(2) == 0
	seq := uint64(0)
	tell := func(r window.Reading, logged gridloom.Millis) {
		seq++
		if ranked {
			r.Order = gridloom.NewOrder(gridloom.ClassDevice, 7, uint32(seq))
			if rng.IntN(8) == 0 {
				r.Order -= gridloom.Order(rng.IntN(6)) // an older spool
			}
		}
		r.Sequence, r.LoggedAt = seq, logged
		if len(rows) > 0 {
			r.LoggedAt = max(r.LoggedAt, rows[len(rows)-1].LoggedAt)
		}
		rows = append(rows, r)
	}
	for _, r := range device {
		delay := gridloom.Millis(rng.IntN(15)-4) * gridloom.Minute
		if rng.IntN(8) > 0 {
			tell(r, r.Start+delay)
		}
		recent = append(recent, r)
		for rng.IntN(4) == 0 {
			again := recent[len(recent)-1-rng.IntN(min(len(recent), 1+rng.IntN(6)))]
			switch rng.IntN(5) {
			case 0, 1:
				again.Void, again.Value = true, 0
			case 2:
				again.Value += int64(rng.IntN(200_000) - 100_000)
			}
			tell(again, r.Start+delay)
		}
	}
	return rows
}

// TestLiveSeriesIsWhatTheDefinitionSays is the same at the front, where refolds are short and
// begin at the bound of the state.
func TestLiveSeriesIsWhatTheDefinitionSays(t *testing.T) {
	for _, k := range kinds {
		for seed := range uint64(2 * runs(t)) {
			rng := rand.New(rand.NewPCG(seed, 400+uint64(k)))
			c := randomConfig(rng)
			rows := liveLog(rng, c, k, 5+rng.IntN(30))
			if seed%2 == 1 {
				rows = edited(rng, k, rows)
			}
			a := newKeeper(t, c, k, rng)
			behind := gridloom.Millis(rng.IntN(3)) * 10 * gridloom.Minute
			for i, r := range rows {
				a.add(r)
				if rng.IntN(4) > 0 {
					a.close(r.LoggedAt - behind)
				}
				if rng.IntN(4) == 0 {
					a.crash()
				}
				if rng.IntN(2) == 0 || amidUndo(rows[:i+1], rows[i+1:]) {
					continue
				}
				got := a.view()
				name := fmt.Sprintf("%s, seed %d, %d of %d rows, %+v, watermark %s", k, seed, i+1, len(rows), c, a.watermark)
				if d := diff(define(c, k, rows[:i+1], a.watermark), uncarried(got)); d != "" {
					t.Fatalf("%s: definition - kept:\n%s", name, d)
				}
				if i%4 == 0 {
					if d := diff(foldAll(c, k, rows[:i+1], a.watermark), got); d != "" {
						t.Fatalf("%s: folded from nothing - kept:\n%s", name, d)
					}
				}
			}
		}
	}
}

// run adds rows with closes, crashes, refolds and looks in between. look is called with how many rows are in.
func (a *keeper) run(rows []window.Reading, look func(n int)) {
	for i, r := range rows {
		a.add(r)
		if a.rng.IntN(3) == 0 {
			ahead := gridloom.Millis(a.rng.IntN(240)-200) * gridloom.Minute
			if a.rng.IntN(40) == 0 {
				ahead = 40 * gridloom.Hour // from here on it is a historical replay
			}
			a.close(r.LoggedAt + ahead)
		}
		if a.rng.IntN(4) == 0 {
			a.crash()
		}
		if a.rng.IntN(8) == 0 {
			a.settle()
		}
		if a.rng.IntN(12) == 0 && !amidUndo(rows[:i+1], rows[i+1:]) {
			look(i + 1)
		}
	}
	a.close(a.watermark + gridloom.Millis(a.rng.IntN(300))*gridloom.Minute)
	look(len(rows))
}

// TestPanesAreWhatTheDefinitionSays runs series of every kind through the life that an
// aggregator gives them and compares what a query would see, again and again, with
// the definition, and its carries with a fold from nothing.
func TestPanesAreWhatTheDefinitionSays(t *testing.T) {
	outcomes, restarts := map[window.Outcome]int{}, 0
	for _, k := range kinds {
		for seed := range uint64(runs(t)) {
			rng := rand.New(rand.NewPCG(seed, uint64(k)))
			c := randomConfig(rng)
			rows := randomLog(rng, randomSeries(rng, k, 5+rng.IntN(40)))
			if rng.IntN(3) == 0 {
				for i := range rows {
					rows[i].Order = 0 // no ranks: the last to arrive wins
				}
			}
			arrange(rng, rows)
			stamp(rng, rows)
			if seed%2 == 1 {
				rows = edited(rng, k, rows)
			}
			a := newKeeper(t, c, k, rng)
			a.run(rows, func(n int) {
				got := a.view()
				name := fmt.Sprintf("%s, seed %d, %d of %d rows, %+v, watermark %s", k, seed, n, len(rows), c, a.watermark)
				if d := diff(define(c, k, rows[:n], a.watermark), uncarried(got)); d != "" {
					t.Fatalf("%s: definition - kept:\n%s", name, d)
				}
				if d := diff(foldAll(c, k, rows[:n], a.watermark), got); d != "" {
					t.Fatalf("%s: folded from nothing - kept:\n%s", name, d)
				}
			})
			for o, n := range a.outcomes {
				outcomes[o] += n
			}
			restarts += a.restarts
		}
	}
	for o := window.Folded; o <= window.Disorder; o++ {
		if outcomes[o] == 0 {
			t.Errorf("no reading was %s: the test does not reach what it should", o)
		}
	}
	if restarts == 0 {
		t.Error("no refold started at a carry")
	}
}

func runs(t *testing.T) int {
	t.Helper()
	if testing.Short() {
		return *long / 4
	}
	return *long
}

// TestArrivalDoesNotMatter: the same readings in any order of arrival, cut into any
// frames, with any repetitions dropped, give the same panes but for LATE and HISTORICAL.
func TestArrivalDoesNotMatter(t *testing.T) {
	for _, k := range kinds {
		for seed := range uint64(runs(t) / 4) {
			rng := rand.New(rand.NewPCG(seed, 100+uint64(k)))
			c := randomConfig(rng)
			rows := randomLog(rng, randomSeries(rng, k, 5+rng.IntN(30)))
			for i := range rows {
				rows[i].Serial = "" // of a repetition the first to arrive tells the serial
			}
			var want []gridloom.Pane
			for try := range 6 {
				arrange(rng, rows)
				stamp(rng, rows)
				a := newKeeper(t, c, k, rng)
				a.run(rows, func(int) {})
				a.close(day1 + 30*gridloom.Day)
				got := a.view()
				for i := range got {
					got[i].Quality &^= gridloom.Late | gridloom.Historical
				}
				if try == 0 {
					want = got
				} else if d := diff(want, got); d != "" {
					t.Fatalf("%s, seed %d, arrival %d: first - this:\n%s", k, seed, try, d)
				}
			}
		}
	}
}

// TestEveryCarryReproducesWhatFollows: from each pane that holds a carry, and from the
// bound of the state at any time, the rows from there on give the same panes and carries.
// A carry with something undecided says so, and from where it would have to be done.
func TestEveryCarryReproducesWhatFollows(t *testing.T) {
	carries, undecided := 0, 0
	for _, k := range kinds {
		for seed := range uint64(runs(t) / 4) {
			rng := rand.New(rand.NewPCG(seed, 200+uint64(k)))
			c := randomConfig(rng)
			rows := randomLog(rng, randomSeries(rng, k, 20+rng.IntN(60)))
			stamp(rng, rows)
			watermark := day1 + gridloom.Millis(rng.IntN(3000))*gridloom.Minute
			all := foldAll(c, k, rows, watermark)
			from := func(bound gridloom.Millis, carry []byte) {
				t.Helper()
				tail := slices.DeleteFunc(slices.Clone(rows), func(r window.Reading) bool { return r.Start < bound })
				carries++
				s, err := c.Refold(k, bound, carry, tail)
				if early, ok := errors.AsType[*window.EarlierError](err); ok && k == gridloom.Counter && early.At < bound {
					undecided++
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var got []gridloom.Pane
				c.Close(k, &s, watermark, func(p *gridloom.Pane) { got = append(got, *p) })
				c.Open(k, &s, watermark, func(p *gridloom.Pane) { got = append(got, *p) })
				want := slices.DeleteFunc(slices.Clone(all), func(p gridloom.Pane) bool { return p.Start < bound })
				// What no longer has a reading after the bound to decide it stays as it was told.
				if d := diff(want, got); d != "" {
					t.Fatalf("%s, seed %d, from %s: all - this:\n%s", k, seed, bound, d)
				}
			}
			carries := 0
			for _, p := range all {
				if p.Carry != nil {
					carries++
					from(p.Start, p.Carry)
				}
			}
			if len(all) > 0 && carries == 0 {
				t.Fatalf("%s, seed %d: %d panes without a carry", k, seed, len(all))
			}
			a := newKeeper(t, c, k, rng)
			for _, r := range rows {
				a.add(r)
			}
			a.settle()
			a.close(watermark)
			from(a.state.Bound(), a.state.Carry())
		}
	}
	if undecided > carries/3 {
		t.Errorf("%d of %d carries are undecided", undecided, carries)
	}
}

// TestEnergyInIsEnergyOut: a counter's panes add up to the last accepted reading less
// the first, an interval register's to what its readings say where they count.
func TestEnergyInIsEnergyOut(t *testing.T) {
	for seed := range uint64(runs(t)) {
		rng := rand.New(rand.NewPCG(seed, 300))
		c := randomConfig(rng)
		total := func(k gridloom.Kind, rows []window.Reading) (sum int64) {
			for _, p := range foldAll(c, k, rows, 0) {
				sum += p.Energy
			}
			return sum
		}
		rows := randomLog(rng, randomSeries(rng, gridloom.Counter, 40))
		stamp(rng, rows)
		flowed, in := int64(0), winners(gridloom.Counter, rows)
		for _, x := range register(c, in) {
			if x.counts && x.from >= 0 {
				flowed += x.r.Value + x.wrap - in[x.from].Value
			}
		}
		if got := total(gridloom.Counter, rows); got != flowed {
			t.Fatalf("seed %d: counter's panes add up to %d, readings to %d", seed, got, flowed)
		}

		// Intervals that do not overlap: every reading is told whole.
		rows = randomSeries(rng, gridloom.Interval, 40)
		at, want := day1, int64(0)
		for i := range rows {
			rows[i].Start = at
			at += rows[i].Length + gridloom.Millis(rng.IntN(2))*7*gridloom.Minute
			want += rows[i].Value
		}
		stamp(rng, rows)
		if got := total(gridloom.Interval, rows); got != want {
			t.Fatalf("seed %d: interval register's panes add up to %d, readings to %d", seed, got, want)
		}
		// A longer one over all of them adds only what they leave, at its own rate.
		long := window.Reading{Start: day1, Length: at - day1, Value: int64(at - day1), Sequence: math.MaxInt32, LoggedAt: at}
		free := long.Length
		for _, r := range rows {
			free -= r.Length
		}
		if got := total(gridloom.Interval, append(rows, long)); got != want+int64(free) {
			t.Fatalf("seed %d: with a longer interval the panes add up to %d, want %d", seed, got, want+int64(free))
		}
	}
}
