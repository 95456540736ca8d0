package window_test

import (
	"math/big"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// define is docs/SEMANTICS.md as arithmetic: it looks at every window and every pair
// of readings, in big integers, and shares nothing with the kernel. It fills every
// column but Carry, and marks with an empty Carry where there must be one.
func define(c window.Config, k gridloom.Kind, rows []window.Reading, watermark gridloom.Millis) []gridloom.Pane {
	in := winners(k, rows)
	if len(in) == 0 {
		return nil
	}
	told := make([]told, len(in))
	for i, r := range in {
		told[i].r, told[i].counts, told[i].from = r, true, i-1
	}
	if k == gridloom.Counter {
		told = register(c, in)
	}
	first, last := in[0].Start, in[0].Start
	for _, r := range in {
		first, last = min(first, r.Start), max(last, r.Start+r.Length)
	}
	var panes []gridloom.Pane
	day := int64(-1)
	for w := first - mod(first, c.Width); w <= last; w += c.Width {
		p, exists := definePane(c, k, w, told, watermark)
		if !exists {
			continue
		}
		if d := int64(w / gridloom.Day); d != day {
			p.Carry, day = []byte{}, d
		}
		panes = append(panes, p)
	}
	return panes
}

func mod(a, b gridloom.Millis) gridloom.Millis { return ((a % b) + b) % b }

func beats(a, b window.Reading) bool {
	switch {
	case a.Order != b.Order:
		return a.Order > b.Order
	case a.Sequence != b.Sequence:
		return a.Sequence > b.Sequence
	}
	return a.Place > b.Place
}

// winners returns, by start and length, what each identity says; LoggedAt is when it was first said.
func winners(k gridloom.Kind, rows []window.Reading) []window.Reading {
	type identity struct{ start, length gridloom.Millis }
	rows = competing(rows)
	best := map[identity]window.Reading{}
	for _, r := range rows {
		id := identity{r.Start, r.Length}
		if b, ok := best[id]; !ok || beats(r, b) {
			best[id] = r
		}
	}
	var in []window.Reading
	for id, b := range best {
		if b.Void {
			continue
		}
		said := b
		for _, r := range rows {
			if (identity{r.Start, r.Length}) == id && !r.Void && r.Value == b.Value && r.Quality == b.Quality && (r.Sequence < said.Sequence || r.Sequence == said.Sequence && r.Place < said.Place) {
				said = r
			}
		}
		in = append(in, said)
	}
	slices.SortFunc(in, func(a, b window.Reading) int {
		if a.Start != b.Start {
			return int(a.Start - b.Start)
		}
		return int(a.Length - b.Length)
	})
	return in
}

// part returns floor(v·b/l) − floor(v·a/l).
func part(v int64, l, a, b gridloom.Millis) *big.Int {
	f := func(x gridloom.Millis) *big.Int {
		n := new(big.Int).Mul(big.NewInt(v), big.NewInt(int64(x)))
		q, m := new(big.Int).QuoRem(n, big.NewInt(int64(l)), new(big.Int))
		if m.Sign() < 0 {
			q.Sub(q, big.NewInt(1))
		}
		return q
	}
	return new(big.Int).Sub(f(b), f(a))
}

func definePane(c window.Config, k gridloom.Kind, w gridloom.Millis, all []told, watermark gridloom.Millis) (p gridloom.Pane, exists bool) {
	end := w + c.Width
	p = gridloom.Pane{Start: w, Length: c.Width, HasEnergy: k == gridloom.Counter || k == gridloom.Interval}
	sum, energy, weighted := new(big.Int), new(big.Int), new(big.Int)
	starts := func(r window.Reading) bool { return w <= r.Start && r.Start < end }

	// What starts in it.
	var here, accepted []window.Reading
	for _, x := range all {
		if x.counts {
			accepted = append(accepted, x.r)
		}
		if x.counts && starts(x.r) {
			here = append(here, x.r)
		}
	}
	for i, r := range here {
		if i == 0 {
			p.Min, p.Max, p.First, p.FirstAt = r.Value, r.Value, r.Value, r.Start
		}
		p.Min, p.Max, p.Last, p.LastAt = min(p.Min, r.Value), max(p.Max, r.Value), r.Value, r.Start
		p.Quality |= r.Quality
		sum.Add(sum, big.NewInt(r.Value))
	}
	p.N = uint32(len(here))
	for _, x := range all {
		if starts(x.r) {
			p.Quality |= x.mark
		}
		if !x.counts && starts(x.r) {
			here = append(here, x.r)
			p.Quality |= x.r.Quality
		}
	}
	exists = len(here) > 0

	// When it was logged: any late, and none in time.
	inTime := 0
	for _, r := range here {
		if r.LoggedAt > max(end, r.Start+r.Length)+c.Lateness {
			p.Quality |= gridloom.Late
		} else {
			inTime++
		}
	}
	if len(here) > 0 && inTime == 0 {
		p.Quality |= gridloom.Historical
	}

	// What readings around it say of it.
	overlap := func(a, b gridloom.Millis) (x, y gridloom.Millis, ok bool) {
		x, y = max(a, w), min(b, end)
		return x, y, x < y
	}
	decided := false
	switch k {
	case gridloom.Counter, gridloom.Gauge:
		for _, x := range all {
			b := x.r
			decided = decided || x.counts && b.Start >= end
			if x.from < 0 || !x.counts {
				continue
			}
			a := all[x.from].r
			l := b.Start - a.Start
			grew := new(big.Int).SetInt64(b.Value - a.Value + x.wrap)
			tooFar := k == gridloom.Counter && beyond(c, grew, l)
			from, to, touches := overlap(a.Start, b.Start)
			switch {
			case l <= c.Bridge && touches && k == gridloom.Gauge:
				weighted.Add(weighted, new(big.Int).Mul(big.NewInt(a.Value), big.NewInt(int64(to-from))))
				p.Coverage += to - from
				p.Quality |= a.Quality
				exists = true
			case l <= c.Bridge && touches:
				energy.Add(energy, part(grew.Int64(), l, from-a.Start, to-a.Start))
				p.Coverage += to - from
				p.Quality |= a.Quality | b.Quality | x.mark
				if tooFar {
					p.Quality |= gridloom.Range
				}
				if (a.Start < w && w < b.Start) || (a.Start < end && end < b.Start) {
					p.Quality |= gridloom.EstimatedLinear
				}
				exists = true
			case l > c.Bridge && k == gridloom.Counter && w <= b.Start-1 && b.Start-1 < end:
				energy.Add(energy, grew)
				p.Quality |= a.Quality | b.Quality | x.mark | gridloom.CatchUp
				if tooFar {
					p.Quality |= gridloom.Range
				}
				exists = true
			}
		}
	case gridloom.Interval:
		// Between two neighbouring cuts the same readings cover every instant.
		cuts := []gridloom.Millis{w, end}
		for _, r := range accepted {
			for _, x := range []gridloom.Millis{r.Start, r.Start + r.Length} {
				if w < x && x < end {
					cuts = append(cuts, x)
				}
			}
		}
		slices.Sort(cuts)
		got := make([]gridloom.Millis, len(accepted))
		for i := 1; i < len(cuts); i++ {
			x, y := cuts[i-1], cuts[i]
			best := -1
			for j, r := range accepted {
				covers := r.Start <= x && y <= r.Start+r.Length
				if covers && x < y && (best < 0 || r.Length < accepted[best].Length || r.Length == accepted[best].Length && r.Start < accepted[best].Start) {
					best = j
				}
			}
			if best >= 0 {
				r := accepted[best]
				energy.Add(energy, part(r.Value, r.Length, x-r.Start, y-r.Start))
				got[best] += y - x
			}
		}
		for j, r := range accepted {
			if got[j] > 0 {
				exists = true
				p.Coverage += got[j]
				p.Quality |= r.Quality
				if got[j] < r.Length {
					p.Quality |= gridloom.Derived
				}
			}
		}
	}

	p.Closed = watermark >= end
	if k == gridloom.Counter || k == gridloom.Gauge {
		p.Closed = p.Closed && (decided || watermark >= end+c.Bridge)
	}
	if p.Closed && k != gridloom.Event && p.Coverage < c.Width {
		p.Quality |= gridloom.Missing
	}
	limit := new(big.Int).SetUint64(1<<63 - 1)
	if sum.CmpAbs(limit) > 0 {
		p.Quality |= gridloom.Range
		if sum.Sign() < 0 {
			limit.Neg(limit)
		}
		sum.Set(limit)
	}
	p.Sum, p.Energy = sum.Int64(), energy.Int64()
	lo := new(big.Int).And(weighted, new(big.Int).SetUint64(1<<64-1)) // And of a negative number is that of its two's complement
	hi := new(big.Int).Rsh(weighted, 64)
	p.TimeWeighted = gridloom.Int128{Hi: hi.Int64(), Lo: lo.Uint64()}
	return p, exists
}
