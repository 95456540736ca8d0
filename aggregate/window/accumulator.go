package window

import (
	"math/bits"
	"slices"

	"github.com/gridloom/gridloom"
)

// accumulator gathers one pane.
type accumulator struct {
	tally
	ends
}

// tally is what each reading of a pane changes.
type tally struct {
	start       gridloom.Millis // never 0
	sumLo       uint64          // with sumHi the exact sum, two's complement
	amount      gridloom.Int128 // gauge: value × ms; counter and interval: energy in Lo
	min, max    int64
	last        int64
	lastAt      int32 // ms after start
	sumHi       int32
	n           uint32
	coverage    int32 // ms
	quality     gridloom.Quality
	lastQuality gridloom.Quality
	flags       accFlags
}

// ends is what only a pane's first reading, another device or what is undecided changes.
type ends struct {
	first   int64
	serial  string // of the last reading; counters only
	run     *run   // counters: the undecided run as the window ends, nil if none or as before the window
	firstAt int32  // ms after start
}

// gathered is an accumulator, the parts of which may lie apart.
type gathered struct {
	*tally
	*ends
}

func (a *accumulator) gathered() gathered { return gathered{&a.tally, &a.ends} }

type accFlags uint8

const (
	emitted accFlags = 1 << iota // Close has emitted the pane as it is
	late                         // a reading was logged after its window's end + lateness
	inTime                       // a reading was logged before

	// These say something of State.cur alone.

	steady // AddNext may add to it, also of one that is forgotten since. See State.steadies
	ahead  // newest and last lag behind it

	toldFlags = emitted | late | inTime // those that AppendState writes
)

// count takes in a reading that starts in the pane and ends at end. Readings come in time order.
func (p gathered) count(c *Config, r *Reading, end gridloom.Millis) {
	v := r.Value
	off := int32(r.Start - p.start)
	if p.n == 0 {
		p.min, p.max, p.first, p.firstAt = v, v, v, off
	} else {
		p.min, p.max = min(p.min, v), max(p.max, v)
	}
	p.n++
	p.last, p.lastAt, p.lastQuality = v, off, r.Quality
	var carry uint64
	p.sumLo, carry = bits.Add64(p.sumLo, uint64(v), 0)
	p.sumHi += int32(v>>63) + int32(carry)
	p.note(c, r, end)
}

// note takes in the quality and arrival of a reading that starts in the pane and ends
// at end. An interval that reaches past the window cannot be known before it ends, and is
// late by that.
func (p *tally) note(c *Config, r *Reading, end gridloom.Millis) {
	p.quality |= r.Quality
	p.flags &^= emitted
	if r.LoggedAt > max(p.start+c.Width, end)+c.Lateness {
		p.flags |= late
	} else {
		p.flags |= inTime
	}
}

// cover adds a stretch for which readings of quality q speak.
func (p *tally) cover(span gridloom.Millis, q gridloom.Quality) {
	p.coverage += int32(span)
	p.quality |= q
	p.flags &^= emitted
}

// addEnergy adds to the pane's energy. It cannot overflow: a window is at most an
// hour, a reading at most MaxValue and an interval at least a second.
func (p *tally) addEnergy(v int64) { p.amount.Lo += uint64(v) }

// sum returns the exact sum, or the nearest bound and false if it does not fit.
func (p *tally) sum() (v int64, ok bool) {
	return clamp(gridloom.Int128{Hi: int64(p.sumHi), Lo: p.sumLo})
}

// pane returns the accumulator of the window that starts at w, which is not before
// the bound. What it points to holds until the next call.
func (s *State) pane(w gridloom.Millis) gathered {
	if s.cur.start == w {
		return s.newestPane()
	}
	if s.cur.start < w {
		if s.cur.start != 0 {
			s.push()
		}
		s.cur, s.ends = tally{start: w}, ends{}
		return s.newestPane()
	}
	i, found := slices.BinarySearchFunc(s.older, w, func(p accumulator, w gridloom.Millis) int {
		return int(max(-1, min(1, p.start-w)))
	})
	if !found {
		s.grow()
		// The next pane may lose its place as the first of its day, and its carry. It is told
		// again anyway: what reaches back to w reaches over it as well.
		s.older = slices.Insert(s.older, i, accumulator{tally: tally{start: w}})
	}
	return s.older[i].gathered()
}

// grow makes room for one more accumulator: one at a time while there are few, since
// a million series keep what they once needed.
func (s *State) grow() {
	if n := len(s.older); n == cap(s.older) && n < 4 {
		s.older = append(make([]accumulator, 0, n+1), s.older...)
	}
}

// drop removes the first n accumulators.
func (s *State) drop(n int) {
	if n > len(s.older) {
		s.cur, s.ends = tally{flags: s.cur.flags & steady}, ends{}
		n = len(s.older)
	}
	if n == 0 {
		return
	}
	rest := len(s.older) - n
	if cap(s.older) >= 64 && rest <= cap(s.older)/16 { // after a replay of months: let the room go
		s.older = append(make([]accumulator, 0, rest), s.older[n:]...)
		return
	}
	copy(s.older, s.older[n:])
	clear(s.older[rest:])
	s.older = s.older[:rest]
}
