package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// claimed stores a head of epoch e for partition 1.
func claimed(t *testing.T, s *stream.Stream, epoch uint64) {
	t.Helper()
	h, rev, err := s.LoadHead(t.Context(), 1)
	h.Generation, h.Partition, h.Epoch, h.Node, h.NextSeq = 1, 1, epoch, fmt.Sprintf("n%d", epoch), 1
	h.CommitID, h.StreamCreated = fmt.Sprintf("c%d", epoch), s.Layout().Created
	if errors.Is(err, gridloom.ErrNotFound) {
		_, err = s.CreateHead(t.Context(), h)
	} else if err == nil {
		_, err = s.SwapHead(t.Context(), h, rev)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// gather asks for partition 1 and returns the chunks of the answer.
func gather(ctx context.Context, s *stream.Stream, kind string, question []byte) (chunks [][]byte, err error) {
	err = s.AskOwner(ctx, kind, 1, question, func() func([]byte) error {
		chunks = nil
		return func(c []byte) error { chunks = append(chunks, c); return nil }
	})
	return chunks, err
}

// TestAnswerComesWhole: whatever an owner sends arrives, in order and unchanged, also
// when it is far more than may be on its way at once.
func TestAnswerComesWhole(t *testing.T) {
	s := streamtest.Start(t).Stream
	claimed(t, s, 3)
	sizes := map[string][]int{
		stream.AskTail:   {512 << 10, 1, 0, 512 << 10, 512 << 10, 17, 512 << 10, 512 << 10, 300, 512 << 10, 512 << 10, 2 << 20, 5},
		stream.AskSeries: {7},
		stream.AskStatus: nil,
	}
	ahead, most := atomic.Int64{}, atomic.Int64{}
	withdraw, err := s.ServeOwner(1, 3, func(_ context.Context, kind string, question []byte, send func([]byte) error) error {
		if string(question) != "what "+kind {
			return fmt.Errorf("%w: question %q", gridloom.ErrInvalid, question)
		}
		for i, n := range sizes[kind] {
			if err := send(bytes.Repeat([]byte{byte(i)}, n)); err != nil {
				return err
			}
			most.Store(max(most.Load(), ahead.Add(1)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer withdraw()
	for kind, want := range sizes {
		n := 0
		err := s.AskOwner(t.Context(), kind, 1, []byte("what "+kind), func() func([]byte) error {
			return func(c []byte) error {
				if n == len(want) || !bytes.Equal(c, bytes.Repeat([]byte{byte(n)}, want[n])) {
					t.Errorf("%s: chunk %d has %d bytes, want %v", kind, n, len(c), want)
				}
				n++
				ahead.Add(-1)
				return nil
			}
		})
		if err != nil || n != len(want) {
			t.Errorf("%s: %d chunks of %d came, %v", kind, n, len(want), err)
		}
	}
	// What was sent and not yet taken; one more was just handed to send.
	if got := most.Load(); got > 6 {
		t.Errorf("up to %d chunks were on their way at once", got)
	}
}

// TestQuestionFollowsTheHead: an owner that has been superseded is not asked, and one
// that claims while the asker waits is.
func TestQuestionFollowsTheHead(t *testing.T) {
	s := streamtest.Start(t).Stream
	serve := func(epoch uint64) func() {
		t.Helper()
		withdraw, err := s.ServeOwner(1, epoch, func(_ context.Context, _ string, _ []byte, send func([]byte) error) error {
			return send(fmt.Appendf(nil, "epoch %d", epoch))
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(withdraw)
		return withdraw
	}
	f := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		chunks, err := gather(ctx, s, stream.AskTail, nil)
		if got := string(bytes.Join(chunks, []byte("|"))); err != nil || got != want {
			t.Errorf("answer %q, %v; want %q", got, err, want)
		}
	}
	if _, err := gather(t.Context(), s, stream.AskTail, nil); !errors.Is(err, gridloom.ErrNotFound) {
		t.Errorf("without a head: %v, want ErrNotFound", err)
	}
	claimed(t, s, 4)
	withdraw := serve(4)
	f("epoch 4")
	claimed(t, s, 5) // 4 does not know yet
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := gather(ctx, s, stream.AskTail, nil)
	if !errors.Is(err, gridloom.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody serves epoch 5: %v, want ErrUnavailable and the end of the wait", err)
	}
	go func() { // ends with the test's context at the latest
		timer := time.NewTimer(150 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			serve(5)
		case <-t.Context().Done():
		}
	}()
	f("epoch 5")
	withdraw()
	f("epoch 5")
}

// TestBrokenAnswerIsNone: an owner that fails, stops in the middle or loses a chunk
// gives an error within the wait and never a shorter answer.
func TestBrokenAnswerIsNone(t *testing.T) {
	s := streamtest.Start(t).Stream
	claimed(t, s, 1)
	f := func(answer stream.Answerer, kinds ...error) {
		t.Helper()
		withdraw, err := s.ServeOwner(1, 1, answer)
		if err != nil {
			t.Fatal(err)
		}
		defer withdraw()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err = gather(ctx, s, stream.AskTail, nil)
		for _, kind := range kinds {
			if !errors.Is(err, kind) {
				t.Errorf("error %v, want one of %v", err, kinds)
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s, the wait was 1 s", took)
		}
	}
	fails := func(kinds ...error) stream.Answerer {
		return func(_ context.Context, _ string, _ []byte, send func([]byte) error) error {
			return errors.Join(send([]byte("part")), errors.Join(kinds...))
		}
	}
	f(fails(gridloom.ErrUnavailable), gridloom.ErrUnavailable)
	f(fails(gridloom.ErrFenced), gridloom.ErrFenced)
	f(fails(gridloom.ErrInvalid), gridloom.ErrInvalid)
	f(fails(gridloom.ErrUnavailable, gridloom.ErrCorrupt), gridloom.ErrUnavailable, gridloom.ErrCorrupt)
	f(fails(errors.New("of no kind")), gridloom.ErrUnavailable)
	f(func(ctx context.Context, _ string, _ []byte, send func([]byte) error) error { // says nothing more
		err := send([]byte("part"))
		<-ctx.Done()
		return errors.Join(err, ctx.Err())
	}, gridloom.ErrUnavailable, context.DeadlineExceeded)
}

// TestSilentOwnerIsNotWaitedFor: an owner that was killed says nothing, and when
// another has claimed the partition that one is asked, within the wait.
func TestSilentOwnerIsNotWaitedFor(t *testing.T) {
	s := streamtest.Start(t).Stream
	claimed(t, s, 1)
	asked := make(chan struct{}, 16)
	for epoch, answer := range map[uint64]stream.Answerer{
		1: func(ctx context.Context, _ string, _ []byte, send func([]byte) error) error {
			err := send([]byte("part"))
			asked <- struct{}{}
			<-ctx.Done()
			return errors.Join(err, ctx.Err())
		},
		2: func(_ context.Context, _ string, _ []byte, send func([]byte) error) error {
			return send([]byte("whole"))
		},
	} {
		withdraw, err := s.ServeOwner(1, epoch, answer)
		if err != nil {
			t.Fatal(err)
		}
		defer withdraw()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	var chunks [][]byte
	go func() {
		var err error
		chunks, err = gather(ctx, s, stream.AskTail, nil)
		done <- err
	}()
	<-asked
	claimed(t, s, 2)
	if err := <-done; err != nil || len(chunks) != 1 || string(chunks[0]) != "whole" {
		t.Errorf("answer %q, %v; want that of the new owner", chunks, err)
	}
	cancel()
}
