package wire

import (
	"encoding/binary"
	"math/bits"
	"testing"
)

// TestVarintsAreThoseOfTheLibrary compares every length, at the start of much and
// of nothing more.
func TestVarintsAreThoseOfTheLibrary(t *testing.T) {
	for n := range 65 {
		for _, v := range []uint64{1<<n - 1, 1 << n, 1<<n + 1, 0xa5a5_a5a5_a5a5_a5a5 >> (64 - max(n, 1))} {
			want := binary.AppendUvarint(nil, v)
			if got := sizeUvarint(v); got != len(want) {
				t.Errorf("sizeUvarint(%#x) = %d, want %d", v, got, len(want))
			}
			var buf [32]byte
			k := putUvarint(buf[:], v)
			if string(buf[:k]) != string(want) {
				t.Errorf("putUvarint(%#x) = % x, want % x", v, buf[:k], want)
			}
			for _, b := range [][]byte{want, append(want, 0xff, 0x80, 0, 1, 2, 3, 4, 5, 6, 7)} {
				if got, n := uvarint(b); got != v || n != len(want) {
					t.Errorf("uvarint(% x) = %#x, %d, want %#x, %d", b, got, n, v, len(want))
				}
			}
			for cut := range want {
				if got, n := uvarint(want[:cut]); n != 0 {
					t.Errorf("uvarint(% x) = %#x, %d, want none", want[:cut], got, n)
				}
			}
			if got, ok := countVarints(append(want, want...)); got != 2 || !ok {
				t.Errorf("countVarints(% x twice) = %d, %t", want, got, ok)
			}
			s := int64(bits.Reverse64(v))
			if got := unzigzag(zigzag(s)); got != s {
				t.Errorf("unzigzag(zigzag(%d)) = %d", s, got)
			}
		}
	}
	if _, n := uvarint([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}); n != 0 {
		t.Errorf("a varint of 65 bits has length %d, want none", n)
	}
}
