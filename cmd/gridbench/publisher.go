package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
)

// A publisher is one MQTT connection of gridbench load: Run writes messages,
// a second goroutine takes the PUBACKs.
type publisher struct {
	topic    string
	payload  *payload
	meters   []uint32          // whose objects it sends, in turn
	list     []object          // what it sends instead, one after the other, beginning again at its end
	perTick  time.Duration     // between two messages; 0: as fast as the window allows
	phase    time.Duration     // when the first is due, less than perTick
	window   int               // messages without a PUBACK
	limit    int64             // messages in all; 0: no limit
	last     []gridloom.Millis // of each meter: no instant is used twice
	next     int               // index into meters
	seq      uint32
	conn     net.Conn
	reader   *bufio.Reader
	wake     chan struct{} // capacity 1: "a place came free"
	dead     chan struct{} // closed when no further PUBACK can come
	readErr  error         // why, set before dead is closed
	inFlight atomic.Int64
	acked    atomic.Int64 // messages
	latency  histogram    // owned by the reader until dead is closed

	// due[id % len] is when the message in flight under that packet id was due, in
	// nanoseconds since the run began; 0: free.
	due []atomic.Int64
}

// writeBytes bounds what one write gathers: about what a socket buffer takes.
const writeBytes = 64 << 10

func newPublisher(ctx context.Context, addr, name string, p *payload, meters []uint32, perTick time.Duration, window int) (*publisher, error) {
	conn, reader, err := dialMQTT(ctx, addr, name)
	if err != nil {
		return nil, err
	}
	places := 64
	for places < 2*window {
		places *= 2
	}
	return &publisher{
		topic: "gridloom/v1/bench/" + name + "/readings", payload: p, meters: meters, perTick: perTick, window: window,
		last: make([]gridloom.Millis, len(meters)), seq: firstSeq, conn: conn, reader: reader,
		wake: make(chan struct{}, 1), dead: make(chan struct{}), due: make([]atomic.Int64, places),
	}, nil
}

// run publishes until the deadline or the end of ctx, waits up to grace for what
// is in flight, and closes the connection. begun is when the run began for all.
func (p *publisher) run(ctx context.Context, begun time.Time, d, grace time.Duration) error {
	var reader sync.WaitGroup
	reader.Go(func() { p.takeAcks(begun) })
	stop := context.AfterFunc(ctx, func() { p.conn.Close() })
	err := p.publish(ctx, begun, d)
	if err == nil {
		err = p.waitForRest(ctx, grace)
	}
	stop()
	p.conn.Close()
	reader.Wait()
	if err != nil && p.readErr != nil && !errors.Is(p.readErr, net.ErrClosed) {
		return fmt.Errorf("%w (%w)", err, p.readErr)
	}
	return err
}

func (p *publisher) publish(ctx context.Context, begun time.Time, d time.Duration) error {
	pkt := appendPublish(nil, p.topic, 1, p.payload.bytes)
	idAt := len(pkt) - len(p.payload.bytes) - 2
	p.payload.bytes = pkt[idAt+2:] // patched where it is sent from
	out := make([]byte, 0, writeBytes+len(pkt))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for k := int64(0); ; {
		elapsed := time.Since(begun)
		if elapsed >= d || p.limit > 0 && k >= p.limit {
			return nil
		}
		n, due := p.ready(k, elapsed)
		if n == 0 {
			if err := p.wait(ctx, timer, due-elapsed); err != nil {
				return err
			}
			continue
		}
		now := gridloom.MillisOf(time.Now())
		out = out[:0]
		for ; n > 0 && len(out) < writeBytes; n-- {
			id := k%int64(len(p.due)) + 1
			sent := elapsed
			if p.perTick > 0 {
				sent = p.dueAt(k)
			}
			p.due[id-1].Store(int64(sent) | 1)
			binary.BigEndian.PutUint16(pkt[idAt:], uint16(id))
			p.fill(now)
			out = append(out, pkt...)
			p.inFlight.Add(1)
			k++
		}
		if _, err := p.conn.Write(out); err != nil {
			return fmt.Errorf("publish on %s: %w", p.topic, err)
		}
	}
}

// dueAt returns when message k is due, with a rate.
func (p *publisher) dueAt(k int64) time.Duration { return p.phase + time.Duration(k)*p.perTick }

// ready returns how many messages may go out now and, if none because it is too
// early, when the next is due.
func (p *publisher) ready(k int64, elapsed time.Duration) (n int, due time.Duration) {
	n = p.window - int(p.inFlight.Load())
	if p.perTick > 0 {
		n = min(n, int(int64((elapsed-p.phase+p.perTick)/p.perTick)-k))
		due = p.dueAt(k)
	}
	if p.limit > 0 {
		n = min(n, int(p.limit-k))
	}
	free := 0
	for free < n && p.due[(k+int64(free))%int64(len(p.due))].Load() == 0 {
		free++
	}
	return free, due
}

// wait blocks until the next message is due or a PUBACK has made room.
func (p *publisher) wait(ctx context.Context, timer *time.Timer, d time.Duration) error {
	if d <= 0 {
		d = 100 * time.Millisecond // only a PUBACK helps; look at the clock now and then
	}
	timer.Reset(d)
	select {
	case <-timer.C:
	case <-p.wake:
	case <-p.dead:
		return fmt.Errorf("%s: the connection is gone", p.topic)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// fill patches the next message.
func (p *publisher) fill(now gridloom.Millis) {
	p.payload.setSeq(p.seq)
	p.seq++
	for i := range p.payload.objects {
		if p.list != nil {
			p.payload.set(i, p.list[p.next])
			p.next = (p.next + 1) % len(p.list)
			continue
		}
		at := max(now, p.last[p.next]+1)
		p.last[p.next] = at
		p.payload.set(i, objectAt(p.meters[p.next], at))
		if p.next++; p.next == len(p.meters) {
			p.next = 0
		}
	}
}

// takeAcks reads PUBACKs until the connection ends.
func (p *publisher) takeAcks(begun time.Time) {
	defer close(p.dead)
	buf := make([]byte, 64)
	for {
		id, err := readPuback(p.reader, buf)
		if err != nil {
			p.readErr = err
			return
		}
		if id == 0 || int(id) > len(p.due) {
			p.readErr = fmt.Errorf("PUBACK for packet id %d, which is not in use", id)
			return
		}
		due := p.due[id-1].Swap(0)
		if due == 0 {
			p.readErr = fmt.Errorf("a second PUBACK for packet id %d", id)
			return
		}
		p.latency.add(time.Since(begun) - time.Duration(due))
		p.acked.Add(1)
		p.inFlight.Add(-1)
		if p.reader.Buffered() < 4 {
			select {
			case p.wake <- struct{}{}:
			default:
			}
		}
	}
}

// waitForRest waits until everything is acknowledged.
func (p *publisher) waitForRest(ctx context.Context, grace time.Duration) error {
	late := time.NewTimer(grace)
	defer late.Stop()
	for p.inFlight.Load() > 0 {
		select {
		case <-p.wake:
		case <-p.dead:
			return fmt.Errorf("%s: the connection ended with %d messages in flight", p.topic, p.inFlight.Load())
		case <-late.C:
			return fmt.Errorf("%s: %d messages were not acknowledged within %s", p.topic, p.inFlight.Load(), grace)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
