package stream

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// verify asks the leader whether the log still is what was read up to p: the same
// stream, not shorter, the last frame read unchanged and thereby nothing after it
// purged. ErrCorrupt says which of these does not hold; the partition must stop.
func (s *Stream) verify(ctx context.Context, partition int, p protocol.Position) error {
	err := s.verifyLog(ctx, partition, p)
	if errors.Is(err, gridloom.ErrCorrupt) {
		s.met.verifyFailures.Inc()
	}
	return err
}

func (s *Stream) verifyLog(ctx context.Context, partition int, p protocol.Position) error {
	op := fmt.Sprintf("verify the log for partition %d", partition)
	const mend = "stop all roles; restore the log from a backup, or see gridloom repair head"
	info, err := s.frames.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%s: %w: stream %s is gone: %s", op, gridloom.ErrCorrupt, LogName, mend)
	}
	if err != nil {
		return kindOf(op, err)
	}
	l := protocol.Log{Created: info.Created, FirstSeq: info.State.FirstSeq, LastSeq: info.State.LastSeq}
	if err := protocol.VerifyLog(p, l); err != nil {
		return fmt.Errorf("%s: %w: %s", op, err, mend)
	}
	if p.Last.Seq == 0 {
		return nil
	}
	m, err := s.frames.GetMsg(ctx, p.Last.Seq)
	found := err == nil
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return kindOf(op, err)
	}
	var crc uint32
	if found {
		if m.Subject != s.layout.subject(partition) {
			return fmt.Errorf("%s: %w: sequence %d is on %s, not on %s: %s", op, gridloom.ErrCorrupt, p.Last.Seq, m.Subject, s.layout.subject(partition), mend)
		}
		crc = crc32.Checksum(m.Data, castagnoli)
	}
	if err := protocol.VerifyLast(p, found, crc, l); err != nil {
		return fmt.Errorf("%s: %w: %s", op, err, mend)
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
