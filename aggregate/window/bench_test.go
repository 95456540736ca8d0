package window_test

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"syscall"
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

// BenchmarkAdd folds one reading a minute of each series, which come in the order that
// they lie in memory or in random order, and fit in the cache or not. dense is the array
// loop to compare with; x-dense is how many times as long the kernel takes.
func BenchmarkAdd(b *testing.B) {
	for _, shape := range []struct {
		name   string
		series int
		random bool
	}{{"cached", 1000, true}, {"ordered", *series, false}, {"random", *series, true}} {
		order := make([]int, shape.series)
		for i := range order {
			order[i] = i
		}
		if shape.random {
			order = rand.New(rand.NewPCG(1, 1)).Perm(shape.series)
		}
		var floor float64
		b.Run(shape.name+"/dense", func(b *testing.B) {
			floor = addDense(b, order)
			b.ReportMetric(floor, "cpu-ns/op")
		})
		for _, k := range kinds {
			b.Run(shape.name+"/"+k.String(), func(b *testing.B) {
				took := addKernel(b, k, order)
				b.ReportMetric(took, "cpu-ns/op")
				if floor > 0 {
					b.ReportMetric(took/floor, "x-dense")
				}
			})
		}
	}
}

// cpuTime is what the process has used of its processors: unlike the clock it does not
// count what others on the machine do.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// addDense returns the nanoseconds that a reading takes.
func addDense(b *testing.B, order []int) float64 {
	b.Helper()
	all := make([]dense, len(order))
	for i := range all {
		all[i].lastAt = int64(day1)
	}
	at, i := int64(day1)+60_000, 0
	before := cpuTime()
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
	return float64(cpuTime()-before) / float64(b.N)
}

// addKernel returns the nanoseconds that a reading takes; closing is not in it.
func addKernel(b *testing.B, k gridloom.Kind, order []int) float64 {
	b.Helper()
	c := window.Defaults()
	all := make([]window.State, len(order))
	r := window.Reading{Start: day1, LoggedAt: day1}
	if k == gridloom.Interval {
		r.Length = gridloom.Minute
	}
	valueAt := func(i int) int64 { return int64(i)&1023 + int64(r.Start>>16) }
	for i := range all { // the accumulators of the first window are there
		r.Value = valueAt(i)
		c.Add(k, &all[order[i]], &r)
	}
	r.Start, r.LoggedAt = r.Start+gridloom.Minute, r.Start+gridloom.Minute
	runtime.GC()       // what it took to make the states is not Add's
	const fetched = 32 // as an aggregator does
	var ahead [fetched]*window.State
	var starts [fetched]gridloom.Millis
	i, before := 0, cpuTime()
	for b.Loop() {
		if i == len(order) {
			i = 0
			r.Start, r.LoggedAt = r.Start+gridloom.Minute, r.Start+gridloom.Minute
			if r.Start%c.Width == 0 {
				b.StopTimer()
				from := cpuTime()
				for j := range all {
					c.Close(k, &all[j], r.Start, func(*gridloom.Pane) {})
				}
				runtime.GC() // nor is what it leaves behind
				before += cpuTime() - from
				b.StartTimer()
			}
		}
		if i%fetched == 0 {
			block := order[i:min(i+fetched, len(order))]
			for j, s := range block {
				ahead[j], starts[j] = &all[s], r.Start
			}
			c.Fetch(ahead[:len(block)], starts[:])
		}
		r.Value = valueAt(i)
		if st := ahead[i%fetched]; !c.AddNext(k, st, &r) {
			c.Add(k, st, &r)
		}
		i++
	}
	return float64(cpuTime()-before) / float64(b.N)
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
