package stream

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// position is how far a partition has been read, and what proves that the log is
// still the one it was read from.
type position struct {
	created time.Time // of the stream; zero: nothing was read yet
	last    gridloom.FrameRef
	next    uint64 // first sequence not read, at least 1
}

func positionOf(h *gridloom.Head) (position, error) {
	p := position{created: h.StreamCreated, last: h.LastRef, next: max(h.NextSeq, 1)}
	if p.last.Seq >= p.next {
		return p, fmt.Errorf("%w: head of partition %d: last_ref %d is not before next_seq %d", gridloom.ErrCorrupt, h.Partition, p.last.Seq, h.NextSeq)
	}
	if p.created.IsZero() && p.next > 1 {
		return p, fmt.Errorf("%w: head of partition %d has read to %d but names no stream", gridloom.ErrCorrupt, h.Partition, h.NextSeq)
	}
	return p, nil
}

// verify asks the leader whether the log still is what was read up to p: the same
// stream, not shorter, the last frame read unchanged and thereby nothing after it
// purged. ErrCorrupt says which of these does not hold; the partition must stop.
func (s *Stream) verify(ctx context.Context, partition int, p position) error {
	err := s.verifyLog(ctx, partition, p)
	if errors.Is(err, gridloom.ErrCorrupt) {
		s.met.verifyFailures.Inc()
	}
	return err
}

func (s *Stream) verifyLog(ctx context.Context, partition int, p position) error {
	op := fmt.Sprintf("verify the log for partition %d", partition)
	const mend = "stop all roles; restore the log from a backup, or see gridloom repair head"
	info, err := s.frames.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%s: %w: stream %s is gone: %s", op, gridloom.ErrCorrupt, LogName, mend)
	}
	if err != nil {
		return kindOf(op, err)
	}
	corrupt := func(format string, v ...any) error {
		return fmt.Errorf("%s: %w: %s: %s", op, gridloom.ErrCorrupt, fmt.Sprintf(format, v...), mend)
	}
	if !p.created.IsZero() && !info.Created.Equal(p.created) {
		return corrupt("the head was read from a stream created %s, this one was created %s", p.created.Format(time.RFC3339Nano), info.Created.Format(time.RFC3339Nano))
	}
	if info.State.LastSeq < p.next-1 {
		return corrupt("the log ends at sequence %d, but it was read to %d: it was rolled back", info.State.LastSeq, p.next-1)
	}
	if p.last.Seq == 0 {
		if info.State.FirstSeq > p.next {
			return corrupt("frames before sequence %d were purged, but it was read only to %d", info.State.FirstSeq, p.next-1)
		}
		return nil
	}
	m, err := s.frames.GetMsg(ctx, p.last.Seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return corrupt("the last frame read, sequence %d, is not in the log any more (it begins at %d)", p.last.Seq, info.State.FirstSeq)
	case err != nil:
		return kindOf(op, err)
	case m.Subject != s.layout.subject(partition):
		return corrupt("sequence %d is on %s, not on %s", p.last.Seq, m.Subject, s.layout.subject(partition))
	}
	if crc := crc32.Checksum(m.Data, castagnoli); crc != p.last.CRC {
		return corrupt("the last frame read, sequence %d, has crc %08x, it had %08x", p.last.Seq, crc, p.last.CRC)
	}
	return nil
}

// notFoundIs returns v without an error if err only says that there is no such message.
func notFoundIs[T any](v T, op string, err error) (T, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return v, nil
	}
	return v, kindOf(op, err)
}
