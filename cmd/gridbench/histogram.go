package main

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets of at most 1/32 of their value, from
// 1 µs to about an hour; longer ones count in the last. Not safe for concurrent
// use: each connection has its own, and they are merged at the end.
type histogram struct {
	counts [histogramBuckets]uint64
	n      uint64
	max    time.Duration
}

const (
	subBits          = 5 // 32 buckets for every doubling
	histogramBuckets = 28 << subBits
)

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile returns the upper bound of the bucket that the q-th part of the
// durations reaches, in milliseconds; 0 if there are none. Requires 0 < q <= 1.
func (h *histogram) quantile(q float64) float64 {
	left := uint64(q * float64(h.n))
	for i, c := range h.counts {
		if c > 0 && left <= c {
			return min(upperMicros(i), float64(h.max.Nanoseconds())/1e3) / 1e3
		}
		left -= min(c, left)
	}
	return float64(h.max.Nanoseconds()) / 1e6
}

// bucketOf: values below 32 µs have a bucket each; above, the leading bit picks
// the row and the five bits below it the column.
func bucketOf(d time.Duration) int {
	us := uint64(max(0, d.Microseconds()))
	if us < 1<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - 1 - subBits
	return min((shift+1)<<subBits+int(us>>shift&(1<<subBits-1)), histogramBuckets-1)
}

func upperMicros(bucket int) float64 {
	if bucket < 1<<subBits {
		return float64(bucket + 1)
	}
	shift := bucket>>subBits - 1
	return float64((uint64(bucket&(1<<subBits-1)|1<<subBits) + 1) << shift)
}
