package main

import (
	"math"
	"testing"
	"time"
)

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	var h histogram
	for us := 1; us <= 200_000; us++ {
		h.add(time.Duration(us) * time.Microsecond)
	}
	f := func(q, wantMs float64) {
		t.Helper()
		if got := h.quantile(q); math.Abs(got-wantMs) > 0.035*wantMs {
			t.Errorf("quantile(%v) = %v ms, want about %v", q, got, wantMs)
		}
	}
	f(0.01, 2)
	f(0.5, 100)
	f(0.99, 198)
	f(1, 200)
}

func TestEveryDurationHasABucket(t *testing.T) {
	last := -1
	for us := int64(0); us < 1<<33; us += us/50 + 1 {
		b := bucketOf(time.Duration(us) * time.Microsecond)
		if b < last || b >= histogramBuckets {
			t.Fatalf("bucketOf(%d µs) = %d after %d", us, b, last)
		}
		if up := upperMicros(b); b < histogramBuckets-1 && float64(us) >= up {
			t.Fatalf("%d µs is in bucket %d, which ends at %v", us, b, up)
		}
		last = b
	}
}
