package stream

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

// What one pull may bring. Bytes bound what a reader holds that its caller has not
// taken: all readers of a process together about pullBytes.
const (
	pullMessages = 256
	pullBytes    = 32 << 20
	pullLeast    = 1 << 20
	pullMost     = 4 << 20
)

const (
	consumerLife = time.Minute     // of a consumer nobody pulls from
	createTry    = 5 * time.Second // verification and creation of one consumer
	createPause  = 50 * time.Millisecond
)

// Message is one frame as the log holds it.
type Message struct {
	Sequence uint64
	LoggedAt gridloom.Millis // when the log stored it, by the log's clock
	Data     []byte          // the receiver's own
}

// Reader reads the frames of one partition in order, each exactly once. It uses an
// ack-less consumer that lives in the server's memory: the place is the reader's,
// and in the end the head's. When the consumer misses a beat, skips a frame or
// stands still while frames wait, it is made anew at the first frame not yet
// returned, after the log was verified against what was returned last.
//
// A Reader is used by one goroutine at a time.
type Reader struct {
	s         *Stream
	partition int
	pos       protocol.Position

	cons     jetstream.Consumer // nil: to be created
	again    <-chan struct{}    // closed when the connection that it was made over is gone
	consSeq  uint64             // consumer sequence of the last message
	pull     jetstream.MessageBatch
	pulled   bool // pull has brought something
	wide     bool // the next pull has room for the largest message there can be
	endPull  context.CancelFunc
	waiting  uint64 // last sequence that was seen to wait when a pull brought nothing
	creation int
}

// Follow returns a reader of a partition's frames from head.NextSeq on, after
// verifying that the log is the one that head was read from.
//
// ErrCorrupt: it is not (another stream, rolled back, the frame of last_ref gone or
// changed, unread frames purged): stop the partition, never guess. ErrUnavailable: try again.
func (s *Stream) Follow(ctx context.Context, partition int, head gridloom.Head) (*Reader, error) {
	if err := s.checkPartition(partition); err != nil {
		return nil, err
	}
	pos, err := protocol.PositionOf(&head)
	if err != nil {
		return nil, err
	}
	if pos.Created.IsZero() {
		pos.Created = s.layout.Created
	}
	r := &Reader{s: s, partition: partition, pos: pos}
	if err := r.create(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Next returns the frames that have come since the last call, at least one, waiting
// for it if need be.
//
// ErrCorrupt: the log is not what was read (see Follow); the reader is of no more
// use. ErrUnavailable: ctx ended or NATS does not answer; call again later.
func (r *Reader) Next(ctx context.Context) ([]Message, error) {
	for {
		if r.cons == nil {
			if err := r.create(ctx); err != nil {
				return nil, err
			}
		}
		if r.pull == nil {
			if err := r.startPull(); err != nil {
				r.drop("error")
				return nil, kindOf(fmt.Sprintf("pull frames of partition %d", r.partition), err)
			}
		}
		select {
		case m, ok := <-r.pull.Messages():
			if !ok {
				if err := r.pullEnded(ctx); err != nil {
					return nil, err
				}
				continue
			}
			if frames := r.take(m); len(frames) > 0 {
				return frames, nil
			}
		case <-r.again:
			r.drop("reconnect")
		case <-ctx.Done():
			return nil, fmt.Errorf("follow partition %d: %w: %w", r.partition, gridloom.ErrUnavailable, ctx.Err())
		}
	}
}

// create verifies the log and makes a consumer at the first frame not yet returned.
func (r *Reader) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, createTry)
	defer cancel()
	// A consumer that breaks as fast as it is made must not become a busy loop.
	if r.creation++; r.creation > 1 && !wait(ctx, createPause) {
		return fmt.Errorf("follow partition %d: %w: %w", r.partition, gridloom.ErrUnavailable, ctx.Err())
	}
	again := r.s.again.next()
	if err := r.s.verify(ctx, r.partition, r.pos); err != nil {
		return err
	}
	cons, err := r.s.frames.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.pos.Next,
		FilterSubject:     r.s.layout.subject(r.partition),
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: consumerLife,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return kindOf(fmt.Sprintf("create a consumer for partition %d", r.partition), err)
	}
	r.cons, r.again, r.consSeq, r.waiting = cons, again, 0, 0
	return nil
}

// startPull asks for the next frames. The pull outlives a call of Next: what it
// brings later is taken by a later call.
func (r *Reader) startPull() error {
	life, end := context.WithTimeout(context.Background(), 2*r.s.cfg.Watch)
	bytes := min(pullMost, max(pullLeast, pullBytes/r.s.layout.Partitions))
	if r.wide {
		bytes = max(bytes, 2*int(r.s.nc.MaxPayload()))
	}
	pull, err := r.cons.Fetch(pullMessages,
		jetstream.FetchMaxBytes(bytes),
		jetstream.FetchContext(life),
		jetstream.FetchHeartbeat(r.s.cfg.Watch/2))
	if err != nil {
		end()
		return err
	}
	r.pull, r.endPull, r.pulled = pull, end, false
	return nil
}

// take turns m and what lies ready behind it into frames. It stops, and gives the
// consumer up, where the consumer skips: what comes after is read again by the next one.
func (r *Reader) take(m jetstream.Msg) []Message {
	var out []Message
	for {
		f, ok := r.accept(m)
		if !ok {
			r.drop("gap")
			return out
		}
		out = append(out, f)
		select {
		case next, ok := <-r.pull.Messages():
			if !ok { // the next call sees it closed again
				return out
			}
			m = next
		default:
			return out
		}
	}
}

// accept checks that m follows what was accepted before and moves the position past it.
func (r *Reader) accept(m jetstream.Msg) (Message, bool) {
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Consumer != r.consSeq+1 || meta.Sequence.Stream < r.pos.Next {
		return Message{}, false
	}
	data := m.Data()
	r.pulled = true
	r.consSeq++
	r.pos.Read(gridloom.FrameRef{Seq: meta.Sequence.Stream, CRC: crc32.Checksum(data, castagnoli)})
	r.s.met.frames.Inc()
	r.s.met.frameBytes.Add(float64(len(data)))
	return Message{Sequence: meta.Sequence.Stream, LoggedAt: gridloom.MillisOf(meta.Timestamp), Data: data}, true
}

// pullEnded looks at why a pull is over. A full or quietly expired one is followed
// by the next; one that lost the server costs the consumer.
func (r *Reader) pullEnded(ctx context.Context) error {
	err, brought := r.pull.Error(), r.pulled
	r.endPull()
	r.pull, r.endPull = nil, nil
	// The server ends a pull that is too small for the next message at once, and
	// nats.go does not tell that from an expired one.
	r.wide = err == nil && !brought
	switch {
	case errors.Is(err, jetstream.ErrNoHeartbeat):
		r.drop("heartbeat")
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		r.drop("error")
	case brought:
		r.waiting = 0
	default:
		return r.standsStill(ctx)
	}
	return nil
}

// standsStill is the watchdog. A pull has brought nothing for its whole life: a
// frame that waited at the end of the one before and still does means that the
// consumer sleeps (nats.go#2063), and it is made anew.
func (r *Reader) standsStill(ctx context.Context) error {
	if r.waiting >= r.pos.Next {
		r.drop("stall")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, createTry)
	defer cancel()
	last, err := r.s.LastSequence(ctx, r.partition)
	if err != nil {
		return err
	}
	r.waiting = last
	return nil
}

// drop gives the consumer up; the next call of Next makes another.
func (r *Reader) drop(reason string) {
	r.s.met.recreations.WithLabelValues(reason).Inc()
	r.s.log.Warn("the log's consumer is made anew", "partition", r.partition, "seq", r.pos.Next, "err", reason)
	r.release()
}

func (r *Reader) release() {
	if r.endPull != nil {
		r.endPull()
		r.pull, r.endPull = nil, nil
	}
	if r.cons == nil {
		return
	}
	// Only tidiness: a consumer nobody pulls from goes away by itself.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := r.s.frames.DeleteConsumer(ctx, r.cons.CachedInfo().Name); err != nil {
		r.s.log.Debug("a consumer is left to expire", "partition", r.partition, "err", err)
	}
	r.cons = nil
}

// Close gives up the consumer. Next must not be called after it.
func (r *Reader) Close() { r.release() }
