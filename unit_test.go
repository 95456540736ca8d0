package gridloom_test

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/gridloom/gridloom"
)

// factors says how many thousandths of its register's unit one of each unit is,
// independently of the table that is tested.
var factors = []struct {
	register, unit string
	num, den       int64
}{
	{"energy_import", "", 1000, 1},
	{"energy_import", "mWh", 1, 1},
	{"energy_import", "kWh", 1_000_000, 1},
	{"energy_import", "GWh", 1_000_000_000_000, 1},
	{"energy_import", "J", 1000, 3600},
	{"heat_energy", "GJ", 1_000_000_000_000, 3600},
	{"voltage_l1", "kV", 1_000_000, 1},
	{"power_factor", "%", 10, 1},
	{"gas_volume", "m3", 1_000_000, 1},
}

// exact returns mantissa·10^exp·num/den rounded half to even, by rational arithmetic.
func exact(mantissa int64, exp int, num, den int64) *big.Int {
	x := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(mantissa), big.NewInt(num)), big.NewInt(den))
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	if exp < 0 {
		x.Quo(x, new(big.Rat).SetInt(ten))
	} else {
		x.Mul(x, new(big.Rat).SetInt(ten))
	}
	// floor(x + 1/2), less one where that was a tie and came out odd.
	half := new(big.Rat).Add(x, big.NewRat(1, 2))
	q := new(big.Int).Div(half.Num(), half.Denom()) // Euclidean: floor for a positive denominator
	if half.IsInt() && q.Bit(0) == 1 {
		q.Sub(q, big.NewInt(1))
	}
	return q
}

func FuzzDecimal(f *testing.F) {
	for _, m := range []int64{0, 1, 5, 15, 25, -25, 541541419, 999_999_999_999_999_999, math.MaxInt64, math.MinInt64} {
		for _, e := range []int16{0, -1, -3, -4, -18, -19, -25, -40, 2, 15, 19} {
			f.Add(m, e, uint8(e))
		}
	}
	f.Fuzz(func(t *testing.T, mantissa int64, exp int16, which uint8) {
		u := factors[int(which)%len(factors)]
		id, _ := gridloom.RegisterByName(u.register)
		s, err := gridloom.ScaleFor(id, u.unit)
		if err != nil {
			t.Fatal(err)
		}
		e := int(exp) % 400
		want := exact(mantissa, e, u.num, u.den)
		got, err := s.Decimal(mantissa, e)
		if want.CmpAbs(big.NewInt(gridloom.MaxValue)) > 0 {
			if !errors.Is(err, gridloom.ErrInvalid) {
				t.Errorf("Decimal(%d, %d) in %q = %d, %v, want ErrInvalid for %s", mantissa, e, u.unit, got, err, want)
			}
			return
		}
		if err != nil || want.Cmp(big.NewInt(got)) != 0 {
			t.Errorf("Decimal(%d, %d) in %q = %d, %v, want %s", mantissa, e, u.unit, got, err, want)
		}
	})
}

func TestDecimalRoundsTiesToEven(t *testing.T) {
	id, _ := gridloom.RegisterByName("power")
	s, err := gridloom.ScaleFor(id, "mW")
	if err != nil {
		t.Fatal(err)
	}
	f := func(mantissa int64, exp int, want int64) {
		t.Helper()
		if got, err := s.Decimal(mantissa, exp); err != nil || got != want {
			t.Errorf("Decimal(%d, %d) = %d, %v, want %d", mantissa, exp, got, err, want)
		}
	}
	f(5, -1, 0)                          // 0.5
	f(15, -1, 2)                         // 1.5
	f(25, -1, 2)                         // 2.5
	f(-25, -1, -2)                       // -2.5
	f(2_500_000_000_000_000_001, -18, 3) // a hair above the tie
	f(2_500_000_000_000_000_001, -30, 0) // far below
	f(gridloom.MaxValue, 0, gridloom.MaxValue)
	f(-gridloom.MaxValue, 0, -gridloom.MaxValue)
	if got, err := s.Decimal(gridloom.MaxValue+1, 0); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("Decimal above MaxValue = %d, %v, want ErrInvalid", got, err)
	}
}

func TestFloatAgreesWithDecimal(t *testing.T) {
	id, _ := gridloom.RegisterByName("energy_import")
	s, err := gridloom.ScaleFor(id, "kWh")
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(1000) {
		m := i * 1_000_003
		want, err1 := s.Decimal(m, -4)
		got, err2 := s.Float(float64(m) / 1e4)
		if err1 != nil || err2 != nil || got != want {
			t.Fatalf("Float(%d/10^4) = %d, %v, want %d, %v", m, got, err2, want, err1)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e10, -1e300} {
		if got, err := s.Float(v); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("Float(%v) = %d, %v, want ErrInvalid", v, got, err)
		}
	}
}

func TestUnitOfAnotherQuantityIsRefused(t *testing.T) {
	id, _ := gridloom.RegisterByName("energy_import")
	for _, u := range []string{"W", "kvar.h", "kwh", "°C"} {
		if s, err := gridloom.ScaleFor(id, u); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("ScaleFor(energy_import, %q) = %v, %v, want ErrInvalid", u, s, err)
		}
	}
}
