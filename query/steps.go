package query

import (
	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// steps joins the panes of a series that lie in one step of the grid. With a step
// as wide as a window it passes panes on as they are.
type steps struct {
	window    window.Config
	grid      *grid
	watermark func(meter string) gridloom.Millis
	next      paneSink

	step   gridloom.Window // at hand
	joined window.Combination
	sum    gridloom.Pane // kept here because what is handed on would be allocated for each step
}

func (s *steps) take(p *gridloom.Pane) error {
	if p.Length == s.grid.width && p.Start == p.Start.Floor(p.Length) {
		if err := s.flush(); err != nil {
			return err
		}
		return s.next.take(p)
	}
	meter, register, holds := s.joined.Holds()
	if !holds || p.Start < s.step.Start || p.Start+p.Length > s.step.End || p.Register != register || p.Meter != meter {
		if err := s.flush(); err != nil {
			return err
		}
		var err error
		if s.step, err = s.grid.hold(p); err != nil {
			return err
		}
	}
	s.joined.Add(p)
	return nil
}

// flush hands on the step at hand.
func (s *steps) flush() error {
	meter, register, holds := s.joined.Holds()
	if !holds {
		return nil
	}
	s.sum, _ = s.joined.Pane(&s.window, register.Info().Kind, s.step, s.watermark(meter))
	s.joined = window.Combination{}
	return s.next.take(&s.sum)
}

func (s *steps) end() error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.next.end()
}
