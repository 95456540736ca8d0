package query

import (
	"fmt"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
)

// civilDay is a date: days since 1970-01-01, of whichever calendar is spoken of.
type civilDay int64

func civilOf(year int, month time.Month, day int) civilDay {
	return civilDay(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay)
}

// date returns d as its UTC midnight, which has the same year, month and day.
func (d civilDay) date() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

const secondsPerDay = 24 * 60 * 60

// farthest is more than any zone has ever been away from UTC (Manila before 1844: 15:56).
const farthest = 26 * 60 * 60

// startOf returns when a date begins in a zone: the first instant at which the
// clock there shows that date or a later one. So the days of any zone tile time,
// whatever its clock does:
//
//   - where midnight does not exist (Beirut, 26 March 2023: 23:59 is followed by
//     01:00), the day begins with what follows;
//   - where it comes twice (St John's until 2011: 00:01 is followed by 23:01 of the
//     day before), the day begins with the first, and that hour is a part of it;
//   - a date that was skipped (Apia, 30 December 2011) begins when the next does, and is no day.
func startOf(d civilDay, zone *time.Location) gridloom.Millis {
	wall := int64(d) * secondsPerDay // the clock's midnight as if it were UTC
	at := time.Unix(wall-farthest, 0).In(zone)
	for from := at.Unix(); ; {
		_, offset := at.Zone()
		_, end := at.ZoneBounds()
		start := max(from, wall-int64(offset))
		if end.IsZero() || start < end.Unix() {
			return gridloom.Millis(start) * gridloom.Second
		}
		at, from = end, end.Unix()
	}
}

// calendarUnit is what a calendar step counts.
type calendarUnit uint8

const (
	noCalendar calendarUnit = iota // equal steps on the grid of UTC
	calendarDays
	calendarWeeks
	calendarMonths
)

// calendarStep is a step of whole days, weeks from Monday, or months of a zone's
// calendar. A year is 12 months. Days are counted from 1970-01-01, weeks from the
// one that holds it, months from January.
type calendarStep struct {
	unit  calendarUnit
	count int64
}

const calendarForms = "want 1d, 1w, 1mo, 3mo or 1y of the calendar, or whole numbers with h, m or s, such as 15m or 1h30m"

// maxStepDays bounds a step; a year is the longest.
const maxStepDays = 366

// parseCalendarStep reads 1d, 2w, 1mo, 1y. ok is false if s is none of these; then it may be a span.
func parseCalendarStep(s string) (step calendarStep, ok bool, err error) {
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	perCount := int64(1) // days, at least
	switch s[digits:] {
	case "d":
		step.unit = calendarDays
	case "w":
		step.unit, perCount = calendarWeeks, 7
	case "mo":
		step.unit, perCount = calendarMonths, 28
	case "y":
		step.unit, perCount = calendarMonths, 365
	default:
		return step, false, nil
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	switch {
	case err != nil || n < 1:
		return step, true, fmt.Errorf("%w: %s", gridloom.ErrInvalid, calendarForms)
	case n > maxStepDays/perCount:
		return step, true, fmt.Errorf("%w: at most %dd or 1y", gridloom.ErrInvalid, maxStepDays)
	case s[digits:] == "y":
		n *= 12
	case step.unit == calendarMonths && 12%n != 0:
		return step, true, fmt.Errorf("%w: want months that fill a year: 1mo, 2mo, 3mo, 4mo, 6mo or 1y", gridloom.ErrInvalid)
	}
	step.count = n
	return step, true, nil
}

// number returns the number of the step that d lies in.
func (s calendarStep) number(d civilDay) int64 {
	switch s.unit {
	case calendarDays:
		return floorDiv(int64(d), s.count)
	case calendarWeeks:
		return floorDiv(int64(d)-monday, 7*s.count)
	case calendarMonths:
		year, month, _ := d.date().Date()
		return floorDiv(int64(year)*12+int64(month)-1, s.count)
	case noCalendar:
	}
	panic(fmt.Sprintf("query: no calendar unit %d", s.unit))
}

// monday is 1969-12-29, the Monday before 1970-01-01.
const monday = -3

// first returns the first date of the step with number i.
func (s calendarStep) first(i int64) civilDay {
	switch s.unit {
	case calendarDays:
		return civilDay(i * s.count)
	case calendarWeeks:
		return civilDay(i*7*s.count + monday)
	case calendarMonths:
		return civilOf(0, time.Month(i*s.count+1), 1)
	case noCalendar:
	}
	panic(fmt.Sprintf("query: no calendar unit %d", s.unit))
}

// bounds returns where the steps that overlap [from, to) begin and end: each begins
// where the one before it ends. Steps of no length, a skipped date, are left out.
func (s calendarStep) bounds(from, to gridloom.Millis, zone *time.Location) []gridloom.Millis {
	year, month, day := from.Time().In(zone).Date()
	i := s.number(civilOf(year, month, day))
	start := startOf(s.first(i), zone)
	for next := startOf(s.first(i+1), zone); next <= from; next = startOf(s.first(i+1), zone) {
		i, start = i+1, next // the clock shows an earlier date again, after that one began
	}
	all := []gridloom.Millis{start}
	for last := start; last < to; {
		i++
		if next := startOf(s.first(i), zone); next > last {
			all, last = append(all, next), next
		}
	}
	return all
}

// layout is how a step's beginning is written as a local date.
func (s calendarStep) layout() string {
	switch {
	case s.unit == noCalendar:
		return "2006-01-02 15:04:05"
	case s.unit != calendarMonths:
		return time.DateOnly
	case s.count == 12:
		return "2006"
	}
	return "2006-01"
}

// floorDiv rounds down. Requires b > 0.
func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((b - 1 - a) / b)
	}
	return a / b
}

// parseLocalDate reads 2006-01-02, 2006-01 or 2006 as the instant at which that
// day, month or year begins in a zone. ok is false if s is none of these.
func parseLocalDate(s string, zone *time.Location) (at gridloom.Millis, ok bool) {
	for _, layout := range [...]string{time.DateOnly, "2006-01", "2006"} {
		if len(s) != len(layout) {
			continue
		}
		if date, err := time.Parse(layout, s); err == nil {
			return startOf(civilOf(date.Date()), zone), true
		}
	}
	return 0, false
}

// loadZone returns the zone of an IANA name.
func loadZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("%w: want a name of the IANA time zone database, such as Europe/Amsterdam or UTC", gridloom.ErrInvalid)
	}
	return zone, nil
}
