package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"github.com/gridloom/gridloom"
)

// Value is a decimal of an answer in thousandths of the register's unit, exact. It
// is not valid where the answer has null.
type Value struct {
	Thousandths int64
	Valid       bool
}

// UnmarshalJSON reads a JSON number with at most three decimal places, or null.
func (v *Value) UnmarshalJSON(b []byte) error {
	*v = Value{}
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	digits, negative := bytes.CutPrefix(b, []byte("-"))
	whole, fraction, _ := bytes.Cut(digits, []byte("."))
	if len(whole) == 0 || len(fraction) > 3 {
		return fmt.Errorf("%w: value %s: want at most three decimal places", gridloom.ErrInvalid, b)
	}
	var u uint64
	for i := range len(whole) + 3 {
		d := byte('0')
		switch {
		case i < len(whole):
			d = whole[i]
		case i-len(whole) < len(fraction):
			d = fraction[i-len(whole)]
		}
		if d < '0' || d > '9' || u > (math.MaxUint64-9)/10 {
			return fmt.Errorf("%w: value %s", gridloom.ErrInvalid, b)
		}
		u = u*10 + uint64(d-'0')
	}
	if u > math.MaxInt64 && (!negative || u != 1<<63) {
		return fmt.Errorf("%w: value %s is out of range", gridloom.ErrInvalid, b)
	}
	v.Thousandths, v.Valid = int64(u), true
	if negative {
		v.Thousandths = -v.Thousandths
	}
	return nil
}

// instant is a time of an answer; 0 where the answer has null.
type instant gridloom.Millis

func (i *instant) UnmarshalJSON(b []byte) error {
	*i = 0
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	at, err := gridloom.ParseInstant(*s)
	*i = instant(at)
	return err
}

// qualities is a list of names of quality bits.
type qualities gridloom.Quality

func (q *qualities) UnmarshalJSON(b []byte) error {
	*q = 0
	if bytes.Equal(b, []byte("[]")) {
		return nil
	}
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	for _, n := range names {
		bit, err := gridloom.ParseQuality(n)
		if err != nil {
			return err
		}
		*q |= qualities(bit)
	}
	return nil
}

// span is a length such as 1h30m, a whole number with each of its units.
type span gridloom.Millis

func (s *span) UnmarshalJSON(b []byte) error {
	*s = 0
	var text *string
	if err := json.Unmarshal(b, &text); err != nil || text == nil {
		return err
	}
	for rest := *text; rest != ""; {
		var n int64
		var unit string
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + int64(rest[digits]-'0')
			digits++
		}
		end := digits
		for end < len(rest) && rest[end] >= 'a' {
			end++
		}
		unit, rest = rest[digits:end], rest[end:]
		size, ok := map[string]gridloom.Millis{"d": gridloom.Day, "h": gridloom.Hour, "m": gridloom.Minute, "s": gridloom.Second, "ms": 1}[unit]
		if !ok || digits == 0 {
			return fmt.Errorf("%w: length %q", gridloom.ErrInvalid, *text)
		}
		*s += span(gridloom.Millis(n) * size)
	}
	return nil
}
