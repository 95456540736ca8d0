package gridloom

import "math/bits"

// Pane is the row computed for one series in one window: what its readings say
// happened in [Start, Start+Length). Amounts are in thousandths of the register's
// unit. docs/SEMANTICS.md tells how each column follows from the readings.
type Pane struct {
	Meter    string
	Register RegisterID
	Start    Millis
	Length   Millis

	Revision   uint64 // log sequence of the last frame folded in when a commit changed it
	ComputedAt Millis // log time of the revision
	Closed     bool

	N        uint32 // readings that start in it and count
	Coverage Millis // how much of the window readings speak for
	Quality  Quality

	// Over the N readings that start in the window; meaningless if N is 0.
	Sum             int64 // clamped to ±(2^63-1) with RANGE if it does not fit
	Min, Max        int64
	First, Last     int64
	FirstAt, LastAt Millis

	// TimeWeighted is the integral of a gauge over the covered part: value ×
	// milliseconds. Divide by Coverage for the mean. Zero for other kinds.
	TimeWeighted Int128
	// Energy is what flowed in the window (counters and interval registers; any
	// amount, also litres). Meaningless unless HasEnergy.
	Energy    int64
	HasEnergy bool

	// Carry is the encoded carry-in (package window), on the first pane that a
	// series has on a UTC day; nil elsewhere.
	Carry []byte
}

// Int128 is a signed integer of 128 bits, two's complement: Hi·2^64 + Lo.
type Int128 struct {
	Hi int64
	Lo uint64
}

// MulInt64 returns a·b.
func MulInt64(a, b int64) Int128 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	// Mul64 multiplies unsigned: take back 2^64·b for a negative a, and the reverse.
	if a < 0 {
		hi -= uint64(b)
	}
	if b < 0 {
		hi -= uint64(a)
	}
	return Int128{int64(hi), lo}
}

// Add returns x+y, modulo 2^128.
func (x Int128) Add(y Int128) Int128 {
	lo, c := bits.Add64(x.Lo, y.Lo, 0)
	hi, _ := bits.Add64(uint64(x.Hi), uint64(y.Hi), c)
	return Int128{int64(hi), lo}
}

// Neg returns -x, modulo 2^128.
func (x Int128) Neg() Int128 {
	lo, b := bits.Sub64(0, x.Lo, 0)
	hi, _ := bits.Sub64(0, uint64(x.Hi), b)
	return Int128{int64(hi), lo}
}

// Int64 returns x if it fits.
func (x Int128) Int64() (v int64, ok bool) {
	v = int64(x.Lo)
	return v, x.Hi == v>>63
}

// Float returns x as the nearest float64 or one next to it.
func (x Int128) Float() float64 {
	if x.Hi < 0 {
		return -x.Neg().Float()
	}
	return float64(x.Hi)*(1<<64) + float64(x.Lo)
}

// FloorDiv returns the greatest integer not above x/d. Requires d > 0 and a quotient that fits 64 bits.
func (x Int128) FloorDiv(d int64) int64 {
	if x.Hi >= 0 {
		q, _ := bits.Div64(uint64(x.Hi), x.Lo, uint64(d))
		return int64(q)
	}
	n := x.Neg()
	q, r := bits.Div64(uint64(n.Hi), n.Lo, uint64(d))
	if r != 0 {
		q++
	}
	return -int64(q)
}

// Share returns the part of amount v, spread evenly over a span of length l, that
// falls on [a, b) of it: floor(v·b/l) − floor(v·a/l). Parts that tile the span sum
// exactly to v. Requires 0 <= a <= b <= l and l > 0.
func Share(v int64, l, a, b Millis) int64 {
	return MulInt64(v, int64(b)).FloorDiv(int64(l)) - MulInt64(v, int64(a)).FloorDiv(int64(l))
}
