package sim

import (
	"context"
	"fmt"
	"sort"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/wire"
)

var errNetwork = fmt.Errorf("%w: no answer", gridloom.ErrUnavailable)

// simLog is the log: one sequence over all partitions, whose stored frames never change.
type simLog struct {
	w      *world
	step   gridloom.Millis // its clock against the world's
	frames [partitions][]aggregate.Frame
	last   uint64
	first  uint64 // of the frames that are not purged
}

var _ aggregate.Log = (*simLog)(nil)

// Append stores a frame, or not, and says so, or not.
func (l *simLog) Append(_ context.Context, partition int, frame []byte) (uint64, error) {
	w := l.w
	switch {
	case w.broken.log() && w.rnd.IntN(20) == 0:
		return l.last + 1, nil
	case w.chance(l.rate()):
		w.note("log refuses a frame of partition %d", partition)
		return 0, errNetwork
	case w.chance(l.rate()):
		w.stats.Ambiguous++
		l.store(partition, frame)
		return 0, errNetwork
	case w.chance(l.rate()):
		data := append([]byte(nil), frame...)
		w.comesLate(func() { l.store(partition, data) })
		return 0, errNetwork
	}
	return l.store(partition, frame), nil
}

func (l *simLog) rate() int { return l.w.rates.log }

func (l *simLog) store(partition int, frame []byte) uint64 {
	l.last++
	f := aggregate.Frame{Sequence: l.last, LoggedAt: l.w.now + l.step, Data: append([]byte(nil), frame...)}
	l.frames[partition] = append(l.frames[partition], f)
	l.w.ledger.logged(partition, &f)
	l.w.stats.Frames++
	l.w.note("log has frame %d of partition %d, crc %08x", f.Sequence, partition, wire.CRC(f.Data))
	return l.last
}

// LastSequence is asked from the leader: a new owner that believed a follower would
// answer before it has read what was acknowledged.
func (l *simLog) LastSequence(ctx context.Context, partition int) (uint64, error) {
	last, err := l.LastFrame(ctx, partition)
	return last.Seq, err
}

// LastFrame is asked from the leader as well.
func (l *simLog) LastFrame(_ context.Context, partition int) (gridloom.FrameRef, error) {
	if l.w.chance(l.rate() / 4) {
		return gridloom.FrameRef{}, errNetwork
	}
	return l.end(partition), nil
}

// end names the last frame of a partition.
func (l *simLog) end(partition int) gridloom.FrameRef {
	n := len(l.frames[partition])
	if n == 0 {
		return gridloom.FrameRef{}
	}
	f := &l.frames[partition][n-1]
	return gridloom.FrameRef{Seq: f.Sequence, CRC: wire.CRC(f.Data)}
}

// from returns the frames of a partition from a sequence on.
func (l *simLog) from(partition int, next uint64) []aggregate.Frame {
	list := l.frames[partition]
	return list[sort.Search(len(list), func(i int) bool { return list[i].Sequence >= next }):]
}

// verify tells whether the log is the one that was read up to a place, as every consumer does.
func (l *simLog) verify(partition int, at gridloom.Head) error {
	p, err := protocol.PositionOf(&at)
	if err != nil {
		return err
	}
	now := protocol.Log{Created: worldCreated, FirstSeq: max(l.first, 1), LastSeq: l.last}
	if err := protocol.VerifyLog(p, now); err != nil || p.Last.Seq == 0 {
		return err
	}
	f := l.from(partition, p.Last.Seq)
	found := p.Last.Seq >= l.first && len(f) > 0 && f[0].Sequence == p.Last.Seq
	var crc uint32
	if found {
		crc = wire.CRC(f[0].Data)
	}
	return protocol.VerifyLast(p, found, crc, now)
}

// Purge forgets what every partition has committed, by heads that may be stale.
func (l *simLog) Purge(_ context.Context, heads map[int]gridloom.Head) error {
	bound := l.last + 1
	for p := range partitions {
		h, ok := heads[p]
		if !ok {
			return nil
		}
		bound = min(bound, protocol.FirstNeeded(&h))
	}
	l.first = max(l.first, bound)
	return nil
}

// Pinned and Follow are for goroutines.
func (l *simLog) Pinned(context.Context, map[int]gridloom.Head) ([]int, error) { return nil, nil }

func (l *simLog) Follow(context.Context, int, gridloom.Head) (aggregate.Reader, error) {
	return nil, errNetwork
}
