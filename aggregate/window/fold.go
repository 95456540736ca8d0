package window

import "github.com/gridloom/gridloom"

// take folds a reading of a counter, gauge or event register that starts after all
// before it. A counter's decides nothing about those.
func (c *Config) take(k gridloom.Kind, s *State, r *Reading) {
	if k == gridloom.Counter {
		v, next := c.judge(&s.last, s.run, r)
		c.tell(s, r, v.part(), &s.last)
		c.settle(s, r, v, next)
		return
	}
	if k == gridloom.Gauge && s.last.known && r.Start-s.last.at <= c.Bridge {
		c.stand(s, r.Start)
	}
	s.pane(r.Start.Floor(c.Width)).count(c, r, r.Start)
	if k == gridloom.Gauge {
		s.last = point{at: r.Start, value: r.Value, quality: r.Quality, known: true}
	}
}

// stand lets the last value of a gauge hold until the instant to.
func (c *Config) stand(s *State, to gridloom.Millis) {
	a := &s.last
	from := max(a.at, s.bound)
	for w := from.Floor(c.Width); w < to; w += c.Width {
		d := min(to, w+c.Width) - max(from, w)
		p := s.pane(w)
		p.amount = p.amount.Add(gridloom.MulInt64(a.value, int64(d)))
		p.cover(d, a.quality)
	}
}

// spread adds the part [from, to) of what i tells to the panes that it falls in, but
// not before the bound. A pane that does not get the whole of i is marked with cut.
func (c *Config) spread(s *State, i span, from, to gridloom.Millis, cut gridloom.Quality) {
	from = max(from, s.bound)
	for w := from.Floor(c.Width); w < to; w += c.Width {
		a, b := max(from, w), min(to, w+c.Width)
		p := s.pane(w)
		if b-a == i.length {
			p.addEnergy(i.value)
			p.cover(i.length, i.quality)
			continue
		}
		p.addEnergy(gridloom.Share(i.value, i.length, a-i.start, b-i.start))
		p.cover(b-a, i.quality|cut)
	}
}

// takeInterval folds an interval that starts at or after every end before it.
func (c *Config) takeInterval(s *State, r *Reading) {
	s.pane(r.Start.Floor(c.Width)).count(c, r, r.Start+r.span())
	if i := (span{r.Start, r.span(), r.Value, r.Quality}); i.length > 0 {
		c.remember(s, i)
		c.spread(s, i, i.start, i.end(), gridloom.Derived)
	}
}

// remember keeps an interval that reaches from one window into the next: a carry
// between them holds it.
func (c *Config) remember(s *State, i span) {
	if i.start.Floor(c.Width) != (i.end() - 1).Floor(c.Width) {
		s.reach = append(s.reach, i)
	}
}
