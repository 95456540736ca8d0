package gridloom

// PartitionOf returns the partition of a meter among count partitions: FNV-1a of
// the id's bytes in 64 bits, mixed by MurmurHash3's finaliser, modulo count. It is
// frozen: a meter's whole history lies in the partition that this function names.
// Requires count > 0.
func PartitionOf(meter string, count int) int {
	h := uint64(0xcbf29ce484222325)
	for i := range len(meter) {
		h = (h ^ uint64(meter[i])) * 0x100000001b3
	}
	return int(mix64(h) % uint64(count))
}

// mix64 is fmix64 of MurmurHash3 (Austin Appleby, public domain): FNV's low bits
// alone would put ids that differ in the last digit into few partitions.
func mix64(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}
