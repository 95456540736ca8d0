package window

import "github.com/gridloom/gridloom"

// addOpening does what the rest of Add does with the reading that opens most windows, and nothing
// with the others: one in order that starts in the window right after the newest pane's, or after
// the one that an interval's newest pane had before it was forgotten; of the same device, after a
// reading that AddNext could have gone on from, and within the limits by which a counter rises and
// is interpolated. It reports whether it took r in.
//
// Of what stands behind the newest pane it changes older alone, like AddNext: see ahead.
func (c *Config) addOpening(k gridloom.Kind, s *State, r *Reading) bool {
	p := &s.cur
	if p.flags&steady == 0 || r.Start < s.next || r.Void || !sameString(r.Serial, s.serial) {
		return false
	}
	w := p.start + c.Width
	if k == gridloom.Interval && p.start == 0 {
		w = r.Start.Floor(c.Width)
	}
	off := r.Start - w
	if uint64(off) >= uint64(c.Width) {
		return false
	}
	o := opening{next: r.Start + 1, quality: r.Quality}
	switch k {
	case gridloom.Counter, gridloom.Gauge:
		if !c.passBound(k, p, r, off, &o) {
			return false
		}
	case gridloom.Interval:
		span := r.span()
		if off+span > c.Width || span == 0 {
			return false
		}
		o.next, o.amount.Lo, o.coverage = r.Start+span, uint64(r.Value), int32(span)
	case gridloom.Event:
	}
	arrived := inTime
	if r.LoggedAt > w+c.Width+c.Lateness {
		arrived = late
	}
	if p.start != 0 {
		s.push()
	}
	p.start, p.n, p.flags = w, 1, arrived|steady|ahead
	v := r.Value
	p.sumLo, p.sumHi = uint64(v), int32(v>>63)
	p.amount, p.coverage, p.quality = o.amount, o.coverage, o.quality
	p.min, p.max, p.last, s.ends.first = v, v, v, v
	p.lastAt, p.lastQuality, s.ends.firstAt = int32(off), r.Quality, int32(off)
	s.order, s.next = r.Order, o.next // ends has the serial already, and no run: see steadies
	return true
}

// opening is what the pane of a window starts with besides its first reading.
type opening struct {
	next     gridloom.Millis
	amount   gridloom.Int128
	coverage int32
	quality  gridloom.Quality
}

// passBound splits what a counter or gauge tells from the newest reading, in pane p, to r, which
// starts off after the bound of the next window: p gets what is before the bound, and o what is
// after it. If it is more than may flow or be interpolated it does nothing and returns false.
func (c *Config) passBound(k gridloom.Kind, p *tally, r *Reading, off gridloom.Millis, o *opening) bool {
	before := c.Width - gridloom.Millis(p.lastAt)
	if before+off > c.Bridge {
		return false
	}
	if k == gridloom.Gauge { // p has the quality of its last reading already
		p.amount = p.amount.Add(gridloom.MulInt64(p.last, int64(before)))
		if off > 0 {
			o.amount = gridloom.MulInt64(p.last, int64(off))
			o.quality |= p.lastQuality
		}
	} else {
		rise := r.Value - p.last
		if c.risesTooFar(uint64(rise)) {
			return false
		}
		share, q := rise, p.lastQuality|r.Quality
		if off > 0 {
			share = gridloom.Share(rise, before+off, 0, before)
			q |= gridloom.EstimatedLinear
			o.amount.Lo = uint64(rise - share)
			o.quality |= q
		}
		p.addEnergy(share)
		p.quality |= q
	}
	p.coverage += int32(before)
	p.flags &^= emitted
	o.coverage = int32(off)
	return true
}

// push copies the newest pane to the older ones: in its place begins the next one.
func (s *State) push() {
	n := len(s.older)
	if n < cap(s.older) {
		s.older = s.older[:n+1]
	} else {
		s.grow()
		s.older = append(s.older, accumulator{})
	}
	a := &s.older[n]
	a.tally, a.ends = s.cur, s.ends
}
