package query

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// banded joins the panes of a series that lie in one step of the grid and one band of a
// calendar. It takes the place of steps: what the bands of a step say adds up to what the step says.
type banded struct {
	window    window.Config
	grid      *grid
	clock     *bandClock
	watermark func(meter string) gridloom.Millis
	next      paneSink

	band int // of the pane that is handed on

	series  gridloom.Series
	step    gridloom.Window
	holds   bool
	sums    []window.Combination // by band
	quality []gridloom.Quality   // of the panes in them
	sum     gridloom.Pane
	lengths map[gridloom.Millis][]gridloom.Millis // of the bands in a step, by its start
}

// maxLengths bounds banded.lengths: 20 years of days and a bit.
const maxLengths = 8192

func newBanded(cfg window.Config, g *grid, c *Calendar, watermark func(meter string) gridloom.Millis) *banded {
	return &banded{
		window: cfg, grid: g, clock: newBandClock(c), watermark: watermark,
		sums: make([]window.Combination, len(c.bands)), quality: make([]gridloom.Quality, len(c.bands)), lengths: map[gridloom.Millis][]gridloom.Millis{},
	}
}

func (b *banded) take(p *gridloom.Pane) error {
	if !b.holds || p.Start < b.step.Start || p.Start+p.Length > b.step.End || p.Register != b.series.Register || p.Meter != b.series.Meter {
		if err := b.flush(); err != nil {
			return err
		}
		var err error
		if b.step, err = b.grid.hold(p); err != nil {
			return err
		}
		b.series, b.holds = gridloom.Series{Meter: p.Meter, Register: p.Register}, true
	}
	band, ok := b.clock.of(gridloom.Window{Start: p.Start, End: p.Start + p.Length})
	if !ok {
		return b.cut(p)
	}
	b.sums[band].Add(p)
	b.quality[band] |= p.Quality
	return nil
}

// cut says that a window lies in two bands, by parts that are not known.
func (b *banded) cut(p *gridloom.Pane) error {
	return &problem{
		kind: problemGrid, status: http.StatusUnprocessableEntity, parameter: "calendar", value: b.clock.name,
		detail: fmt.Sprintf("a band begins in the midst of the stored window of %s at %s, whose energy is not known by parts", spanString(p.Length), p.Start),
		mend:   "let bands begin where windows do on the clock of " + b.clock.zone.String(),
	}
}

// flush hands on the bands of the step at hand.
func (b *banded) flush() error {
	if !b.holds {
		return nil
	}
	b.holds = false
	for band := range b.sums {
		meter, register, ok := b.sums[band].Holds()
		if !ok {
			continue
		}
		b.sum, _ = b.sums[band].Pane(&b.window, register.Info().Kind, b.step, b.watermark(meter))
		if b.quality[band]&gridloom.Missing == 0 && b.sum.Coverage == b.length(b.step, band) {
			b.sum.Quality &^= gridloom.Missing // only the hours of other bands are not covered
		}
		b.sums[band], b.quality[band] = window.Combination{}, 0
		b.band = band
		if err := b.next.take(&b.sum); err != nil {
			return err
		}
	}
	return nil
}

// length returns how much of a step belongs to a band.
func (b *banded) length(step gridloom.Window, band int) gridloom.Millis {
	all, ok := b.lengths[step.Start]
	if !ok {
		all = make([]gridloom.Millis, len(b.sums))
		for start := step.Start; start < step.End; start += b.window.Width {
			all[b.clock.at(start)] += b.window.Width
		}
		if len(b.lengths) < maxLengths {
			b.lengths[step.Start] = all
		}
	}
	return all[band]
}

func (b *banded) end() error {
	if err := b.flush(); err != nil {
		return err
	}
	return b.next.end()
}

// name returns the band of the pane that is handed on, or of a place in the calendar.
func (b *banded) name(band int) cell { return text(b.clock.bands[band]) }

// bandColumn is there if a calendar was asked for.
func bandColumn(c *Calendar) []column {
	if c == nil {
		return nil
	}
	return []column{{name: "band"}}
}

// calendar reads calendar=, whose zone is the default of tz.
func (p *params) calendar() *Calendar {
	name := p.one("calendar")
	if name == "" {
		return nil
	}
	known := make([]string, 0, len(p.calendars))
	for _, c := range p.calendars {
		if c.name == name {
			p.ownZone = c.zone
			return c
		}
		known = append(known, c.name)
	}
	if len(known) == 0 {
		p.fail("calendar", name, "none are configured: gridloom is started with --calendars FILE for them")
	} else {
		p.fail("calendar", name, "want "+strings.Join(known, ", "))
	}
	return nil
}
