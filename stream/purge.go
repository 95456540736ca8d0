package stream

import (
	"context"
	"fmt"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

// Margin is how much of what every partition has committed stays in the log all the
// same: what is younger than Age and within the last Bytes, whichever is less.
// Bytes are of the whole log, because frames are purged for all partitions at once,
// by sequence; a quiet partition would otherwise keep a day of its busy neighbours.
// Zero means the default; negative means none.
type Margin struct {
	Age   time.Duration // default 24 h
	Bytes int64         // default 4 GiB, at most half of the log's size
}

func (m *Margin) fill() {
	if m.Age == 0 {
		m.Age = 24 * time.Hour
	}
	if m.Bytes == 0 {
		m.Bytes = 4 << 30
	}
}

// Purge removes from the log what every partition has committed and what lies
// beyond the margin. committed holds the head of every partition of the layout, as
// the caller last knew it; the heads in the bucket are read again before anything
// goes. It never removes a frame that a head's last_ref names, nor one at or after
// a head's next_seq. While the log is at 70 % or the disk is short, the margin
// yields.
//
// ErrInvalid: a partition is missing in committed. ErrNotFound: it has no head.
// ErrCorrupt: the log is not the one that a head was read from. In each case nothing
// is purged.
func (s *Stream) Purge(ctx context.Context, committed map[int]gridloom.Head) error {
	bound := uint64(math.MaxUint64)
	for p := range s.layout.Partitions {
		h, ok := committed[p]
		if !ok {
			return fmt.Errorf("%w: purge: no head of partition %d", gridloom.ErrInvalid, p)
		}
		bound = min(bound, protocol.FirstNeeded(&h))
	}
	info, err := s.frames.Info(ctx)
	if err != nil {
		return kindOf("purge", err)
	}
	if !info.Created.Equal(s.layout.Created) {
		return fmt.Errorf("%w: purge: stream %s was replaced", gridloom.ErrCorrupt, LogName)
	}
	s.curve.add(&info.State)
	if bound <= info.State.FirstSeq {
		return nil
	}
	if bound, err = s.leaveMargin(ctx, info, bound); err != nil || bound <= info.State.FirstSeq {
		return err
	}
	for p := range s.layout.Partitions {
		h, _, err := s.LoadHead(ctx, p)
		if err != nil {
			return fmt.Errorf("purge: %w", err)
		}
		if bound, err = protocol.PurgeBound(bound, &h, info.Created); err != nil {
			return err
		}
		// Of a log that was rolled back, the bound would take frames that nobody has read.
		pos, err := protocol.PositionOf(&h)
		if err == nil {
			err = s.verify(ctx, p, pos)
		}
		if err != nil {
			return fmt.Errorf("purge: %w", err)
		}
	}
	if bound <= info.State.FirstSeq {
		return nil
	}
	// By subject this would write a tombstone a frame; by sequence it drops blocks.
	if err := s.frames.Purge(ctx, jetstream.WithPurgeSequence(bound)); err != nil {
		return kindOf("purge", err)
	}
	s.met.purged.Add(float64(bound - info.State.FirstSeq))
	return nil
}

// Pinned returns the partitions whose heads keep the purge from reaching the margin:
// they have committed all their frames, but the last of them is old. An owner of
// such a partition appends a tick and commits. heads is as for Purge.
func (s *Stream) Pinned(ctx context.Context, heads map[int]gridloom.Head) ([]int, error) {
	info, err := s.frames.Info(ctx)
	if err != nil {
		return nil, kindOf("pinned partitions", err)
	}
	s.curve.add(&info.State)
	from, err := s.leaveMargin(ctx, info, info.State.LastSeq+1)
	if err != nil {
		return nil, err
	}
	// Without a margin every partition but the latest would count: what is in the
	// last eighth of the log holds nothing up.
	from = min(from, s.curve.last(info.Config.MaxBytes/8))
	var pinned []int
	for p, h := range heads {
		if protocol.FirstNeeded(&h) < from {
			pinned = append(pinned, p)
		}
	}
	sort.Ints(pinned)
	return pinned, nil
}

// leaveMargin moves bound back to where the margin begins.
func (s *Stream) leaveMargin(ctx context.Context, info *jetstream.StreamInfo, bound uint64) (uint64, error) {
	m := s.cfg.Margin
	if m.Age < 0 || m.Bytes < 0 || s.room.state.Load() != roomOpen || atAlarm(int64(info.State.Bytes), info.Config.MaxBytes) {
		return bound, nil
	}
	bytes := m.Bytes
	if info.Config.MaxBytes > 0 {
		bytes = min(bytes, info.Config.MaxBytes/2)
	}
	byBytes := s.curve.last(bytes)
	if byBytes >= bound {
		return bound, nil
	}
	byAge, err := s.sequenceAt(ctx, time.Now().Add(-m.Age))
	if err != nil {
		return 0, err
	}
	return min(bound, max(byBytes, byAge)), nil
}

// sequenceAt returns the first sequence stored at or after t. A consumer that starts
// at a time knows it without a message being sent.
func (s *Stream) sequenceAt(ctx context.Context, t time.Time) (uint64, error) {
	cons, err := s.frames.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &t,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: 5 * time.Second,
	})
	if err != nil {
		return 0, kindOf("find the margin", err)
	}
	info := cons.CachedInfo()
	if err := s.frames.DeleteConsumer(ctx, info.Name); err != nil {
		s.log.Debug("a consumer is left to expire", "err", err)
	}
	return info.Delivered.Stream + 1, nil
}

// curve estimates how many bytes lie between two sequences: the log tells only its
// total, so points of it are kept as it grows, and between them frames count as of
// equal size. A margin needs no more than that. Safe for concurrent use.
type curve struct {
	mu     sync.Mutex
	points []curvePoint
}

type curvePoint struct {
	seq   uint64  // the first sequence after …
	bytes float64 // … this many bytes since the first point
}

const maxCurve = 512

func (c *curve) add(st *jetstream.StreamState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, next := max(st.FirstSeq, 1), st.LastSeq+1
	if len(c.points) == 0 {
		c.points = append(c.points, curvePoint{first, 0})
	}
	end := curvePoint{next, c.at(first) + float64(st.Bytes)}
	if last := c.points[len(c.points)-1]; next <= last.seq {
		return
	}
	c.points = append(c.points, end)
	// What is purged needs no points, but one at or before the first frame stays.
	for len(c.points) > 2 && c.points[1].seq <= first {
		c.points = c.points[1:]
	}
	if len(c.points) > maxCurve {
		kept := c.points[:0]
		for i, p := range c.points {
			if i%2 == 0 || i == len(c.points)-1 {
				kept = append(kept, p)
			}
		}
		c.points = kept
	}
}

// at returns the bytes before seq, on a straight line between the points beside it.
func (c *curve) at(seq uint64) float64 {
	i := sort.Search(len(c.points), func(i int) bool { return c.points[i].seq >= seq })
	switch {
	case i == 0:
		return c.points[0].bytes
	case i == len(c.points):
		return c.points[i-1].bytes
	}
	a, b := c.points[i-1], c.points[i]
	return a.bytes + (b.bytes-a.bytes)*float64(seq-a.seq)/float64(b.seq-a.seq)
}

// last returns the sequence at which the last n bytes begin.
func (c *curve) last(n int64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.points) == 0 {
		return 0
	}
	want := c.points[len(c.points)-1].bytes - float64(n)
	i := sort.Search(len(c.points), func(i int) bool { return c.points[i].bytes >= want })
	if i == 0 {
		return c.points[0].seq
	}
	a, b := c.points[i-1], c.points[i]
	return a.seq + uint64(math.Ceil(float64(b.seq-a.seq)*(want-a.bytes)/(b.bytes-a.bytes)))
}
