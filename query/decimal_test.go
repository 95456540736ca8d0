package query

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gridloom/gridloom"
)

func TestDecimalsArePrintedInFull(t *testing.T) {
	f := func(v int64, scale int, want string) {
		t.Helper()
		if got := string(appendDecimal(nil, v, scale)); got != want {
			t.Errorf("appendDecimal(%d, %d) = %s, want %s", v, scale, got, want)
		}
	}
	f(1_922_000, 3, "1922")
	f(1_922_500, 3, "1922.5")
	f(1, 3, "0.001")
	f(-5, 3, "-0.005")
	f(-50, 3, "-0.05")
	f(0, 6, "0")
	f(5, 0, "5")
	f(1_234_567, 6, "1.234567")
	f(100, 9, "0.0000001")
	f(math.MaxInt64, 3, "9223372036854775.807")
	f(math.MinInt64, 3, "-9223372036854775.808")
	f(math.MinInt64, 12, "-9223372.036854775808")
}

func TestDecimalsReadBackExactly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		v, scale := int64(rng.Uint64())>>rng.IntN(64), rng.IntN(13)
		got, ok := new(big.Rat).SetString(string(appendDecimal(nil, v, scale)))
		want := big.NewRat(v, pow10(scale))
		if !ok || got.Cmp(want) != 0 {
			t.Fatalf("appendDecimal(%d, %d) = %s", v, scale, appendDecimal(nil, v, scale))
		}
	}
}

func TestQuotientsAreRoundedHalfToEven(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		v, n, d := int64(rng.Uint64())>>(8+rng.IntN(56)), 1+rng.Int64N(1000), 1+rng.Int64N(1<<rng.IntN(40))
		if rng.IntN(4) == 0 {
			d = 2 * n // makes ties
		}
		x := gridloom.MulInt64(v, n)
		want := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(v), big.NewInt(n)), big.NewInt(d))
		q := new(big.Int)
		half := new(big.Rat).Add(want, big.NewRat(1, 2))
		q.Div(half.Num(), half.Denom()) // Euclidean, so floor for a positive divisor
		if half.IsInt() && q.Bit(0) == 1 {
			q.Sub(q, big.NewInt(1))
		}
		if !q.IsInt64() {
			continue
		}
		if got := roundDiv(x, d); got != q.Int64() {
			t.Fatalf("roundDiv(%d·%d, %d) = %d, want %s", v, n, d, got, q)
		}
	}
}

func TestUnitsArePowersOfTen(t *testing.T) {
	f := func(name, unit string, want int, wantErr string) {
		t.Helper()
		got, err := unitScale(register(t, name), unit)
		if wantErr != "" {
			if !errors.Is(err, gridloom.ErrInvalid) || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("unitScale(%s, %s) = %v, want %q", name, unit, err, wantErr)
			}
			return
		}
		if err != nil || got != want {
			t.Errorf("unitScale(%s, %s) = %d, %v, want %d", name, unit, got, err, want)
		}
	}
	f("energy_import", "", 3, "")
	f("energy_import", "Wh", 3, "")
	f("energy_import", "mWh", 0, "")
	f("energy_import", "kWh", 6, "")
	f("energy_import", "GWh", 12, "")
	f("power_factor", "%", 1, "")
	f("volume_mbus1", "m3", 6, "")
	f("energy_import", "J", 0, `energy_import cannot be given in "J", only in mWh, Wh, kWh, MWh, GWh`)
	f("energy_import", "kW", 0, `cannot be given in "kW"`)
	f("voltage_l1", "furlong", 0, "only in mV, V, kV")
}
