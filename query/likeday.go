package query

import (
	"math"
	"time"

	"github.com/gridloom/gridloom"
)

// dayType is what days are compared by.
type dayType uint8

const (
	workingDay dayType = iota // Monday to Friday
	saturday
	sunday
	dayTypes = iota
)

// typeOfDay returns the type of a date. 1970-01-01 was a Thursday.
func (d *likeDays) typeOfDay(date civilDay) dayType {
	if d.calendar != nil && d.calendar.isHoliday(date) {
		return sunday
	}
	switch (int64(date)%7 + 7) % 7 {
	case 2:
		return saturday
	case 3:
		return sunday
	}
	return workingDay
}

const (
	// likeDaysLeast to likeDaysMost valid days are the model of a day of a gap, the newest
	// before the gap of its type; fewer are none.
	likeDaysLeast, likeDaysMost = 3, 4
	// likeDayWeeks is how far before a gap they may lie.
	likeDayWeeks = 8
	// likeDayReach is how far before a gap panes are read: a day more on either side, as
	// days begin on the zone's clock.
	likeDayReach = (7*likeDayWeeks + 2) * gridloom.Day
	// rhythm is how far apart readings may lie for what is between them to be measured by
	// the hour, and not an estimate; a window more is allowed for readings that come late.
	rhythm = gridloom.Hour
	// mostUse bounds a window's energy in a model, so that sums of them fit.
	mostUse = 1 << 58
)

// measured are the bits that a window of a valid day may have. Neither an estimate nor
// what was edited, suspect or out of range is taken for a model; ESTIMATED_LINEAR is had
// by every window with no reading on its bound, and judged by rhythm instead.
const measured = gridloom.EstimatedLinear | gridloom.Derived | gridloom.Late | gridloom.Historical | gridloom.Rollover

// likeDays remembers the last valid days of one series, by type of day and by slot: the
// place of a window on the clock of the zone, from local midnight. In the hour that comes
// twice two windows have one slot.
type likeDays struct {
	width    gridloom.Millis
	clock    localClock
	calendar *Calendar // nil, or what says which days are holidays, which go with Sundays

	day, ended dayUse // the one at hand, and the one before it while no reading came since
	last       gridloom.Millis
	read       bool // last is the last reading
	models     [dayTypes][]dayUse
	spare      []dayUse
	sums       []int64 // by type and slot: the model of the gap at hand; -1 is none
}

// dayUse is what flowed on one date.
type dayUse struct {
	open    bool
	bad     bool // some of it is not measured
	date    civilDay
	span    gridloom.Window
	windows int64    // seen
	sum     []int64  // by slot
	count   []uint16 // windows of a slot
}

func newLikeDays(width gridloom.Millis, zone *time.Location, holidays *Calendar) *likeDays {
	if zone == nil {
		zone = time.UTC
	}
	return &likeDays{width: width, clock: localClock{zone: zone}, calendar: holidays}
}

// reset forgets the series.
func (d *likeDays) reset() {
	d.drop(&d.day)
	d.drop(&d.ended)
	for t := range d.models {
		for i := range d.models[t] {
			d.drop(&d.models[t][i])
		}
		d.models[t] = d.models[t][:0]
	}
	d.read = false
}

// drop keeps the memory of a day for another.
func (d *likeDays) drop(u *dayUse) {
	if u.sum != nil {
		d.spare = append(d.spare, *u)
	}
	*u = dayUse{}
}

// add takes the next pane of a series, as it is stored.
func (d *likeDays) add(p *gridloom.Pane) {
	date, slot := d.slot(p.Start)
	if d.day.open && date < d.day.date {
		date = d.day.date // the clock shows an earlier date again, after this one began
	}
	if !d.day.open || date != d.day.date {
		d.begin(date)
	}
	if p.N > 0 {
		if d.read && p.FirstAt-d.last > rhythm+d.width { // a hole over which values were estimated
			d.ended.bad = d.ended.bad || d.last < d.ended.span.End
			d.day.bad = d.day.bad || p.FirstAt > d.day.span.Start
		}
		d.keep()
		d.last, d.read = p.LastAt, true
	}
	u := &d.day
	u.windows++
	if p.Quality&^measured != 0 || p.Coverage < p.Length || p.Length != d.width || p.Energy < 0 || p.Energy > mostUse {
		u.bad = true
		return
	}
	u.sum[slot] += p.Energy
	u.count[slot]++
}

// slot returns the date and the place on its clock of the window that starts at an instant.
func (d *likeDays) slot(start gridloom.Millis) (civilDay, int64) {
	date, ofDay := d.clock.at(start)
	return date, int64(ofDay / d.width)
}

// begin ends the day at hand and begins another.
func (d *likeDays) begin(date civilDay) {
	d.drop(&d.ended) // not a reading in a whole day after it
	d.ended, d.day = d.day, dayUse{}
	if n := len(d.spare); n > 0 {
		d.day, d.spare = d.spare[n-1], d.spare[:n-1]
		clear(d.day.sum)
		clear(d.day.count)
	} else {
		slots := -(-gridloom.Day).Floor(d.width) / d.width
		d.day.sum, d.day.count = make([]int64, slots), make([]uint16, slots)
	}
	u := &d.day
	u.open, u.bad, u.date, u.windows = true, false, date, 0
	u.span = gridloom.Window{Start: startOf(date, d.clock.zone), End: startOf(date+1, d.clock.zone)}
}

// keep makes the ended day a model of its type if all of it was measured.
func (d *likeDays) keep() {
	u := &d.ended
	if !u.open {
		return
	}
	starts := (-(-u.span.End).Floor(d.width) + (-u.span.Start).Floor(d.width)) / d.width
	if u.bad || u.windows != int64(starts) {
		d.drop(u)
		return
	}
	t := d.typeOfDay(u.date)
	models := d.models[t]
	if len(models) == likeDaysMost {
		d.drop(&models[0])
		models = append(models[:0], models[1:]...)
	}
	d.models[t] = append(models, *u)
	*u = dayUse{}
}

// weigh returns the weight of a part of a window in a gap: the mean energy of its slot on
// the days that are its model. ok is false if a day of the gap has no model, or the
// models have no energy in the gap's slots.
func (d *likeDays) weigh(g gridloom.Window) (weight func(a, b gridloom.Millis) int64, total int64, ok bool) {
	d.average(g.Start)
	slots := int64(len(d.sums) / dayTypes)
	weight = func(a, b gridloom.Millis) int64 {
		start := a.Floor(d.width)
		date, slot := d.slot(start)
		mean := d.sums[int64(d.typeOfDay(date))*slots+slot]
		if mean < 0 {
			return -1
		}
		return gridloom.MulInt64(mean, int64(b-a)).FloorDiv(int64(d.width))
	}
	for start := g.Start.Floor(d.width); start < g.End; start += d.width {
		w := weight(max(start, g.Start), min(start+d.width, g.End))
		if w < 0 || total > math.MaxInt64-w {
			return nil, 0, false
		}
		total += w
	}
	return weight, total, total > 0
}

// average makes the model of a gap that begins at an instant.
func (d *likeDays) average(at gridloom.Millis) {
	slots := int(-(-gridloom.Day).Floor(d.width) / d.width)
	if d.sums == nil {
		d.sums = make([]int64, dayTypes*slots)
	}
	began, _ := d.clock.at(at)
	for t, models := range d.models {
		for len(models) > 0 && models[0].date < began-7*likeDayWeeks {
			models = models[1:]
		}
		for slot := range slots {
			var sum, days int64
			for i := range models {
				if n := int64(models[i].count[slot]); n > 0 {
					sum += models[i].sum[slot] / n
					days++
				}
			}
			d.sums[t*slots+slot] = -1
			if len(models) >= likeDaysLeast && days > 0 {
				d.sums[t*slots+slot] = sum / days
			}
		}
	}
}

// localClock tells the date and the time of day of a zone.
type localClock struct {
	zone     *time.Location
	from, to gridloom.Millis // where its clock is so far
	ahead    gridloom.Millis // of UTC
}

// at returns what the clock shows: a date, and how long after its midnight.
func (c *localClock) at(at gridloom.Millis) (civilDay, gridloom.Millis) {
	if at < c.from || at >= c.to {
		t := at.Time().In(c.zone)
		_, offset := t.Zone()
		c.from, c.to, c.ahead = math.MinInt64, math.MaxInt64, gridloom.Millis(offset)*gridloom.Second
		start, end := t.ZoneBounds()
		if !start.IsZero() {
			c.from = gridloom.MillisOf(start)
		}
		if !end.IsZero() {
			c.to = gridloom.MillisOf(end)
		}
	}
	wall := at + c.ahead
	return civilDay(wall.Floor(gridloom.Day) / gridloom.Day), wall - wall.Floor(gridloom.Day)
}
