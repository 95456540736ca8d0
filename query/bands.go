package query

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// CalendarSpec is a calendar of bands as it is configured (docs/calendars.md). Line numbers
// are those of the file, for faults.
type CalendarSpec struct {
	Name     string
	Line     int
	Zone     string // IANA
	Holidays []HolidaySpec
	Seasons  []SeasonSpec  // none: the whole year is one
	Days     []DayTypeSpec // none: working (Monday to Friday), saturday, sunday (and holidays)
	Bands    []BandSpec
}

// HolidaySpec is a date "2026-12-25", a day of every year "12-25", or one counted from
// Easter Sunday "easter+39".
type HolidaySpec struct {
	Day  string
	Line int
}

// SeasonSpec is a part of every year, [From, To) as "04-01"; it may reach over New Year.
type SeasonSpec struct {
	Name, From, To string
	Line           int
}

// DayTypeSpec names days "mon" to "sun" and "holiday", which a holiday is whatever its weekday.
type DayTypeSpec struct {
	Name string
	Days []string
	Line int
}

// BandSpec says when a band holds: Hours "07:00-23:00" on the clock, on days of the types, in
// the seasons. Nothing said is always.
type BandSpec struct {
	Band                 string
	Seasons, Days, Hours []string
	Line                 int
}

// Bounds of a calendar.
const (
	maxBands, maxSeasons, maxTypes = 16, 12, 8
	maxRules, maxHolidays          = 200, 2000
)

// Calendar gives every instant one of its bands. It may be used by many at once.
type Calendar struct {
	name    string
	zone    *time.Location
	bands   []string // in the order of the file
	season  [yearDays]uint8
	weekday [7]uint8 // type of day, from Sunday
	holiday uint8    // type of a holiday
	dates   map[civilDay]bool
	yearly  [yearDays]bool
	easter  map[int]bool // days from Easter Sunday
	hours   [][][]uint8  // by season, type and minute: band
	faults  []error      // while it is made
}

// yearDays is how many days of a year there are, 29 February among them.
const yearDays = 366

// dayOfYear numbers a month and day from 0, as in a leap year.
func dayOfYear(month time.Month, day int) int {
	return time.Date(2024, month, day, 0, 0, 0, 0, time.UTC).YearDay() - 1
}

func (c *Calendar) fault(line int, format string, args ...any) {
	where := ""
	if line > 0 {
		where = fmt.Sprintf("line %d: ", line)
	}
	c.faults = append(c.faults, fmt.Errorf("%w: %scalendar %s: %s", gridloom.ErrInvalid, where, c.name, fmt.Sprintf(format, args...)))
}

var calendarName = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

// NewCalendar checks that every local instant belongs to exactly one band. width is
// that of stored windows, in which bands must begin. It returns every fault.
func NewCalendar(spec *CalendarSpec, width gridloom.Millis) (*Calendar, []error) {
	c := &Calendar{name: spec.Name}
	if len(spec.Name) > 64 || !calendarName.MatchString(spec.Name) {
		c.fault(spec.Line, "want letters and digits in its name, with single dots, dashes or underscores between, at most 64")
	}
	var err error
	if c.zone, err = loadZone(spec.Zone); err != nil {
		c.fault(spec.Line, "zone %q: %s", spec.Zone, mendOf(err))
	}
	seasons := c.readSeasons(spec)
	types := c.readDays(spec)
	c.readHolidays(spec)
	if len(c.faults) == 0 { // else bands would be said to be missing for other reasons
		c.readBands(spec, seasons, types, width)
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	return c, nil
}

// readSeasons gives each day of the year its season, and returns their names.
func (c *Calendar) readSeasons(spec *CalendarSpec) []string {
	if len(spec.Seasons) == 0 {
		return []string{""}
	}
	var names []string
	var taken [yearDays]int // 1 + season
	for _, s := range spec.Seasons {
		from, ok1 := parseYearDay(s.From)
		to, ok2 := parseYearDay(s.To)
		if !ok1 || !ok2 || from == to {
			c.fault(s.Line, "season %s from %q to %q: want two days of the year such as 04-01, the second not in it", s.Name, s.From, s.To)
			continue
		}
		i := slices.Index(names, s.Name)
		if i < 0 {
			i = len(names)
			names = append(names, s.Name)
		}
		for d := from; d != to; d = (d + 1) % yearDays {
			if taken[d] > 0 {
				c.fault(s.Line, "%s belongs to two seasons, %s and %s", yearDayName(d), names[taken[d]-1], s.Name)
				break
			}
			taken[d] = 1 + i
		}
	}
	if len(names) > maxSeasons {
		c.fault(spec.Line, "%d seasons, at most %d", len(names), maxSeasons)
		return names
	}
	for d, s := range taken {
		if s == 0 && len(c.faults) == 0 {
			c.fault(spec.Line, "%s belongs to no season", yearDayName(d))
		}
		c.season[d] = uint8(max(s-1, 0))
	}
	return names
}

func parseYearDay(s string) (int, bool) {
	t, err := time.Parse("2006-01-02", "2024-"+s)
	return t.YearDay() - 1, err == nil
}

func yearDayName(d int) string { return time.Date(2024, 1, 1+d, 0, 0, 0, 0, time.UTC).Format("01-02") }

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// readDays gives each weekday, and holidays, its type, and returns the types' names.
func (c *Calendar) readDays(spec *CalendarSpec) []string {
	days := spec.Days
	if len(days) == 0 {
		days = []DayTypeSpec{{"working", weekdays[1:6], spec.Line}, {"saturday", weekdays[6:], spec.Line}, {"sunday", []string{"sun", "holiday"}, spec.Line}}
	}
	var names []string
	of := map[string]int{}
	for _, t := range days {
		if slices.Contains(names, t.Name) || t.Name == "" {
			c.fault(t.Line, "type of day %q: want one name for each", t.Name)
		}
		for _, d := range t.Days {
			if d != "holiday" && !slices.Contains(weekdays, d) {
				c.fault(t.Line, "type of day %s: %q: want mon, tue, wed, thu, fri, sat, sun or holiday", t.Name, d)
			} else if other, taken := of[d]; taken {
				c.fault(t.Line, "%s belongs to two types of day, %s and %s", d, names[other], t.Name)
			} else {
				of[d] = len(names)
			}
		}
		names = append(names, t.Name)
	}
	if len(names) > maxTypes {
		c.fault(spec.Line, "%d types of day, at most %d", len(names), maxTypes)
	}
	for i, d := range weekdays {
		t, ok := of[d]
		if !ok {
			c.fault(spec.Line, "%s belongs to no type of day", d)
		}
		c.weekday[i] = uint8(t)
	}
	t, ok := of["holiday"]
	if !ok && len(spec.Holidays) > 0 {
		c.fault(spec.Holidays[0].Line, "there are holidays, and no type of day lists holiday")
	}
	c.holiday = uint8(t)
	return names
}

// readHolidays reads the days that are holidays.
func (c *Calendar) readHolidays(spec *CalendarSpec) {
	c.dates, c.easter = map[civilDay]bool{}, map[int]bool{}
	if len(spec.Holidays) > maxHolidays {
		c.fault(spec.Line, "%d holidays, at most %d", len(spec.Holidays), maxHolidays)
		return
	}
	for _, h := range spec.Holidays {
		if t, err := time.Parse(time.DateOnly, h.Day); err == nil {
			c.dates[civilOf(t.Date())] = true
			continue
		}
		if d, ok := parseYearDay(h.Day); ok {
			c.yearly[d] = true
			continue
		}
		if rest, ok := strings.CutPrefix(h.Day, "easter"); ok {
			n, err := strconv.Atoi(rest)
			if rest == "" || err == nil && (rest[0] == '+' || rest[0] == '-') && n >= -100 && n <= 250 {
				c.easter[n] = true
				continue
			}
		}
		c.fault(h.Line, "holiday %q: want a date 2026-12-25, a day of every year 12-25, or easter, easter-2, easter+39", h.Day)
	}
}

// readBands fills the table of bands and finds what has none or two.
func (c *Calendar) readBands(spec *CalendarSpec, seasons, types []string, width gridloom.Millis) {
	if len(spec.Bands) == 0 || len(spec.Bands) > maxRules {
		c.fault(spec.Line, "%d lines of bands: want 1 to %d", len(spec.Bands), maxRules)
		return
	}
	const minutes = 24 * 60
	taken := make([][][minutes]int, len(seasons)) // 1 + line of bands
	for s := range taken {
		taken[s] = make([][minutes]int, len(types))
	}
	for i, b := range spec.Bands {
		if b.Band == "" {
			c.fault(b.Line, "a band without a name")
		}
		if !slices.Contains(c.bands, b.Band) {
			c.bands = append(c.bands, b.Band)
		}
		inSeasons := c.chosen(b.Line, "season", b.Seasons, seasons)
		onDays := c.chosen(b.Line, "type of day", b.Days, types)
		hours := b.Hours
		if len(hours) == 0 {
			hours = []string{"00:00-24:00"}
		}
		for _, h := range hours {
			from, to, ok := parseHours(h)
			if !ok {
				c.fault(b.Line, "hours %q: want 07:00-23:00, from 00:00 to 24:00", h)
				continue
			}
			if m := gridloom.Millis(from) * gridloom.Minute; m%width != 0 || gridloom.Millis(to)*gridloom.Minute%width != 0 {
				c.fault(b.Line, "hours %s begin or end within a window of %s, whose energy is not known by parts", h, spanString(width))
			}
			for _, s := range inSeasons {
				for _, d := range onDays {
					c.mark(spec, &taken[s][d], from, to, i, seasons[s], types[d])
				}
			}
		}
	}
	if len(c.bands) > maxBands {
		c.fault(spec.Line, "%d bands, at most %d", len(c.bands), maxBands)
	}
	c.hours = make([][][]uint8, len(seasons))
	for s := range taken {
		c.hours[s] = make([][]uint8, len(types))
		for d := range taken[s] {
			row := make([]uint8, minutes)
			for m := 0; m < minutes; m++ {
				rule := taken[s][d][m]
				if rule > 0 {
					row[m] = uint8(slices.Index(c.bands, spec.Bands[rule-1].Band))
					continue
				}
				end := m
				for end < minutes && taken[s][d][end] == 0 {
					end++
				}
				c.fault(spec.Line, "%sno band from %s to %s", dayPhrase(seasons[s], types[d]), clockName(m), clockName(end))
				m = end - 1
			}
			c.hours[s][d] = row
		}
	}
}

// mark gives [from, to) of a day to a line of bands; over midnight it is both ends of the day.
func (c *Calendar) mark(spec *CalendarSpec, row *[24 * 60]int, from, to, rule int, season, dayType string) {
	n, told := to-from, false
	if n <= 0 {
		n += len(row)
	}
	for m := range n {
		at := (from + m) % len(row)
		if other := row[at]; other > 0 && !told {
			told = true
			b, o := &spec.Bands[rule], &spec.Bands[other-1]
			c.fault(b.Line, "%sat %s there are two bands, %s (line %d) and %s", dayPhrase(season, dayType), clockName(at), o.Band, o.Line, b.Band)
		}
		row[at] = 1 + rule
	}
}

func dayPhrase(season, dayType string) string {
	if season == "" {
		return dayType + ": "
	}
	return season + ", " + dayType + ": "
}

// chosen returns the places of the named ones, all if none is.
func (c *Calendar) chosen(line int, what string, names, all []string) (places []int) {
	for i := range all {
		if len(names) == 0 || slices.Contains(names, all[i]) {
			places = append(places, i)
		}
	}
	for _, n := range names {
		if !slices.Contains(all, n) {
			c.fault(line, "there is no %s %q: there are %s", what, n, strings.Join(all, ", "))
		}
	}
	return places
}

// parseHours reads 07:00-23:00 as minutes of the day.
func parseHours(s string) (from, to int, ok bool) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, false
	}
	from, ok1 := parseClock(a)
	to, ok2 := parseClock(b)
	return from, to, ok1 && ok2 && from < 24*60 && from != to
}

func parseClock(s string) (minutes int, ok bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == len("15:04")
}

func clockName(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

// Name returns what the calendar is asked for by.
func (c *Calendar) Name() string { return c.name }

// isHoliday reports whether a date is a holiday.
func (c *Calendar) isHoliday(d civilDay) bool {
	year, month, day := d.date().Date()
	return c.dates[d] || c.yearly[dayOfYear(month, day)] || len(c.easter) > 0 && c.easter[int(d-easterOf(year))]
}

// day returns the bands of a date by its minutes.
func (c *Calendar) day(d civilDay) []uint8 {
	_, month, day := d.date().Date()
	dayType := c.weekday[((int64(d)+4)%7+7)%7]
	if c.isHoliday(d) {
		dayType = c.holiday
	}
	return c.hours[c.season[dayOfYear(month, day)]][dayType]
}

// easterOf returns Easter Sunday of a year of the Gregorian calendar, by the method that
// Nature gave in 1876 (Meeus, Astronomical Algorithms, chapter 8).
func easterOf(year int) civilDay {
	a, b, c := year%19, year/100, year%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	n := h + l - 7*m + 114
	return civilOf(year, time.Month(n/31), n%31+1)
}

// bandClock tells which band an instant belongs to. It is of one query.
type bandClock struct {
	*Calendar
	clock localClock
	date  civilDay
	row   []uint8 // of date
}

func newBandClock(c *Calendar) *bandClock {
	return &bandClock{Calendar: c, clock: localClock{zone: c.zone}}
}

func (b *bandClock) at(at gridloom.Millis) int {
	date, ofDay := b.clock.at(at)
	if b.row == nil || date != b.date {
		b.date, b.row = date, b.day(date)
	}
	return int(b.row[ofDay/gridloom.Minute])
}

// of returns the band of a window; ok is false if it lies in two.
func (b *bandClock) of(w gridloom.Window) (band int, ok bool) {
	band = b.at(w.Start)
	return band, band == b.at(w.End-1)
}
