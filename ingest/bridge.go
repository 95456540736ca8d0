package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest/decode"
)

// Log is where readings become durable. Append returns nil only when the frame is
// stored so that a power failure does not lose it: that is what lets the bridge
// answer the sender. An error that wraps gridloom.ErrUnavailable may pass by
// itself, and the frame may have been stored: repeating it is harmless, because
// readings are told apart by identity. Called from one goroutine per partition.
type Log interface {
	Append(ctx context.Context, partition int, frame []byte) (seq uint64, err error)
}

// Rejects is where refused readings are kept. AppendRejects returns nil only when
// all of rs are stored; errors as for Log. It must not keep rs. Called from one goroutine.
type Rejects interface {
	AppendRejects(ctx context.Context, rs []gridloom.Reject) error
}

// BridgeConfig configures a Bridge. Partitions is required; every other zero value
// means the default that stands with it.
type BridgeConfig struct {
	Partitions int    // of the log's layout; at least 1
	Generation uint32 // of the log's layout

	MaxFrameBytes    int           // a frame is sealed at this estimate of its size; 256 KiB
	AppendsAtOnce    int           // frames that are stored at once, over all partitions; one per partition
	MaxInFlightBytes int64         // payload bytes taken and not yet answered, over all senders; 64 MiB
	AppendTimeout    time.Duration // of one attempt to store; 10 s
	OutageWait       time.Duration // how long one frame is offered again to a log that is unavailable, and how long a sender waits for room meanwhile; 5 s
	FinishTimeout    time.Duration // how long Run goes on storing what was taken, after its context ended; 3 s

	Now        func() gridloom.Millis // ingest's clock; the machine's
	Logger     *slog.Logger           // nil: no log lines
	Registerer prometheus.Registerer  // nil: no metrics
}

// Validate fills in defaults, or fails with ErrInvalid and the name of the field.
func (c *BridgeConfig) Validate() error {
	if c.Partitions < 1 {
		return fmt.Errorf("%w: ingest: Partitions is %d, want at least 1", gridloom.ErrInvalid, c.Partitions)
	}
	if c.MaxFrameBytes < 0 || c.AppendsAtOnce < 0 || c.MaxInFlightBytes < 0 || c.AppendTimeout < 0 || c.OutageWait < 0 || c.FinishTimeout < 0 {
		return fmt.Errorf("%w: ingest: a bound of BridgeConfig is negative", gridloom.ErrInvalid)
	}
	orDefault(&c.MaxFrameBytes, 256<<10)
	orDefault(&c.MaxInFlightBytes, 64<<20)
	orDefault(&c.AppendTimeout, 10*time.Second)
	orDefault(&c.OutageWait, 5*time.Second)
	orDefault(&c.FinishTimeout, 3*time.Second)
	if c.Now == nil {
		c.Now = func() gridloom.Millis { return gridloom.MillisOf(time.Now()) }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// orDefault replaces a zero *p by d.
func orDefault[T comparable](p *T, d T) {
	var zero T
	if *p == zero {
		*p = d
	}
}

// errClosing is why a message is not taken while ingest stops.
var errClosing = fmt.Errorf("%w: ingest is stopping", gridloom.ErrUnavailable)

// errGone is why a message is not taken whose sender has gone away.
var errGone = errors.New("the sender has gone")

// errOutage is why a message is not taken while the log does not answer.
var errOutage = fmt.Errorf("%w: the log does not answer", gridloom.ErrUnavailable)

// sender gets the outcome of the messages that it handed to a bridge.
type sender interface {
	// answer notes the outcome of one message. It does not block. It reports
	// whether send has to be called to put the answer on its way.
	answer(t tag, o outcome) (send bool)
	// send starts sending what answer has noted. It does not block.
	send()
}

// tag is what a sender needs to know its message by.
type tag struct {
	id  uint16 // MQTT packet id; 0 with QoS 0
	qos byte
}

// message is one publish on its way through the bridge.
type message struct {
	source  decode.Source
	payload []byte // the sender's: the bridge copies what it keeps
	from    sender
	tag     tag
	gone    <-chan struct{} // closed when the sender has gone and waiting is of no use
}

// Bridge takes messages from senders, puts their readings into the log and answers
// each message when all of it is stored. It holds a bounded amount: whoever hands
// it more waits. Safe for concurrent use.
type Bridge struct {
	cfg     BridgeConfig
	metrics *metrics
	budget  *budget
	scratch sync.Pool // of *scratch
	lanes   []*lane   // one per partition
	rejects *lane
	turns   chan struct{} // holds one per lane that stores; nil if all may
	closing chan struct{} // closed when Run's context ends: nothing new is taken
	store   Rejects
	log     Log
}

// New returns a bridge to log and rejects. Nothing is stored before Run.
func New(cfg BridgeConfig, log Log, rejects Rejects) (*Bridge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Bridge{cfg: cfg, log: log, store: rejects, budget: newBudget(cfg.MaxInFlightBytes), closing: make(chan struct{})}
	b.metrics = newMetrics(b, cfg.Registerer)
	b.scratch.New = func() any { return newScratch(b) }
	for p := range cfg.Partitions {
		b.lanes = append(b.lanes, newLane(b, p))
	}
	b.rejects = newLane(b, rejectsLane)
	if n := cfg.AppendsAtOnce; n > 0 && n < cfg.Partitions {
		b.turns = make(chan struct{}, n)
	}
	return b, nil
}

// Run stores what is taken until ctx ends, then finishes what was taken within
// FinishTimeout. What is not stored by then stays unanswered. It returns nil, and
// is called once.
func (b *Bridge) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	for _, l := range append(slices.Clip(b.lanes), b.rejects) {
		wg.Go(func() { l.run(work) })
	}
	<-ctx.Done()
	close(b.closing)
	finish := time.AfterFunc(b.cfg.FinishTimeout, stop)
	defer finish.Stop()
	wg.Wait()
	return nil
}

// Problem says in one line why readings are not stored at present; "" if they are.
func (b *Bridge) Problem() string {
	for _, l := range append(slices.Clip(b.lanes), b.rejects) {
		if p := l.problem.Load(); p != nil {
			return *p
		}
	}
	return ""
}

// take decodes m and puts what is in it into the lanes. It waits while too much is
// in flight. On nil the sender gets exactly one answer; on an error it gets none,
// nothing of m need be stored, and the sender should send m again later.
func (b *Bridge) take(m *message) error {
	w := wait{bridge: b, gone: m.gone, metric: b.metrics.waitBytes}
	bytes := int64(len(m.payload)) + messageOverhead
	if err := b.budget.take(bytes, &w); err != nil {
		return err
	}
	s := b.scratch.Get().(*scratch)
	defer b.scratch.Put(s)
	s.decode(m)
	return s.place(m, bytes)
}

// messageOverhead is what a message in flight costs beside its payload: its places
// in frames and in the sender's buffer of answers.
const messageOverhead = 128

// refuse keeps m as a reject, whole; otherwise it is like take.
func (b *Bridge) refuse(m *message, o outcome, bad decode.Bad) error {
	b.metrics.reject(bad.Reason)
	w := wait{bridge: b, gone: m.gone, metric: b.metrics.waitBytes}
	bytes := int64(len(m.payload)) + messageOverhead
	if err := b.budget.take(bytes, &w); err != nil {
		return err
	}
	w.metric = b.metrics.waitPartition
	if err := b.rejects.enter(&w); err != nil {
		b.budget.give(bytes)
		return err
	}
	f := b.rejects.open
	f.reject(reject(m, bad, true))
	f.tickets = append(f.tickets, ticket{from: m.from, tag: m.tag, outcome: o, bytes: bytes})
	b.rejects.leave()
	return nil
}
