package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

// Pauses of a Guard: between two looks at the connection, and between two tries to
// compare while NATS does not answer.
const (
	guardLook  = 100 * time.Millisecond
	guardPause = 250 * time.Millisecond
	guardTry   = 5 * time.Second // of one partition
)

// Guard appends for a process that owns no partitions. What is appended to a log
// that was rolled back would be thrown away when the right one is restored, so a
// frame counts as stored only if, over the very connection that carried it, the log
// was found to be the one that its partition's head was read from. A server that was
// away may come back with another log; one that stays connected is watched by Stream.
// All methods are safe for concurrent use.
type Guard struct {
	s     *Stream
	parts []guarded
}

// guarded is what is known of one partition. It is one value, so that nobody reads that
// the log was right before and that it was compared now.
type guarded struct {
	found atomic.Pointer[finding] // nil: none yet
}

// finding is what came of a comparison.
type finding struct {
	connection uint64 // over which it was made
	lost       error  // why the log is not the right one; nil if it is
}

func (p *guarded) note(connection uint64, lost error) { p.found.Store(&finding{connection, lost}) }

// Guard returns a Guard over all partitions. It takes nothing before Run has compared.
func (s *Stream) Guard() *Guard {
	return &Guard{s: s, parts: make([]guarded, s.layout.Partitions)}
}

// connection numbers the connections to NATS from 1. It grows before anything is sent on a new one.
func (s *Stream) connection() uint64 { return s.nc.Stats().Reconnects + 1 }

// Run compares the log with the heads at once and after every reconnect, until ctx
// ends. A partition whose log is not the right one takes nothing until a later
// comparison finds it right.
func (g *Guard) Run(ctx context.Context) error {
	for at := uint64(0); ; {
		if now := g.s.connection(); now != at {
			if !g.compare(ctx, now) {
				if !wait(ctx, guardPause) {
					return nil
				}
				continue
			}
			at = now
		}
		if !wait(ctx, guardLook) {
			return nil
		}
	}
}

// compare looks at every partition over one connection; false means that NATS did not
// answer for all of them.
func (g *Guard) compare(ctx context.Context, connection uint64) bool {
	all := true
	for id := range g.parts {
		p := &g.parts[id]
		if f := p.found.Load(); f != nil && f.connection == connection {
			continue
		}
		err := g.compareOne(ctx, id)
		if err != nil && !errors.Is(err, gridloom.ErrCorrupt) {
			all = false
			continue
		}
		if err != nil {
			g.s.log.Error("the log is not the one that was read: nothing is taken for the partition", "partition", id, "err", err)
		}
		p.note(connection, err)
	}
	return all
}

// compareOne compares the log with the head of one partition. While it looks, the owner
// may move the head, and a purge take the frame that the head named: that is no reason to
// refuse, so a log is not the right one only if the head still stands afterwards.
func (g *Guard) compareOne(ctx context.Context, id int) error {
	ctx, cancel := context.WithTimeout(ctx, guardTry)
	defer cancel()
	for {
		head, revision, err := g.s.LoadHead(ctx, id)
		if errors.Is(err, gridloom.ErrNotFound) {
			return nil // nobody has read anything: every log is right
		}
		if err != nil {
			return err
		}
		pos, err := protocol.PositionOf(&head)
		if err != nil {
			return err
		}
		lost := g.s.verify(ctx, id, pos)
		if !errors.Is(lost, gridloom.ErrCorrupt) {
			return lost
		}
		if _, now, err := g.s.LoadHead(ctx, id); err != nil {
			return err
		} else if now == revision {
			return lost
		}
	}
}

// Problem returns why nothing may be appended to a partition's log now: ErrUnavailable, or nil.
func (g *Guard) Problem(id int) error {
	f := g.parts[id].found.Load() // before the connection is asked for, which may change any time
	if f != nil && f.lost != nil {
		return fmt.Errorf("%w: partition %d takes no readings: %w", gridloom.ErrUnavailable, id, f.lost)
	}
	if f == nil || f.connection != g.s.connection() {
		return fmt.Errorf("%w: partition %d takes no readings yet: its log is being compared with its head", gridloom.ErrUnavailable, id)
	}
	return nil
}

// Ready returns nil if every partition takes frames, else the first reason why not.
func (g *Guard) Ready() error {
	for id := range g.parts {
		if err := g.Problem(id); err != nil {
			return err
		}
	}
	return nil
}

// Append is Stream.Append for what was compared; else ErrUnavailable, where the frame
// may have been stored all the same.
func (g *Guard) Append(ctx context.Context, id int, frame []byte) (uint64, error) {
	if err := g.s.checkPartition(id); err != nil {
		return 0, err
	}
	if err := g.Problem(id); err != nil {
		return 0, err
	}
	seq, err := g.s.Append(ctx, id, frame)
	if err != nil {
		return 0, err
	}
	// The connection may have changed on the way, and the log with it.
	if err := g.Problem(id); err != nil {
		return 0, err
	}
	return seq, nil
}
