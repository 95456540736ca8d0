package window

import (
	"math/bits"

	"github.com/gridloom/gridloom"
)

// AddNext does what Add does with nearly every reading, and nothing with the others: one
// in order that stays within the newest pane, as the one before it did, of the same
// device, while Close has not emitted the pane as it is. It reports whether it took r in. Then no
// pane but the newest has changed, and neither have Due, Panes, OpenPanes nor Bound.
//
// Everything is where it belongs already, so that no window is looked for and nothing is
// copied that stays the same: it touches two cache lines of s, which Fetch loads.
func (c *Config) AddNext(k gridloom.Kind, s *State, r *Reading) bool {
	p := &s.cur
	off := r.Start - p.start
	if p.flags&(steady|emitted) != steady || r.Start < s.next || uint64(off) >= uint64(c.Width) || r.Void || r.Serial != s.serial {
		return false
	}
	v, q := r.Value, r.Quality
	next := r.Start + 1
	switch k {
	case gridloom.Counter, gridloom.Gauge:
		span := off - gridloom.Millis(p.lastAt)
		if span > c.Bridge {
			return false
		}
		if k == gridloom.Gauge {
			p.amount = p.amount.Add(gridloom.MulInt64(p.last, int64(span)))
		} else {
			if uint64(v-p.last) > c.leastLimit() { // it falls, or rises too far
				return false
			}
			p.amount.Lo += uint64(v - p.last)
		}
		p.coverage += int32(span)
	case gridloom.Interval:
		span := r.span()
		if off+span > c.Width || span == 0 {
			return false
		}
		p.amount.Lo += uint64(v)
		p.coverage += int32(span)
		next = r.Start + span
	case gridloom.Event:
	}
	p.min, p.max = min(p.min, v), max(p.max, v)
	p.n++
	p.last, p.lastAt, p.lastQuality = v, int32(off), q
	var carry uint64
	p.sumLo, carry = bits.Add64(p.sumLo, uint64(v), 0)
	p.sumHi += int32(v>>63) + int32(carry)
	p.quality |= q // that of the reading before is in it
	arrived := inTime
	if r.LoggedAt > p.start+c.Width+c.Lateness {
		arrived = late
	}
	p.flags |= arrived | ahead
	s.order, s.next = r.Order, next
	return true
}

// steadies lets AddNext go on after r, which is the newest reading, if r is the last one of the
// newest pane as well, and nothing is undecided.
func (s *State) steadies(k gridloom.Kind, r *Reading) {
	p := &s.cur
	if r.Void || p.n == 0 || p.start+gridloom.Millis(p.lastAt) != r.Start {
		return
	}
	switch k {
	case gridloom.Counter:
		if s.run != nil || p.run != nil || s.last.serial != r.Serial || p.serial != r.Serial {
			return
		}
	case gridloom.Interval:
		if r.span() == 0 {
			return
		}
	case gridloom.Gauge, gridloom.Event:
	}
	p.flags |= steady
}

// Fetch brings what AddNext touches of each state into the processor's cache: the loads overlap,
// whereas those of one Add after the other would wait in turn. It is for the states of the
// next few dozen readings, nil for those that have none. The result means nothing; it keeps the loads.
//
//go:noinline
func Fetch(states []*State) uint64 {
	var sum uint64
	for _, s := range states {
		if s != nil {
			sum += uint64(s.order) + uint64(s.cur.n) // of the first line and of the second
		}
	}
	return sum
}
