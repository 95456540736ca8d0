package stream

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gridloom/gridloom"
)

// Append stores one frame in the log of a partition and returns its sequence. It
// returns nil only when the log has it: with the embedded server that is after its
// fsync. The frame is not kept and not changed.
//
// ErrUnavailable: the log or the disk is full, or NATS did not answer; the frame may
// have been stored all the same, so the caller repeats it and readings of one
// identity and order count once. ErrInvalid: no such partition, or larger than the
// server takes. ErrCorrupt: the log is not the one that was joined; nothing more is
// appended until a restart.
//
// With one replica every append is one fsync, one after the other for the whole
// stream: a caller gathers into the next frame while one is in flight.
func (s *Stream) Append(ctx context.Context, partition int, frame []byte) (uint64, error) {
	if err := s.checkPartition(partition); err != nil {
		return 0, err
	}
	if err := s.mayAppend(len(frame)); err != nil {
		return 0, err
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	ctx, unlink := s.linked(ctx)
	defer unlink()
	before := s.greatest.Load()
	began := time.Now()
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: s.layout.subject(partition), Data: frame})
	if err != nil {
		return 0, s.appendFailed(partition, causeOf(ctx, err))
	}
	s.met.appendSeconds.Observe(time.Since(began).Seconds())
	s.met.appendBytes.Add(float64(len(frame)))
	if ack.Stream != LogName {
		return 0, s.setForeign(fmt.Errorf("%w: subject %s belongs to stream %s", gridloom.ErrCorrupt, s.layout.subject(partition), ack.Stream))
	}
	// Sequences only grow. One that does not was given by a log that was rolled back
	// or made anew: the owners would never read this frame.
	if ack.Sequence <= before {
		return 0, s.setForeign(fmt.Errorf("%w: the log gave sequence %d after %d: it was rolled back or replaced; stop all roles and restore it", gridloom.ErrCorrupt, ack.Sequence, before))
	}
	for {
		was := s.greatest.Load()
		if ack.Sequence <= was || s.greatest.CompareAndSwap(was, ack.Sequence) {
			return ack.Sequence, nil
		}
	}
}

// mayAppend refuses before anything is sent: a log that is not ours, or no room on the disk.
func (s *Stream) mayAppend(bytes int) error {
	if err := s.foreign.Load(); err != nil {
		s.met.appendFailures.WithLabelValues("foreign").Inc()
		return *err
	}
	if err := s.room.forAppend(bytes); err != nil {
		s.met.appendFailures.WithLabelValues("disk").Inc()
		return err
	}
	return nil
}

func (s *Stream) appendFailed(partition int, err error) error {
	if isFull(err) {
		s.met.appendFailures.WithLabelValues("full").Inc()
		return fmt.Errorf("%w: the log is full: it holds its %s; it empties as partitions commit, or give it more (log size)", gridloom.ErrUnavailable, size(s.max))
	}
	s.met.appendFailures.WithLabelValues("nats").Inc()
	return kindOf(fmt.Sprintf("append to partition %d", partition), err)
}

// setForeign closes the log to appends for the life of s and returns why.
func (s *Stream) setForeign(err error) error {
	if s.foreign.CompareAndSwap(nil, &err) {
		s.log.Error("the log is not the one that was joined; nothing more is appended", "err", err)
	}
	return *s.foreign.Load()
}

// deadline gives ctx the append time-out where it has none.
func (s *Stream) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.cfg.AppendTimeout)
}

// LastFrame names the last frame of a partition, the zero value if it has none, asked
// from the leader.
func (s *Stream) LastFrame(ctx context.Context, partition int) (gridloom.FrameRef, error) {
	if err := s.checkPartition(partition); err != nil {
		return gridloom.FrameRef{}, err
	}
	m, err := s.frames.GetLastMsgForSubject(ctx, s.layout.subject(partition))
	if err != nil {
		return notFoundIs(gridloom.FrameRef{}, fmt.Sprintf("last frame of partition %d", partition), err)
	}
	return gridloom.FrameRef{Seq: m.Sequence, CRC: crc32.Checksum(m.Data, castagnoli)}, nil
}

// LastSequence returns the sequence of the last frame of a partition, 0 if it has
// none. It is asked from the stream's leader.
func (s *Stream) LastSequence(ctx context.Context, partition int) (uint64, error) {
	last, err := s.LastFrame(ctx, partition)
	return last.Seq, err
}
