package stream_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

func TestHeadMovesByCompareAndSwap(t *testing.T) {
	srv := streamtest.Start(t)
	s, ctx := srv.Stream, testContext(t)
	if _, _, err := s.LoadHead(ctx, 2); !errors.Is(err, gridloom.ErrNotFound) {
		t.Fatalf("LoadHead before any = %v, want ErrNotFound", err)
	}
	first := newHead(s, 2, "first")
	rev, err := s.CreateHead(ctx, first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateHead(ctx, newHead(s, 2, "other")); !errors.Is(err, gridloom.ErrFenced) {
		t.Errorf("a second CreateHead = %v, want ErrFenced", err)
	}
	second := newHead(s, 2, "second")
	second.Epoch, second.NextSeq, second.LastRef = 2, 9, gridloom.FrameRef{Seq: 8, CRC: 7}
	second.Manifest = gridloom.FileRef{Path: "g1/p2/e2/manifest-9-x.json", CRC: 1 << 31}
	rev2, err := s.SwapHead(ctx, second, rev)
	if err != nil || rev2 <= rev {
		t.Fatalf("SwapHead = %d, %v; want above %d", rev2, err, rev)
	}
	if _, err := s.SwapHead(ctx, newHead(s, 2, "late"), rev); !errors.Is(err, gridloom.ErrFenced) {
		t.Errorf("SwapHead on an old revision = %v, want ErrFenced", err)
	}
	// The answer of a swap that is already stored was lost: the caller repeats it.
	if again, err := s.SwapHead(ctx, second, rev); err != nil || again != rev2 {
		t.Errorf("the same SwapHead again = %d, %v; want %d", again, err, rev2)
	}
	srv.Restart()
	got, gotRev, err := srv.Stream.LoadHead(ctx, 2)
	if err != nil || gotRev != rev2 {
		t.Fatalf("LoadHead = revision %d, %v; want %d", gotRev, err, rev2)
	}
	if d := cmp.Diff(second, got); d != "" {
		t.Errorf("head after restart (-want +got):\n%s", d)
	}
}

func TestExactlyOneOfManyClaimsWins(t *testing.T) {
	srv := streamtest.Start(t)
	s, ctx := srv.Stream, testContext(t)
	rev, err := s.CreateHead(ctx, newHead(s, 0, "c0"))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 10 {
		var wg sync.WaitGroup
		var won atomic.Uint64
		var wins atomic.Int32
		for i := range 4 {
			wg.Go(func() {
				h := newHead(s, 0, fmt.Sprintf("round %d of %d", round, i))
				r, err := s.SwapHead(ctx, h, rev)
				switch {
				case err == nil:
					wins.Add(1)
					won.Store(r)
				case !errors.Is(err, gridloom.ErrFenced):
					t.Errorf("claim %d: %v, want success or ErrFenced", i, err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 {
			t.Fatalf("round %d: %d claims won, want 1", round, wins.Load())
		}
		rev = won.Load()
	}
}

func TestDeletedHeadCanBeCreatedAgain(t *testing.T) {
	srv := streamtest.Start(t)
	s, ctx := srv.Stream, testContext(t)
	rev, err := s.CreateHead(ctx, newHead(s, 0, "c0"))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := operator(t, srv).KeyValue(ctx, stream.HeadsName)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(ctx, "1.0"); err != nil || e.Revision() != rev {
		t.Fatalf("the KV bucket's key 1.0 = %v, %v; want revision %d", e, err, rev)
	}
	if err := kv.Delete(ctx, "1.0"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.LoadHead(ctx, 0); !errors.Is(err, gridloom.ErrNotFound) {
		t.Errorf("LoadHead of a deleted head = %v, want ErrNotFound", err)
	}
	if _, err := s.SwapHead(ctx, newHead(s, 0, "c1"), rev); !errors.Is(err, gridloom.ErrFenced) {
		t.Errorf("SwapHead of a deleted head = %v, want ErrFenced", err)
	}
	// One that was about to create the first head must look at the store anew.
	if _, err := s.CreateHead(ctx, newHead(s, 0, "c2")); !errors.Is(err, gridloom.ErrFenced) {
		t.Errorf("CreateHead of a deleted head = %v, want ErrFenced", err)
	}
	_, rev, _ = s.LoadHead(ctx, 0)
	if _, err := s.SwapHead(ctx, newHead(s, 0, "c3"), rev); err != nil {
		t.Errorf("SwapHead over a delete marker: %v", err)
	}
}

func TestHeadsBucketThatIsGoneIsNamed(t *testing.T) {
	srv := streamtest.Start(t)
	ctx := testContext(t)
	if err := operator(t, srv).DeleteStream(ctx, "KV_"+stream.HeadsName); err != nil {
		t.Fatal(err)
	}
	if _, _, err := srv.Stream.LoadHead(ctx, 0); !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), "repair head") {
		t.Errorf("LoadHead = %v, want ErrCorrupt that names repair head", err)
	}
	srv.Restart() // makes an empty one
	if _, _, err := srv.Stream.LoadHead(ctx, 0); !errors.Is(err, gridloom.ErrNotFound) {
		t.Errorf("LoadHead after restart = %v, want ErrNotFound", err)
	}
}

// deafServer hands out connections that stop hearing the server while deaf is set:
// requests arrive and are carried out, answers are late.
type deafServer struct {
	in interface{ InProcessConn() (net.Conn, error) }
	mu sync.RWMutex // locked: deaf
}

type deafConn struct {
	net.Conn
	s *deafServer
}

func (d *deafServer) InProcessConn() (net.Conn, error) {
	c, err := d.in.InProcessConn()
	return &deafConn{c, d}, err
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.mu.RLock()
	defer c.s.mu.RUnlock()
	return n, err
}

func TestSwapWhoseAnswerIsLostIsRepeatedAndFound(t *testing.T) {
	srv := streamtest.Start(t)
	ctx := testContext(t)
	deaf := &deafServer{in: srv.NATS}
	s, err := stream.Connect(ctx, stream.Config{InProcess: deaf, AppendTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rev, err := s.CreateHead(ctx, newHead(s, 0, "c0"))
	if err != nil {
		t.Fatal(err)
	}
	deaf.mu.Lock()
	type result struct {
		rev uint64
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := s.SwapHead(ctx, newHead(s, 0, "c1"), rev)
		done <- result{r, err}
	}()
	// The put is stored although its sender does not know.
	var stored uint64
	for stored == 0 {
		h, r, err := srv.Stream.LoadHead(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if h.CommitID == "c1" {
			stored = r
		}
	}
	timer := time.NewTimer(300 * time.Millisecond) // some repeats go by unheard
	<-timer.C
	deaf.mu.Unlock()
	if got := <-done; got.err != nil || got.rev != stored {
		t.Errorf("SwapHead = %d, %v; want %d", got.rev, got.err, stored)
	}
}

func TestHeadThatCannotBeIsRefused(t *testing.T) {
	s := streamtest.Start(t).Stream
	f := func(what string, change func(h *gridloom.Head)) {
		t.Helper()
		h := newHead(s, 0, "c")
		change(&h)
		if _, err := s.CreateHead(testContext(t), h); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", what, err)
		}
	}
	f("no commit id", func(h *gridloom.Head) { h.CommitID = "" })
	f("another generation", func(h *gridloom.Head) { h.Generation++ })
	f("no such partition", func(h *gridloom.Head) { h.Partition = 4 })
	f("too large", func(h *gridloom.Head) { h.Owner = strings.Repeat("o", gridloom.MaxHeadBytes) })
	if _, err := s.SwapHead(testContext(t), newHead(s, 0, "c"), 0); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("SwapHead at revision 0 = %v, want ErrInvalid", err)
	}
}

func TestHeadFormatIsFrozen(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("testdata", "head.json"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := stream.DecodeHead(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := stream.EncodeHead(h)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.TrimSpace(string(want)), string(got)); d != "" {
		t.Errorf("testdata/head.json comes back changed (-want +got):\n%s", d)
	}
}

func FuzzDecodeHead(f *testing.F) {
	sample, err := os.ReadFile(filepath.Join("testdata", "head.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"commit_id":"c","generation":1,"partition":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := stream.DecodeHead(data)
		if err != nil {
			if !errors.Is(err, gridloom.ErrCorrupt) {
				t.Fatalf("DecodeHead(%q) = %v, want ErrCorrupt", data, err)
			}
			return
		}
		enc, err := stream.EncodeHead(h)
		if errors.Is(err, gridloom.ErrInvalid) && len(data) <= gridloom.MaxHeadBytes {
			return // escapes can make the canonical form longer than what was read
		}
		if err != nil {
			t.Fatalf("EncodeHead(%+v): %v", h, err)
		}
		again, err := stream.DecodeHead(enc)
		if err != nil || !cmp.Equal(h, again) {
			t.Fatalf("DecodeHead(%s) = %+v, %v; want %+v", enc, again, err, h)
		}
	})
}
