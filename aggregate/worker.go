package aggregate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// Config says what a Worker owns and how. Zero values mean the defaults told here.
type Config struct {
	Generation    uint32
	Partitions    int       // how many there are
	StreamCreated time.Time // of the log, written into heads that are created

	Window window.Config // default 15 min windows, 10 min lateness, 2 h bridging limit

	Owner string // this start of the process; default a random id
	Node  string // this machine; default "local"

	CommitEvery   time.Duration // default 15 s
	CommitBytes   int64         // of one partition's tail, default 8 MiB, a quarter million rows; reading stops at twice that
	ProcessBytes  int64         // of all tails, default 32 MiB or 1/16 of GOMEMLIMIT; reading stops at twice that
	SnapshotEvery time.Duration // default 2 min
	TickEvery     time.Duration // default 10 s
	PurgeEvery    time.Duration // default 1 min
	CompactEvery  time.Duration // how often a partition looks for what to merge; default 5 s, less than 0: never
	MergeFiles    int           // inputs of a merge, default 64; twice as many of hours into a day
	MergeBytes    int64         // of memory for them, default 128 MiB or 1/8 of GOMEMLIMIT
	RestEvery     time.Duration // after this, to twice that, a series without readings rests; default 15 s
	Reconfigure   int           // series of a partition that a commit folds anew because the registry has changed, at most; default 64
	AwakeSeries   int           // of a partition, that never rest; default 4096, less than 0: none

	Retain      Retention     // how long rows are kept; default for ever
	RetainEvery time.Duration // how often a partition looks for what is past that; default 1 min, less than 0: never

	SweepEvery  time.Duration // how often files that nobody names are looked for; default 1 min, less than 0: never
	ReaderLease time.Duration // how long such a file is kept for those who read it; default 15 min, more than any query takes; less in tests only
	Alone       bool          // no other process reads this store: what was superseded before the start is kept for nobody

	Now   func() gridloom.Millis // wall clock, for the sanity of frames; default time.Now
	Clock func() time.Time       // for pauses; default time.Now
	NewID func() string          // of commits; default random
	Fault func(point string)     // called at named points, for crash tests; default nothing

	// Peers are the other processes that share the partitions. Nil: there are none, and the
	// worker owns all of them for as long as it runs.
	Peers Peers

	// Serve is called when a partition was claimed in an epoch: from then on Tail, Series
	// and Status answer for it. The returned function is called before it is given up, and
	// must not wait for answers under way. Default nothing: who asks is in this process.
	Serve func(partition int, epoch uint64) (withdraw func())

	Logger     *slog.Logger // default none
	Registerer prometheus.Registerer
}

// setDefaults fills in zero values.
func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.CommitEvery, 15*time.Second)
	def(&c.SnapshotEvery, 2*time.Minute)
	def(&c.TickEvery, 10*time.Second)
	def(&c.PurgeEvery, time.Minute)
	def(&c.CompactEvery, 5*time.Second)
	def(&c.RestEvery, 15*time.Second)
	if c.AwakeSeries == 0 {
		c.AwakeSeries = 4096
	}
	if c.Reconfigure == 0 {
		c.Reconfigure = 64
	}
	def(&c.RetainEvery, time.Minute)
	def(&c.SweepEvery, time.Minute)
	def(&c.ReaderLease, 15*time.Minute)
	if c.CommitBytes == 0 {
		c.CommitBytes = 8 << 20
	}
	if c.ProcessBytes == 0 {
		c.ProcessBytes = min(32<<20, debug.SetMemoryLimit(-1)/16) // -1 only asks
	}
	if c.MergeFiles == 0 {
		c.MergeFiles = 64
	}
	if c.MergeBytes == 0 {
		c.MergeBytes = min(128<<20, debug.SetMemoryLimit(-1)/8)
	}
	if c.Window == (window.Config{}) {
		c.Window = window.Config{Width: gridloom.DefaultWidth, Lateness: gridloom.DefaultLateness, Bridge: gridloom.DefaultBridge}
	}
	if c.Node == "" {
		c.Node = "local"
	}
	if c.NewID == nil {
		c.NewID = randomID
	}
	if c.Owner == "" {
		c.Owner = c.NewID()
	}
	if c.Now == nil {
		c.Now = func() gridloom.Millis { return gridloom.MillisOf(time.Now()) }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Serve == nil {
		c.Serve = func(int, uint64) func() { return func() {} }
	}
	if c.Fault == nil {
		c.Fault = func(string) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func randomID() string {
	var b [12]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// Worker owns partitions: all of them, or with Peers its share. Its methods may be
// called from any goroutine while Run runs.
type Worker struct {
	cfg     Config
	log     Log
	heads   Heads
	store   *pane.Store
	metrics *metrics
	budget  budget
	merging chan struct{}
	rows    pane.RowPool                // of the tails of all partitions
	slots   []atomic.Pointer[partition] // by partition; nil: not owned here
}

// New returns a Worker for the partitions of cfg.
func New(cfg Config, log Log, heads Heads, store *pane.Store) *Worker {
	cfg.setDefaults()
	w := &Worker{
		cfg: cfg, log: log, heads: heads, store: store, merging: make(chan struct{}, 1),
		slots: make([]atomic.Pointer[partition], cfg.Partitions),
	}
	w.budget.limit = cfg.ProcessBytes
	w.metrics = newMetrics(cfg.Registerer, w)
	if cfg.Peers == nil {
		for id := range cfg.Partitions {
			w.slots[id].Store(newPartition(id, w))
		}
	}
	return w
}

// owned returns the partition of an id, nil if it is not owned here.
func (w *Worker) owned(id int) *partition {
	if id < 0 || id >= len(w.slots) {
		return nil
	}
	return w.slots[id].Load()
}

// all lists the partitions that are owned here.
func (w *Worker) all() (list []*partition) {
	for id := range w.slots {
		if p := w.slots[id].Load(); p != nil {
			list = append(list, p)
		}
	}
	return list
}

// Run owns partitions until ctx ends, then releases them with a last commit.
// It returns early only for a clock that cannot be right.
func (w *Worker) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range w.all() {
		g.Go(func() error { return p.run(ctx) })
	}
	if w.cfg.Peers != nil {
		g.Go(func() error { return newShare(w).run(ctx) })
	}
	g.Go(func() error { w.purge(ctx); return nil })
	return g.Wait()
}

// purge lets the log forget what every partition has committed. Of several workers
// the one that owns partition 0 does it; each sees to it that its own do not hold it up.
func (w *Worker) purge(ctx context.Context) {
	t := time.NewTicker(w.cfg.PurgeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if len(w.all()) == 0 {
			continue
		}
		heads := map[int]gridloom.Head{}
		for id := range w.slots {
			// Read again rather than remembered: another owner may have moved it.
			h, _, err := w.heads.LoadHead(ctx, id)
			if err != nil {
				heads = nil
				break
			}
			heads[id] = h
		}
		if heads == nil {
			continue
		}
		if w.owned(0) != nil {
			if err := w.log.Purge(ctx, heads); err != nil && ctx.Err() == nil {
				w.cfg.Logger.Warn("log not purged", "err", err)
				continue
			}
		}
		// A partition that gets no frames would hold everybody's frames in the log.
		pinned, err := w.log.Pinned(ctx, heads)
		if err != nil {
			continue
		}
		for _, id := range pinned {
			if p := w.owned(id); p != nil {
				p.mustMove.Store(true)
			}
		}
	}
}

// ask runs f in the loop of a partition, when that has read the log as far as it went
// when it was asked: what a device got a PUBACK for is in the answer. It does not wait longer than ctx, where f may still run, nor for
// a partition that is being released.
func ask[T any](ctx context.Context, w *Worker, id int, f func(*partition) (T, error)) (T, error) {
	var none T
	if id < 0 || id >= len(w.slots) {
		return none, fmt.Errorf("%w: partition %d of %d", gridloom.ErrNotFound, id, len(w.slots))
	}
	p := w.owned(id)
	if p == nil {
		return none, notOwned(id)
	}
	var before gridloom.FrameRef
	for {
		goal, err := w.log.LastFrame(ctx, id)
		if err != nil {
			return none, fmt.Errorf("partition %d: %w", id, err)
		}
		v, err := askFor(ctx, p, goal, f)
		if !errors.Is(err, protocol.ErrOvertaken) || goal == before {
			return v, err
		}
		before = goal // the owner has read much since: ask it for what is the last frame now
	}
}

// askFor is ask for what the log holds up to goal.
func askFor[T any](ctx context.Context, p *partition, goal gridloom.FrameRef, f func(*partition) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	done := make(chan answer, 1)
	run := func(p *partition, err error) {
		if ctx.Err() != nil {
			return // nobody waits any more
		}
		if err != nil {
			done <- answer{err: err}
			return
		}
		v, err := f(p)
		done <- answer{v, err}
	}
	late := func() error {
		st := p.snapshotStatus()
		return fmt.Errorf("%w: partition %d (%s) did not answer: %w", gridloom.ErrUnavailable, p.id, st.State, ctx.Err())
	}
	select {
	case p.asks <- question{goal, run}:
	case <-p.left:
		return none, p.releasing()
	case <-ctx.Done():
		return none, late()
	}
	select {
	case a := <-done:
		return a.v, a.err
	case <-ctx.Done():
		return none, late()
	}
}

// notOwned is what is answered for a partition that another process owns, or nobody.
func notOwned(id int) error {
	return fmt.Errorf("%w: partition %d is not owned here", gridloom.ErrUnavailable, id)
}

// releasing is what is answered once the partition is given up.
func (p *partition) releasing() error {
	if p.cfg.Peers != nil {
		return fmt.Errorf("%w: partition %d is being given to another process", gridloom.ErrUnavailable, p.id)
	}
	return fmt.Errorf("%w: partition %d is being released: this process stops", gridloom.ErrUnavailable, p.id)
}

// question is what ask wants done once the frame goal has been read.
type question struct {
	goal gridloom.FrameRef
	run  func(*partition, error)
}

// Tail answers what the owner of a partition holds on top of its manifest. It
// fails with ErrUnavailable if the partition is stopped, fenced or still behind.
func (w *Worker) Tail(ctx context.Context, id int, sel pane.Selector) (*pane.Tail, error) {
	return ask(ctx, w, id, func(p *partition) (*pane.Tail, error) { return p.answer(sel) })
}

// Series lists the series of a partition with their newest readings.
func (w *Worker) Series(ctx context.Context, id int) ([]pane.SeriesInfo, error) {
	return ask(ctx, w, id, func(p *partition) ([]pane.SeriesInfo, error) {
		if err := p.refoldUndone(); err != nil {
			return nil, err
		}
		return p.seriesInfo(), nil
	})
}

// budget bounds the tails of all partitions together.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) add(n int64) { b.used.Add(n) }
func (b *budget) over() bool  { return b.used.Load() >= b.limit }
func (b *budget) full() bool  { return b.used.Load() >= 2*b.limit }
