package aggregate

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// sweepRig is a rig whose clock a test moves and whose sweeps it does by hand.
type sweepRig struct {
	*rig
	ahead atomic.Int64 // of the real clock, in ns
	sweep *sweeper
}

func newSweepRig(t *testing.T) *sweepRig {
	t.Helper()
	return &sweepRig{rig: newRig(t, testStart)}
}

func (s *sweepRig) start(change func(*Config)) {
	s.t.Helper()
	s.rig.start(func(c *Config) {
		c.SnapshotEvery = time.Hour
		c.Clock = func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
		if change != nil {
			change(c)
		}
	})
	p := s.worker.owned(0)
	await(s.t, "the partition runs", func() bool { return s.state().State == "running" })
	s.sweep = newSweeper(p)
}

// left does a round and returns the stored files.
func (s *sweepRig) left() []string {
	s.t.Helper()
	if err := s.sweep.round(s.t.Context()); err != nil {
		s.t.Fatalf("sweep: %v", err)
	}
	list, err := s.disk.List(s.t.Context(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	paths := make([]string, len(list))
	for i := range list {
		paths[i] = list[i].Path
	}
	return paths
}

func (s *sweepRig) has(path string) bool {
	s.t.Helper()
	return slices.Contains(s.left(), path)
}

func (s *sweepRig) put(path string) string {
	s.t.Helper()
	if err := s.disk.Put(s.t.Context(), path, []byte("left behind")); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// TestSweepWaitsForReaders follows a file of a crashed owner, the manifests that later
// ones replace and a merged segment until they are deleted, each a lease after the last
// query that may read it began.
func TestSweepWaitsForReaders(t *testing.T) {
	s := newSweepRig(t)
	s.start(nil)
	l := newLoad(1, testStart)
	s.commitLoad(l, 6)
	s.stop()
	orphan := s.put("g1/p0/e1/raw-99-lost.parquet")
	before, _, err := s.heads.LoadHead(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}

	s.ahead.Store(int64(time.Hour)) // it is old by the wall clock, but the claim is new
	s.start(nil)
	all := s.left()
	if !slices.Contains(all, orphan) {
		t.Fatal("a file that a query of before the claim may read is deleted at once")
	}
	if n := testutil.ToFloat64(s.worker.metrics.sweeps.orphans); n < 1 {
		t.Errorf("%v orphans are counted", n)
	}
	s.commitLoad(l, 4) // the manifest that was claimed with is the fourth before the newest
	s.ahead.Add(int64(14 * time.Minute))
	if !s.has(orphan) || !s.has(before.Manifest.Path) {
		t.Fatal("deleted before the lease is over")
	}
	s.commitLoad(l, 1) // from now on it is the fifth
	s.ahead.Add(int64(2 * time.Minute))
	left := s.left()
	if slices.Contains(left, orphan) || slices.Contains(left, before.Manifest.Path) {
		t.Errorf("still there 16 minutes after the claim: %q", left)
	}
	if n := testutil.ToFloat64(s.worker.metrics.sweeps.orphans); n != 0 {
		t.Errorf("%v orphans are counted in the end", n)
	}
	if n := testutil.ToFloat64(s.worker.metrics.sweeps.files.WithLabelValues("raw", "orphan")); n != 1 {
		t.Errorf("%v raw orphans are counted as deleted", n)
	}

	// What `gridloom repair head` may need is whole: the newest manifests.
	store := pane.NewStore(s.disk, pane.StoreOptions{})
	manifests := 0
	for _, path := range left {
		if !strings.Contains(path, "/manifest-") {
			continue
		}
		manifests++
		m, err := store.PeekManifest(t.Context(), path)
		if err == nil {
			err = store.Tree(t.Context(), m, func(path string, _ *pane.Segment) {
				if !slices.Contains(left, path) {
					t.Errorf("%s is gone, and a manifest that is kept names it", path)
				}
			})
		}
		if err != nil {
			t.Error(err)
		}
	}
	if manifests < 1+retainManifests {
		t.Errorf("%d manifests are kept", manifests)
	}
	s.check("swept")
	s.stop()
}

// TestSweepLeavesWhatItDoesNotKnow: nothing goes while the store holds a later epoch than
// the head's, and never a file that gridloom has not named.
func TestSweepLeavesWhatItDoesNotKnow(t *testing.T) {
	s := newSweepRig(t)
	s.start(nil)
	l := newLoad(2, testStart)
	s.commitLoad(l, 2)
	s.stop()
	s.start(func(c *Config) { c.Alone = true })
	orphan := s.put("g1/p0/e1/pane-7-lost.parquet")
	strange := s.put("g1/p0/e1/notes.txt")
	next := s.put("g1/p0/e3/raw-8-next.parquet")
	s.ahead.Store(int64(time.Hour))
	before, err := s.disk.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if left := s.left(); len(left) != len(before) {
		t.Fatalf("deleted beneath a later epoch: %q of %d files are left", left, len(before))
	}
	if err := s.disk.Delete(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	left := s.left()
	if slices.Contains(left, orphan) || !slices.Contains(left, strange) {
		t.Errorf("left are %q, want %s and not %s", left, strange, orphan)
	}
	s.check("in between")

	// Somebody else claims: this owner deletes nothing any more, whatever it dropped.
	s.commitLoad(l, 6)
	h, rev, err := s.heads.LoadHead(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	h.Epoch++
	if _, err := s.heads.SwapHead(t.Context(), h, rev); err != nil {
		t.Fatal(err)
	}
	s.ahead.Add(int64(time.Hour))
	now, err := s.disk.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.left(); len(got) != len(now) {
		t.Errorf("a fenced owner deletes: %d files of %d are left", len(got), len(now))
	}
	s.crash()
}

// TestSweepGoesOnAfterAFailure: a file that cannot be deleted ends the round, and what
// was dropped is not forgotten.
func TestSweepGoesOnAfterAFailure(t *testing.T) {
	s := newSweepRig(t)
	s.start(nil)
	l := newLoad(4, testStart)
	s.commitLoad(l, 8)
	s.ahead.Store(int64(time.Hour))
	s.rig.put.closed.Store(true)
	if err := s.sweep.round(t.Context()); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Fatalf("sweep of a store that deletes nothing: %v", err)
	}
	s.rig.put.closed.Store(false)
	before, err := s.disk.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	left := s.left()
	var gone []string
	for _, f := range before {
		if !slices.Contains(left, f.Path) {
			gone = append(gone, f.Path[strings.LastIndex(f.Path, "/")+1:strings.LastIndex(f.Path, "/")+9])
		}
	}
	slices.Sort(gone)
	want := []string{"manifest", "manifest", "manifest", "manifest"} // of 8, all but the newest and three
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
	s.check("swept")
	s.stop()
}

// TestSweepRemembersWhatIsDroppedMeanwhile: a file that is written and dropped while a
// round runs, as by a merge that fails, is not in the round's list and yet there. A later
// round deletes it.
func TestSweepRemembersWhatIsDroppedMeanwhile(t *testing.T) {
	s := newSweepRig(t)
	s.start(nil)
	l := newLoad(6, testStart)
	s.commitLoad(l, 2)
	p := s.worker.owned(0)
	const path = "g1/p0/e1/raw-1-vain.parquet"
	fail := sync.OnceFunc(func() { p.drops(s.put(path)) })
	s.rig.put.listed.Store(&fail)
	if !s.has(path) {
		t.Fatalf("%s is not there", path)
	}
	s.ahead.Add(int64(time.Hour))
	if s.has(path) {
		t.Errorf("%s is forgotten", path)
	}
	s.check("swept")
	s.stop()
}
