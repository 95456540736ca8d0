package aggregate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/wire"
)

// memLog is a log in memory: one sequence over all partitions, as in JetStream.
type memLog struct {
	mu     sync.Mutex
	frames []Frame
	part   []int
	more   chan struct{} // closed and replaced at every append
	now    func() gridloom.Millis
	closed atomic.Bool // the process "crashed": nothing answers any more
	deep   int         // how many frames Next gives at once at most; 0 = all
}

func newMemLog(now func() gridloom.Millis) *memLog {
	return &memLog{more: make(chan struct{}), now: now}
}

var errCrashed = fmt.Errorf("%w: crashed", gridloom.ErrUnavailable)

func (l *memLog) Append(_ context.Context, partition int, frame []byte) (uint64, error) {
	if l.closed.Load() {
		return 0, errCrashed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := uint64(len(l.frames) + 1)
	l.frames = append(l.frames, Frame{seq, l.now(), append([]byte(nil), frame...)})
	l.part = append(l.part, partition)
	close(l.more)
	l.more = make(chan struct{})
	return seq, nil
}

func (l *memLog) LastSequence(_ context.Context, partition int) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range slices.Backward(l.part) {
		if p == partition {
			return uint64(i + 1), nil
		}
	}
	return 0, nil
}

func (l *memLog) LastFrame(ctx context.Context, partition int) (gridloom.FrameRef, error) {
	seq, err := l.LastSequence(ctx, partition)
	if err != nil || seq == 0 {
		return gridloom.FrameRef{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return gridloom.FrameRef{Seq: seq, CRC: wire.CRC(l.frames[seq-1].Data)}, nil
}

func (l *memLog) Purge(context.Context, map[int]gridloom.Head) error { return nil }

func (l *memLog) Pinned(context.Context, map[int]gridloom.Head) ([]int, error) { return nil, nil }

func (l *memLog) Follow(_ context.Context, partition int, h gridloom.Head) (Reader, error) {
	if l.closed.Load() {
		return nil, errCrashed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := h.LastRef.Seq; s > 0 && (s > uint64(len(l.frames)) || wire.CRC(l.frames[s-1].Data) != h.LastRef.CRC) {
		return nil, fmt.Errorf("%w: frame %d is not the one that was read", gridloom.ErrCorrupt, s)
	}
	return &memReader{l: l, partition: partition, next: h.NextSeq}, nil
}

type memReader struct {
	l         *memLog
	partition int
	next      uint64
}

func (r *memReader) Close() {}

func (r *memReader) Next(ctx context.Context) ([]Frame, error) {
	for {
		if r.l.closed.Load() {
			return nil, errCrashed
		}
		r.l.mu.Lock()
		var out []Frame
		for ; r.next <= uint64(len(r.l.frames)); r.next++ {
			if r.l.part[r.next-1] == r.partition {
				out = append(out, r.l.frames[r.next-1])
				if r.l.deep > 0 && len(out) == r.l.deep {
					r.next++
					break
				}
			}
		}
		more := r.l.more
		r.l.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-more:
		}
	}
}

// memHeads is the register of heads in memory.
type memHeads struct {
	mu     sync.Mutex
	heads  map[int]gridloom.Head
	revs   map[int]uint64
	closed atomic.Bool

	// swapped tells the expired readings that a head's last commit holds; nil: nobody asks.
	swapped func(h gridloom.Head, note func(*gridloom.Reading)) error
	expired map[rowAt]gridloom.Reading // of all commits
}

func newMemHeads() *memHeads {
	return &memHeads{heads: map[int]gridloom.Head{}, revs: map[int]uint64{}, expired: map[rowAt]gridloom.Reading{}}
}

func (h *memHeads) expiredReadings() map[rowAt]gridloom.Reading {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.expired)
}

func (h *memHeads) LoadHead(_ context.Context, p int) (gridloom.Head, uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return gridloom.Head{}, 0, errCrashed
	}
	if h.revs[p] == 0 {
		return gridloom.Head{}, 0, fmt.Errorf("head %d: %w", p, gridloom.ErrNotFound)
	}
	return h.heads[p], h.revs[p], nil
}

func (h *memHeads) Committable() error { return nil }

func (h *memHeads) CreateHead(ctx context.Context, v gridloom.Head) (uint64, error) {
	return h.SwapHead(ctx, v, 0)
}

func (h *memHeads) SwapHead(_ context.Context, v gridloom.Head, rev uint64) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed.Load() {
		return 0, errCrashed
	}
	if h.revs[v.Partition] != rev {
		return 0, fmt.Errorf("head %d: %w", v.Partition, gridloom.ErrFenced)
	}
	if h.swapped != nil {
		err := h.swapped(v, func(x *gridloom.Reading) { h.expired[rowAt{x.Sequence, x.Place}] = *x })
		if err != nil {
			return 0, err
		}
	}
	h.heads[v.Partition] = v
	h.revs[v.Partition]++
	return h.revs[v.Partition], nil
}

// crashBlob is a store that stops answering when the process crashes.
type crashBlob struct {
	blob.Store
	closed atomic.Bool
	reads  *sync.RWMutex          // nobody deletes while it is held for reading
	listed atomic.Pointer[func()] // called once files are listed; nil: nothing
}

func (c *crashBlob) List(ctx context.Context, prefix string) ([]blob.Info, error) {
	list, err := c.Store.List(ctx, prefix)
	if f := c.listed.Load(); f != nil {
		(*f)()
	}
	return list, err
}

func (c *crashBlob) Delete(ctx context.Context, path string) error {
	c.reads.Lock()
	defer c.reads.Unlock()
	if c.closed.Load() {
		return errCrashed
	}
	return c.Store.Delete(ctx, path)
}

func (c *crashBlob) Put(ctx context.Context, path string, data []byte) error {
	if c.closed.Load() {
		return errCrashed
	}
	return c.Store.Put(ctx, path, data)
}
