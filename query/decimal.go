package query

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom"
)

// thousandths is the scale of a stored value: v is v·10^-3 of the register's unit.
const thousandths = 3

// appendDecimal appends v·10^-scale in full, without an exponent and without zeros
// at the end of a fraction: (1922000, 3) is 1922, (-5, 3) is -0.005. Requires scale >= 0.
func appendDecimal(dst []byte, v int64, scale int) []byte {
	if scale == 0 {
		return strconv.AppendInt(dst, v, 10)
	}
	u := uint64(v)
	if v < 0 {
		dst = append(dst, '-')
		u = -u
	}
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], u, 10)
	whole := len(d) - scale
	if whole <= 0 {
		dst = append(dst, '0')
	} else {
		dst = append(dst, d[:whole]...)
		d = d[whole:]
	}
	end := len(d)
	for end > 0 && d[end-1] == '0' {
		end--
	}
	if end == 0 {
		return dst
	}
	dst = append(dst, '.')
	for range -whole {
		dst = append(dst, '0')
	}
	return append(dst, d[:end]...)
}

// roundDiv returns x/d rounded half to even. Requires d > 0 and a quotient that fits 64 bits.
func roundDiv(x gridloom.Int128, d int64) int64 {
	q := x.FloorDiv(d)
	r := x.Add(gridloom.MulInt64(q, d).Neg()).Lo // 0 <= r < d
	switch rest := uint64(d) - r; {
	case r > rest, r == rest && q&1 == 1:
		return q + 1
	default:
		return q
	}
}

// clamp returns x, or the nearest int64 and false.
func clamp(x gridloom.Int128) (int64, bool) {
	if v, ok := x.Int64(); ok {
		return v, true
	}
	if x.Hi < 0 {
		return -1 << 63, false
	}
	return 1<<63 - 1, false
}

// ratio returns part/whole in millionths, rounded down, so that 1 means all of it.
// Requires 0 <= part <= whole and whole > 0.
func ratio(part, whole gridloom.Millis) int64 {
	hi, lo := bits.Mul64(uint64(part), 1_000_000)
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}

// outputUnits are the units an answer may be asked for; the catalog's own are among them.
var outputUnits = []string{
	"mWh", "Wh", "kWh", "MWh", "GWh", "var.h", "kvar.h", "Mvarh", "mW", "W", "kW", "MW", "var", "kvar", "Mvar",
	"mV", "V", "kV", "mA", "A", "kA", "mHz", "Hz", "mL", "L", "m3", "1", "%",
}

// unitScale returns how many decimal places turn a stored value of register id
// into unit: 3 for its own unit, 6 for kWh of an energy. A unit that is no power
// of ten of the register's, or of another quantity, is ErrInvalid.
func unitScale(id gridloom.RegisterID, unit string) (int, error) {
	if unit == "" || unit == id.Info().Unit {
		return thousandths, nil
	}
	if s, err := gridloom.ScaleFor(id, unit); err == nil {
		one, err := s.Decimal(1, 0)
		thousand, err2 := s.Decimal(1, 3) // tells 0.1 from what is only rounded to it
		places := len(strconv.FormatInt(one, 10)) - 1
		if err == nil && err2 == nil && one > 0 && thousand == one*1000 && one == pow10(places) {
			return places, nil
		}
	}
	fits := slices.DeleteFunc(slices.Clone(outputUnits), func(u string) bool {
		_, err := gridloom.ScaleFor(id, u)
		return err != nil
	})
	return 0, fmt.Errorf("%w: %s cannot be given in %q, only in %s", gridloom.ErrInvalid, id, unit, strings.Join(fits, ", "))
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}
