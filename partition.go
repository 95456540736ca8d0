package gridloom

import "hash/fnv"

// PartitionOf returns the partition of a meter among count partitions: FNV-1a of
// the id's bytes in 64 bits, mixed by MurmurHash3's finaliser, modulo count. It is
// frozen: a meter's whole history lies in the partition that this function names.
// Requires count > 0.
func PartitionOf(meter string, count int) int {
	h := fnv.New64a()
	h.Write([]byte(meter))
	return int(mix64(h.Sum64()) % uint64(count))
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
