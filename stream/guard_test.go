package stream_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// guardOn runs a Guard until the returned function is called, or the test ends.
func guardOn(t *testing.T, s *stream.Stream) (g *stream.Guard, stop func()) {
	t.Helper()
	g = s.Guard()
	return g, runGuard(t, g)
}

func runGuard(t *testing.T, g *stream.Guard) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func awaitReady(t *testing.T, g *stream.Guard, ready bool) (err error) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if err = g.Ready(); (err == nil) == ready {
			return err
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited 20 s in vain for ready = %t: %v", ready, err)
		}
	}
}

// TestGuardTakesNothingBeforeItHasCompared, and then what Append takes.
func TestGuardTakesNothingBeforeItHasCompared(t *testing.T) {
	s := streamtest.Start(t).Stream
	if _, err := s.Guard().Append(t.Context(), 0, []byte("x")); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "being compared") {
		t.Errorf("before Run: %v, want ErrUnavailable", err)
	}
	g, _ := guardOn(t, s)
	awaitReady(t, g, true)
	if seq, err := g.Append(t.Context(), 0, []byte("x")); err != nil || seq != 1 {
		t.Errorf("Append = %d, %v; want 1", seq, err)
	}
}

// TestGuardRefusesALogThatWasRolledBack: a head has read further than the log goes.
// The other partitions go on.
func TestGuardRefusesALogThatWasRolledBack(t *testing.T) {
	s := streamtest.Start(t).Stream
	h := gridloom.Head{Generation: 1, Partition: 1, Epoch: 1, CommitID: "c", NextSeq: 10, StreamCreated: s.Layout().Created}
	if _, err := s.CreateHead(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	g, _ := guardOn(t, s)
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for err := g.Problem(1); err == nil || !strings.Contains(err.Error(), "rolled back"); err = g.Problem(1) {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit.C:
			t.Fatalf("waited in vain for a refusal: %v", err)
		}
	}
	if _, err := g.Append(t.Context(), 1, []byte("x")); !errors.Is(err, gridloom.ErrUnavailable) || !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("Append to the partition: %v, want ErrUnavailable for ErrCorrupt", err)
	}
	awaitProblemGone(t, g, 0)
	if _, err := g.Append(t.Context(), 0, []byte("x")); err != nil {
		t.Errorf("Append to another: %v", err)
	}
}

func awaitProblemGone(t *testing.T, g *stream.Guard, id int) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for g.Problem(id) != nil {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-limit.C:
			t.Fatalf("waited in vain for partition %d: %v", id, g.Problem(id))
		}
	}
}

// TestGuardComparesAfterAReconnect: what goes over a new connection is not taken
// before the log behind it was compared.
func TestGuardComparesAfterAReconnect(t *testing.T) {
	srv := streamtest.Start(t)
	nc, err := nats.Connect("", nats.InProcessServer(srv.NATS), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s, err := stream.Connect(t.Context(), stream.Config{Conn: nc, MaxBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	g, stop := guardOn(t, s)
	awaitReady(t, g, true)
	if _, err := g.Append(t.Context(), 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	stop() // nobody compares
	before := nc.Stats().Reconnects
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for nc.Stats().Reconnects == before || !nc.IsConnected() {
		select {
		case <-time.After(time.Millisecond):
		case <-limit.C:
			t.Fatal("no reconnect")
		}
	}
	if _, err := g.Append(t.Context(), 0, []byte("y")); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "being compared") {
		t.Errorf("over a new connection: %v, want ErrUnavailable", err)
	}
	runGuard(t, g)
	awaitReady(t, g, true)
	if _, err := g.Append(t.Context(), 0, []byte("y")); err != nil {
		t.Errorf("after the comparison: %v", err)
	}
}
