package window

import (
	"math"

	"github.com/gridloom/gridloom"
)

// Close emits, in time order, the panes that are closed at the watermark and were
// not emitted as they are: a pane that was emitted and that a reading in order has
// changed since is emitted again. Then it forgets the panes that no reading in order
// can change any more, which moves Bound.
//
// The pane given to emit is filled but for Meter, Register, Revision and
// ComputedAt. It is valid until emit returns; its Carry may be kept. The watermark
// must not fall from one call to the next.
func (c *Config) Close(k gridloom.Kind, s *State, watermark gridloom.Millis, emit func(*gridloom.Pane)) {
	s.level()
	s.watermark = max(s.watermark, watermark)
	if s.cur.start == 0 && s.next == 0 {
		return
	}
	var p *gridloom.Pane
	for i := range s.Panes() {
		a := s.nth(i)
		if c.closes(k, s, a.tally) > watermark {
			break
		}
		if a.flags&emitted == 0 {
			if p == nil {
				p = new(gridloom.Pane)
			}
			c.fill(k, s, i, watermark, p)
			emit(p)
			a.flags |= emitted
		}
	}
	c.advance(k, s)
}

// Open emits, in time order, every pane that s holds and that Close has not emitted
// as it is; those that the watermark closes are told as closed. s stays as it is.
// The pane is valid until emit returns.
func (c *Config) Open(k gridloom.Kind, s *State, watermark gridloom.Millis, emit func(*gridloom.Pane)) {
	s.level()
	var p *gridloom.Pane
	for i := range s.Panes() {
		if s.nth(i).flags&emitted != 0 {
			continue
		}
		if p == nil {
			p = new(gridloom.Pane)
		}
		c.fill(k, s, i, watermark, p)
		emit(p)
	}
}

// Due returns the least watermark at which Close has something to emit; MaxInt64 if
// there is none until another reading comes.
func (c *Config) Due(k gridloom.Kind, s *State) gridloom.Millis {
	s.level()
	for i := range s.Panes() {
		if a := s.nth(i); a.flags&emitted == 0 {
			return c.closes(k, s, a.tally)
		}
	}
	return math.MaxInt64
}

// closes returns the least watermark at which a is closed. It rises with a's start.
func (c *Config) closes(k gridloom.Kind, s *State, a *tally) gridloom.Millis {
	end := a.start + c.Width
	if (k == gridloom.Counter || k == gridloom.Gauge) && (!s.last.known || s.last.at < end) {
		return end + c.Bridge
	}
	return end
}

// advance forgets the emitted panes that no reading in order can change.
func (c *Config) advance(k gridloom.Kind, s *State) {
	bound := c.changeable(k, s)
	n, held := 0, s.Panes()
	for n < held && s.nth(n).start < bound && s.nth(n).flags&emitted != 0 {
		n++
	}
	if n < held {
		bound = min(bound, s.nth(n).start)
	}
	if bound > s.bound {
		s.forget(k, n, bound)
	}
}

// forget drops the first n panes, which are those before bound, and moves the bound there.
func (s *State) forget(k gridloom.Kind, n int, bound gridloom.Millis) {
	s.base = s.carryBefore(k, n, bound).stand
	s.bound = bound
	s.drop(n)
	keep := s.reach[:0]
	for _, i := range s.reach {
		if i.end() > bound {
			keep = append(keep, i)
		}
	}
	if s.reach = keep; len(keep) == 0 && cap(keep) >= 64 {
		s.reach = nil
	}
}

// changeable returns the start of the first window that a reading in order could change.
func (c *Config) changeable(k gridloom.Kind, s *State) gridloom.Millis {
	at := s.next
	if k != gridloom.Interval {
		// The next reading starts after the newest one. If it can still be within the
		// bridging limit of the last one that counts, it changes what follows that; if
		// not, its catch-up may fall to the window of the instant before it.
		at--
		if s.last.known && at-s.last.at < c.Bridge {
			at = s.last.at
		}
	}
	return at.Floor(c.Width)
}

// fill makes p the pane of accumulator i as the watermark sees it.
func (c *Config) fill(k gridloom.Kind, s *State, i int, watermark gridloom.Millis, p *gridloom.Pane) {
	a := s.nth(i)
	*p = gridloom.Pane{
		Start: a.start, Length: c.Width,
		Closed: c.closes(k, s, a.tally) <= watermark,
		N:      a.n, Coverage: gridloom.Millis(a.coverage), Quality: a.quality,
	}
	if a.n > 0 {
		var ok bool
		if p.Sum, ok = a.sum(); !ok {
			p.Quality |= gridloom.Range
		}
		p.Min, p.Max, p.First, p.Last = a.min, a.max, a.first, a.last
		p.FirstAt, p.LastAt = a.start+gridloom.Millis(a.firstAt), a.start+gridloom.Millis(a.lastAt)
	}
	switch k {
	case gridloom.Counter, gridloom.Interval:
		p.Energy, p.HasEnergy = int64(a.amount.Lo), true
	case gridloom.Gauge:
		p.TimeWeighted = a.amount
	}
	if p.Closed && k != gridloom.Event && p.Coverage < p.Length {
		p.Quality |= gridloom.Missing
	}
	if a.flags&late != 0 {
		p.Quality |= gridloom.Late
		if a.flags&inTime == 0 {
			p.Quality |= gridloom.Historical
		}
	}
	day := s.base.day
	if i > 0 {
		day = dayOf(s.nth(i - 1).start)
	}
	if day != dayOf(a.start) {
		b := s.carryBefore(k, i, a.start)
		p.Carry = b.append(nil, a.start)
	}
}
