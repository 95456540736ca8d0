package window

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gridloom/gridloom"
)

const (
	stateVersion = 2 // 1: a run does not tell the reading that is accepted after it

	stateNewest = 1 << 0 // a reading was seen
	stateVoid   = 1 << 1 // the newest is void
	stateLast   = 1 << 2 // a counter's or gauge's last reading is known

	paneN   = 1 << 4 // beside accFlags: readings start in it
	paneRun = 1 << 5
	paneUp  = 1 << 6 // with paneRun

	paneReset = 1 << 7 // with paneUp

	minPane = 6 // bytes of an encoded accumulator, at least
)

// AppendState appends s to dst: a version byte, then varints. The same state always
// gives the same bytes.
func AppendState(dst []byte, s *State) []byte {
	s.level()
	var flags byte
	if s.newest.known {
		flags |= stateNewest
	}
	if s.newest.void {
		flags |= stateVoid
	}
	if s.last.known {
		flags |= stateLast
	}
	dst = append(dst, stateVersion, flags)
	dst = binary.AppendVarint(dst, int64(s.bound))
	dst = binary.AppendVarint(dst, int64(s.next))
	dst = binary.AppendVarint(dst, int64(s.watermark))
	if n := &s.newest; n.known {
		dst = binary.AppendVarint(dst, int64(n.start))
		dst = binary.AppendVarint(dst, int64(s.length))
		dst = binary.AppendVarint(dst, n.value)
		dst = binary.AppendUvarint(dst, uint64(s.order))
		dst = binary.AppendUvarint(dst, uint64(n.quality))
		dst = appendString(dst, s.serial)
	}
	base := carry{stand: s.base}
	dst = base.append(dst, s.bound)
	dst = appendSpans(dst, s.reach)
	dst = binary.AppendUvarint(dst, uint64(s.Panes()))
	for i := range s.Panes() {
		dst = s.nth(i).append(dst)
	}
	return dst
}

// Decode makes s what AppendState wrote, and keeps what memory it had. Anything else is
// gridloom.ErrCorrupt, and s is as if it had seen nothing.
func (s *State) Decode(b []byte) error {
	d := decoder{b: b}
	s.Reset()
	s.level()
	d.state(s)
	if d.bad || len(d.b) > 0 {
		s.Reset()
		return fmt.Errorf("%w: state of a series, %d bytes, is not readable", gridloom.ErrCorrupt, len(b))
	}
	return nil
}

// DecodeLast is Last of the state that AppendState wrote as b, without the rest of it.
func DecodeLast(b []byte) (i Info, ok bool) {
	d := decoder{b: b}
	s := State{cold: new(cold)}
	d.head(&s)
	return s.Last()
}

// head reads what stands before the carry.
func (d *decoder) head(s *State) (flags byte) {
	d.version = d.byte()
	d.check(d.version == stateVersion || d.version == stateVersion-1)
	flags = d.byte()
	d.check(flags < 1<<3)
	s.bound, s.next, s.watermark = d.instant(), d.instant(), d.instant()
	if flags&stateNewest != 0 {
		n := &s.newest
		n.known, n.void = true, flags&stateVoid != 0
		n.start, s.length, n.value = d.instant(), d.instant(), d.value()
		s.order, n.quality, s.serial = gridloom.Order(d.uvarint()), d.quality(), d.string()
		d.check(s.next > n.start)
	} else {
		d.check(flags&stateVoid == 0)
	}
	return flags
}

func (d *decoder) state(s *State) {
	flags := d.head(s)
	base := d.carry(s.bound)
	d.check(base.reach == nil)
	s.base = base.stand
	s.reach = d.spans()
	n := d.count(minPane)
	if d.bad {
		return
	}
	if older := max(0, n-1); cap(s.older) < older {
		s.older = make([]accumulator, older)
	} else {
		s.older = s.older[:older]
	}
	for i := range n {
		a := s.nth(i)
		d.accumulator(a)
		if a.run != nil {
			if d.version == 1 { // the last counted one before the run
				a.run.last = lastOf(s, i)
			}
			d.check(a.run.last.known && a.run.holds())
		}
		d.check(a.start > 0 && a.start >= s.bound && (i == 0 || a.start > s.nth(i-1).start))
		if d.bad {
			return
		}
	}
	if flags&stateLast != 0 {
		// The last reading and the run after it are those that a carry now would hold.
		now := s.carryBefore(gridloom.Counter, n, 0)
		s.last, s.run = now.last, now.run
		d.check(s.last.known && s.last.at < s.next)
	} else {
		d.check(!s.base.last.known)
	}
}

// lastOf returns the last counted reading in the first panes up to the i-th.
func lastOf(s *State, i int) point {
	for ; i >= 0; i-- {
		if p := s.nth(i); p.n > 0 {
			return point{p.serial, p.start + gridloom.Millis(p.lastAt), p.last, p.lastQuality, true}
		}
	}
	return s.base.last
}

func (p gathered) append(dst []byte) []byte {
	flags := byte(p.flags & toldFlags)
	if p.n > 0 {
		flags |= paneN
	}
	if p.run != nil {
		flags |= paneRun
		if p.run.up {
			flags |= paneUp
		}
		if p.run.reset {
			flags |= paneReset
		}
	}
	dst = binary.AppendVarint(dst, int64(p.start))
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(p.coverage))
	dst = binary.AppendUvarint(dst, uint64(p.quality))
	dst = binary.AppendVarint(dst, p.amount.Hi)
	dst = binary.AppendVarint(dst, int64(p.amount.Lo))
	if p.n > 0 {
		dst = binary.AppendUvarint(dst, uint64(p.n))
		dst = binary.AppendVarint(dst, int64(p.sumHi))
		dst = binary.AppendVarint(dst, int64(p.sumLo))
		dst = binary.AppendVarint(dst, p.min)
		dst = binary.AppendVarint(dst, p.max)
		dst = binary.AppendVarint(dst, p.first)
		dst = binary.AppendVarint(dst, p.last)
		dst = binary.AppendUvarint(dst, uint64(p.firstAt))
		dst = binary.AppendUvarint(dst, uint64(p.lastAt))
		dst = binary.AppendUvarint(dst, uint64(p.lastQuality))
		dst = appendString(dst, p.serial)
	}
	if p.run != nil {
		dst = p.run.last.append(p.run.append(dst))
	}
	return dst
}

func (d *decoder) accumulator(p gathered) {
	p.start = d.instant()
	flags := d.byte()
	d.check(flags&(1<<3) == 0 && (flags&paneUp == 0 || flags&paneRun != 0 && d.version > 1) && (flags&paneReset == 0 || flags&paneUp != 0))
	p.flags = accFlags(flags) & toldFlags
	p.coverage, p.quality = d.offset(), d.quality()
	p.amount = gridloom.Int128{Hi: d.varint(), Lo: uint64(d.varint())}
	if flags&paneN != 0 {
		p.n = d.uint32()
		hi := d.varint()
		d.check(p.n > 0 && hi >= math.MinInt32 && hi <= math.MaxInt32)
		p.sumHi, p.sumLo = int32(hi), uint64(d.varint())
		p.min, p.max, p.first, p.last = d.value(), d.value(), d.value(), d.value()
		p.firstAt, p.lastAt, p.lastQuality, p.serial = d.offset(), d.offset(), d.quality(), d.string()
	}
	if flags&paneRun != 0 {
		p.run = d.run(flags&paneUp != 0, flags&paneReset != 0)
		if d.version > 1 {
			p.run.last = d.point()
		}
	}
}

// offset reads a span within a window, in milliseconds.
func (d *decoder) offset() int32 {
	v := d.uint32()
	d.check(v <= uint32(gridloom.Hour))
	return int32(v)
}
