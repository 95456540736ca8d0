package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

// How long one try of a swap may take, and the pause before the identical one is repeated.
const (
	swapTry   = 5 * time.Second
	swapPause = 50 * time.Millisecond
)

const kvOperation = "KV-Operation" // header of a KV delete or purge marker

// LoadHead returns a partition's head and its revision, asked from the leader.
// ErrNotFound: there is none; the revision is then 0, or what a removed head has left,
// for SwapHead. ErrCorrupt: it does not read, is of a newer format,
// or the bucket itself is gone. ErrUnavailable: NATS did not answer.
func (s *Stream) LoadHead(ctx context.Context, partition int) (gridloom.Head, uint64, error) {
	if err := s.checkPartition(partition); err != nil {
		return gridloom.Head{}, 0, err
	}
	h, rev, err := s.loadHead(ctx, partition)
	if err == nil && h == nil {
		err = fmt.Errorf("head of partition %d: %w", partition, gridloom.ErrNotFound)
	}
	if err != nil {
		return gridloom.Head{}, rev, err
	}
	return *h, rev, nil
}

// loadHead returns nil and the revision of the delete marker (0 without) where there is no head.
func (s *Stream) loadHead(ctx context.Context, partition int) (*gridloom.Head, uint64, error) {
	m, err := s.heads.GetLastMsgForSubject(ctx, s.layout.headSubject(partition))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, 0, fmt.Errorf("%w: the heads bucket %s is gone: stop all roles and run gridloom repair head", gridloom.ErrCorrupt, HeadsName)
	case err != nil:
		return nil, 0, kindOf(fmt.Sprintf("load head of partition %d", partition), err)
	}
	if m.Header.Get(kvOperation) != "" {
		return nil, m.Sequence, nil
	}
	h, err := DecodeHead(m.Data)
	if err != nil {
		return nil, 0, fmt.Errorf("head of partition %d: %w", partition, err)
	}
	if h.Generation != s.layout.Generation || h.Partition != partition {
		return nil, 0, fmt.Errorf("%w: the head at partition %d says generation %d, partition %d", gridloom.ErrCorrupt, partition, h.Generation, h.Partition)
	}
	return &h, m.Sequence, nil
}

// CreateHead stores the first head of h's partition and returns its revision.
// ErrFenced: there is one already that is not h (by commit id), or was: where LoadHead
// tells what a removed head has left, SwapHead replaces that. A caller makes sure
// first that the store holds no file of the partition.
func (s *Stream) CreateHead(ctx context.Context, h gridloom.Head) (uint64, error) {
	return s.swap(ctx, h, 0)
}

// SwapHead replaces the head of h's partition if it still has the given revision,
// and returns the new one. h must carry a commit id that was never used before.
//
// A conflict or a lost answer is resolved by reading back: success if the head that
// is there has h's commit id, ErrFenced if it has another. A put that timed out is
// repeated as it was, until ctx ends; then ErrUnavailable, and h may have been
// stored or not: the caller repeats the same call with the same h or drops its state.
func (s *Stream) SwapHead(ctx context.Context, h gridloom.Head, revision uint64) (uint64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("%w: swap head of partition %d: revision 0 is none", gridloom.ErrInvalid, h.Partition)
	}
	return s.swap(ctx, h, revision)
}

func (s *Stream) swap(ctx context.Context, h gridloom.Head, revision uint64) (uint64, error) {
	op := fmt.Sprintf("swap head of partition %d", h.Partition)
	data, err := s.encodeHead(h)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	if err := s.room.forCommit(len(data)); err != nil {
		return 0, err
	}
	for {
		rev, err := s.putHead(ctx, h.Partition, data, revision)
		if err == nil {
			s.met.swaps.WithLabelValues("stored").Inc()
			return rev, nil
		}
		// Whatever went wrong, what stands there tells. A put that is refused for
		// good, such as an oversized one, leaves the old revision behind.
		if !isConflict(err) && !isLost(err) && !errors.Is(kind(err), gridloom.ErrUnavailable) {
			return 0, kindOf(op, err)
		}
		rev, again, errBack := s.readBack(ctx, &h, revision)
		if errBack == nil && !again {
			s.met.swaps.WithLabelValues("read_back").Inc()
			return rev, nil
		}
		if errBack != nil && !errors.Is(errBack, gridloom.ErrUnavailable) {
			return 0, fmt.Errorf("%s: %w", op, errBack)
		}
		s.met.swaps.WithLabelValues("repeated").Inc()
		if !wait(ctx, swapPause) {
			s.met.swaps.WithLabelValues("unknown").Inc()
			return 0, fmt.Errorf("%s: %w: not known whether it is stored: %w", op, gridloom.ErrUnavailable, errors.Join(err, errBack))
		}
	}
}

// putHead is one try.
func (s *Stream) putHead(ctx context.Context, partition int, data []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, min(swapTry, s.cfg.AppendTimeout))
	defer cancel()
	ctx, unlink := s.linked(ctx)
	defer unlink()
	msg := nats.NewMsg(s.layout.headSubject(partition))
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	msg.Data = data
	ack, err := s.js.PublishMsg(ctx, msg)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// readBack decides a put whose outcome is a conflict or unknown: (revision, false)
// if it is stored, again if nothing has been put since the expected one, ErrFenced if
// somebody else has put a head or removed it.
func (s *Stream) readBack(ctx context.Context, h *gridloom.Head, revision uint64) (rev uint64, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(swapTry, s.cfg.AppendTimeout))
	defer cancel()
	there, rev, err := s.loadHead(ctx, h.Partition)
	if err != nil {
		return 0, false, err
	}
	if outcome := protocol.ReadBack(h, revision, there, rev); outcome != protocol.Fenced {
		return rev, outcome == protocol.Again, nil
	}
	s.met.swaps.WithLabelValues("fenced").Inc()
	if there == nil {
		return 0, false, fmt.Errorf("%w: the head was removed", gridloom.ErrFenced)
	}
	return 0, false, fmt.Errorf("%w: epoch %d belongs to %s on %s", gridloom.ErrFenced, there.Epoch, there.Owner, there.Node)
}

func (s *Stream) encodeHead(h gridloom.Head) ([]byte, error) {
	if err := s.checkPartition(h.Partition); err != nil {
		return nil, err
	}
	if h.CommitID == "" || h.Generation != s.layout.Generation {
		return nil, fmt.Errorf("%w: a head needs a commit id (%q) and the log's generation (%d, not %d)", gridloom.ErrInvalid, h.CommitID, s.layout.Generation, h.Generation)
	}
	return EncodeHead(h)
}

// EncodeHead returns the JSON form of h (docs/format/head.md). Format 0 is written
// as the current one. ErrInvalid if it is larger than gridloom.MaxHeadBytes.
func EncodeHead(h gridloom.Head) ([]byte, error) {
	if h.Format == 0 {
		h.Format = gridloom.HeadFormat
	}
	data, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("%w: head: %w", gridloom.ErrInvalid, err)
	}
	if len(data) > gridloom.MaxHeadBytes {
		return nil, fmt.Errorf("%w: head of %d bytes, limit %d", gridloom.ErrInvalid, len(data), gridloom.MaxHeadBytes)
	}
	return data, nil
}

// DecodeHead reads a head's JSON form. ErrCorrupt for anything that EncodeHead does
// not write: a newer format, unknown fields, missing ones that a head cannot do without.
func DecodeHead(data []byte) (gridloom.Head, error) {
	var h gridloom.Head
	if len(data) > gridloom.MaxHeadBytes {
		return h, fmt.Errorf("%w: %d bytes, limit %d", gridloom.ErrCorrupt, len(data), gridloom.MaxHeadBytes)
	}
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return h, fmt.Errorf("%w: %w", gridloom.ErrCorrupt, err)
	}
	if version.Format != gridloom.HeadFormat {
		return h, fmt.Errorf("%w: format %d, this build reads %d: use the gridloom that wrote it", gridloom.ErrCorrupt, version.Format, gridloom.HeadFormat)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return gridloom.Head{}, fmt.Errorf("%w: %w", gridloom.ErrCorrupt, err)
	}
	if h.CommitID == "" || h.Generation == 0 || h.Partition < 0 || h.Partition >= MaxPartitions {
		return gridloom.Head{}, fmt.Errorf("%w: commit id %q, generation %d, partition %d cannot be", gridloom.ErrCorrupt, h.CommitID, h.Generation, h.Partition)
	}
	return h, nil
}
