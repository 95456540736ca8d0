package window_test

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

var series = flag.Int("series", 1_000_000, "series in BenchmarkAdd")

// TestAddDoesNotAllocate: readings in order, closed as they go, take no memory each.
func TestAddDoesNotAllocate(t *testing.T) {
	c := window.Defaults()
	for _, k := range kinds {
		var s window.State
		r := window.Reading{Start: day1}
		if k == gridloom.Interval {
			r.Length = 30 * gridloom.Minute
		}
		step := func() {
			r.Value++
			r.LoggedAt = r.Start
			c.Add(k, &s, &r)
			r.Start += 30 * gridloom.Minute
		}
		for range 20 { // until there is room for what is open between two closes
			for range 5 {
				step()
			}
			c.Close(k, &s, r.Start, func(*gridloom.Pane) {})
		}
		if n := testing.AllocsPerRun(4, step); n != 0 {
			t.Errorf("%s: Add takes %v allocations", k, n)
		}
	}
}

// dense is what a program would do that knows its windows and its series beforehand:
// one array of sums, no identity, no order, no gaps, no quality.
type dense struct {
	lastAt, lastValue        int64
	n, sum, min, max, energy int64
	first, last, covered     int64
}

// BenchmarkAdd folds one reading a minute of each of a million series, which come in
// random order; BenchmarkAdd/dense is the array loop to compare with.
func BenchmarkAdd(b *testing.B) {
	order := rand.New(rand.NewPCG(1, 1)).Perm(*series)
	b.Run("dense", func(b *testing.B) {
		all := make([]dense, len(order))
		at, i := int64(day1), 0
		for b.Loop() {
			if i == len(order) {
				i, at = 0, at+60_000
			}
			d, v := &all[order[i]], int64(i)&1023+at>>16
			d.n++
			d.sum += v
			d.min, d.max = min(d.min, v), max(d.max, v)
			d.energy += v - d.lastValue
			d.covered += at - d.lastAt
			d.first, d.last = d.last, v
			d.lastAt, d.lastValue = at, v
			i++
		}
	})
	for _, k := range kinds {
		b.Run(k.String(), func(b *testing.B) {
			c := window.Defaults()
			all := make([]window.State, len(order))
			r := window.Reading{Start: day1, LoggedAt: day1}
			if k == gridloom.Interval {
				r.Length = gridloom.Minute
			}
			for i := range all { // the accumulators of the first window are there
				c.Add(k, &all[i], &r)
			}
			r.Start, r.LoggedAt = r.Start+gridloom.Minute, r.Start+gridloom.Minute
			runtime.GC() // what it took to make the states is not Add's
			i := 0
			for b.Loop() {
				if i == len(order) {
					i = 0
					r.Start, r.LoggedAt = r.Start+gridloom.Minute, r.Start+gridloom.Minute
					if r.Start%c.Width == 0 {
						b.StopTimer()
						for j := range all {
							c.Close(k, &all[j], r.Start, func(*gridloom.Pane) {})
						}
						b.StartTimer()
					}
				}
				r.Value = int64(i)&1023 + int64(r.Start>>16)
				c.Add(k, &all[order[i]], &r)
				i++
			}
		})
	}
}

// BenchmarkClose closes a pane of each series; the time is per pane.
func BenchmarkClose(b *testing.B) {
	c := window.Defaults()
	for _, k := range kinds {
		b.Run(k.String(), func(b *testing.B) {
			var s window.State
			r := window.Reading{Start: day1, Length: gridloom.SpanOf(15 * time.Minute)}
			for b.Loop() {
				r.Start += 15 * gridloom.Minute
				r.Value++
				c.Add(k, &s, &r)
				c.Close(k, &s, r.Start, func(*gridloom.Pane) {})
			}
		})
	}
}

// BenchmarkRefold folds a month of quarters of an hour from nothing; the time is per reading.
func BenchmarkRefold(b *testing.B) {
	c := window.Defaults()
	const n = 31 * 96
	for _, k := range kinds {
		b.Run(k.String(), func(b *testing.B) {
			rows := make([]window.Reading, n)
			for i := range rows {
				rows[i] = window.Reading{Start: day1 + gridloom.Millis(i)*15*gridloom.Minute, Length: 15 * gridloom.Minute, Value: int64(i), Sequence: uint64(i)}
			}
			for b.Loop() {
				c.Fold(k, rows, rows[n-1].Start, func(*gridloom.Pane) {})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
		})
	}
}
