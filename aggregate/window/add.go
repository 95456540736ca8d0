package window

import (
	"math"
	"math/bits"

	"github.com/gridloom/gridloom"
)

// Add folds r, which comes after every row of the series that s has seen in log
// order, or says why it does not:
//
//   - Folded: r is in order, that is, it starts after every reading seen (an interval:
//     at or after every end seen).
//   - Duplicate: it has the identity of the newest reading, says the same and does not
//     have a higher order.
//   - Ranked: it has the identity of the newest reading and changes no pane, because it
//     says the same with a higher order, or says something else with a lower one.
//   - Disorder: anything else, and a counter's reading that decides what those before it
//     were. The panes of s stay as they are until the series is
//     refolded; if r wins over the newest reading, Last tells r from now on, so that
//     what is added before the refold is judged against it.
//
// It does not allocate once s has room for the panes of a series in steady flow.
func (c *Config) Add(k gridloom.Kind, s *State, r *Reading) Outcome {
	if c.addNext(k, s, r) {
		return Folded
	}
	if r.Start < s.next {
		return s.rank(k, r)
	}
	if s.last.at < s.bound && s.last.known && !r.Void && c.changesBeforeBound(s, r) {
		return Disorder
	}
	if k == gridloom.Counter && !r.Void {
		// What r decides about the readings before it only a refold can tell, which has them.
		if v, _ := c.judge(&s.last, s.run, r); v.decides() {
			return Disorder
		}
	}
	if !r.Void {
		if k == gridloom.Interval {
			c.takeInterval(s, r)
		} else {
			c.take(k, s, r)
		}
	}
	s.see(k, r)
	s.newest.steady = k != gridloom.Counter || s.run == nil && s.cur.run == nil && s.last.serial == r.Serial && s.cur.serial == r.Serial
	return Folded
}

// addNext does what Add does with nearly every reading, and nothing with the others: one
// in order that stays within the newest pane, as the one before it did, of the same
// device. Everything is where it belongs already, so that no window is looked for and
// nothing is copied that stays the same; BenchmarkAdd: half the time.
func (c *Config) addNext(k gridloom.Kind, s *State, r *Reading) bool {
	p, n := &s.cur, &s.newest
	off := r.Start - p.start
	if r.Start < s.next || uint64(off) >= uint64(c.Width) || r.Void || !n.steady || r.Serial != n.serial || n.void {
		return false
	}
	v, q := r.Value, r.Quality
	next := r.Start + 1
	switch k {
	case gridloom.Counter, gridloom.Gauge:
		span := r.Start - s.last.at
		if !s.last.known || s.last.at < p.start || span > c.Bridge {
			return false
		}
		if k == gridloom.Gauge {
			p.amount = p.amount.Add(gridloom.MulInt64(s.last.value, int64(span)))
		} else {
			if uint64(v-s.last.value) > c.leastLimit() { // it falls, or rises too far
				return false
			}
			p.amount.Lo += uint64(v - s.last.value)
		}
		p.coverage += int32(span)
		p.quality |= s.last.quality
		s.last.at, s.last.value, s.last.quality = r.Start, v, q
	case gridloom.Interval:
		span := r.span()
		if off+span > c.Width || span == 0 {
			return false
		}
		p.amount.Lo += uint64(v)
		p.coverage += int32(span)
		s.length, next = r.Length, r.Start+span
	case gridloom.Event:
	}
	if p.n == 0 {
		p.min, p.max, p.first, p.firstAt = v, v, v, int32(off)
	} else {
		p.min, p.max = min(p.min, v), max(p.max, v)
	}
	p.n++
	p.last, p.lastAt, p.lastQuality = v, int32(off), q
	var carry uint64
	p.sumLo, carry = bits.Add64(p.sumLo, uint64(v), 0)
	p.sumHi += int32(v>>63) + int32(carry)
	p.quality |= q
	arrived := inTime
	if r.LoggedAt > p.start+c.Width+c.Lateness {
		arrived = late
	}
	p.flags = p.flags&^emitted | arrived
	n.start, n.value, n.quality, n.order = r.Start, v, q, r.Order
	s.next = next
	return true
}

// rank judges a row that is not in order against the newest reading.
func (s *State) rank(k gridloom.Kind, r *Reading) Outcome {
	n := &s.newest
	if !n.known || r.Start != n.start || (k == gridloom.Interval && r.Length != s.length) {
		return Disorder
	}
	if r.Void == n.void && (r.Void || r.Value == n.value) && r.Quality == n.quality {
		if r.Order > n.order {
			n.order = r.Order
			return Ranked
		}
		return Duplicate
	}
	if r.Order < n.order {
		return Ranked
	}
	n.value, n.void, n.quality, n.order, n.serial = r.Value, r.Void, r.Quality, r.Order, r.Serial
	n.steady = false
	return Disorder
}

// see makes r the newest reading.
func (s *State) see(k gridloom.Kind, r *Reading) {
	n := &s.newest
	n.known, n.steady, n.start, s.length = true, false, r.Start, 0
	n.value, n.void, n.quality, n.order, n.serial = r.Value, r.Void, r.Quality, r.Order, r.Serial
	s.next = r.Start + 1
	if k == gridloom.Interval {
		s.length = r.Length
		s.next = r.Start + max(r.span(), 1)
	}
}

// changesBeforeBound reports whether an in-order reading reaches back over the bound,
// which can be when a refold found no accepted reading after it: the panes there are
// no longer in s.
func (c *Config) changesBeforeBound(s *State, r *Reading) bool {
	return r.Start-s.last.at <= c.Bridge || r.Start <= s.bound
}

// AffectedFrom returns an instant such that no pane that starts before it depends on
// whether r is there, and that is not after Bound: where a refold because of r has
// to start, at the latest. It is the start of a window, or MinInt64 if the series must
// be refolded from the beginning.
//
// A reading of a counter or gauge decides what lies up to the bridging limit before
// it, and whether panes that are not yet past that limit are closed, unless there are readings
// before and after it in the panes that s holds; an interval or event changes nothing before its start.
func (c *Config) AffectedFrom(k gridloom.Kind, s *State, r *Reading) gridloom.Millis {
	if s.bound == 0 {
		return math.MinInt64
	}
	at := r.Start
	if (k == gridloom.Counter || k == gridloom.Gauge) && !s.surrounds(r) {
		// A pane that closed because a reading after it was known opens again when that
		// one is withdrawn, unless the last watermark has passed the limit anyway.
		at = min(at, s.watermark) - max(c.Bridge, 1)
	}
	if k == gridloom.Counter && s.run != nil {
		at = min(at, s.run.began())
	}
	if at >= s.bound {
		return s.bound
	}
	return at.Floor(c.Width)
}

// surrounds reports whether s holds a pane with a reading before r and knows one after it that
// counts. Then what lies before Bound reaches no farther than to the first of these, and is closed whatever r says.
func (s *State) surrounds(r *Reading) bool {
	if !s.last.known || r.Start >= s.last.at {
		return false
	}
	for i := range s.Panes() {
		if p := s.nth(i); p.n > 0 {
			return p.start+gridloom.Millis(p.firstAt) < r.Start
		}
	}
	return false
}
