package pane

import (
	"hash/fnv"
	"math/bits"
)

// Filter is a Bloom filter over the meters of a segment: a power of two of bits,
// at least 64, three of them set for each meter. A nil Filter may hold anything.
// Its form is frozen (docs/format/segment.md).
type Filter []byte

// The filter is small because the manifest holds one per segment: up to 256 bytes,
// which lets 1 % of other meters pass at 200 meters and 24 % at 700. Beyond
// maxFilterMeters it would say yes too often to be worth its bytes, and is left out.
const (
	maxFilterBytes  = 256
	maxFilterMeters = 700
	filterProbes    = 3
)

func newFilter(meters []string) Filter {
	if len(meters) > maxFilterMeters {
		return nil
	}
	size := 8
	for size < maxFilterBytes && size < len(meters)*10/8 {
		size *= 2
	}
	f := make(Filter, size)
	for _, m := range meters {
		h, step := filterHash(m)
		for range filterProbes {
			bit := h & uint64(len(f)*8-1)
			f[bit/8] |= 1 << (bit % 8)
			h += step
		}
	}
	return f
}

// MayHold reports whether meter may be one of the segment's. False is certain.
func (f Filter) MayHold(meter string) bool {
	if len(f) == 0 || bits.OnesCount(uint(len(f))) != 1 {
		return true // none, or of a form that this build does not know
	}
	h, step := filterHash(meter)
	for range filterProbes {
		bit := h & uint64(len(f)*8-1)
		if f[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
		h += step
	}
	return true
}

// filterHash returns the first probe and the odd step to the next ones: FNV-1a of
// the id in 64 bits, mixed by splitmix64's finaliser. It must not be the mix of
// gridloom.PartitionOf, whose low bits all meters of a partition share.
func filterHash(meter string) (h, step uint64) {
	f := fnv.New64a()
	f.Write([]byte(meter))
	x := f.Sum64() + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return x, x>>32 | 1
}
