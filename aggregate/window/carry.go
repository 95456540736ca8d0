package window

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gridloom/gridloom"
)

// carry is what a series hands over a window's start to the windows after it. It
// follows from the winners that start before and from nothing else: neither their
// orders nor the time of their arrival are in it.
type carry struct {
	stand
	reach []span // intervals that start before and end after, by start and length
}

// stand is a carry but for the intervals.
type stand struct {
	last point // counters and gauges
	run  *run  // counters
	day  int32 // UTC day of the last pane before, as days since 1970; 0 if none or not on the same day
}

const (
	carryVersion = 1 // 2 where a rise is watched

	carrySameDay = 1 << 0 // a pane of the same UTC day lies before
	carryLast    = 1 << 1
	carryRun     = 1 << 2
	carryReach   = 1 << 3
	carryUp      = 1 << 4 // with carryRun
	carryReset   = 1 << 5 // with carryUp
)

func dayOf(at gridloom.Millis) int32 { return int32(at.Floor(gridloom.Day) / gridloom.Day) }

// carryBefore returns the carry at w, where w is not before the bound and after the
// first n panes, and not after the others.
func (s *State) carryBefore(k gridloom.Kind, n int, w gridloom.Millis) carry {
	b := carry{stand: s.base}
	if n > 0 {
		b.day = dayOf(s.nth(n - 1).start)
	}
	switch k {
	case gridloom.Counter, gridloom.Gauge:
		for i := n - 1; i >= 0; i-- {
			p := s.nth(i)
			if p.run != nil { // what was accepted then need not have been in the end
				b.run, b.last = p.run, p.run.last
				break
			}
			if p.n > 0 {
				b.run = nil
				b.last = point{p.serial, p.start + gridloom.Millis(p.lastAt), p.last, p.lastQuality, true}
				break
			}
		}
	case gridloom.Interval:
		b.reach = reachingPast(s.reach, w)
	}
	return b
}

// reachingPast returns those of spans, which are sorted by start, that start before w and end after it.
func reachingPast(spans []span, w gridloom.Millis) []span {
	i, _ := slices.BinarySearchFunc(spans, w-gridloom.MaxInterval, func(x span, at gridloom.Millis) int {
		return int(max(-1, min(1, x.start-at)))
	})
	var out []span
	for ; i < len(spans) && spans[i].start < w; i++ {
		if spans[i].end() > w {
			out = append(out, spans[i])
		}
	}
	return out
}

// append encodes b as the carry at bound.
func (b *carry) append(dst []byte, bound gridloom.Millis) []byte {
	var flags byte
	if b.day != 0 && b.day == dayOf(bound) {
		flags |= carrySameDay
	}
	if b.last.known {
		flags |= carryLast
	}
	version := byte(carryVersion)
	if b.run != nil {
		flags |= carryRun
		if b.run.up {
			version, flags = version+1, flags|carryUp
		}
		if b.run.reset {
			flags |= carryReset
		}
	}
	if len(b.reach) > 0 {
		flags |= carryReach
	}
	dst = append(dst, version, flags)
	if b.last.known {
		dst = b.last.append(dst)
	}
	if b.run != nil {
		dst = b.run.append(dst)
	}
	if len(b.reach) > 0 {
		dst = appendSpans(dst, b.reach)
	}
	return dst
}

func (a *point) append(dst []byte) []byte {
	dst = binary.AppendVarint(dst, int64(a.at))
	dst = binary.AppendVarint(dst, a.value)
	dst = binary.AppendUvarint(dst, uint64(a.quality))
	return appendString(dst, a.serial)
}

// append encodes a run but for the reading that is accepted after it.
func (u *run) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, u.count)
	dst = binary.AppendVarint(dst, int64(u.firstAt))
	dst = binary.AppendVarint(dst, u.firstValue)
	dst = binary.AppendVarint(dst, int64(u.lastAt))
	dst = binary.AppendVarint(dst, u.lastValue)
	if u.up {
		dst = u.from.append(dst)
	}
	return dst
}

func appendSpans(dst []byte, spans []span) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(spans)))
	for i := range spans {
		dst = binary.AppendVarint(dst, int64(spans[i].start))
		dst = binary.AppendUvarint(dst, uint64(spans[i].length))
		dst = binary.AppendVarint(dst, spans[i].value)
		dst = binary.AppendUvarint(dst, uint64(spans[i].quality))
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decodeCarry reads what append wrote for a register of kind k. An empty b is the carry of a series that starts.
func decodeCarry(k gridloom.Kind, b []byte, bound gridloom.Millis) (carry, error) {
	if len(b) == 0 {
		return carry{}, nil
	}
	d := decoder{b: b}
	c := d.carry(bound)
	counts := k == gridloom.Counter || k == gridloom.Gauge
	d.check((counts || !c.last.known) && (k == gridloom.Counter || c.run == nil) && (k == gridloom.Interval || c.reach == nil))
	if d.bad || len(d.b) > 0 {
		return carry{}, fmt.Errorf("%w: carry of %d bytes at %s is not readable", gridloom.ErrCorrupt, len(b), bound)
	}
	return c, nil
}

func (d *decoder) carry(bound gridloom.Millis) carry {
	var c carry
	version, flags := d.byte(), d.byte()
	up := flags&carryUp != 0
	d.check(version == carryVersion && !up || version == carryVersion+1 && up && flags&carryRun != 0)
	d.check(flags < 1<<6 && (up || flags&carryReset == 0))
	if flags&carrySameDay != 0 {
		c.day = dayOf(bound)
		d.check(c.day != 0)
	}
	if flags&carryLast != 0 {
		c.last = d.point()
		d.check(c.last.at < bound)
	}
	if flags&carryRun != 0 {
		c.run = d.run(up, flags&carryReset != 0)
		c.run.last = c.last
		d.check(c.run.lastAt < bound && c.last.known && c.run.holds())
	}
	if flags&carryReach != 0 {
		c.reach = d.spans()
		d.check(len(c.reach) > 0)
		for i := range c.reach {
			d.check(c.reach[i].start < bound && c.reach[i].end() > bound)
		}
	}
	return c
}

// holds reports whether a run that was read fits the reading that is accepted after it.
func (u *run) holds() bool {
	if u.up {
		return u.from.at < u.firstAt && u.lastAt == u.last.at && u.lastValue == u.last.value
	}
	return u.firstAt > u.last.at
}

func (d *decoder) point() point {
	a := point{at: d.instant(), value: d.value(), quality: d.quality(), known: true}
	a.serial = d.string()
	return a
}

func (d *decoder) run(up, reset bool) *run {
	u := &run{count: d.uvarint(), firstAt: d.instant(), firstValue: d.value(), lastAt: d.instant(), lastValue: d.value(), up: up, reset: reset}
	if up {
		u.from = d.point()
	}
	d.check(u.count > 0 && u.firstAt <= u.lastAt)
	return u
}

func (d *decoder) spans() []span {
	n := d.count(4) // an instant takes at least one byte, as do length, value and quality
	out := make([]span, 0, n)
	for range n {
		x := span{d.instant(), gridloom.Millis(d.uvarint()), d.value(), d.quality()}
		d.check(x.length > 0 && x.length <= gridloom.MaxInterval)
		if len(out) > 0 {
			y := &out[len(out)-1]
			d.check(y.start < x.start || (y.start == x.start && y.length < x.length))
		}
		if d.bad {
			return nil
		}
		out = append(out, x)
	}
	return out
}
