package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A sender is one agent of gridbench crash. It outlives the server: what was not
// acknowledged by one life of it is sent again to the next.
type sender struct {
	name    string
	traffic *traffic
	ledger  *ledger
	every   time.Duration // between two batches

	mu      sync.Mutex
	pending []*message          // sent or to be sent, without PUBACK, oldest first
	ids     map[uint16]*message // in flight on the present connection
	acked   int64               // readings, a repeated one each time
	sent    int64               // the same
	recent  []entry             // acknowledged, the latest
	waits   histogram           // from a batch's first PUBLISH to its PUBACK, since takeWaits
	wake    chan struct{}       // capacity 1: "a place came free"
}

// sendWindow is how many batches a sender has in flight: about a second's worth
// of a slow disk, so that a kill always finds many unacknowledged.
const sendWindow = 64

func newSender(name string, t *traffic, l *ledger, every time.Duration) *sender {
	return &sender{name: name, traffic: t, ledger: l, every: every, wake: make(chan struct{}, 1)}
}

// session talks to one life of the server until ctx ends or the server is gone,
// neither of which is an error. With drain it makes no new batches and returns
// when all old ones are acknowledged.
func (s *sender) session(ctx context.Context, addr string, drain bool) error {
	conn, reader, err := dialMQTT(ctx, addr, s.name)
	if err != nil {
		return nil // killed before it accepted: the next life will
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.begin()
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		return s.takeAcks(reader)
	})
	g.Go(func() error {
		defer cancel()
		return s.send(ctx, conn, drain)
	})
	return g.Wait()
}

// begin forgets the packet ids of the connection before.
func (s *sender) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = map[uint16]*message{}
}

func (s *sender) send(ctx context.Context, conn net.Conn, drain bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var buf []byte
	var id uint16
	next := 0 // index into the pending ones of the first that this connection has not sent
	due := time.Now()
	s.mu.Lock()
	old := append([]*message(nil), s.pending...)
	s.mu.Unlock()
	for {
		var m *message
		switch {
		case next < len(old):
			m = old[next]
		case drain:
			if s.left() == 0 {
				return nil
			}
		case !time.Now().Before(due):
			s.makeMore(&old)
			due = due.Add(s.every)
			if late := time.Now().Add(-100 * time.Millisecond); due.Before(late) {
				due = late // do not make up for more than that after a wait
			}
			continue
		}
		if m == nil || s.inFlight() >= sendWindow {
			if !s.wait(ctx, timer, time.Until(due)) {
				return nil
			}
			continue
		}
		id = s.take(id, m)
		next++
		if next > 4096 { // what was sent is in s.pending; do not keep it twice
			old = append([]*message(nil), old[next:]...)
			next = 0
		}
		buf = appendPublish(buf[:0], "gridloom/v1/crash/"+s.name+"/readings", id, m.payload)
		if _, err := conn.Write(buf); err != nil {
			return nil // the server was killed
		}
	}
}

// makeMore adds the next batches to what is to be sent.
func (s *sender) makeMore(queue *[]*message) {
	ms := s.traffic.next()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range ms {
		s.pending = append(s.pending, &ms[i])
		*queue = append(*queue, &ms[i])
	}
}

// makeRest adds what the traffic held back, at the end of a run.
func (s *sender) makeRest() {
	for _, m := range s.traffic.rest() {
		s.pending = append(s.pending, &m)
	}
}

// take gives m a packet id that is not in flight.
func (s *sender) take(last uint16, m *message) uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		last++
		if last != 0 && s.ids[last] == nil {
			s.ids[last] = m
			if m.sentAt.IsZero() {
				m.sentAt = time.Now()
			}
			s.sent += int64(len(m.entries))
			return last
		}
	}
}

func (s *sender) inFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

func (s *sender) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// wait blocks until d has passed or a PUBACK came; false: the session is over.
func (s *sender) wait(ctx context.Context, timer *time.Timer, d time.Duration) bool {
	if d <= 0 {
		d = 50 * time.Millisecond
	}
	timer.Reset(d)
	select {
	case <-timer.C:
	case <-s.wake:
	case <-ctx.Done():
		return false
	}
	return true
}

// takeAcks reads PUBACKs. Those that came together are written to the ledger
// with one fsync, and only then make room for more.
func (s *sender) takeAcks(r *bufio.Reader) error {
	buf := make([]byte, 64)
	var ids []uint16
	for {
		id, err := readPuback(r, buf)
		if err == nil {
			ids = append(ids, id)
			if r.Buffered() >= 4 {
				continue
			}
		}
		if noted := s.note(ids); noted != nil || err != nil {
			if errors.Is(err, errRefused) {
				return errors.Join(noted, err)
			}
			return noted // a connection that ends is a server that was killed
		}
		ids = ids[:0]
	}
}

// note puts the batches of some packet ids into the ledger and takes them off the pending ones.
func (s *sender) note(ids []uint16) error {
	if len(ids) == 0 {
		return nil
	}
	batches := make([][]entry, 0, len(ids))
	done := make(map[*message]bool, len(ids))
	s.mu.Lock()
	for _, id := range ids {
		m := s.ids[id]
		if m == nil {
			s.mu.Unlock()
			return fmt.Errorf("%s: PUBACK for packet id %d, which is not in flight: %w", s.name, id, errFound)
		}
		done[m] = true
		batches = append(batches, m.entries)
	}
	s.mu.Unlock()
	if err := s.ledger.note(batches); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.waits.add(time.Since(s.ids[id].sentAt))
		delete(s.ids, id)
	}
	kept := s.pending[:0]
	for _, m := range s.pending {
		if !done[m] {
			kept = append(kept, m)
		}
	}
	clear(s.pending[len(kept):])
	s.pending = kept
	for _, es := range batches {
		s.acked += int64(len(es))
		s.recent = append(s.recent, es[:min(len(es), keepAcknowledged)]...)
	}
	s.recent = slices.Delete(s.recent, 0, max(0, len(s.recent)-keepAcknowledged))
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil
}

// takeWaits returns how long batches have waited for their PUBACK since the last call,
// and counts a batch that still waits with what it has waited so far.
func (s *sender) takeWaits() histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.waits
	s.waits = histogram{}
	for _, m := range s.ids {
		h.max = max(h.max, time.Since(m.sentAt))
	}
	return h
}

// counts returns the readings of acknowledged and of sent batches.
func (s *sender) counts() (acked, sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked, s.sent
}

// unacknowledged returns what the server may or may not have.
func (s *sender) unacknowledged() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var es []entry
	for _, m := range s.pending {
		es = append(es, m.entries...)
	}
	return es
}
