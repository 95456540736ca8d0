package ingest

import (
	"sync"
	"sync/atomic"
)

// budget bounds a quantity that many goroutines hold at once. The fast path is
// one atomic addition. Safe for concurrent use.
type budget struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int32

	mu   sync.Mutex
	room chan struct{} // closed when there is room again, then replaced
}

func newBudget(limit int64) *budget { return &budget{limit: limit, room: make(chan struct{})} }

// tryTake takes n if that stays within the limit, or if nothing is taken: one that
// is larger than the limit passes alone rather than never.
func (b *budget) tryTake(n int64) bool {
	if sum := b.used.Add(n); sum <= b.limit || sum == n {
		return true
	}
	b.give(n)
	return false
}

// take takes n, waiting for room as long as w says.
func (b *budget) take(n int64, w *wait) error {
	for !b.tryTake(n) {
		b.waiting.Add(1)
		b.mu.Lock()
		room := b.room
		b.mu.Unlock()
		// Between the failed try and the registration above, room may have come.
		if b.tryTake(n) {
			b.waiting.Add(-1)
			return nil
		}
		err := w.on(room)
		b.waiting.Add(-1)
		if err != nil {
			return err
		}
	}
	return nil
}

// give returns n. Those who wait are woken when a quarter of the limit is free, so
// that a thousand of them do not race for each message's worth of room.
func (b *budget) give(n int64) {
	if left := b.used.Add(-n); b.waiting.Load() > 0 && left <= b.limit-b.limit/4 {
		b.mu.Lock()
		close(b.room)
		b.room = make(chan struct{})
		b.mu.Unlock()
	}
}
