package device

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// layouts are tried on the first row of a file when none is named.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05 -0700",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04",
	"2006-01-02T15:04",
	"02.01.2006 15:04:05",
	"02.01.2006 15:04",
}

// Names that are read instead of a Go layout.
const (
	layoutAuto   = "auto"
	layoutUnix   = "unix"   // seconds, a fraction is read too
	layoutUnixMs = "unixms" // milliseconds
)

// instants reads the time column of one file.
type instants struct {
	layout string // "" until the first row decides
	zone   *time.Location

	// Of the last row: the repeated hour in autumn is told apart by the order of the rows.
	meter    string
	last     gridloom.Millis
	date     [10]byte        // read last
	midnight gridloom.Millis // of date
}

// newInstants takes a Go layout, "auto", "unix" or "unixms".
func newInstants(layout string, zone *time.Location) instants {
	if layout == layoutAuto {
		layout = ""
	}
	return instants{layout: layout, zone: zone}
}

// read returns the instant of a label, and TIME_AMBIGUOUS if the zone's clock showed it twice.
func (t *instants) read(b []byte, meter string) (gridloom.Millis, gridloom.Quality, error) {
	if t.layout == "" {
		if err := t.choose(b); err != nil {
			return 0, 0, err
		}
	}
	var at gridloom.Millis
	var quality gridloom.Quality
	var err error
	switch t.layout {
	case layoutUnix:
		at, err = parseUnix(b, 3)
	case layoutUnixMs:
		at, err = parseUnix(b, 0)
	default:
		at, quality, err = t.parse(b, meter)
	}
	switch {
	case err != nil:
		return 0, 0, err
	case at < gridloom.MinInstant:
		return 0, 0, fmt.Errorf("%w: time %q is before %s", gridloom.ErrInvalid, b, gridloom.MinInstant)
	}
	t.meter, t.last = meter, at
	return at, quality, nil
}

// choose finds the layout that reads b.
func (t *instants) choose(b []byte) error {
	for _, l := range layouts {
		if _, err := time.ParseInLocation(l, string(b), t.zone); err == nil {
			t.layout = l
			return nil
		}
	}
	if n, err := strconv.ParseFloat(string(b), 64); err == nil {
		t.layout = layoutUnix
		if n >= 1e11 {
			t.layout = layoutUnixMs
		}
		return nil
	}
	return fmt.Errorf("%w: time %q is in no known layout; name it, as in --time-layout '2006-01-02 15:04:05'", gridloom.ErrInvalid, b)
}

// parseUnix reads a number of seconds (digits 3) or milliseconds (digits 0); a fraction of a millisecond is cut.
func parseUnix(b []byte, digits int) (gridloom.Millis, error) {
	mantissa, exp, err := parseDecimal(b, '.')
	if err != nil {
		return 0, fmt.Errorf("%w: time %q is not a number", gridloom.ErrInvalid, b)
	}
	for exp += digits; exp < 0; exp++ {
		mantissa /= 10
	}
	for ; exp > 0; exp-- {
		if mantissa > 1e15 || mantissa < -1e15 {
			return 0, fmt.Errorf("%w: time %q is out of range", gridloom.ErrInvalid, b)
		}
		mantissa *= 10
	}
	if mantissa > 253_402_300_799_999 {
		return 0, fmt.Errorf("%w: time %q is beyond the year 9999", gridloom.ErrInvalid, b)
	}
	return gridloom.Millis(mantissa), nil
}

// parse reads a label in the layout and zone.
func (t *instants) parse(b []byte, meter string) (gridloom.Millis, gridloom.Quality, error) {
	if t.zone == time.UTC && t.layout == "2006-01-02 15:04:05" {
		if at, ok := t.plain(b); ok {
			return at, 0, nil
		}
	}
	parsed, err := time.ParseInLocation(t.layout, string(b), t.zone)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: time %q is not like %q", gridloom.ErrInvalid, b, t.layout)
	}
	at := gridloom.MillisOf(parsed)
	if t.zone == time.UTC || strings.Contains(t.layout, "07") || strings.Contains(t.layout, "MST") {
		return at, 0, nil // the label says its offset itself
	}
	if wall := parsed.Format(t.layout); wall != string(b) && !sameWall(parsed, t.layout, string(b)) {
		return 0, 0, fmt.Errorf("%w: time %q does not exist in %s: its clock was put forward", gridloom.ErrInvalid, b, t.zone)
	}
	first, second, twice := bothPasses(parsed)
	if !twice {
		return at, 0, nil
	}
	// The first pass, unless the rows of this meter are past it already.
	at = first
	if t.meter == meter && t.last >= first {
		at = second
	}
	return at, gridloom.TimeAmbiguous, nil
}

// sameWall reports whether label means the wall clock of at although it is not
// written the way that layout writes it (blanks, missing leading zeros).
func sameWall(at time.Time, layout, label string) bool {
	utc, err := time.ParseInLocation(layout, label, time.UTC)
	return err == nil && wallOf(utc) == wallOf(at)
}

func wallOf(t time.Time) [6]int {
	y, m, d := t.Date()
	return [6]int{y, int(m), d, t.Hour(), t.Minute(), t.Second()}
}

// bothPasses returns the two instants at which the clock of at's zone shows what
// it shows at that instant; twice is false if there is only one. Zones put their
// clock back by one hour, Lord Howe Island by half of one.
func bothPasses(at time.Time) (first, second gridloom.Millis, twice bool) {
	for _, d := range []time.Duration{time.Hour, 30 * time.Minute} {
		if after := at.Add(d); wallOf(after) == wallOf(at) {
			return gridloom.MillisOf(at), gridloom.MillisOf(after), true
		}
		if before := at.Add(-d); wallOf(before) == wallOf(at) {
			return gridloom.MillisOf(before), gridloom.MillisOf(at), true
		}
	}
	return 0, 0, false
}

// plain reads 2006-01-02 15:04:05 in UTC: the date by package time when it
// changes, the time of day by hand (BenchmarkReplay: 90 ns a row instead of 250).
func (t *instants) plain(b []byte) (gridloom.Millis, bool) {
	if len(b) != 19 || b[10] != ' ' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	two := func(i int) int {
		hi, lo := b[i]-'0', b[i+1]-'0'
		if hi > 9 || lo > 9 {
			return 99
		}
		return int(hi)*10 + int(lo)
	}
	h, m, s := two(11), two(14), two(17)
	if h > 23 || m > 59 || s > 59 {
		return 0, false
	}
	if [10]byte(b[:10]) != [10]byte(t.date[:]) {
		day, err := time.Parse(time.DateOnly, string(b[:10]))
		if err != nil {
			return 0, false
		}
		copy(t.date[:], b[:10])
		t.midnight = gridloom.MillisOf(day)
	}
	return t.midnight + gridloom.Millis(h)*gridloom.Hour + gridloom.Millis(m)*gridloom.Minute + gridloom.Millis(s)*gridloom.Second, true
}
