package stream_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

func TestReserveFollowsTheSizeOfTheDisk(t *testing.T) {
	f := func(total, want int64) {
		t.Helper()
		if got := stream.Reserve(total); got != want {
			t.Errorf("Reserve(%d MiB) = %d MiB, want %d MiB", total/mib, got/mib, want/mib)
		}
	}
	f(512*mib, 128*mib) // a quarter of a small one
	f(4*gib, 1*gib)
	f(16*gib, 2*gib) // 2 GiB
	f(100*gib, 10*gib)
	f(0, 0)
}

// disk is a file system of 512 MiB whose free space the test sets: 128 MiB must stay free.
type disk struct{ free atomic.Int64 }

func (d *disk) statfs(string) (free, total int64, err error) { return d.free.Load(), 512 * mib, nil }

func startOn(t *testing.T, d *disk) *streamtest.Server {
	t.Helper()
	d.free.Store(400 * mib)
	return streamtest.Start(t, streamtest.Partitions(1), func(c *stream.Config) {
		c.Disk = stream.Disk{Dir: t.TempDir(), Statfs: d.statfs, Poll: 5 * time.Millisecond}
	})
}

// until waits for the gate to say ok of f.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func TestFullDiskStopsAppendsFirstAndHeadsLast(t *testing.T) {
	var d disk
	srv := startOn(t, &d)
	s, ctx := srv.Stream, testContext(t)
	rev, err := s.CreateHead(ctx, newHead(s, 0, "c0"))
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, 0, "while there is room")

	d.free.Store(120 * mib)
	until(t, "appends stop", func() bool { return s.Writable() != nil })
	_, err = s.Append(ctx, 0, []byte("too late"))
	if !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	for _, word := range []string{"120.0 MiB free", "128.0 MiB must stay free", "140.8 MiB", "delete files or enlarge"} {
		if err == nil || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Append = %v, want one line that says %q", err, word)
		}
	}
	if err := s.AppendRejects(ctx, []gridloom.Reject{{Reason: "SYNTAX"}}); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("AppendRejects = %v, want ErrUnavailable", err)
	}
	if rev, err = s.SwapHead(ctx, newHead(s, 0, "c1"), rev); err != nil {
		t.Errorf("SwapHead with %d MiB free: %v", d.free.Load()/mib, err)
	}
	if u, err := s.Usage(ctx); err != nil || !u.Alarm || u.Problem == "" || u.DiskReserve != 128*mib {
		t.Errorf("Usage = %+v, %v; want an alarm and a problem", u, err)
	}

	d.free.Store(20 * mib)
	until(t, "commits stop", func() bool { return s.Committable() != nil })
	if _, err := s.SwapHead(ctx, newHead(s, 0, "c2"), rev); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("SwapHead = %v, want ErrUnavailable", err)
	}

	d.free.Store(130 * mib) // above the reserve, but not by a tenth
	until(t, "commits go on", func() bool { return s.Committable() == nil })
	if s.Writable() == nil {
		t.Error("appends go on at the edge of the reserve: they would flap")
	}
	d.free.Store(200 * mib)
	until(t, "appends go on", func() bool { return s.Writable() == nil })
	mustAppend(t, s, 0, "room again")
	if _, err := s.SwapHead(ctx, newHead(s, 0, "c2"), rev); err != nil {
		t.Errorf("SwapHead: %v", err)
	}
}

func TestFastFillIsSeenBeforeThePoll(t *testing.T) {
	var d disk
	d.free.Store(400 * mib)
	srv := streamtest.Start(t, streamtest.Partitions(1), func(c *stream.Config) {
		c.Disk = stream.Disk{Dir: t.TempDir(), Statfs: d.statfs, Poll: time.Hour}
	})
	frame := make([]byte, 600<<10)
	d.free.Store(128*mib + 3*int64(len(frame)))
	for range 10 {
		_, err := srv.Stream.Append(testContext(t), 0, frame)
		if err != nil {
			if d.free.Load() < 128*mib {
				t.Errorf("the reserve is broken: %d MiB free", d.free.Load()/mib)
			}
			return
		}
		d.free.Add(-int64(len(frame)))
	}
	t.Errorf("ten appends went through, %d MiB free", d.free.Load()/mib)
}

// TestForeignFileIsSeenByWhatIsWrittenNext: a copy to the same disk can take more
// than the reserve between two polls, and a write that fails switches JetStream off.
func TestForeignFileIsSeenByWhatIsWrittenNext(t *testing.T) {
	var d disk
	d.free.Store(400 * mib)
	srv := streamtest.Start(t, streamtest.Partitions(1), func(c *stream.Config) {
		c.Disk = stream.Disk{Dir: t.TempDir(), Statfs: d.statfs, Poll: time.Hour}
	})
	s, ctx := srv.Stream, testContext(t)
	rev, err := s.CreateHead(ctx, newHead(s, 0, "c0"))
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, s, 0, "while there is room")
	d.free.Store(20 * mib)
	if _, err := s.Append(ctx, 0, []byte("too late")); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("Append = %v, want ErrUnavailable", err)
	}
	d.free.Store(200 * mib)
	mustAppend(t, s, 0, "room again")
	d.free.Store(20 * mib)
	if _, err := s.SwapHead(ctx, newHead(s, 0, "c1"), rev); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("SwapHead = %v, want ErrUnavailable", err)
	}
}

func TestFullLogRefusesAndTakesAgainAfterAPurge(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(1), func(c *stream.Config) { c.MaxBytes = mib })
	f := newFleet(t, srv.Stream)
	frame := strings.Repeat("x", 100<<10)
	var last uint64
	var err error
	for range 20 {
		var seq uint64
		if seq, err = srv.Stream.Append(testContext(t), 0, []byte(frame)); err != nil {
			break
		}
		last = seq
	}
	if !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "the log is full") || !strings.Contains(err.Error(), "1.0 MiB") {
		t.Fatalf("Append to a full log = %v, want ErrUnavailable that says so", err)
	}
	if got := read(t, srv.Stream, 0, gridloom.Head{}, int(last)); len(got) != int(last) {
		t.Errorf("%d frames in a full log, want %d: none may have been dropped", len(got), last)
	}
	f.commit(0, last, frame)
	f.purge()
	mustAppend(t, srv.Stream, 0, frame)
}

func TestLogTakesAQuarterOfASmallDisk(t *testing.T) {
	var d disk
	d.free.Store(400 * mib)
	srv := streamtest.Start(t, func(c *stream.Config) {
		c.MaxBytes, c.RejectBytes = 0, 0
		c.Disk = stream.Disk{Dir: t.TempDir(), Statfs: d.statfs}
	})
	u, err := srv.Stream.Usage(testContext(t))
	if err != nil || u.MaxBytes != 128*mib {
		t.Errorf("MaxBytes = %d MiB, %v; want 128", u.MaxBytes/mib, err)
	}
}
