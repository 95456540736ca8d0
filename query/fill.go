package query

import (
	"fmt"
	"math"

	"github.com/gridloom/gridloom"
)

// fillMode says where the amount goes that a counter caught up over a gap longer than
// the bridging limit. docs/SEMANTICS.md tells the rules.
type fillMode uint8

const (
	fillNone    fillMode = iota // it stays one amount at the gap's end
	fillLinear                  // evenly over the gap
	fillLikeDay                 // as the meter's last days of the same type went
)

var fillNames = []string{fillNone: "none", fillLinear: "linear", fillLikeDay: "like_day"}

// fill reads fill=, which every named register must be for.
func (p *params) fill(ids []gridloom.RegisterID) fillMode {
	i, _ := p.choice("fill", fillNames)
	for _, id := range ids {
		if r := id.Info(); fillMode(i) != fillNone && r.Kind != gridloom.Counter {
			p.fail("fill", fillNames[i], fmt.Sprintf("it spreads what a counter caught up over a gap; %s is no counter (%s), and nothing is known of its gaps", r.Alias, r.Kind))
		}
	}
	return fillMode(i)
}

// longestFill is the longest gap that is filled. It bounds how far beyond the asked
// span panes are read, so that a window says the same whatever span it is asked in.
const longestFill = 62 * gridloom.Day

// reads returns the span whose panes the answer is made of: with fill, also those at
// which gaps over its bounds begin and end, and the days that such a gap is filled like.
func (q *windowsQuery) reads() (from, to gridloom.Millis) {
	switch q.fill {
	case fillNone:
		return q.from, q.to
	case fillLinear:
		return max(q.from-longestFill, 0), q.to + longestFill
	case fillLikeDay:
		return max(q.from-longestFill-likeDayReach, 0), q.to + longestFill
	}
	panic("query: no such fill")
}

// fill takes the panes of whole series, also from before and after the asked span, and
// spreads what a counter caught up over the windows of its gap. The parts of an amount
// add up to it exactly; nothing else of a pane changes but its quality.
type fill struct {
	from, to gridloom.Millis // panes that overlap [from, to) are handed on
	width    gridloom.Millis
	days     *likeDays // nil: evenly
	next     paneSink

	series gridloom.Series
	held   []gridloom.Pane // the last with a reading, and those since, which have none
	made   gridloom.Pane
}

func (f *fill) take(p *gridloom.Pane) error {
	if p.Register != f.series.Register || p.Meter != f.series.Meter {
		if err := f.flush(); err != nil {
			return err
		}
		f.series = gridloom.Series{Meter: p.Meter, Register: p.Register}
		if f.days != nil {
			f.days.reset()
		}
	}
	if p.Register.Info().Kind != gridloom.Counter {
		return f.give(p)
	}
	if f.days != nil {
		f.days.add(p)
	}
	if p.Quality&gridloom.CatchUp != 0 {
		if g, ok := f.gapBefore(p); ok {
			end := *p
			if err := f.spread(g, &end); err != nil {
				return err
			}
			p = &end
		}
	}
	if p.N == 0 && len(f.held) > 0 && p.Start-f.held[0].Start <= longestFill && p.Quality&gridloom.CatchUp == 0 {
		f.held = append(f.held, *p)
		return nil
	}
	if err := f.flush(); err != nil {
		return err
	}
	if p.N == 0 {
		return f.give(p)
	}
	f.held = append(f.held, *p)
	return nil
}

// gap is the time between two readings that follow one another, and what the register counted in it.
type gap struct {
	gridloom.Window
	amount int64
}

// gapBefore returns the gap whose amount p holds; ok is false if it is not to be filled,
// or if panes do not tell where it begins or how much of p's energy it is.
func (f *fill) gapBefore(p *gridloom.Pane) (g gap, ok bool) {
	if len(f.held) == 0 {
		return g, false
	}
	for i := range f.held {
		if !f.onGrid(&f.held[i]) {
			return g, false
		}
	}
	last := &f.held[0]
	g.Start, g.End, g.amount = last.LastAt, p.Start+p.Length, p.Energy
	if p.N > 0 { // the reading after the gap lies in p; if not, it lies at p's end and all of p is the amount
		g.End, g.amount = p.FirstAt, p.First-last.Last
		if p.Quality&gridloom.Rollover != 0 && g.amount < 0 {
			g.amount += wrapAbove(last.Last)
		}
		if p.Quality&gridloom.Exchange != 0 { // then the difference may be of two devices
			return g, false
		}
	}
	return g, f.onGrid(p) && g.Length() > 0 && g.Length() <= longestFill && g.amount >= 0 && g.amount <= p.Energy
}

func (f *fill) onGrid(p *gridloom.Pane) bool {
	return p.Length == f.width && p.Start.Floor(f.width) == p.Start
}

// wrapAbove returns where a register wrapped that stood at v just before: within 5 % below
// a power of ten of its digits (docs/registers.md), so at the least one above v.
func wrapAbove(v int64) int64 {
	wrap := int64(1_000_000_000) // three digits of kWh or m³
	for wrap <= v && wrap <= math.MaxInt64/10 {
		wrap *= 10
	}
	return wrap
}

// passedOn are the bits of an amount that each part of it has, too.
const passedOn = gridloom.Suspect | gridloom.Edited | gridloom.Derived | gridloom.Outage | gridloom.Rollover |
	gridloom.ClockSuspect | gridloom.TimeAmbiguous | gridloom.Range | gridloom.Test

// spread hands on the windows of a gap with their parts of its amount, and leaves the
// last of them, end, to the caller.
func (f *fill) spread(g gap, end *gridloom.Pane) error {
	weight, total, mark := f.weigh(g)
	held := f.held
	f.held = f.held[:0] // what lies there is handed on before it is written to again
	first := end.Quality & passedOn
	end.Energy -= g.amount
	end.Quality &^= gridloom.CatchUp
	var before int64 // weight of the windows so far
	for start := g.Start.Floor(f.width); start < g.End; start += f.width {
		p := end
		switch {
		case start == end.Start:
		case len(held) > 0 && held[0].Start == start:
			p, held = &held[0], held[1:]
			p.Closed = p.Closed && end.Closed
			p.Revision, p.ComputedAt = max(p.Revision, end.Revision), max(p.ComputedAt, end.ComputedAt)
		default:
			p = &f.made
			*p = gridloom.Pane{
				Meter: end.Meter, Register: end.Register, Start: start, Length: f.width, Closed: end.Closed,
				Revision: end.Revision, ComputedAt: end.ComputedAt, HasEnergy: true,
			}
			if p.Closed {
				p.Quality = gridloom.Missing
			}
		}
		w := weight(max(start, g.Start), min(start+f.width, g.End))
		p.Energy += gridloom.Share(g.amount, gridloom.Millis(total), gridloom.Millis(before), gridloom.Millis(before+w))
		p.Quality |= mark | first
		before += w
		if p != end {
			if err := f.give(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// weigh returns how the amount of a gap is spread: in proportion to the weight of [a, b),
// which lies in one window; the weights of all add up to total, which is above 0.
func (f *fill) weigh(g gap) (weight func(a, b gridloom.Millis) int64, total int64, mark gridloom.Quality) {
	if f.days != nil {
		if weight, total, ok := f.days.weigh(g.Window); ok {
			return weight, total, gridloom.EstimatedLikeDay
		}
	}
	return func(a, b gridloom.Millis) int64 { return int64(b - a) }, int64(g.Length()), gridloom.EstimatedLinear
}

// give hands on a pane of the asked span.
func (f *fill) give(p *gridloom.Pane) error {
	if p.Start >= f.to || p.Start+p.Length <= f.from {
		return nil
	}
	return f.next.take(p)
}

// flush hands on what waited for the end of a gap that did not come.
func (f *fill) flush() error {
	for i := range f.held {
		if err := f.give(&f.held[i]); err != nil {
			return err
		}
	}
	f.held = f.held[:0]
	return nil
}

func (f *fill) end() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.next.end()
}
