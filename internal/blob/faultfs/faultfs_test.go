package faultfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/gridloom/gridloom/internal/blob"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, f *FS, name, content string, sync bool) blob.File {
	t.Helper()
	h, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, err)
	_, err = h.Write([]byte(content))
	must(t, err)
	if sync {
		must(t, h.Sync())
	}
	return h
}

func content(t *testing.T, f *FS, name string) string {
	t.Helper()
	b, err := blob.ReadFile(f, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	must(t, err)
	return string(b)
}

func TestOnlySyncedNamesAndContentsSurvive(t *testing.T) {
	f := New()
	create(t, f, "/both", "x", true)
	must(t, f.SyncDir("/"))
	create(t, f, "/name-only", "x", false)
	must(t, f.SyncDir("/"))
	create(t, f, "/content-only", "x", true)
	h := create(t, f, "/both", "yy", false)
	f.LosePower()
	for name, want := range map[string]string{"/both": "x", "/name-only": "", "/content-only": "absent"} {
		if got := content(t, f, name); got != want {
			t.Errorf("after power loss %s = %q, want %q", name, got, want)
		}
	}
	if _, err := h.Write([]byte("z")); !errors.Is(err, ErrPowerLost) {
		t.Errorf("write to a file from before: %v, want ErrPowerLost", err)
	}
}

func TestUnsyncedRemoveAndRenameComeBack(t *testing.T) {
	f := New()
	create(t, f, "/a", "a", true)
	create(t, f, "/b", "b", true)
	must(t, f.SyncDir("/"))
	must(t, f.Remove("/a"))
	must(t, f.Rename("/b", "/c"))
	f.LosePower()
	if a, b, c := content(t, f, "/a"), content(t, f, "/b"), content(t, f, "/c"); a != "a" || b != "b" || c != "absent" {
		t.Errorf("a, b, c = %q, %q, %q", a, b, c)
	}
}

func TestTruncateIsForgottenUnlessSynced(t *testing.T) {
	f := New()
	h := create(t, f, "/a", "0123456789", true)
	must(t, f.SyncDir("/"))
	must(t, h.Truncate(4))
	_, err := h.Write([]byte("xy"))
	must(t, err)
	if got := content(t, f, "/a"); got != "0123xy" {
		t.Fatalf("before power loss: %q", got)
	}
	f.LosePower()
	if got := content(t, f, "/a"); got != "0123456789" {
		t.Errorf("after power loss: %q", got)
	}
}

// TestContentAgainstModel compares writes, truncates and syncs with two plain byte slices.
func TestContentAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		f := New()
		h := create(t, f, "/a", "", true)
		must(t, f.SyncDir("/"))
		var now, disk []byte
		for range 30 {
			switch rng.IntN(4) {
			case 0, 1:
				p := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(9))
				_, err := h.Write(p)
				must(t, err)
				now = append(now, p...)
			case 2:
				size := rng.IntN(len(now) + 3)
				must(t, h.Truncate(int64(size)))
				if size > len(now) {
					now = append(now, make([]byte, size-len(now))...)
				}
				now = now[:size]
			case 3:
				must(t, h.Sync())
				disk = bytes.Clone(now)
			}
			if got := content(t, f, "/a"); got != string(now) {
				t.Fatalf("content %q, want %q", got, now)
			}
		}
		f.LosePower()
		if got := content(t, f, "/a"); got != string(disk) {
			t.Fatalf("after power loss %q, want %q", got, disk)
		}
	}
}

func TestChanceKeepsAPrefix(t *testing.T) {
	kept := map[int]bool{}
	for seed := range uint64(64) {
		f := New()
		h := create(t, f, "/a", "stable", true)
		must(t, f.SyncDir("/"))
		_, err := h.Write([]byte("-unsynced"))
		must(t, err)
		f.PowerOff(rand.New(rand.NewPCG(seed, 0)))
		f.Restart()
		got := content(t, f, "/a")
		want := []byte("stable-unsynced")
		if len(got) < 6 || got[:6] != "stable" || len(got) > len(want) {
			t.Fatalf("left %q", got)
		}
		for i := range got {
			if got[i] != want[i] && got[i] != 0 {
				t.Fatalf("left %q", got)
			}
		}
		kept[len(got)] = true
	}
	if len(kept) < 5 {
		t.Errorf("64 power losses left only %d different lengths", len(kept))
	}
}

func TestInjectedFaults(t *testing.T) {
	f := New()
	f.Inject(FailAt(2, syscall.ENOSPC))
	h, err := f.OpenFile("/a", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	if _, err := h.Write([]byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("second operation: %v, want ENOSPC", err)
	}
	f.Inject(FailAt(1, &Partial{Bytes: 3, Err: syscall.ENOSPC}))
	if n, err := h.Write([]byte("abcdef")); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("half write = %d, %v", n, err)
	}
	if got := content(t, f, "/a"); got != "abc" {
		t.Errorf("after half a write: %q", got)
	}
	f.Inject(PowerLossAt(1, nil))
	if err := h.Sync(); !errors.Is(err, ErrPowerLost) {
		t.Errorf("sync: %v, want ErrPowerLost", err)
	}
	if _, err := f.Stat("/"); !errors.Is(err, ErrPowerLost) {
		t.Errorf("stat without power: %v", err)
	}
	f.Restart()
	if got := content(t, f, "/a"); got != "absent" {
		t.Errorf("after power loss: %q", got)
	}
}
