package floor

import (
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// Fleet says which readings the kernel and the array loop fold: one a minute of each
// series, series by series in order or all mixed up.
type Fleet struct {
	Series int
	Mixed  bool
}

// kernelStart is where the first window of a fleet begins.
var kernelStart = gridloom.MinInstant + 365*gridloom.Day

// order is in which order the series of a fleet speak within a minute.
func (f Fleet) order() []int32 {
	order := make([]int32, f.Series)
	for i := range order {
		order[i] = int32(i)
	}
	if f.Mixed {
		r := rand.New(rand.NewPCG(1, 1))
		r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	return order
}

// minutes calls fold for one minute after another until folding has taken d, and
// next, untimed, when a window begins.
func (f Fleet) minutes(d time.Duration, fold, next func(at gridloom.Millis)) (Work, error) {
	var w Work
	var watch stopwatch
	runtime.GC() // what it took to make the series is not measured
	for at := kernelStart; watch.wall < d; at += gridloom.Minute {
		if at%gridloom.DefaultWidth == 0 {
			next(at)
			runtime.GC() // nor is what closing leaves behind, which would be swept meanwhile
		}
		if err := watch.start(); err != nil {
			return w, err
		}
		fold(at)
		if err := watch.stop(); err != nil {
			return w, err
		}
		w.N += int64(f.Series)
	}
	w.Wall, w.CPU = watch.wall, watch.cpu
	return w, nil
}

// valueAt is what the i-th series to speak says.
func valueAt(i int, at gridloom.Millis) int64 { return int64(i)&1023 + int64(at>>16) }

// cell is a pane of a program that knows its series and windows beforehand and wants
// nothing but these.
type cell struct{ n, sum, min, max, last int64 }

// FoldArray folds a fleet's readings into one array of n, sum, min, max and last.
func FoldArray(f Fleet, d time.Duration) (Work, error) {
	order, cells := f.order(), make([]cell, f.Series)
	fold := func(at gridloom.Millis) {
		for i, s := range order {
			c, v := &cells[s], valueAt(i, at)
			if c.n == 0 {
				c.min, c.max = v, v
			}
			c.n++
			c.sum += v
			c.min, c.max = min(c.min, v), max(c.max, v)
			c.last = v
		}
	}
	return f.minutes(d, fold, func(gridloom.Millis) { clear(cells) })
}

// row is a pane with everything that ours tells but quality, and what it takes to
// tell it: the reading before.
type row struct {
	n, sum, min, max, first, last int64
	firstAt, lastAt               gridloom.Millis
	energy, covered               int64
	beforeAt                      gridloom.Millis
	before                        int64
}

// FoldRows folds a fleet's readings into one array of rows with energy and coverage:
// the dense array loop that the kernel is compared with, because it tells what the kernel
// tells (but quality), of readings that are all in order.
func FoldRows(f Fleet, d time.Duration) (Work, error) {
	order, rows := f.order(), make([]row, f.Series)
	fold := func(at gridloom.Millis) {
		for i, s := range order {
			r, v := &rows[s], valueAt(i, at)
			if r.n == 0 {
				r.min, r.max, r.first, r.firstAt = v, v, v, at
			}
			r.n++
			r.sum += v
			r.min, r.max = min(r.min, v), max(r.max, v)
			r.last, r.lastAt = v, at
			r.energy += v - r.before
			r.covered += int64(at - r.beforeAt)
			r.before, r.beforeAt = v, at
		}
	}
	next := func(gridloom.Millis) {
		for i := range rows {
			rows[i] = row{before: rows[i].before, beforeAt: rows[i].beforeAt}
		}
	}
	return f.minutes(d, fold, next)
}

// fetched is how many readings the kernel is told of beforehand, as an aggregator does.
const fetched = 32

// FoldKernel folds a fleet's readings, all of one kind, with aggregate/window.
// Closing panes is not measured.
func FoldKernel(k gridloom.Kind, f Fleet, d time.Duration) (Work, error) {
	c := window.Defaults()
	order, states := f.order(), make([]window.State, f.Series)
	r := window.Reading{}
	if k == gridloom.Interval {
		r.Length = gridloom.Minute
	}
	fold := func(at gridloom.Millis) {
		r.Start, r.LoggedAt = at, at
		var ahead [fetched]*window.State
		var starts [fetched]gridloom.Millis // of a block, as the frame's column that an aggregator has
		for j := range starts {
			starts[j] = at
		}
		for i := 0; i < len(order); i += fetched {
			block := order[i:min(i+fetched, len(order))]
			for j, s := range block {
				ahead[j] = &states[s]
			}
			c.Fetch(ahead[:len(block)], starts[:len(block)])
			for j, st := range ahead[:len(block)] {
				r.Value = valueAt(i+j, at)
				if !c.AddNext(k, st, &r) {
					c.Add(k, st, &r)
				}
			}
		}
	}
	next := func(at gridloom.Millis) {
		for i := range states {
			c.Close(k, &states[i], at, func(*gridloom.Pane) {})
		}
	}
	// Some windows make room for as many accumulators as a series keeps.
	for at := kernelStart - 4*c.Width; at < kernelStart; at += c.Width {
		next(at)
		fold(at)
		fold(at + c.Width - gridloom.Minute)
	}
	return f.minutes(d, fold, next)
}
