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

	passes   map[string]*pass // by series: the repeated hour in autumn is told apart by the order of its rows
	date     [10]byte         // read last
	midnight gridloom.Millis  // of date
}

// newInstants takes a Go layout, "auto", "unix" or "unixms".
func newInstants(layout string, zone *time.Location) instants {
	if layout == layoutAuto {
		layout = ""
	}
	return instants{layout: layout, zone: zone}
}

// read returns the instant of a label, and TIME_AMBIGUOUS if the zone's clock showed
// it twice. series names what the rows before it with the same name are of.
func (t *instants) read(b, series []byte) (gridloom.Millis, gridloom.Quality, error) {
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
		at, quality, err = t.parse(b, series)
	}
	switch {
	case err != nil:
		return 0, 0, err
	case at < gridloom.MinInstant:
		return 0, 0, fmt.Errorf("%w: time %q is before %s", gridloom.ErrInvalid, b, gridloom.MinInstant)
	}
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
func (t *instants) parse(b, series []byte) (gridloom.Millis, gridloom.Quality, error) {
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
	p := t.passes[string(series)]
	if p == nil {
		if t.passes == nil {
			t.passes = map[string]*pass{}
		}
		p = &pass{}
		t.passes[string(series)] = p
	}
	first, second, twice := bothPasses(parsed)
	if !twice {
		*p = pass{label: at, last: at}
		return at, 0, nil
	}
	return p.next(first, second), gridloom.TimeAmbiguous, nil
}

// pass is how far the rows of one series have come where the clock shows times twice.
type pass struct {
	label  gridloom.Millis // of the last row, as the first pass shows it
	last   gridloom.Millis // what it was taken for
	paired bool            // it was the second of two rows with the same label
}

// next returns which of the two instants of a label its row means. Exports write the
// hours one after the other (02:00 02:30 02:00 02:30), or each label twice (02:00
// 02:00 02:30 02:30). So it is the first pass if the rows are not past that, or if
// they come in pairs and this begins one; else the second.
func (p *pass) next(first, second gridloom.Millis) gridloom.Millis {
	if first > p.last || p.paired && first > p.label {
		*p = pass{label: first, last: first}
		return first
	}
	*p = pass{label: first, last: second, paired: first == p.label && p.last == first}
	return second
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
// it shows at that instant, before and after it was put back; twice is false if
// there is only one.
func bothPasses(at time.Time) (first, second gridloom.Millis, twice bool) {
	_, offset := at.Zone()
	start, end := at.ZoneBounds()
	if !end.IsZero() {
		_, next := end.Zone()
		if after := at.Add(time.Duration(offset-next) * time.Second); next < offset && !after.Before(end) {
			return gridloom.MillisOf(at), gridloom.MillisOf(after), true
		}
	}
	if !start.IsZero() {
		_, last := start.Add(-time.Second).Zone()
		if before := at.Add(-time.Duration(last-offset) * time.Second); last > offset && before.Before(start) {
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
