package blob_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

func open(t *testing.T, root string, fsys blob.FS) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDir(root, fsys)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func paths(t *testing.T, d *blob.Dir, prefix string) []string {
	t.Helper()
	infos, err := d.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var ps []string
	for _, i := range infos {
		ps = append(ps, i.Path)
	}
	return ps
}

// TestDirKeepsFiles runs on the real file system and on the one in memory.
func TestDirKeepsFiles(t *testing.T) {
	for name, fsys := range map[string]blob.FS{"os": blob.OS{}, "memory": faultfs.New()} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			root := filepath.Join(t.TempDir(), "a", "b")
			d := open(t, root, fsys)
			want := []string{"g1/p0/e1/raw-1-a.parquet", "g1/p0/e2/raw-2-a.parquet", "g1/p10/e1/raw-1-a.parquet"}
			for i, p := range want {
				if err := d.Put(ctx, p, []byte{byte(i)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Put(ctx, want[0], []byte("other")); !errors.Is(err, gridloom.ErrInvalid) {
				t.Errorf("second Put under one path: %v, want ErrInvalid", err)
			}
			if got, err := d.Get(ctx, want[0]); err != nil || !bytes.Equal(got, []byte{0}) {
				t.Errorf("Get = %q, %v", got, err)
			}
			for prefix, n := range map[string]int{"": 3, "g1/p0/": 2, "g1/p0": 2, "g1/p1": 1, "g1/p0/e2/raw": 1, "g2/": 0} {
				if got := paths(t, d, prefix); len(got) != n {
					t.Errorf("List(%q) = %q, want %d", prefix, got, n)
				}
			}
			if err := d.Delete(ctx, want[1]); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{want[0], want[2]}, paths(t, d, "")); diff != "" {
				t.Error(diff)
			}
			if _, err := d.Get(ctx, want[1]); !errors.Is(err, gridloom.ErrNotFound) || !strings.Contains(err.Error(), want[1]) {
				t.Errorf("Get of a missing file: %v", err)
			}
			if err := d.Delete(ctx, want[1]); !errors.Is(err, gridloom.ErrNotFound) {
				t.Errorf("Delete of a missing file: %v", err)
			}
		})
	}
}

func TestBadPathsAreRefused(t *testing.T) {
	d := open(t, t.TempDir(), blob.OS{})
	for _, p := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "a/.b", "a b", "a\x00", "ä", strings.Repeat("a", 600)} {
		if err := d.Put(t.Context(), p, nil); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("Put(%q) = %v, want ErrInvalid", p, err)
		}
	}
}

func TestLeftoverTemporaryFilesAreHiddenAndRemoved(t *testing.T) {
	root := t.TempDir()
	d := open(t, root, blob.OS{})
	if err := d.Put(t.Context(), "a/b", nil); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(root, "a", ".tmp-left")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := paths(t, d, ""); len(got) != 1 {
		t.Errorf("List = %q", got)
	}
	open(t, root, blob.OS{}) // another process of the same store, beside one that writes
	if _, err := os.Stat(left); err != nil {
		t.Errorf("a file that may be being written is gone: %v", err)
	}
	old := time.Now().Add(-61 * time.Minute)
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	open(t, root, blob.OS{})
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after OpenDir: %v", err)
	}
}

// TestPutSurvivesPowerLoss takes the power away at every operation of a few Puts,
// both losing all that was not synced and losing it by chance.
func TestPutSurvivesPowerLoss(t *testing.T) {
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1000+i) }
	for at := 1; ; at++ {
		survived := true
		for seed := range uint64(8) {
			var chance *rand.Rand
			if seed > 0 {
				chance = rand.New(rand.NewPCG(seed, uint64(at)))
			}
			fsys := faultfs.New()
			fsys.Inject(faultfs.PowerLossAt(at, chance))
			stored := map[string][]byte{}
			d, err := blob.OpenDir("/data/store", fsys)
			for i := 0; err == nil && i < 4; i++ {
				p := fmt.Sprintf("g1/p%d/e1/raw-%d", i%2, i)
				if err = d.Put(t.Context(), p, content(i)); err == nil {
					stored[p] = content(i)
				}
			}
			if err == nil {
				continue
			}
			survived = false
			fsys.Restart()
			d = open(t, "/data/store", fsys)
			for p, want := range stored {
				if got, err := d.Get(t.Context(), p); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("power lost at operation %d: %s was stored, is now %d bytes, %v", at, p, len(got), err)
				}
			}
			for _, p := range paths(t, d, "") {
				got, err := d.Get(t.Context(), p)
				if err != nil || !bytes.Equal(got, content(int(p[len(p)-1]-'0'))) {
					t.Fatalf("power lost at operation %d: %s is torn: %d bytes, %v", at, p, len(got), err)
				}
			}
			for _, p := range fsys.Files() {
				if strings.Contains(p, ".tmp-") {
					t.Fatalf("power lost at operation %d: %s is left", at, p)
				}
			}
		}
		if survived {
			if at < 20 {
				t.Fatalf("only %d operations were tried", at)
			}
			return
		}
	}
}

func TestFullDiskIsUnavailableAndLeavesNothing(t *testing.T) {
	count := faultfs.New()
	d := open(t, "/s", count)
	before := count.Ops()
	if err := d.Put(t.Context(), "g1/a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= count.Ops()-before; at++ {
		for _, fault := range []error{syscall.ENOSPC, &faultfs.Partial{Bytes: 1, Err: syscall.ENOSPC}, syscall.EIO} {
			fsys := faultfs.New()
			d := open(t, "/s", fsys)
			fsys.Inject(faultfs.FailAt(at, fault))
			err := d.Put(t.Context(), "g1/a", []byte("abc"))
			if !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "g1/a") {
				t.Errorf("operation %d fails with %v: Put = %v", at, fault, err)
			}
			fsys.Inject(nil)
			if got, err := d.Get(t.Context(), "g1/a"); err == nil && string(got) != "abc" {
				t.Errorf("operation %d fails: half a file %q", at, got)
			}
			if err := d.Put(t.Context(), "g1/b", []byte("abc")); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		}
	}
}

// TestADirectoryOfAnEarlierAttemptBecomesDurable: who made it may have ended, or failed,
// before he synced its parent, and everything in it hangs on that name.
func TestADirectoryOfAnEarlierAttemptBecomesDurable(t *testing.T) {
	for n := 1; ; n++ {
		f := faultfs.New()
		f.Inject(faultfs.FailAt(n, syscall.EIO))
		err := blob.MkdirAll(f, "/var/lib/gridloom", 0o700)
		f.Inject(nil)
		if err := blob.MkdirAll(f, "/var/lib/gridloom", 0o700); err != nil {
			t.Fatal(err)
		}
		f.LosePower()
		if _, err := f.Stat("/var/lib/gridloom"); err != nil {
			t.Errorf("change %d failed and MkdirAll was called again; after a power loss: %v", n, err)
		}
		if err == nil {
			return // every change had its turn
		}
	}
}

// TestMkdirAllBelowWhatCannotBeSynced: the parent of a mount point may lie on a file
// system that knows no fsync.
func TestMkdirAllBelowWhatCannotBeSynced(t *testing.T) {
	for _, why := range []error{syscall.EINVAL, syscall.EROFS, syscall.EACCES} {
		f := faultfs.New()
		if err := f.Mkdir("/data", 0o700); err != nil {
			t.Fatal(err)
		}
		f.Inject(func(op faultfs.Op) error {
			if op.Kind == faultfs.SyncDir {
				return why
			}
			return nil
		})
		if err := blob.MkdirAll(f, "/data", 0o700); err != nil {
			t.Errorf("SyncDir fails with %v: MkdirAll = %v", why, err)
		}
	}
	f := faultfs.New()
	if err := f.Mkdir("/data", 0o700); err != nil {
		t.Fatal(err)
	}
	f.Inject(faultfs.FailAt(1, syscall.EIO))
	if err := blob.MkdirAll(f, "/data", 0o700); !errors.Is(err, syscall.EIO) {
		t.Errorf("MkdirAll = %v, want EIO: whether the name is durable is not known", err)
	}
}
