package stream

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

// TestGuardTellsOneComparison: who asks while a comparison is noted hears of the one
// before or of this one, never that nothing is wrong because half of it was there.
func TestGuardTellsOneComparison(t *testing.T) {
	lost := fmt.Errorf("%w: rolled back", gridloom.ErrCorrupt)
	g := &Guard{s: &Stream{nc: new(nats.Conn)}, parts: make([]guarded, 1)}
	connection := g.s.connection()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				g.parts[0].note(connection-1, nil) // it was right over the connection before
				g.parts[0].note(connection, lost)
			}
		}
	})
	for range 200_000 {
		if err := g.Problem(0); err == nil {
			t.Error("the partition takes readings")
			break
		}
	}
	close(done)
	wg.Wait()
}

// busyHeads lets something happen after each head that is read.
type busyHeads struct {
	jetstream.Stream
	meanwhile func()
}

func (b *busyHeads) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	m, err := b.Stream.GetLastMsgForSubject(ctx, subject)
	b.meanwhile()
	return m, err
}

// TestGuardComparesAgainWhereTheHeadMoved: between a look at the head and a look at
// the log the owner commits, and what the head named before is purged.
func TestGuardComparesAgainWhereTheHeadMoved(t *testing.T) {
	s := embedded(t)
	head := gridloom.Head{Generation: s.layout.Generation, Epoch: 1, CommitID: "c1", StreamCreated: s.layout.Created}
	read := func(frame string) {
		seq, err := s.Append(t.Context(), 0, []byte(frame))
		if err != nil {
			t.Fatal(err)
		}
		head.NextSeq, head.LastRef = seq+1, gridloom.FrameRef{Seq: seq, CRC: crc32.Checksum([]byte(frame), castagnoli)}
	}
	read("one")
	revision, err := s.CreateHead(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	heads := s.heads
	s.heads = &busyHeads{heads, func() {
		s.heads = heads // once
		read("two")
		head.CommitID = "c2"
		if _, err := s.SwapHead(t.Context(), head, revision); err != nil {
			t.Error(err)
		}
		if err := s.frames.Purge(t.Context(), jetstream.WithPurgeSequence(head.LastRef.Seq)); err != nil {
			t.Error(err)
		}
	}}
	g := s.Guard()
	g.compare(t.Context(), s.connection())
	if err := g.Problem(0); err != nil {
		t.Errorf("the log is the right one: %v", err)
	}
}
