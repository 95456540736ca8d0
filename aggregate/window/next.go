package window

import (
	"math/bits"
	"unsafe"

	"github.com/gridloom/gridloom"
)

// AddNext does what Add does with nearly every reading, and nothing with the others: one
// in order that stays within the newest pane, as the one before it did, of the same
// device, while Close has not emitted the pane as it is. It reports whether it took r in. Then no
// pane but the newest has changed, and neither have Due, Panes, OpenPanes nor Bound.
//
// Everything is where it belongs already, so that no window is looked for and nothing is
// copied that stays the same: it touches two cache lines of s, which Fetch loads, and calls nothing.
// The serial must be the same string as that of the reading before, not one that only reads the same.
func (c *Config) AddNext(k gridloom.Kind, s *State, r *Reading) bool {
	p := &s.cur
	off, flags := r.Start-p.start, p.flags
	if flags&(steady|emitted) != steady || r.Start < s.next || uint64(off) >= uint64(c.Width) || r.Void || !sameString(r.Serial, s.serial) {
		return false
	}
	v := r.Value
	span := off - gridloom.Millis(p.lastAt)
	next := r.Start + 1
	switch k {
	case gridloom.Counter:
		rise := uint64(v - p.last)
		if span > c.Bridge || c.risesTooFar(rise) {
			return false
		}
		p.amount.Lo += rise
	case gridloom.Gauge:
		if span > c.Bridge {
			return false
		}
		p.amount = p.amount.Add(gridloom.MulInt64(p.last, int64(span)))
	case gridloom.Interval:
		if span = r.span(); off+span > c.Width || span == 0 {
			return false
		}
		p.amount.Lo += uint64(v)
		next = r.Start + span
	case gridloom.Event:
		span = 0
	}
	p.coverage += int32(span)
	p.min, p.max = min(p.min, v), max(p.max, v)
	p.n++
	p.last, p.lastAt, p.lastQuality = v, int32(off), r.Quality
	var carry uint64
	p.sumLo, carry = bits.Add64(p.sumLo, uint64(v), 0)
	p.sumHi += int32(v>>63) + int32(carry)
	p.quality |= r.Quality // that of the reading before is in it
	arrived := inTime
	if r.LoggedAt > p.start+c.Width+c.Lateness {
		arrived = late
	}
	p.flags = flags | arrived | ahead
	s.order, s.next = r.Order, next
	return true
}

// sameString reports whether a and b are the same string in memory. Names that are interned are if they
// are equal, and it takes no call to see that.
func sameString(a, b string) bool {
	return len(a) == len(b) && (len(a) == 0 || unsafe.StringData(a) == unsafe.StringData(b))
}

// steadies lets AddNext and addOpening go on after r, which is the newest reading, if r is the last
// one of the newest pane as well, nothing is undecided, and the pane's ends are as those of one that r opens.
func (s *State) steadies(k gridloom.Kind, r *Reading) {
	p := s.newestPane()
	if r.Void || p.n == 0 || p.start+gridloom.Millis(p.lastAt) != r.Start || p.run != nil {
		return
	}
	serial := ""
	switch k {
	case gridloom.Counter:
		if serial = r.Serial; s.run != nil || s.last.serial != serial {
			return
		}
	case gridloom.Interval:
		if r.span() == 0 {
			return
		}
	case gridloom.Gauge, gridloom.Event:
	}
	if p.serial == serial {
		p.flags |= steady
	}
}

// Fetch brings what AddNext touches of each state into the processor's cache, and what Add touches
// besides where the reading that starts at the instant of the same place is not in the newest pane any more. The loads
// overlap, whereas those of one Add after the other would wait in turn. It is for the next few dozen
// readings; a state may be nil. The result means nothing; it keeps the loads.
//
//go:noinline
func (c *Config) Fetch(states []*State, starts []gridloom.Millis) uint64 {
	var sum uint64
	starts = starts[:len(states)]
	for i, s := range states {
		if s == nil {
			continue
		}
		sum += uint64(s.cur.n) // of the second line; start is of the first
		if start := s.cur.start; uint64(starts[i]-start) >= uint64(c.Width) && start != 0 {
			if n := len(s.older); n < cap(s.older) {
				o := &s.older[:n+1][n]
				sum += uint64(o.start) + uint64(o.first)
			}
		}
	}
	return sum
}
