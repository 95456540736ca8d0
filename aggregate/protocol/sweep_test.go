package protocol

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestVerdicts(t *testing.T) {
	const lease = 15 * time.Minute
	f := func(name string, s Sweep, file File, want Verdict) {
		t.Helper()
		s.Lease = lease
		if got := s.Verdict(&file); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	mine := Sweep{Epoch: 5, TopEpoch: 5, Owned: time.Hour}
	young := Sweep{Epoch: 5, TopEpoch: 5, Owned: lease - 1}
	f("an old owner's, old", mine, File{Epoch: 4, Age: lease}, Orphan)
	f("an old owner's, in a manifest", mine, File{Epoch: 1, Age: time.Hour, Named: true}, Named)
	f("a zombie has just written it", mine, File{Epoch: 4, Age: time.Second}, Leased)
	f("written by a clock that was ahead", mine, File{Epoch: 4, Age: -time.Hour}, Leased)
	f("a query of before the claim may read it", young, File{Epoch: 4, Age: time.Hour}, Leased)
	f("the clock jumped ahead after the claim", young, File{Epoch: 4, Age: 1000 * time.Hour}, Leased)
	f("of a commit under way", mine, File{Epoch: 5, Age: time.Hour}, Making)
	f("replaced long ago", mine, File{Epoch: 5, Dropped: true, Since: lease}, Dropped)
	f("replaced just now", mine, File{Epoch: 5, Age: time.Hour, Dropped: true, Since: lease - 1}, Leased)
	f("an old owner's, replaced just now", mine, File{Epoch: 2, Age: time.Hour, Dropped: true, Since: 0}, Leased)
	f("replaced, and in the manifest of before", mine, File{Epoch: 5, Dropped: true, Since: time.Hour, Named: true}, Named)
	f("somebody has claimed since", Sweep{Epoch: 5, TopEpoch: 6, Owned: time.Hour}, File{Epoch: 4, Age: time.Hour}, Halted)
}

// TestNothingIsDeletedEarly: whatever the wall clock says, no file goes that is named, is of
// the owner's own epoch without having been dropped, or may be read by a query that
// began when it was still named.
func TestNothingIsDeletedEarly(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	span := func() time.Duration { return time.Duration(rnd.Int64N(int64(time.Hour))) - 10*time.Minute }
	deleted := 0
	for range 100_000 {
		s := Sweep{Epoch: 1 + rnd.Uint64N(4), TopEpoch: 1 + rnd.Uint64N(4), Owned: span(), Lease: 15 * time.Minute}
		f := File{Epoch: 1 + rnd.Uint64N(4), Age: span(), Named: rnd.IntN(4) == 0, Dropped: rnd.IntN(2) == 0, Since: span()}
		v := s.Verdict(&f)
		if !v.Deletes() {
			continue
		}
		deleted++
		superseded := s.Owned // at the claim at the latest
		if f.Dropped {
			superseded = f.Since
		}
		if f.Named || s.TopEpoch > s.Epoch || superseded < s.Lease || !f.Dropped && f.Epoch >= s.Epoch {
			t.Fatalf("%+v of %+v is deleted (%s)", f, s, v)
		}
	}
	if deleted < 1000 {
		t.Errorf("only %d of 100,000 files were deleted", deleted)
	}
}
