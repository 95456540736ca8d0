package window

import (
	"math"

	"github.com/gridloom/gridloom"
)

// Add folds r, which comes after every row of the series that s has seen in log
// order, or says why it does not:
//
//   - Folded: r is in order, that is, it starts after every reading seen (an interval:
//     at or after every end seen).
//   - Duplicate: it has the identity of the newest reading, says the same and does not
//     have a higher order, and no edit is what it repeats.
//   - Ranked: it has the identity of the newest reading and changes no pane, because it
//     says the same with a higher order or as an edit does, or says something else with a lower one.
//   - Disorder: anything else, a row that undoes an edit, and a counter's reading that decides what those before it
//     were. The panes of s stay as they are until the series is
//     refolded; if r wins over the newest reading, Last tells r from now on, so that
//     what is added before the refold is judged against it.
//
// It does not allocate once s has room for the panes of a series in steady flow.
func (c *Config) Add(k gridloom.Kind, s *State, r *Reading) Outcome {
	if c.addOpening(k, s, r) || c.AddNext(k, s, r) { // who calls Add has mostly tried AddNext
		return Folded
	}
	s.level()
	s.cur.flags &^= steady
	if r.Order.Class() == gridloom.ClassUndo {
		return Disorder // what counts now only the other rows of its identity can tell
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
	s.steadies(k, r)
	return Folded
}

// rank judges a row that is not in order against the newest reading.
func (s *State) rank(k gridloom.Kind, r *Reading) Outcome {
	n := &s.newest
	if !n.known || r.Start != n.start || (k == gridloom.Interval && r.Length != s.length) {
		return Disorder
	}
	if r.Void == n.void && (r.Void || r.Value == n.value) && r.Quality == n.quality {
		// An edit may be undone, and then what repeats it counts by itself.
		if r.Order > s.order || s.order.Class() >= gridloom.ClassEdit {
			s.order = max(s.order, r.Order)
			return Ranked
		}
		return Duplicate
	}
	if r.Order < s.order {
		return Ranked
	}
	n.value, n.void, n.quality, s.order, s.serial = r.Value, r.Void, r.Quality, r.Order, r.Serial
	return Disorder
}

// see makes r the newest reading.
func (s *State) see(k gridloom.Kind, r *Reading) {
	n := &s.newest
	n.known, n.start, s.length = true, r.Start, 0
	n.value, n.void, n.quality, s.order, s.serial = r.Value, r.Void, r.Quality, r.Order, r.Serial
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
	s.level()
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
