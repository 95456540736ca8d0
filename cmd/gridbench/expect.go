package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
)

// expected is what a window should show; docs/SEMANTICS.md has the rules. This
// is the slow and plain way: one series at a time, all readings in memory, whole
// numbers of any size. It must not use what aggregate uses.
type expected struct {
	n        int64
	sum      int64
	min, max int64 // if n > 0
	energy   int64
	coverage gridloom.Millis
	weighted int64 // of a gauge: value times milliseconds, over the covered part
}

// differsFrom says how a window that is served differs from e; "" if it does
// not. Amounts that the API leaves out for a kind of register are not compared.
func (e *expected) differsFrom(kind gridloom.Kind, r *servedWindow) string {
	var wrong []string
	whole := func(name string, got, want int64) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s %d, want %d", name, got, want))
		}
	}
	amount := func(name string, got json.Number, want int64) {
		if !sameDecimal(string(got), want) {
			wrong = append(wrong, fmt.Sprintf("%s %q, want %s", name, got, thousandths(want)))
		}
	}
	whole("n", r.N, e.n)
	if kind != gridloom.Event {
		whole("coverage_ms", r.CoverageMs, int64(e.coverage))
	}
	if kind == gridloom.Counter || kind == gridloom.Interval {
		amount("energy", r.Energy, e.energy)
	}
	if e.n > 0 {
		amount("min", r.Min, e.min)
		amount("max", r.Max, e.max)
		if kind == gridloom.Interval || kind == gridloom.Event {
			amount("sum", r.Sum, e.sum)
		}
	}
	if kind == gridloom.Gauge && e.coverage > 0 && !e.meanIs(string(r.Mean)) {
		wrong = append(wrong, fmt.Sprintf("mean %q, want %d/%d thousandths", r.Mean, e.weighted, e.coverage))
	}
	return strings.Join(wrong, "; ")
}

func sameDecimal(got string, want int64) bool {
	v, err := parseThousandths(got)
	return err == nil && v == want
}

// meanIs reports whether got is the time-weighted mean, rounded in whatever way.
func (e *expected) meanIs(got string) bool {
	v, err := parseThousandths(got)
	off := v*int64(e.coverage) - e.weighted
	return err == nil && -int64(e.coverage) < off && off < int64(e.coverage)
}

// A point is one winning reading of a series.
type point struct {
	start, length gridloom.Millis
	value         int64
}

// expectWindows computes the windows of one series. It sorts points by start and length.
func expectWindows(kind gridloom.Kind, width, bridge gridloom.Millis, points []point) map[gridloom.Millis]*expected {
	slices.SortFunc(points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.length, b.length))
	})
	w := windows{width: width, panes: map[gridloom.Millis]*expected{}}
	switch kind {
	case gridloom.Counter:
		w.counter(points, bridge)
	case gridloom.Gauge:
		w.gauge(points, bridge)
	case gridloom.Interval:
		w.intervals(points)
	case gridloom.Event:
		for _, p := range points {
			w.count(p)
		}
	}
	return w.panes
}

type windows struct {
	width gridloom.Millis
	panes map[gridloom.Millis]*expected
}

// at returns the window of an instant and makes it one that must be served.
func (w *windows) at(instant gridloom.Millis) *expected {
	start := instant - (instant%w.width+w.width)%w.width
	e := w.panes[start]
	if e == nil {
		e = &expected{}
		w.panes[start] = e
	}
	return e
}

func (w *windows) count(p point) {
	e := w.at(p.start)
	if e.n == 0 {
		e.min, e.max = p.value, p.value
	}
	e.n++
	e.sum += p.value
	e.min, e.max = min(e.min, p.value), max(e.max, p.value)
}

// spread calls [a, b) covered and gives each window its part of an amount that
// came evenly over [from, to); the amount of a gauge is a value that held.
func (w *windows) spread(kind gridloom.Kind, amount int64, from, to, a, b gridloom.Millis) {
	for a < b {
		end := min(b, a-(a%w.width+w.width)%w.width+w.width)
		e := w.at(a)
		e.coverage += end - a
		if kind == gridloom.Gauge {
			e.weighted += amount * int64(end-a)
		} else {
			e.energy += upTo(amount, to-from, end-from) - upTo(amount, to-from, a-from)
		}
		a = end
	}
}

// upTo is floor(amount·part/whole).
func upTo(amount int64, whole, part gridloom.Millis) int64 {
	product := new(big.Int).Mul(big.NewInt(amount), big.NewInt(int64(part)))
	// Euclidean division by a positive number rounds down.
	return product.Div(product, big.NewInt(int64(whole))).Int64()
}

// counter: energy is what a register rose by, where a reading counts (expectcounter.go).
func (w *windows) counter(points []point, bridge gridloom.Millis) {
	for i, f := range fates(points) {
		p := points[i]
		if !f.counts {
			w.at(p.start) // it makes a window, but counts in none
			continue
		}
		w.count(p)
		if f.from < 0 {
			continue
		}
		from := points[f.from]
		rose := p.value - from.value + f.more
		if p.start-from.start <= bridge {
			w.spread(gridloom.Counter, rose, from.start, p.start, from.start, p.start)
		} else {
			w.at(p.start - 1).energy += rose
		}
	}
}

// gauge: a value holds until the next one, if that comes within the bridging limit.
func (w *windows) gauge(points []point, bridge gridloom.Millis) {
	for i, p := range points {
		w.count(p)
		if i+1 < len(points) && points[i+1].start-p.start <= bridge {
			w.spread(gridloom.Gauge, p.value, p.start, points[i+1].start, p.start, points[i+1].start)
		}
	}
}

// intervals: at each instant the shortest interval that covers it counts, of
// equal ones the earlier. Between two bounds of any intervals nothing changes.
func (w *windows) intervals(points []point) {
	var bounds []gridloom.Millis
	var longest gridloom.Millis
	for _, p := range points {
		w.count(p)
		bounds = append(bounds, p.start, p.start+p.length)
		longest = max(longest, p.length)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	first := 0
	for i := 0; i+1 < len(bounds); i++ {
		a, b := bounds[i], bounds[i+1]
		for first < len(points) && points[first].start+longest <= a {
			first++
		}
		var best *point
		for j := first; j < len(points) && points[j].start <= a; j++ {
			p := &points[j]
			if p.start+p.length >= b && (best == nil || p.length < best.length) {
				best = p
			}
		}
		if best != nil {
			w.spread(gridloom.Interval, best.value, best.start, best.start+best.length, a, b)
		}
	}
}
