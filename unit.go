package gridloom

import (
	"fmt"
	"math"
	"math/bits"
)

// unitFactor says how many thousandths of the base unit one of a unit is, as num/den.
type unitFactor struct {
	base     string
	num, den int64
}

// units maps what devices write to the base unit of the catalog.
var units = map[string]unitFactor{
	"mWh": {"Wh", 1, 1}, "Wh": {"Wh", 1e3, 1}, "kWh": {"Wh", 1e6, 1}, "MWh": {"Wh", 1e9, 1}, "GWh": {"Wh", 1e12, 1},
	"J": {"Wh", 5, 18}, "kJ": {"Wh", 5000, 18}, "MJ": {"Wh", 5e6, 18}, "GJ": {"Wh", 5e9, 18},
	"var.h": {"var.h", 1e3, 1}, "varh": {"var.h", 1e3, 1}, "kvar.h": {"var.h", 1e6, 1}, "kvarh": {"var.h", 1e6, 1}, "Mvarh": {"var.h", 1e9, 1},
	"mW": {"W", 1, 1}, "W": {"W", 1e3, 1}, "kW": {"W", 1e6, 1}, "MW": {"W", 1e9, 1},
	"var": {"var", 1e3, 1}, "kvar": {"var", 1e6, 1}, "Mvar": {"var", 1e9, 1},
	"mV": {"V", 1, 1}, "V": {"V", 1e3, 1}, "kV": {"V", 1e6, 1},
	"mA": {"A", 1, 1}, "A": {"A", 1e3, 1}, "kA": {"A", 1e6, 1},
	"mHz": {"Hz", 1, 1}, "Hz": {"Hz", 1e3, 1},
	"mL": {"L", 1, 1}, "L": {"L", 1e3, 1}, "l": {"L", 1e3, 1}, "dm3": {"L", 1e3, 1}, "m3": {"L", 1e6, 1},
	"1": {"1", 1e3, 1}, "%": {"1", 10, 1},
}

// Scale turns values in some unit into thousandths of a register's unit.
type Scale struct{ num, den int64 }

// ScaleFor returns how to read values in unit for register id. An empty unit is
// the register's own. A unit of another quantity is ErrInvalid.
func ScaleFor(id RegisterID, unit string) (Scale, error) {
	r := id.Info()
	if unit == "" {
		unit = r.Unit
	}
	u, ok := units[unit]
	if !ok || u.base != r.Unit {
		return Scale{}, fmt.Errorf("%w: unit %q does not fit %s, which is in %s", ErrInvalid, unit, r.Alias, r.Unit)
	}
	return Scale{u.num, u.den}, nil
}

// Float returns v scaled to thousandths, rounded half to even. NaN, infinities
// and absolute values above MaxValue are ErrInvalid.
func (s Scale) Float(v float64) (int64, error) {
	f := math.RoundToEven(v * float64(s.num) / float64(s.den))
	if math.IsNaN(f) || math.Abs(f) > float64(MaxValue) {
		return 0, fmt.Errorf("%w: value %v is out of range", ErrInvalid, v)
	}
	return int64(f), nil
}

// Decimal returns mantissa·10^exp scaled to thousandths, rounded half to even and
// exact before rounding. Absolute values above MaxValue are ErrInvalid.
func (s Scale) Decimal(mantissa int64, exp int) (int64, error) {
	neg := mantissa < 0
	u := uint64(mantissa)
	if neg {
		u = -u
	}
	hi, lo := bits.Mul64(u, uint64(s.num))
	den := uint64(s.den)
	for ; exp > 0 && (hi|lo) != 0; exp-- {
		if hi >= 1<<60 {
			return 0, fmt.Errorf("%w: value is out of range", ErrInvalid)
		}
		h, l := bits.Mul64(lo, 10)
		hi, lo = hi*10+h, l
	}
	// A negative exponent divides; digits below 10^-18 of what is left cannot
	// reach one thousandth, but they decide a tie, so they are kept as "sticky".
	sticky := false
	for ; exp < 0; exp++ {
		if den > math.MaxUint64/10 {
			if (hi | lo) == 0 {
				break
			}
			var r uint64
			hi, r = hi/10, hi%10
			lo, r = bits.Div64(r, lo, 10)
			sticky = sticky || r != 0
			continue
		}
		den *= 10
	}
	qh, r := hi/den, hi%den
	q, r := bits.Div64(r, lo, den)
	if qh != 0 || q > uint64(MaxValue) {
		return 0, fmt.Errorf("%w: value is out of range", ErrInvalid)
	}
	// Digits are cut only once den has grown by powers of ten: it is even then, and
	// what was cut cannot lift r to a half.
	if r > den-r || r == den-r && (sticky || q&1 == 1) {
		q++
	}
	if q > uint64(MaxValue) {
		return 0, fmt.Errorf("%w: value is out of range", ErrInvalid)
	}
	if neg {
		return -int64(q), nil
	}
	return int64(q), nil
}
