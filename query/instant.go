package query

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// leastMillis is the least number that is read as Unix milliseconds (1973): a
// smaller one is almost surely seconds.
const leastMillis = 100_000_000_000

const instantForms = "want RFC 3339 with an offset (2026-11-22T20:15:00Z), a date (2026-11-22, 2026-11, 2026), Unix milliseconds, now, or a span before now (-7d, -90m, now-1d12h)"

// parseInstant reads a time as a client may write it; a date begins in zone. A + that
// arrived as a blank, because it was not written as %2B, is understood.
func parseInstant(s string, now gridloom.Millis, zone *time.Location) (gridloom.Millis, error) {
	if s == "now" {
		return now, nil
	}
	if at, ok := parseLocalDate(s, zone); ok {
		return checkInstant(at)
	}
	rel, isRel := strings.CutPrefix(s, "now")
	if isRel || strings.HasPrefix(s, "-") && !isDigits(s[1:]) {
		sign := gridloom.Millis(-1)
		switch {
		case strings.HasPrefix(rel, "-"):
		case isRel && (strings.HasPrefix(rel, "+") || strings.HasPrefix(rel, " ")):
			sign = 1
		default:
			return 0, fmt.Errorf("%w: %s", gridloom.ErrInvalid, instantForms)
		}
		span, err := parseSpan(rel[1:])
		if err != nil {
			return 0, err
		}
		return now + sign*span, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < leastMillis {
			return 0, fmt.Errorf("%w: a number is Unix milliseconds and at least %d; seconds? %s", gridloom.ErrInvalid, int64(leastMillis), instantForms)
		}
		return checkInstant(gridloom.Millis(n))
	}
	if n := len(s); n > 6 && s[n-6] == ' ' && s[n-3] == ':' {
		s = s[:n-6] + "+" + s[n-5:]
	}
	at, err := gridloom.ParseInstant(s)
	if err != nil {
		return 0, fmt.Errorf("%w: %s", gridloom.ErrInvalid, instantForms)
	}
	return checkInstant(at)
}

// maxInstant is 9999-12-31T23:59:59.999Z, the last that RFC 3339 can write.
const maxInstant gridloom.Millis = 253_402_300_799_999

func checkInstant(at gridloom.Millis) (gridloom.Millis, error) {
	if at < 0 || at > maxInstant {
		return 0, fmt.Errorf("%w: a time lies between 1970 and 9999", gridloom.ErrInvalid)
	}
	return at, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// ParseSpan reads a span as queries write it, such as 90m, 1d12h or 52w.
func ParseSpan(s string) (gridloom.Millis, error) { return parseSpan(s) }

// FormatSpan writes a span as ParseSpan reads it.
func FormatSpan(s gridloom.Millis) string { return spanString(s) }

// parseSpan reads a span such as 30m, 1h30m, 7d or 2w: whole numbers, each with
// one of w d h m s ms. It is above 0 and at most 1000 years.
func parseSpan(s string) (gridloom.Millis, error) {
	const forms = "want whole numbers with w, d, h, m or s, such as 15m, 1h30m or 7d"
	const most = 1000 * 366 * gridloom.Day
	rest, total := s, gridloom.Millis(0)
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%w: %s", gridloom.ErrInvalid, forms)
		}
		unit, size, ok := cutUnit(rest[digits:])
		if !ok {
			return 0, fmt.Errorf("%w: %s", gridloom.ErrInvalid, forms)
		}
		rest = rest[digits+size:]
		if n > math.MaxInt64/int64(unit) || gridloom.Millis(n)*unit > most-total {
			return 0, fmt.Errorf("%w: longer than 1000 years", gridloom.ErrInvalid)
		}
		total += gridloom.Millis(n) * unit
	}
	if total == 0 {
		return 0, fmt.Errorf("%w: %s", gridloom.ErrInvalid, forms)
	}
	return total, nil
}

func cutUnit(s string) (unit gridloom.Millis, size int, ok bool) {
	switch {
	case strings.HasPrefix(s, "ms"):
		return 1, 2, true
	case s == "":
		return 0, 0, false
	}
	switch s[0] {
	case 'w':
		return 7 * gridloom.Day, 1, true
	case 'd':
		return gridloom.Day, 1, true
	case 'h':
		return gridloom.Hour, 1, true
	case 'm':
		return gridloom.Minute, 1, true
	case 's':
		return gridloom.Second, 1, true
	}
	return 0, 0, false
}
