package sim

import (
	"os"
	"testing"
	"time"

	"github.com/gridloom/gridloom/internal/blob"
)

// broken names the promises that a world does not keep. nil keeps all of them.
type broken struct {
	lyingLog    bool // a frame in twenty is acknowledged and not stored
	blindHeads  bool // a head is put whatever stands there
	noSync      bool // the disk of a device says that it has synced and has not
	earlyAnswer bool // ingest answers before the log does
	forgetful   bool // a device takes a lost connection for an acknowledgement
	hasty       bool // files are swept without regard to who reads them
}

func (b *broken) log() bool     { return b != nil && b.lyingLog }
func (b *broken) heads() bool   { return b != nil && b.blindHeads }
func (b *broken) early() bool   { return b != nil && b.earlyAnswer }
func (b *broken) forgets() bool { return b != nil && b.forgetful }

func (b *broken) lease() time.Duration {
	if b != nil && b.hasty {
		return time.Nanosecond
	}
	return readerLease.Duration()
}

func (b *broken) disk(d blob.FS) blob.FS {
	if b != nil && b.noSync {
		return noSync{d}
	}
	return d
}

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

// TestBrokenWorldsAreFoundOut shows that the checks can fail: each promise that is
// broken underneath is noticed within a few seeds.
func TestBrokenWorldsAreFoundOut(t *testing.T) {
	const most = 20
	f := func(name string, b broken) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(most) {
				if _, err := run(t.Context(), seed, eventsEach, nil, &b); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("%d seeds have passed", most)
		})
	}
	f("a log that acknowledges what it does not store", broken{lyingLog: true})
	f("heads that are put and not swapped", broken{blindHeads: true})
	f("a disk that does not sync", broken{noSync: true})
	f("a PUBACK before the log has answered", broken{earlyAnswer: true})
	f("a lost connection taken for an acknowledgement", broken{forgetful: true})
	f("a sweep that waits for no reader", broken{hasty: true})
}
