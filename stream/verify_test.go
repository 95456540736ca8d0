package stream_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// operator is a NATS client beside gridloom's: what a person with the nats tool can do.
func operator(t *testing.T, srv *streamtest.Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(srv.NATS))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// readTo is a head that has read partition 0 up to and with the frame at seq.
func readTo(s *stream.Stream, seq uint64, frame string) gridloom.Head {
	h := newHead(s, 0, "c")
	h.NextSeq, h.LastRef = seq+1, gridloom.FrameRef{Seq: seq, CRC: crcOf([]byte(frame))}
	return h
}

func appendFrames(t *testing.T, s *stream.Stream, n int) {
	t.Helper()
	for i := range n {
		mustAppend(t, s, 0, fmt.Sprintf("frame %d", i+1))
	}
}

func wantCorrupt(t *testing.T, s *stream.Stream, h gridloom.Head, word string) {
	t.Helper()
	r, err := s.Follow(testContext(t), h.Partition, h)
	if !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), word) {
		t.Errorf("Follow = %v, %v; want ErrCorrupt that says %q", r, err, word)
	}
}

func TestFollowGoesOnWhereTheHeadStands(t *testing.T) {
	srv := streamtest.Start(t)
	appendFrames(t, srv.Stream, 10)
	got := read(t, srv.Stream, 0, readTo(srv.Stream, 4, "frame 4"), 6)
	if got[0].Sequence != 5 || string(got[5].Data) != "frame 10" {
		t.Errorf("read on at %d to %q, want 5 to frame 10", got[0].Sequence, got[5].Data)
	}
}

func TestFollowRefusesALogThatIsNotTheOneThatWasRead(t *testing.T) {
	srv := streamtest.Start(t)
	s := srv.Stream
	appendFrames(t, s, 10)
	mustAppend(t, s, 1, "of partition 1") // sequence 11
	f := func(word string, change func(h *gridloom.Head)) {
		t.Helper()
		h := readTo(s, 4, "frame 4")
		change(&h)
		wantCorrupt(t, s, h, word)
	}
	f("has crc", func(h *gridloom.Head) { h.LastRef.CRC++ })
	f("created", func(h *gridloom.Head) { h.StreamCreated = h.StreamCreated.Add(1) })
	f("rolled back", func(h *gridloom.Head) { h.NextSeq = 13 })
	f("not before next_seq", func(h *gridloom.Head) { h.LastRef.Seq = 5 })
	f("names no stream", func(h *gridloom.Head) { *h = gridloom.Head{NextSeq: 5} })
	f("is on gridloom.log.1.1", func(h *gridloom.Head) {
		h.NextSeq, h.LastRef = 12, gridloom.FrameRef{Seq: 11, CRC: crcOf([]byte("of partition 1"))}
	})
}

func TestFollowRefusesALogPurgedPastTheHead(t *testing.T) {
	srv := streamtest.Start(t)
	appendFrames(t, srv.Stream, 10)
	st, err := operator(t, srv).Stream(t.Context(), stream.LogName)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Purge(t.Context(), jetstream.WithPurgeSequence(8)); err != nil {
		t.Fatal(err)
	}
	wantCorrupt(t, srv.Stream, readTo(srv.Stream, 4, "frame 4"), "not in the log any more")
	wantCorrupt(t, srv.Stream, newHead(srv.Stream, 0, "fresh"), "were purged")
	read(t, srv.Stream, 0, readTo(srv.Stream, 8, "frame 8"), 2)
}

func TestFollowRefusesARolledBackLogEvenAfterItGrewAgain(t *testing.T) {
	srv := streamtest.Start(t)
	appendFrames(t, srv.Stream, 5)
	srv.Stop()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(srv.Dir)); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	appendFrames(t, srv.Stream, 10)
	h := readTo(srv.Stream, 15, "frame 10")
	srv.Stop()
	if err := os.RemoveAll(filepath.Join(srv.Dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(srv.Dir, "jetstream"), os.DirFS(filepath.Join(backup, "jetstream"))); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	wantCorrupt(t, srv.Stream, h, "rolled back")
	for range 20 {
		mustAppend(t, srv.Stream, 0, "another frame")
	}
	wantCorrupt(t, srv.Stream, h, "has crc")
}

func TestReplacedLogStopsReadersAndAppends(t *testing.T) {
	srv := streamtest.Start(t, func(c *stream.Config) { c.Watch = shortWatch })
	s := srv.Stream
	ctx := testContext(t)
	appendFrames(t, s, 3)
	r, err := s.Follow(ctx, 0, newHead(s, 0, "c"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	js := operator(t, srv)
	st, err := js.Stream(ctx, stream.LogName)
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	if err := js.DeleteStream(ctx, stream.LogName); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, 0, []byte("into the wrong log")); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("Append = %v, want ErrCorrupt", err)
	}
	if err := s.Writable(); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("Writable = %v, want ErrCorrupt", err)
	}
	for err = nil; err == nil; {
		_, err = r.Next(ctx) // frames of before may still be on their way
	}
	if !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("Next = %v, want ErrCorrupt", err)
	}
}
