package stream_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// crcOf is the crc that heads name frames by.
func crcOf(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

func mustAppend(tb testing.TB, s *stream.Stream, partition int, frame string) uint64 {
	tb.Helper()
	seq, err := s.Append(testContext(tb), partition, []byte(frame))
	if err != nil {
		tb.Fatalf("Append(%d, %.20q): %v", partition, frame, err)
	}
	return seq
}

// read follows partition from head and returns n frames.
func read(tb testing.TB, s *stream.Stream, partition int, head gridloom.Head, n int) []stream.Message {
	tb.Helper()
	ctx := testContext(tb)
	r, err := s.Follow(ctx, partition, head)
	if err != nil {
		tb.Fatalf("Follow(%d): %v", partition, err)
	}
	defer r.Close()
	var all []stream.Message
	for len(all) < n {
		ms, err := r.Next(ctx)
		if err != nil {
			tb.Fatalf("Next after %d of %d frames: %v", len(all), n, err)
		}
		all = append(all, ms...)
	}
	return all
}

func newHead(s *stream.Stream, partition int, commit string) gridloom.Head {
	l := s.Layout()
	return gridloom.Head{
		Format: gridloom.HeadFormat, Generation: l.Generation, Partition: partition, Epoch: 1,
		Owner: "o1", Node: "n1", CommitID: commit, NextSeq: 1, StreamCreated: l.Created,
	}
}

func TestFramesComeBackInOrderPerPartitionAcrossRestart(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(2))
	want := map[int][]string{}
	for i := range 40 {
		p := i % 2
		f := fmt.Sprintf("frame %d", i)
		want[p] = append(want[p], f)
		if seq := mustAppend(t, srv.Stream, p, f); seq != uint64(i+1) {
			t.Fatalf("frame %d got sequence %d, want %d", i, seq, i+1)
		}
	}
	created := srv.Stream.Layout().Created
	srv.Restart()
	if got := srv.Stream.Layout().Created; !got.Equal(created) {
		t.Errorf("created after restart = %v, want %v", got, created)
	}
	for p := range 2 {
		got := read(t, srv.Stream, p, gridloom.Head{}, len(want[p]))
		for i, m := range got {
			if string(m.Data) != want[p][i] || m.Sequence != uint64(2*i+p+1) || m.LoggedAt < gridloom.MillisOf(created) {
				t.Errorf("partition %d frame %d = %q at %d logged %v, want %q at %d", p, i, m.Data, m.Sequence, m.LoggedAt, want[p][i], 2*i+p+1)
			}
		}
	}
}

func TestReaderSeesNewFramesAndLargeOnes(t *testing.T) {
	srv := streamtest.Start(t)
	ctx := testContext(t)
	r, err := srv.Stream.Follow(ctx, 3, newHead(srv.Stream, 3, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, size := range []int{1, 256 << 10, 3 << 20, 6 << 20, 2} {
		frame := bytes.Repeat([]byte{byte(i)}, size)
		seq := mustAppend(t, srv.Stream, 3, string(frame))
		ms, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(ms) != 1 || ms[0].Sequence != seq || !bytes.Equal(ms[0].Data, frame) {
			t.Fatalf("frame of %d bytes came back as %d frames", size, len(ms))
		}
	}
	last, err := srv.Stream.LastSequence(ctx, 3)
	if err != nil || last != 5 {
		t.Errorf("LastSequence = %d, %v, want 5", last, err)
	}
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}
