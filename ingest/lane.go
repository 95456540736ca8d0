package ingest

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// rejectsLane is the number of the lane that stores rejects.
const rejectsLane = -1

// ticket stands for one message in each frame that holds a part of it.
type ticket struct {
	from    sender
	tag     tag
	outcome outcome // if everything is stored
	bytes   int64   // of the budget
	many    *many   // nil if the message lies in one frame alone
}

// many counts the frames that hold a part of one message and are not yet stored.
type many struct {
	left   atomic.Int32
	failed atomic.Bool
}

// tally is what one message adds to the counters, by way of its first frame.
type tally struct {
	objects int
	bytes   int
	json    bool
	counted bool
}

// encoding is the index of the message's encoding in a frame's counts.
func (n *tally) encoding() int {
	if n.json {
		return 1
	}
	return 0
}

// openFrame is what gathers for the next turn beside the rows: the messages that
// wait for it, and rejects.
type openFrame struct {
	readings    int // of the sealed frame
	rejects     []gridloom.Reject
	rejectBytes int // estimate of rejects as stored
	tickets     []ticket
	messages    [2]int // by encoding: 0 protobuf, 1 JSON
	objects     [2]int
	bytes       [2]int
}

// rejectOverhead is about what a reject takes beside its payload and detail.
const rejectOverhead = 200

// count adds n to f unless another frame has it.
func (f *openFrame) count(n *tally) {
	if n.counted {
		return
	}
	n.counted = true
	e := n.encoding()
	f.messages[e]++
	f.objects[e] += n.objects
	f.bytes[e] += n.bytes
}

// reject adds a reject to f.
func (f *openFrame) reject(r gridloom.Reject) {
	f.rejects = append(f.rejects, r)
	f.rejectBytes += rejectOverhead + len(r.Topic) + len(r.Detail) + len(r.Payload)
}

func (f *openFrame) reset() {
	clear(f.rejects)
	clear(f.tickets)
	f.rejects, f.tickets, f.rejectBytes = f.rejects[:0], f.tickets[:0], 0
	f.messages, f.objects, f.bytes = [2]int{}, [2]int{}, [2]int{}
}

// lane is the way into one partition of the log, or into rejects: one frame is
// being stored while the next one gathers.
type lane struct {
	bridge    *Bridge
	partition int // or rejectsLane
	name      string
	wake      chan struct{} // holds one: something gathers
	problem   atomic.Pointer[string]

	mu     sync.Mutex
	rows   wire.FrameBuilder // of what gathers; guarded by mu
	open   *openFrame        // gathers; guarded by mu
	room   chan struct{}     // nil, or closed when open is sealed: senders wait on it
	closed bool              // run has ended: nothing can be stored any more

	// owned by run:
	spare   *openFrame
	buf     []byte   // the encoded frame
	turn    bool     // l holds one of the bridge's turns
	senders []sender // those that have something to send
}

func newLane(b *Bridge, partition int) *lane {
	l := &lane{
		bridge: b, partition: partition, name: "rejects", wake: make(chan struct{}, 1),
		open: new(openFrame), spare: new(openFrame),
	}
	if partition != rejectsLane {
		l.name = strconv.Itoa(partition)
	}
	return l
}

// enter locks l with room in its open frame, waiting for that as w says. The
// caller appends to l.rows and l.open, a ticket included, and calls leave.
func (l *lane) enter(w *wait) error {
	l.mu.Lock()
	for len(l.open.tickets) > 0 && l.rows.Bytes()+l.open.rejectBytes >= l.bridge.cfg.MaxFrameBytes && !l.closed {
		if l.room == nil {
			l.room = make(chan struct{})
		}
		room := l.room
		l.mu.Unlock()
		if err := w.on(room); err != nil {
			return err
		}
		l.mu.Lock()
	}
	if l.closed {
		l.mu.Unlock()
		return errClosing
	}
	return nil
}

// leave unlocks l after one ticket was appended, and wakes run if it may sleep.
func (l *lane) leave() {
	first := len(l.open.tickets) == 1
	l.mu.Unlock()
	if first {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// seal returns what has gathered, its rows encoded in l.buf, and lets the next
// frame gather; nil if there is nothing. If last is true, nothing can enter after that.
func (l *lane) seal(last bool) *openFrame {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	if len(l.open.tickets) == 0 {
		l.closed = l.closed || last
		return nil
	}
	f := l.open
	l.open, l.spare = l.spare, nil
	if f.readings = l.rows.Len(); f.readings > 0 {
		l.buf = l.rows.Seal(l.buf[:0], wire.FrameInfo{Kind: wire.KindReadings, Generation: l.bridge.cfg.Generation, Partition: l.partition})
	}
	return f
}

// wait is how long a sender may wait: until it has gone, until ingest stops, or,
// while the log is unavailable, for OutageWait.
type wait struct {
	bridge *Bridge
	gone   <-chan struct{}
	metric prometheus.Counter // seconds waited
}

// on waits for room.
func (w *wait) on(room <-chan struct{}) error {
	start := time.Now()
	timer := time.NewTimer(w.bridge.cfg.OutageWait)
	defer func() {
		timer.Stop()
		w.metric.Add(time.Since(start).Seconds())
	}()
	for {
		select {
		case <-room:
			return nil
		case <-w.gone:
			return errGone
		case <-w.bridge.closing:
			return errClosing
		case <-timer.C:
			if w.bridge.Problem() != "" {
				return errOutage
			}
			timer.Reset(w.bridge.cfg.OutageWait) // slow, but it moves
		}
	}
}
