package window

import (
	"fmt"

	"github.com/gridloom/gridloom"
)

// part is what a counter's reading is in the end, when everything that decides it is known.
type part struct {
	counts bool             // it is accepted
	flows  bool             // what it rose by since the accepted one before is energy
	wrap   int64            // by how much more, because the register wrapped
	mark   gridloom.Quality // of its window
}

// part returns what a reading is that got a verdict which leaves those before it as they are.
func (v verdict) part() part {
	switch v {
	case held:
		return part{mark: gridloom.Suspect}
	case begins:
		return part{counts: true}
	case exchanged:
		return part{counts: true, mark: gridloom.Exchange}
	default:
		return part{counts: true, flows: true}
	}
}

// tell makes the panes tell of r, where before is the accepted reading before it.
func (c *Config) tell(s *State, r *Reading, e part, before *point) {
	if e.flows {
		c.flow(s, before, r, &e)
	}
	p := s.pane(r.Start.Floor(c.Width))
	if e.counts {
		p.count(c, r, r.Start)
	} else {
		p.note(c, r, r.Start)
	}
	p.quality |= e.mark
}

// flow adds what a counter counted from the accepted reading a to r.
func (c *Config) flow(s *State, a *point, r *Reading, e *part) {
	v, q := r.Value+e.wrap-a.value, a.quality|r.Quality|e.mark
	if v > c.limit(r.Start-a.at) {
		q |= gridloom.Range
	}
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

// settle notes what is accepted and what is undecided after r, as far as the readings up to it
// tell: a carry must not know more.
func (c *Config) settle(s *State, r *Reading, v verdict, next run) {
	p := s.pane(r.Start.Floor(c.Width))
	if v != held {
		serial := r.Serial
		if serial == "" {
			serial = s.last.serial // a reading that does not say is of the same device
		}
		s.last = point{serial, r.Start, r.Value, r.Quality, true}
		p.serial = serial
	}
	if next.count == 0 {
		s.run, p.run = nil, nil
		return
	}
	next.last = s.last
	if s.run == nil || s.run != p.run { // an earlier window's summary stays as it is
		s.run = new(run)
	}
	*s.run, p.run = next, s.run
}

// EarlierError says that a refold started too late: what the readings after its start decide
// reaches back over it. It has to start at a carry that is not after At.
type EarlierError struct{ At gridloom.Millis }

// Error implements error.
func (e *EarlierError) Error() string {
	return fmt.Sprintf("what is undecided at the start of the refold began at %s", e.At)
}

// refoldCounter folds the readings of a counter, sorted winners, with what comes after each of them known.
func (c *Config) refoldCounter(s *State, rows []Reading) error {
	final := s.bound > 0 && s.bound == c.Final
	if s.run != nil && !final {
		return &EarlierError{s.run.began()}
	}
	parts, before, err := c.parts(s.last, s.run, rows, final)
	if err != nil {
		return err
	}
	// before is what it is in the end; s.last is what it is as far as the readings up to now tell
	for i := range rows {
		r := &rows[i]
		v, next := c.judge(&s.last, s.run, r)
		c.tell(s, r, parts[i], &before)
		if parts[i].counts {
			before = point{at: r.Start, value: r.Value, quality: r.Quality, known: true}
		}
		c.settle(s, r, v, next)
	}
	return nil
}

// began returns the instant from which on panes depend on how the run is decided.
func (u *run) began() gridloom.Millis {
	if u.up {
		return u.from.at
	}
	return u.last.at
}

// parts returns what each of rows is in the end, after the accepted reading last and the run that
// is open; before is the reading before them that is accepted in the end. What is before them
// is told as something else only if final, as nobody is told then.
func (c *Config) parts(last point, open *run, rows []Reading, final bool) (parts []part, before point, err error) {
	parts = make([]part, len(rows))
	base := last
	before = last
	first := 0                            // of the run
	carried, reaches := open, open != nil // the run began before rows
	for i := range rows {
		r := &rows[i]
		v, next := c.judge(&last, open, r)
		parts[i] = v.part()
		switch v {
		case returns, retracts:
			for j := first; j < i; j++ {
				parts[j] = part{mark: gridloom.Glitch}
			}
			if v == retracts && reaches {
				before = open.from
			}
		case restarts, wraps:
			for j := first; j < i; j++ {
				parts[j] = rises.part()
			}
			switch {
			case reaches:
				before = point{at: carried.lastAt, value: carried.lastValue, known: true}
			case v == restarts:
				parts[first] = part{counts: true, mark: gridloom.Reset}
			default:
				w := wrapOf(c, &last, rows[first].Start, rows[first].Value)
				parts[first] = part{counts: true, flows: true, wrap: w, mark: gridloom.Rollover}
			}
		}
		if next.count == 1 {
			first, reaches = i, false
			if base.known && last.at == base.at && !final {
				return nil, before, &EarlierError{base.at}
			}
		}
		if v != held {
			serial := r.Serial
			if serial == "" {
				serial = last.serial
			}
			last = point{serial, r.Start, r.Value, r.Quality, true}
		}
		if open = nil; next.count > 0 {
			open = &next
		}
	}
	return parts, before, nil
}
