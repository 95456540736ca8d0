package main

import (
	"testing"

	"github.com/gridloom/gridloom"
)

// TestTrafficStaysOutOfTheFuture: what is ahead of the clock is refused, and would be
// counted as lost. A long run takes meters of the past up to now, gaps included.
func TestTrafficStaysOutOfTheFuture(t *testing.T) {
	reg, err := lookUpRegisters()
	if err != nil {
		t.Fatal(err)
	}
	const now = gridloom.Millis(1_795_000_000_000)
	for seed := range uint64(20) {
		tr := newTraffic("gw", 1, 2, seed, reg)
		tr.now = func() gridloom.Millis { return now }
		for i := range tr.meters {
			tr.meters[i] = tr.newMeter(i == 0)
			tr.meters[i].at = now - 12*gridloom.Hour // soon at its end
			tr.meters[i].past = true
		}
		for range 200 {
			for _, m := range tr.next() {
				for _, e := range m.entries {
					if e.start+e.length > now {
						t.Fatalf("seed %d: a reading of %s, now is %s", seed, e.start+e.length, now)
					}
				}
			}
		}
		if tr.exchanged == 0 {
			t.Fatalf("seed %d: no meter came to its end", seed)
		}
	}
}
