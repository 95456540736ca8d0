package query

import (
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// steps joins the panes of a series that lie in one step of the grid. With a step
// as wide as a window it passes panes on as they are.
type steps struct {
	window    window.Config
	step      gridloom.Millis
	watermark func(meter string) gridloom.Millis
	next      paneSink

	panes []gridloom.Pane // of one series, in the step [start, start+step)
	start gridloom.Millis
	sum   gridloom.Pane // kept here because what is handed on would be allocated for each step
}

func (s *steps) take(p *gridloom.Pane) error {
	if p.Length == s.step && p.Start == p.Start.Floor(s.step) {
		if err := s.flush(); err != nil {
			return err
		}
		return s.next.take(p)
	}
	start := p.Start.Floor(s.step)
	if p.Start+p.Length > start+s.step {
		return overLimit("step", fmt.Sprintf("a stored window of %s at %s does not fit into a step of %s", spanString(p.Length), p.Start, spanString(s.step)),
			"ask for a step that is a multiple of "+spanString(p.Length))
	}
	if len(s.panes) > 0 {
		if f := &s.panes[0]; start != s.start || p.Register != f.Register || p.Meter != f.Meter {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	s.panes, s.start = append(s.panes, *p), start
	return nil
}

// flush hands on the step at hand.
func (s *steps) flush() error {
	if len(s.panes) == 0 {
		return nil
	}
	f := &s.panes[0]
	var ok bool
	s.sum, ok = s.window.Combine(f.Register.Info().Kind, gridloom.Window{Start: s.start, End: s.start + s.step}, s.watermark(f.Meter), s.panes)
	s.panes = s.panes[:0]
	if !ok {
		return nil
	}
	return s.next.take(&s.sum)
}

func (s *steps) end() error {
	if err := s.flush(); err != nil {
		return err
	}
	return s.next.end()
}
