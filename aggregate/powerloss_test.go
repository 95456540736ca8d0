package aggregate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
	"github.com/gridloom/gridloom/internal/pane"
)

const powerRoot = "/data/store"

// noSync is a file system whose syncs do nothing.
type noSync struct{ blob.FS }

func (noSync) SyncDir(string) error { return nil }

func (n noSync) OpenFile(name string, flag int, perm os.FileMode) (blob.File, error) {
	f, err := n.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return noSyncFile{f}, nil
}

type noSyncFile struct{ blob.File }

func (noSyncFile) Sync() error { return nil }

// whole reads everything that the head names.
func (r *rig) whole() error {
	ctx := r.t.Context()
	h := r.heads.heads[0]
	if h.Manifest.Path == "" {
		return nil
	}
	store := pane.NewStore(r.disk, pane.StoreOptions{})
	m, err := store.ReadManifest(ctx, h.Manifest)
	if err != nil {
		return err
	}
	p := &partition{store: store, manifest: m}
	err = p.eachSegment(ctx, pane.KindRaw, pane.Selector{}, func(s pane.Segment) error {
		return store.ReadRaw(ctx, s, pane.Selector{}, func(*gridloom.Reading) error { return nil })
	})
	if err == nil {
		err = p.eachSegment(ctx, pane.KindPane, pane.Selector{}, func(s pane.Segment) error {
			return store.ReadPanes(ctx, s, pane.Selector{}, pane.AllColumns, func(*gridloom.Pane) error { return nil })
		})
	}
	if err == nil && m.Snapshot != nil {
		err = store.ReadSnapshot(ctx, *m.Snapshot, func(*pane.SnapshotRow) error { return nil })
	}
	return err
}

// awaitCommit waits until all of the log is committed, or reports that the power was lost before.
func (r *rig) awaitCommit(lost <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	last, _ := r.log.LastSequence(ctx, 0)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-lost:
			return true
		case <-ctx.Done():
			r.t.Fatal("nothing was committed within 30 s")
		case <-tick.C:
		}
		if h, _, err := r.heads.LoadHead(ctx, 0); err == nil && h.NextSeq > last {
			return false
		}
	}
}

// powerLosses runs an owner on a store that loses its power at a random change, or
// between two, and forgets what was not synced: all of it, or parts by chance. After
// each power loss everything that the head names must be whole; the first time it
// is not is returned. Log and heads are synced by NATS and lose nothing. cuts counts
// the power losses that happened within an operation of the store.
func powerLosses(t *testing.T, seed uint64, wrap func(blob.FS) blob.FS) (cuts int, err error) {
	t.Helper()
	const t0 = gridloom.Millis(1_770_000_000_000)
	rnd := rand.New(rand.NewPCG(seed, 3))
	power := faultfs.New()
	r := newRig(t, t0)
	openStore := func() {
		var err error
		if r.disk, err = blob.OpenDir(powerRoot, wrap(power)); err != nil {
			t.Fatal(err)
		}
	}
	openStore()
	l := newLoad(seed, t0)
	for life := range 6 {
		var cut atomic.Bool
		lost := make(chan struct{})
		r.start(nil)
		var chance *rand.Rand
		if rnd.IntN(3) > 0 {
			chance = rand.New(rand.NewPCG(seed, uint64(life)))
		}
		fault := faultfs.PowerLossAt(1+rnd.IntN(80), chance)
		power.Inject(func(op faultfs.Op) error {
			err := fault(op)
			if err != nil && cut.CompareAndSwap(false, true) {
				// The machine is off: nothing reaches the log and the heads either.
				r.heads.closed.Store(true)
				r.log.closed.Store(true)
				close(lost)
			}
			return err
		})
		for range 3 + rnd.IntN(25) {
			r.now.Store(int64(max(gridloom.Millis(r.now.Load()), l.at)))
			if _, err := r.log.Append(t.Context(), 0, l.frame()); err != nil {
				break
			}
		}
		if r.awaitCommit(lost) {
			cuts++
		}
		r.crash()
		power.PowerOff(chance)
		power.Restart()
		openStore()
		if err := r.whole(); err != nil {
			return cuts, fmt.Errorf("life %d: %w", life, err)
		}
	}
	r.start(nil)
	r.check("after the power losses")
	r.stop()
	return cuts, nil
}

// TestHeadsNameOnlyWhatSurvivesPowerLoss takes the power away at random.
func TestHeadsNameOnlyWhatSurvivesPowerLoss(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 8
	}
	var cuts atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				n, err := powerLosses(t, seed, func(f blob.FS) blob.FS { return f })
				if err != nil {
					t.Error(err)
				}
				cuts.Add(int64(n))
			})
		}
	})
	t.Logf("%d power losses within a change of the store", cuts.Load())
	if cuts.Load() < int64(seeds) {
		t.Errorf("only %d power losses fell within a change of the store, want one a seed at least", cuts.Load())
	}
}

// TestWithoutSyncHeadsNameWhatIsGone shows that the test above can fail.
func TestWithoutSyncHeadsNameWhatIsGone(t *testing.T) {
	for seed := range uint64(5) {
		if _, err := powerLosses(t, seed, func(f blob.FS) blob.FS { return noSync{f} }); err == nil {
			t.Errorf("seed %d: everything is whole although nothing was synced", seed)
		} else if seed == 0 {
			t.Log(err)
		}
	}
}
