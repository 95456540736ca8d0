package decode

import (
	"github.com/gridloom/gridloom"
)

// minUnixMillis is the least number that is read as Unix milliseconds (March
// 1973). Below it lie today's Unix seconds, and a device that sends those is to be
// told instead of being dated to January 1970.
const minUnixMillis = 100_000_000_000

// instant reads RFC 3339 with an offset: 2026-11-22T20:15:00Z,
// 2026-11-22T21:15:00.250+01:00. Digits beyond the millisecond are cut. A blank or t
// for T and a z for Z are taken, as RFC 3339 allows; a leap second is not.
func instant(s []byte) (at gridloom.Millis, ok bool) {
	if len(s) < len("2006-01-02T15:04:05Z") || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' ||
		s[10] != 'T' && s[10] != 't' && s[10] != ' ' {
		return 0, false
	}
	century, y, mo, d := two(s[0:]), two(s[2:]), two(s[5:]), two(s[8:])
	h, mi, sec := two(s[11:]), two(s[14:]), two(s[17:])
	if century|y|mo|d|h|mi|sec < 0 || h > 23 || mi > 59 || sec > 59 || mo < 1 || mo > 12 || d < 1 {
		return 0, false
	}
	y += century * 100
	if d > daysIn(y, mo) {
		return 0, false
	}
	at = gridloom.Millis(daysSince1970(y, mo, d)*86_400+h*3600+mi*60+sec) * gridloom.Second
	s = s[19:]
	if s[0] == '.' {
		n := 1
		for unit := gridloom.Millis(100); n < len(s) && s[n]-'0' <= 9; n++ {
			at += gridloom.Millis(s[n]-'0') * unit
			unit /= 10
		}
		if n == 1 {
			return 0, false
		}
		s = s[n:]
	}
	if len(s) == 1 && s[0]|0x20 == 'z' {
		return at, true
	}
	if len(s) != len("+01:00") || s[3] != ':' || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	h, mi = two(s[1:]), two(s[4:])
	if h|mi < 0 || h > 23 || mi > 59 {
		return 0, false
	}
	offset := gridloom.Millis(h*60+mi) * gridloom.Minute
	if s[0] == '-' {
		offset = -offset
	}
	return at - offset, true
}

// two reads two digits at the start of s, -1 if they are none. Requires len(s) >= 2.
func two(s []byte) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1
	}
	return int(a)*10 + int(b)
}

// daysSince1970 counts the days of the proleptic Gregorian calendar, in years that
// begin on 1 March so that the leap day is their last (Howard Hinnant,
// chrono-compatible low-level date algorithms, days_from_civil). Requires y >= 0.
func daysSince1970(y, m, d int) int {
	if m <= 2 {
		y--
		m += 12
	}
	if y < 0 { // January and February of the year 0
		y += 400
		d -= 146_097
	}
	return 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 719_469
}

// daysIn returns the length of a month.
func daysIn(y, m int) int {
	switch m {
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// lengthMemo remembers the last length that was read: a message repeats one.
type lengthMemo struct {
	text   [16]byte
	n      int
	length gridloom.Millis
}

// parse reads a length such as 30m, 1h30m, 15s, 1d, 500ms: whole numbers with units,
// each once and falling.
func (m *lengthMemo) parse(s []byte) (length gridloom.Millis, ok bool) {
	if m.n > 0 && string(m.text[:m.n]) == string(s) {
		return m.length, true
	}
	if len(s) == 0 || len(s) > len(m.text) {
		return 0, false
	}
	last := gridloom.Millis(1 << 62)
	for i := 0; i < len(s); {
		begin, v := i, gridloom.Millis(0)
		for i < len(s) && s[i]-'0' <= 9 {
			v = v*10 + gridloom.Millis(s[i]-'0')
			i++
		}
		if i == begin || i-begin > 10 || i == len(s) {
			return 0, false
		}
		unit := gridloom.Millis(0)
		switch {
		case s[i] == 'd':
			unit = gridloom.Day
		case s[i] == 'h':
			unit = gridloom.Hour
		case s[i] == 'm' && i+1 < len(s) && s[i+1] == 's':
			unit = 1
			i++
		case s[i] == 'm':
			unit = gridloom.Minute
		case s[i] == 's':
			unit = gridloom.Second
		}
		i++
		if unit == 0 || unit >= last {
			return 0, false
		}
		last = unit
		length += v * unit
	}
	m.n = copy(m.text[:], s)
	m.length = length
	return length, true
}
