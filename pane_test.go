package gridloom_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/gridloom/gridloom"
)

// bigOf returns x as a big integer.
func bigOf(x gridloom.Int128) *big.Int {
	b := new(big.Int).Lsh(big.NewInt(x.Hi), 64)
	return b.Add(b, new(big.Int).SetUint64(x.Lo))
}

var edges = []int64{0, 1, -1, 2, -2, 10, 999_999_999_999, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, math.MinInt64 + 1, 1 << 32, -1 << 32}

func FuzzInt128(f *testing.F) {
	for _, a := range edges {
		for _, b := range edges {
			f.Add(a, b, a^b, int64(7))
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c, d int64) {
		x := gridloom.MulInt64(a, b)
		want := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
		if bigOf(x).Cmp(want) != 0 {
			t.Fatalf("MulInt64(%d, %d) = %v, want %s", a, b, x, want)
		}
		if got := bigOf(x.Neg()); got.Cmp(new(big.Int).Neg(want)) != 0 {
			t.Errorf("Neg of %s = %s", want, got)
		}
		y := gridloom.MulInt64(c, d)
		// Two products of 63 bits each cannot leave 128.
		sum := new(big.Int).Add(want, bigOf(y))
		if sum.BitLen() < 127 {
			if got := bigOf(x.Add(y)); got.Cmp(sum) != 0 {
				t.Errorf("%s + %s = %s, want %s", want, bigOf(y), got, sum)
			}
		}
		if v, ok := x.Int64(); ok != want.IsInt64() || ok && v != want.Int64() {
			t.Errorf("Int64 of %s = %d, %t", want, v, ok)
		}
		exact, _ := new(big.Float).SetInt(want).Float64()
		if got := x.Float(); got != exact && got != math.Nextafter(exact, math.Inf(1)) && got != math.Nextafter(exact, math.Inf(-1)) {
			t.Errorf("Float of %s = %v, want %v or beside it", want, got, exact)
		}
		if d > 0 {
			q := new(big.Int).Div(want, big.NewInt(d)) // Euclidean: floor for d > 0
			if q.IsInt64() && q.Int64() != math.MinInt64 {
				if got := x.FloorDiv(d); got != q.Int64() {
					t.Errorf("FloorDiv(%s, %d) = %d, want %s", want, d, got, q)
				}
			}
		}
	})
}

// FuzzShare checks that shares of an amount tile it exactly, that each is within
// one of the exact part, and that none goes against the amount's sign by more than
// the rounding.
func FuzzShare(f *testing.F) {
	f.Add(int64(1000), int64(1_800_000), int64(300_000), int64(900_000))
	f.Add(int64(-7), int64(3), int64(1), int64(2))
	f.Add(gridloom.MaxValue, int64(gridloom.MaxInterval), int64(1), int64(2))
	f.Fuzz(func(t *testing.T, v, l, a, b int64) {
		if v > gridloom.MaxValue || v < -gridloom.MaxValue || l <= 0 || l > int64(gridloom.MaxInterval) {
			t.Skip()
		}
		a, b = int64(uint64(a)%uint64(l+1)), int64(uint64(b)%uint64(l+1))
		a, b = min(a, b), max(a, b)
		L, A, B := gridloom.Millis(l), gridloom.Millis(a), gridloom.Millis(b)
		head, body, tail := gridloom.Share(v, L, 0, A), gridloom.Share(v, L, A, B), gridloom.Share(v, L, B, L)
		if head+body+tail != v {
			t.Errorf("shares of %d over %d cut at %d and %d: %d + %d + %d", v, l, a, b, head, body, tail)
		}
		part := new(big.Rat).SetFrac(new(big.Int).Mul(big.NewInt(v), big.NewInt(b-a)), big.NewInt(l))
		if part.Sub(part, new(big.Rat).SetInt64(body)).Abs(part).Cmp(big.NewRat(1, 1)) >= 0 {
			t.Errorf("Share(%d, %d, %d, %d) = %d, which is a whole thousandth off", v, l, a, b, body)
		}
		if v >= 0 && body < 0 {
			t.Errorf("Share(%d, %d, %d, %d) = %d: less than nothing", v, l, a, b, body)
		}
	})
}
