package query

import (
	"fmt"
	"sort"
	"time"

	"github.com/gridloom/gridloom"
)

// grid cuts [from, to) into the steps of an answer: equal ones, counted on UTC from
// 1970, or those of a zone's calendar. Steps are numbered from 0.
type grid struct {
	name     string // as it is asked for: 15m, 1d, 1mo
	from, to gridloom.Millis
	width    gridloom.Millis   // of equal steps; 0: bounds tells them
	bounds   []gridloom.Millis // of calendar steps: where each begins, and where the last ends
	layout   string            // of a step's beginning as a local time
}

// equalSteps returns the grid of the steps that overlap [from, to).
func equalSteps(name string, width, from, to gridloom.Millis) grid {
	return grid{name: name, width: width, from: from.Floor(width), to: -(-to).Floor(width), layout: calendarStep{}.layout()}
}

// calendarSteps returns the grid of the steps that overlap [from, to) on a zone's calendar.
func calendarSteps(name string, step calendarStep, from, to gridloom.Millis, zone *time.Location) grid {
	bounds := step.bounds(from, to, zone)
	return grid{name: name, bounds: bounds, from: bounds[0], to: bounds[len(bounds)-1], layout: step.layout()}
}

// misfit returns the first bound that does not lie on the grid of stored windows,
// which would have to be cut there.
func (g *grid) misfit(window gridloom.Millis) (at gridloom.Millis, ok bool) {
	for _, b := range g.bounds {
		if b.Floor(window) != b {
			return b, true
		}
	}
	return 0, false
}

// len returns the number of steps.
func (g *grid) len() int64 {
	if g.bounds != nil {
		return int64(len(g.bounds) - 1)
	}
	return int64((g.to - g.from) / g.width)
}

// number returns which step holds at; less than 0 or len() if none does.
func (g *grid) number(at gridloom.Millis) int64 {
	if g.bounds != nil {
		return int64(sort.Search(len(g.bounds), func(i int) bool { return g.bounds[i] > at })) - 1
	}
	return int64((at - g.from).Floor(g.width) / g.width)
}

// step returns the span of a step. Requires 0 <= number < len().
func (g *grid) step(number int64) gridloom.Window {
	if g.bounds != nil {
		return gridloom.Window{Start: g.bounds[number], End: g.bounds[number+1]}
	}
	start := g.from + gridloom.Millis(number)*g.width
	return gridloom.Window{Start: start, End: start + g.width}
}

// hold returns the step that a stored pane lies in, or says that it lies in none: it
// was stored while windows were wider.
func (g *grid) hold(p *gridloom.Pane) (gridloom.Window, error) {
	if n := g.number(p.Start); n >= 0 && n < g.len() {
		if step := g.step(n); p.Start+p.Length <= step.End {
			return step, nil
		}
	}
	return gridloom.Window{}, &problem{
		kind: problemGrid, status: 422, parameter: "step",
		detail: fmt.Sprintf("a stored window of %s at %s does not fit into a step of %s", spanString(p.Length), p.Start, g.name),
		mend:   "ask for a step that is a multiple of " + spanString(p.Length),
	}
}

// local is what the columns local_start and utc_offset of an answer are made of.
// Rows follow one another in time and come back to the same steps for each series,
// so that what was written last is often wanted again.
type local struct {
	zone   *time.Location // nil: there are no such columns
	layout string

	at    gridloom.Millis
	cells [2]cell
	texts map[gridloom.Millis][2]cell // of calendar steps, which are few
}

// maxLocalTexts bounds local.texts: 20 years of days and a bit.
const maxLocalTexts = 8192

func newLocal(zone *time.Location, layout string) local {
	return local{zone: zone, layout: layout, texts: map[gridloom.Millis][2]cell{}}
}

// localColumns are local_start and utc_offset if a zone was asked for.
func localColumns(zone *time.Location) []column {
	if zone == nil {
		return nil
	}
	return []column{{name: "local_start"}, {name: "utc_offset"}}
}

// append appends the cells for a row that starts at an instant.
func (l *local) append(dst []cell, at gridloom.Millis) []cell {
	if l.zone == nil {
		return dst
	}
	if at != l.at || l.cells[0].text == "" {
		cells, ok := l.texts[at]
		if !ok {
			t := at.Time().In(l.zone)
			cells = [2]cell{text(t.Format(l.layout)), text(t.Format("-07:00"))}
			if len(l.texts) < maxLocalTexts {
				l.texts[at] = cells
			}
		}
		l.at, l.cells = at, cells
	}
	return append(dst, l.cells[:]...)
}
