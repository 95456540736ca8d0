package stream_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// fleet holds the heads of all partitions as a test has committed them.
type fleet struct {
	t     *testing.T
	s     *stream.Stream
	heads map[int]gridloom.Head
	revs  map[int]uint64
}

func newFleet(t *testing.T, s *stream.Stream) *fleet {
	t.Helper()
	f := &fleet{t, s, map[int]gridloom.Head{}, map[int]uint64{}}
	for p := range s.Layout().Partitions {
		h := newHead(s, p, fmt.Sprintf("create %d", p))
		rev, err := s.CreateHead(testContext(t), h)
		if err != nil {
			t.Fatal(err)
		}
		f.heads[p], f.revs[p] = h, rev
	}
	return f
}

// commit moves partition p past the frame at seq.
func (f *fleet) commit(p int, seq uint64, frame string) {
	f.t.Helper()
	h := f.heads[p]
	h.NextSeq, h.LastRef, h.CommitID = seq+1, gridloom.FrameRef{Seq: seq, CRC: crcOf([]byte(frame))}, fmt.Sprintf("commit %d.%d", p, seq)
	rev, err := f.s.SwapHead(testContext(f.t), h, f.revs[p])
	if err != nil {
		f.t.Fatal(err)
	}
	f.heads[p], f.revs[p] = h, rev
}

func (f *fleet) purge() {
	f.t.Helper()
	if err := f.s.Purge(testContext(f.t), f.heads); err != nil {
		f.t.Fatalf("Purge: %v", err)
	}
}

func firstSequence(t *testing.T, s *stream.Stream) uint64 {
	t.Helper()
	u, err := s.Usage(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return u.FirstSequence
}

// TestPurgeTakesAllThatNoHeadNeeds appends and commits at random and purges now and
// then: the log begins exactly at the first frame that some head needs, and every
// partition can still be followed from its head.
func TestPurgeTakesAllThatNoHeadNeeds(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(3))
	f := newFleet(t, srv.Stream)
	rng := rand.New(rand.NewPCG(1, 2))
	open := map[int][]uint64{} // frames not yet committed
	for step := range 120 {
		p := rng.IntN(3)
		switch {
		case rng.IntN(3) > 0:
			open[p] = append(open[p], mustAppend(t, srv.Stream, p, fmt.Sprintf("of %d", p)))
		case len(open[p]) > 0:
			n := 1 + rng.IntN(len(open[p]))
			f.commit(p, open[p][n-1], fmt.Sprintf("of %d", p))
			open[p] = open[p][n:]
		}
		if step%10 != 9 {
			continue
		}
		before := firstSequence(t, srv.Stream)
		f.purge()
		want := uint64(1 << 62)
		for _, h := range f.heads {
			want = min(want, max(h.LastRef.Seq, 1))
		}
		if got := firstSequence(t, srv.Stream); got != max(want, before) {
			t.Fatalf("step %d: the log begins at %d, want %d", step, got, max(want, before))
		}
		for p, h := range f.heads {
			r, err := srv.Stream.Follow(testContext(t), p, h)
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			r.Close()
		}
	}
	if firstSequence(t, srv.Stream) == 1 {
		t.Error("nothing was ever purged: this test shows nothing")
	}
}

func TestPurgeTrustsTheStoredHeadsMoreThanItsCaller(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(2))
	f := newFleet(t, srv.Stream)
	for i := range 10 {
		mustAppend(t, srv.Stream, i%2, "frame")
	}
	f.commit(0, 9, "frame")
	f.commit(1, 4, "frame")
	h := f.heads[1]
	h.NextSeq, h.LastRef.Seq = 11, 10 // says that it has committed, but did not
	f.heads[1] = h
	f.purge()
	if got := firstSequence(t, srv.Stream); got != 4 {
		t.Errorf("the log begins at %d, want 4", got)
	}
	delete(f.heads, 1)
	if err := srv.Stream.Purge(testContext(t), f.heads); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("Purge without a head of partition 1 = %v, want ErrInvalid", err)
	}
}

func TestPurgeLeavesTheMargin(t *testing.T) {
	// 100 frames of 10 KiB, all committed; margin of age and bytes; where the log begins, at least and at most.
	f := func(age time.Duration, bytes int64, least, most uint64) {
		t.Helper()
		srv := streamtest.Start(t, streamtest.Partitions(1), func(c *stream.Config) { c.Margin = stream.Margin{Age: age, Bytes: bytes} })
		fl := newFleet(t, srv.Stream)
		frame := strings.Repeat("x", 10<<10)
		for range 100 {
			mustAppend(t, srv.Stream, 0, frame)
		}
		fl.commit(0, 100, frame)
		fl.purge()
		if got := firstSequence(t, srv.Stream); got < least || got > most {
			t.Errorf("margin %v, %d bytes: the log begins at %d, want %d to %d", age, bytes, got, least, most)
		}
	}
	f(time.Hour, 1<<30, 1, 1)
	f(time.Hour, 500<<10, 49, 53)         // about half of it
	f(time.Nanosecond, 1<<30, 100, 100)   // all is older: only what last_ref names stays
	f(-1, 0, 100, 100)                    // no margin
	f(time.Hour, 0, 1, 1)                 // 4 GiB by default, but half of 64 MiB
	f(time.Nanosecond, 500<<10, 100, 100) // whichever is less
}

func TestQuietPartitionIsSaidToPinTheLog(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(2), func(c *stream.Config) { c.MaxBytes = 1 << 20 })
	f := newFleet(t, srv.Stream)
	frame := strings.Repeat("x", 40<<10)
	mustAppend(t, srv.Stream, 1, "long ago")
	f.commit(1, 1, "long ago")
	for range 9 {
		mustAppend(t, srv.Stream, 0, frame)
	}
	f.commit(0, 10, frame)
	f.purge()
	if got := firstSequence(t, srv.Stream); got != 1 {
		t.Fatalf("the log begins at %d, want 1: last_ref of partition 1", got)
	}
	pinned, err := srv.Stream.Pinned(testContext(t), f.heads)
	if err != nil || len(pinned) != 1 || pinned[0] != 1 {
		t.Errorf("Pinned = %v, %v; want partition 1", pinned, err)
	}
	f.commit(1, mustAppend(t, srv.Stream, 1, "tick"), "tick")
	f.purge()
	if got := firstSequence(t, srv.Stream); got != 10 {
		t.Errorf("after a tick the log begins at %d, want 10", got)
	}
}

// TestPurgeLeavesALogThatWasRolledBack: what has come since at the places of frames that
// a head has read was read by nobody.
func TestPurgeLeavesALogThatWasRolledBack(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(1))
	f := newFleet(t, srv.Stream)
	for range 10 {
		mustAppend(t, srv.Stream, 0, "frame")
	}
	f.commit(0, 9, "what the log held before")
	if err := srv.Stream.Purge(testContext(t), f.heads); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("Purge = %v, want ErrCorrupt", err)
	}
	if got := firstSequence(t, srv.Stream); got != 1 {
		t.Errorf("the log begins at %d, want 1", got)
	}
}
