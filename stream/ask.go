package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gridloom/gridloom"
)

// Pauses between two tries to find a partition's owner.
const (
	askPause     = 20 * time.Millisecond
	askPauseMost = 200 * time.Millisecond

	askIdle = 250 * time.Millisecond // without a word; then it is asked whether the owner is still the owner
)

// AskOwner asks the owner that a partition's head names. begin is called at the start
// of each try and returns what takes the chunks of the answer, in their order; chunks
// of a try that failed are void. Where the owner is gone, is about to go or does not
// answer, the head is read again and whoever it names then is asked, until ctx ends.
//
// ErrUnavailable: no whole answer until then. ErrNotFound: the partition never had an
// owner. ErrCorrupt: the owner has stopped for that, or what it sent does not read.
func (s *Stream) AskOwner(ctx context.Context, kind string, partition int, question []byte, begin func() (take func(chunk []byte) error)) error {
	pause := askPause
	for {
		err := s.askNow(ctx, kind, partition, question, begin)
		if !errors.Is(err, gridloom.ErrUnavailable) && !errors.Is(err, gridloom.ErrFenced) || errors.Is(err, gridloom.ErrCorrupt) {
			return err
		}
		s.met.askRetries.Inc()
		if ctx.Err() != nil || !wait(ctx, pause) {
			return fmt.Errorf("%w: %w", err, ctx.Err())
		}
		pause = min(2*pause, askPauseMost)
	}
}

func (s *Stream) askNow(ctx context.Context, kind string, partition int, question []byte, begin func() func([]byte) error) error {
	head, _, err := s.LoadHead(ctx, partition)
	if err != nil {
		return err
	}
	stillOwner := func() error {
		now, _, err := s.LoadHead(ctx, partition)
		if err == nil && now.Epoch != head.Epoch {
			err = fmt.Errorf("%w: it was superseded by %s, epoch %d", gridloom.ErrUnavailable, now.Node, now.Epoch)
		}
		return err
	}
	if err := s.ask(ctx, ownerSubject(kind, partition, head.Epoch), question, begin(), stillOwner); err != nil {
		if errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("%w: partition %d has no owner now: the last was %s, epoch %d", gridloom.ErrUnavailable, partition, head.Node, head.Epoch)
		}
		return fmt.Errorf("partition %d of %s: %w", partition, head.Node, err)
	}
	return nil
}

// ask sends one question and takes the whole answer, for as long as stillOwner says nil.
func (s *Stream) ask(ctx context.Context, subject string, question []byte, take func([]byte) error, stillOwner func() error) error {
	inbox := s.nc.NewInbox()
	sub, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return kindOf("ask", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection is gone at worst
	if err := sub.SetPendingLimits(askedMsgs, askedBytes); err != nil {
		return kindOf("ask", err)
	}
	m := nats.NewMsg(subject)
	m.Reply, m.Data = inbox, question
	if until, ok := ctx.Deadline(); ok {
		m.Header.Set(headerWait, time.Until(until).String())
	}
	if err := s.nc.PublishMsg(m); err != nil {
		return kindOf("ask", err)
	}
	for n := 0; ; n++ {
		m, err := nextWord(ctx, sub, stillOwner)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return err
		case err != nil: // too slow, or nothing came
			return fmt.Errorf("%w: its answer stopped after %d chunks: %w", gridloom.ErrUnavailable, n, err)
		}
		if kinds := m.Header.Get(headerError); kinds != "" {
			return newRemoteError(kinds, string(m.Data))
		}
		if end := m.Header.Get(headerEnd); end != "" {
			if end != strconv.Itoa(n) {
				return fmt.Errorf("%w: %d chunks came of %s", gridloom.ErrUnavailable, n, end)
			}
			return nil
		}
		if got := m.Header.Get(headerChunk); got != strconv.Itoa(n) {
			return fmt.Errorf("%w: chunk %q came instead of %d", gridloom.ErrUnavailable, got, n)
		}
		if err := take(m.Data); err != nil {
			return err
		}
		if m.Reply != "" {
			if err := s.nc.Publish(m.Reply, strconv.AppendInt(nil, int64(n), 10)); err != nil {
				return kindOf("ask", err)
			}
		}
	}
}

// nextWord waits for the next message of an answer. An owner that was killed says nothing.
func nextWord(ctx context.Context, sub *nats.Subscription, stillOwner func() error) (*nats.Msg, error) {
	for {
		ictx, cancel := context.WithTimeout(ctx, askIdle)
		m, err := sub.NextMsgWithContext(ictx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return m, err
		}
		if err := stillOwner(); err != nil {
			return nil, err
		}
	}
}
