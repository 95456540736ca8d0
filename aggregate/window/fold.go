package window

import "github.com/gridloom/gridloom"

// take folds a reading of a counter, gauge or event register that starts after all
// before it.
func (c *Config) take(k gridloom.Kind, s *State, r *Reading) {
	switch k {
	case gridloom.Counter:
		if s.last.known {
			if r.Value < s.last.value {
				c.hold(s, r)
				return
			}
			c.flow(s, r)
		}
		s.run = nil
	case gridloom.Gauge:
		if s.last.known && r.Start-s.last.at <= c.Bridge {
			c.stand(s, r.Start)
		}
	}
	p := s.pane(r.Start.Floor(c.Width))
	p.count(c, r, r.Start)
	switch k {
	case gridloom.Counter:
		p.run, p.serial = nil, r.Serial
		s.last = point{r.Serial, r.Start, r.Value, r.Quality, true}
	case gridloom.Gauge:
		s.last = point{at: r.Start, value: r.Value, quality: r.Quality, known: true}
	}
}

// flow adds what a counter counted from the last accepted reading to r.
func (c *Config) flow(s *State, r *Reading) {
	a := &s.last
	v, q := r.Value-a.value, a.quality|r.Quality
	if r.Start-a.at <= c.Bridge {
		c.spread(s, span{a.at, r.Start - a.at, v, q}, a.at, r.Start, gridloom.EstimatedLinear)
		return
	}
	// Nobody knows when it flowed. It is told as one amount just before the reading that
	// shows it, so that energy between two readings is always their difference.
	if w := (r.Start - 1).Floor(c.Width); w >= s.bound {
		p := s.pane(w)
		p.addEnergy(v)
		p.cover(0, q|gridloom.CatchUp)
	}
}

// hold takes in a counter reading below the last accepted one: it is shown and
// counts for nothing until the run that it belongs to is decided.
func (c *Config) hold(s *State, r *Reading) {
	p := s.pane(r.Start.Floor(c.Width))
	p.note(c, r, r.Start)
	p.quality |= gridloom.Suspect
	if s.run == nil {
		s.run = &run{firstAt: r.Start, firstValue: r.Value}
	} else if s.run != p.run { // an earlier window's summary stays as it is
		next := *s.run
		s.run = &next
	}
	s.run.count++
	s.run.lastAt, s.run.lastValue = r.Start, r.Value
	p.run = s.run
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
