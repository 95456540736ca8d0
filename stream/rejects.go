package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

// Rejects travel many in one message, a JSON object a line. A reject's sequence is
// the message's times rejectsPerMessage plus its place in the message: below 2^53,
// so that JSON keeps it, for 2^41 messages.
const (
	rejectsPerMessage = 1 << 12
	rejectMessage     = 512 << 10 // bytes at which a message is sent
)

// MaxRejects bounds what one call of Rejects returns.
const MaxRejects = 10_000

// AppendRejects stores rs, in their order, and returns nil only when all are stored.
// A payload is cut at gridloom.MaxRejectPayload; Sequence is ignored. After an error
// some may have been stored: repeating stores those twice, which harms nobody. When
// the stream is full its oldest message falls out.
//
// ErrUnavailable: no room on the disk, or NATS did not answer.
func (s *Stream) AppendRejects(ctx context.Context, rs []gridloom.Reject) error {
	if len(rs) == 0 {
		return nil
	}
	if err := s.appendRejects(ctx, rs); err != nil {
		s.met.rejectFailures.Add(float64(len(rs)))
		return err
	}
	s.met.rejects.Add(float64(len(rs)))
	return nil
}

func (s *Stream) appendRejects(ctx context.Context, rs []gridloom.Reject) error {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	var msg []byte
	count := 0
	for i := range rs {
		r := rs[i]
		r.Sequence = 0
		if len(r.Payload) > gridloom.MaxRejectPayload {
			r.Payload, r.Cut = r.Payload[:gridloom.MaxRejectPayload], true
		}
		line, err := json.Marshal(&r)
		if err != nil {
			return fmt.Errorf("%w: encode reject: %w", gridloom.ErrInvalid, err)
		}
		if count == rejectsPerMessage || count > 0 && len(msg)+len(line) >= rejectMessage {
			if err := s.putRejects(ctx, msg); err != nil {
				return err
			}
			msg, count = nil, 0 // the connection may still hold the old one
		}
		msg = append(append(msg, line...), '\n')
		count++
	}
	return s.putRejects(ctx, msg)
}

func (s *Stream) putRejects(ctx context.Context, msg []byte) error {
	if err := s.room.forAppend(len(msg)); err != nil {
		return err
	}
	if _, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: rejectsSubject, Data: msg}); err != nil {
		return kindOf("append rejects", err)
	}
	return nil
}

// Rejects returns up to limit rejects with a sequence below before (0: from the
// newest), newest first. ErrCorrupt: a message of the stream does not read.
func (s *Stream) Rejects(ctx context.Context, before uint64, limit int) ([]gridloom.Reject, error) {
	limit = min(limit, MaxRejects)
	info, err := s.rejects.Info(ctx)
	if err != nil {
		return nil, kindOf("read rejects", err)
	}
	seq := info.State.LastSeq
	if before > 0 {
		seq = min(seq, before/rejectsPerMessage)
	}
	var out []gridloom.Reject
	for ; seq > 0 && seq >= info.State.FirstSeq && len(out) < limit; seq-- {
		rs, err := s.rejectsOf(ctx, seq)
		if err != nil {
			return nil, err
		}
		for i := len(rs) - 1; i >= 0 && len(out) < limit; i-- {
			if before == 0 || rs[i].Sequence < before {
				out = append(out, rs[i])
			}
		}
	}
	return out, nil
}

// rejectsOf reads one message; one that fell out meanwhile is empty.
func (s *Stream) rejectsOf(ctx context.Context, seq uint64) ([]gridloom.Reject, error) {
	m, err := s.rejects.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, kindOf("read rejects", err)
	}
	rs, err := decodeRejects(m.Data)
	if err != nil {
		return nil, fmt.Errorf("message %d of %s: %w", seq, RejectsName, err)
	}
	for i := range rs {
		rs[i].Sequence = seq*rejectsPerMessage + uint64(i)
	}
	return rs, nil
}

func decodeRejects(data []byte) ([]gridloom.Reject, error) {
	var rs []gridloom.Reject
	for line := range bytes.Lines(data) {
		if len(rs) == rejectsPerMessage {
			return nil, fmt.Errorf("%w: more than %d rejects", gridloom.ErrCorrupt, rejectsPerMessage)
		}
		var r gridloom.Reject
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w: reject %d: %w", gridloom.ErrCorrupt, len(rs), err)
		}
		rs = append(rs, r)
	}
	return rs, nil
}
