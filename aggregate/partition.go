package aggregate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// errClock means that the clock here and the log's disagree by more than a
// measurement error: the process must not go on.
var errClock = errors.New("clock")

// Bounds of waits. A save that takes longer than saveTimeout is repeated: writes
// are idempotent up to the swap, and the swap reads back.
const (
	saveTimeout    = time.Minute
	releaseTimeout = 4 * time.Second
	retryMin       = 50 * time.Millisecond
	retryMax       = 5 * time.Second
	lookEvery      = 250 * time.Millisecond
)

// partition is the owner of one partition. All fields up to mu belong to the
// loop's goroutine.
type partition struct {
	id      int
	cfg     *Config
	log     Log
	heads   Heads
	store   *pane.Store
	metrics *metrics
	budget  *budget
	merging chan struct{} // of the process: who has put something in merges
	logger  *slog.Logger

	head     gridloom.Head // as last swapped
	revision uint64
	manifest *pane.Manifest

	table           *table
	current         *tail // rows after the head, or after the commit in flight
	frozen          *tail // of the commit in flight, nil if there is none
	rows            *pane.RowPool
	spare           pane.RawColumns // memory of the last commit, for the next
	sparePanes      []gridloom.Pane
	sparePaneSeries []uint32
	counted         int64 // bytes of both that the budget knows of
	countedSeries   seriesCount
	disordered      []uint32 // series that wait for a refold
	waited          []uint32 // those, and series that were refolded since the last commit
	refoldSize      int      // how many of them are refolded in one step,
	refoldLeast     int      // and at least for the commit that is due
	dues            dues
	registry        registered
	outdated        []uint32      // series that wait to be folded anew because the registry has changed
	ranking         *pane.Ranking // belongs to who saves
	duplicates      uint64        // dropped since the last commit
	bounds          pane.Bounds   // how far retention has come, the commit in flight included

	nextSeq uint64
	lastRef gridloom.FrameRef
	trail   protocol.Trail // of frames, lastRef the latest
	logTime gridloom.Millis

	unsaved       bool // a frame with content was read since the last commit
	openPanes     int
	lastCommit    time.Time
	lastSnapshot  time.Time
	sinceSnapshot int // rows committed since
	lastFrame     time.Time
	goal          uint64 // sequence to read to before answering
	caughtUp      bool

	columns      wire.Columns
	frameMeters  []uint32
	frameAgents  []uint32
	frameSerials []uint32

	batch  []Frame // handed over and not yet folded in
	frames chan []Frame
	asks   chan question
	behind []question // asked, and waiting for frames that the log has already
	edit   *edit      // for the next commit
	toSave chan *commit
	saved  chan commitResult
	ticks  chan struct{}
	edits  chan *edit    // capacity 1
	fenced chan error    // capacity 1: somebody saw another owner's head
	left   chan struct{} // closed when nobody takes asks any more
	leave  func()        // closes left

	serve    func(id int, epoch uint64) func() // Config.Serve
	withdraw func()                            // ends what serve began, once or more often

	logKnown atomic.Bool           // the log was compared with the head, or never will be
	logLost  atomic.Pointer[error] // set once the log is not the one that was read before
	mustMove atomic.Bool           // the log cannot be purged until this head moves

	shown atomic.Pointer[committed] // what the last commit left

	mu       sync.Mutex // guards what follows
	status   pane.Status
	problems map[string]error
	dropped  []superseded // files of this epoch that no manifest names
}

func newPartition(id int, w *Worker) *partition {
	left := make(chan struct{})
	p := &partition{
		id: id, cfg: &w.cfg, log: w.log, heads: w.heads, store: w.store, metrics: w.metrics, budget: &w.budget, merging: w.merging,
		logger: w.cfg.Logger.With("partition", id),
		rows:   &w.rows,
		frames: make(chan []Frame),
		asks:   make(chan question),
		toSave: make(chan *commit, 1),
		saved:  make(chan commitResult, 1),
		ticks:  make(chan struct{}, 1),
		edits:  make(chan *edit, 1),
		fenced: make(chan error, 1),
		left:   left,
		leave:  sync.OnceFunc(func() { close(left) }),
		status: pane.Status{Generation: w.cfg.Generation, Partition: id, State: "claiming", Owner: w.cfg.Owner, Node: w.cfg.Node},

		serve: w.cfg.Serve, withdraw: func() {},

		problems: map[string]error{},
	}
	p.forget()
	return p
}

// watermark is the greatest log time so far minus the allowed lateness.
func (p *partition) watermark() gridloom.Millis { return p.logTime - p.cfg.Window.Lateness }

// account tells the process budget what this partition holds.
func (p *partition) account() {
	n := p.current.bytes
	if p.frozen != nil {
		n += p.frozen.bytes
	}
	p.budget.add(n - p.counted)
	p.counted = n
}

// run owns the partition until ctx ends or it must stop. It returns only what the
// whole process must stop for; everything else stops this partition alone, which
// then answers every question with the reason.
func (p *partition) run(ctx context.Context) error {
	defer p.leave()
	err := p.own(ctx)
	defer p.withdraw()
	switch {
	case err == nil || ctx.Err() != nil && !errors.Is(err, gridloom.ErrCorrupt):
		p.setState("stopped")
		if err != nil {
			p.logger.Warn("partition released without a last commit", "err", err)
		}
		return nil
	case errors.Is(err, errClock):
		return err
	case errors.Is(err, gridloom.ErrFenced):
		p.withdraw()
		p.metrics.fenced.Inc()
		p.setState("fenced")
		p.logger.Warn("partition lost to another owner", "epoch", p.head.Epoch, "err", err)
	default:
		p.setProblem("stopped", err) // nobody sees it stopped and not why
		p.setState("stopped")
		p.logger.Error("partition stopped", "err", err)
	}
	p.drop()
	p.logKnown.Store(true)
	p.setProblem("stopped", err)
	stopped := fmt.Errorf("%w: partition %d: %w", gridloom.ErrUnavailable, p.id, err)
	for _, q := range p.behind {
		q.run(p, stopped)
	}
	p.behind = nil
	if p.cfg.Peers != nil && errors.Is(err, gridloom.ErrFenced) {
		return nil // it may come back, as a new owner with new state
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case ask := <-p.asks:
			ask.run(p, stopped)
		}
	}
}

// drop forgets all state: nothing of it may be served or committed any more.
func (p *partition) drop() {
	p.forget()
	p.edit = nil
	p.shown.Store(nil)
	p.account()
}

// forget empties the state of the partition.
func (p *partition) forget() {
	p.forgetRegistry()
	p.table, p.dues, p.ranking = newTable(p.configOf), newDues(), &pane.Ranking{}
	p.table.states = states{keep: max(0, p.cfg.AwakeSeries), every: p.cfg.RestEvery}
	p.current, p.frozen = &tail{rows: pane.RawColumns{Pool: p.rows}}, nil
	p.spare = pane.RawColumns{Pool: p.rows}
	p.disordered, p.waited, p.openPanes, p.refoldSize = nil, nil, 0, refoldAtOnce
	p.bounds = pane.Bounds{}
	p.countSeries()
}

// own claims, restores and then serves the partition.
func (p *partition) own(ctx context.Context) error {
	began := time.Now()
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		err := p.acquire(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, gridloom.ErrUnavailable) {
			return err
		}
		p.setProblem("claim", err)
		p.metrics.retries.Inc()
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
	p.setProblem("claim", nil)
	p.setState("running")
	p.logger.Info("partition claimed", "epoch", p.head.Epoch, "seq", p.nextSeq, "count", p.table.len(), "took", time.Since(began))

	// Frames are read and commits saved until the last one is in, and questions are answered.
	served, end := context.WithCancel(context.WithoutCancel(ctx))
	upkeep, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	pumped := make(chan error, 1)
	at := p.place() // before the loop moves it
	wg.Go(func() { pumped <- p.pump(served, at) })
	wg.Go(func() { p.runSaver(ctx, served) })
	wg.Go(func() { p.runTicker(upkeep) })
	wg.Go(func() { p.runCompaction(upkeep) })
	wg.Go(func() { p.runSweep(upkeep) })
	wg.Go(func() { p.runRetention(upkeep) })
	err := p.loop(ctx, pumped)
	stop()
	end()
	if err == nil {
		p.withdraw()
		p.leave()
		for _, q := range p.behind {
			q.run(p, p.releasing())
		}
	}
	close(p.toSave)
	wg.Wait()
	return err
}

// lastCommit is how far the end of a loop has come.
type lastCommit struct {
	wanted bool // no other is started any more
	taken  bool // it is in flight
	late   <-chan time.Time
}

// loop is the life of an owned partition. When ctx ends it makes a last commit with a
// snapshot, so that whoever comes next has nothing to replay, and returns nil. It goes on
// answering meanwhile: to others the partition is away only from then until the next owner
// has restored it. What is read after that commit was taken, and what it cannot finish in time,
// the next owner reads from the log.
func (p *partition) loop(ctx context.Context, pumped <-chan error) error {
	always := make(chan struct{})
	close(always)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	ended, last := ctx.Done(), lastCommit{}
	refolding := false // a commit is due, and series wait for it
	for {
		frames, asks, edits := p.frames, p.asks, p.edits
		if p.edit != nil {
			edits = nil
		}
		var more <-chan struct{}
		if held := p.counted; held >= 2*p.cfg.CommitBytes || p.budget.full() && held > 0 {
			frames = nil // lag shows; ingest goes on
		} else if len(p.batch) > 0 {
			frames, more = nil, always
		}
		if refolding {
			frames, more = nil, always // it comes to an end, since nothing is added
		}
		if !p.caughtUp {
			asks = nil
		}
		select {
		case <-ended:
			ended, last = nil, lastCommit{wanted: true, late: time.After(releaseTimeout)}
		case <-last.late:
			return fmt.Errorf("%w: the last commit did not finish in %s", gridloom.ErrUnavailable, releaseTimeout)
		case err := <-pumped:
			if !last.wanted {
				return err
			}
			pumped = nil
		case err := <-p.fenced:
			return err
		case p.batch = <-frames:
		case <-more:
			if refolding {
				break
			}
			if err := p.applyNext(); err != nil {
				return err
			}
		case ask := <-asks:
			p.behind = append(p.behind, ask) // bounded by the queries that are let in at once
			if err := p.answerBehind(); err != nil {
				return err
			}
			p.account()
			continue
		case r := <-p.saved:
			if err := p.finishCommit(r); err != nil {
				return err
			}
			if last.taken {
				return nil
			}
		case p.edit = <-edits:
		case <-look.C:
			p.wantTick()
		}
		due := p.frozen == nil && (last.wanted || p.due(p.cfg.Clock()))
		if due {
			var err error
			if refolding, err = p.refoldNext(refolding); err == nil && !refolding {
				err = p.startCommit(last.wanted)
			}
			switch {
			case refolding:
			case last.wanted && (err != nil || p.frozen == nil): // or there is nothing to commit
				return err
			case err != nil && !errors.Is(err, gridloom.ErrUnavailable):
				return err
			case err != nil:
				p.setProblem("commit", err)
				p.lastCommit = p.cfg.Clock()
			}
			last.taken = last.wanted && !refolding // its result ends the loop
		}
		p.publish()
	}
}

// applyNext folds the next frame of the batch in. The loop looks at questions and
// commits between two frames: a batch after an outage can hold a million readings.
func (p *partition) applyNext() error {
	f := &p.batch[0]
	if err := p.apply(f); err != nil {
		return err
	}
	f.Data = nil
	p.batch = p.batch[1:]
	p.caughtUp = p.caughtUp || p.nextSeq > p.goal
	p.lastFrame = p.cfg.Clock()
	if err := p.answerBehind(); err != nil {
		return err
	}
	p.account()
	return nil
}

// answerBehind answers the questions whose frames have been read. It fails if one of
// them shows that the log was rolled back.
func (p *partition) answerBehind() error {
	var lost error
	p.behind = slices.DeleteFunc(p.behind, func(q question) bool {
		ok, err := protocol.MayAnswer(&p.trail, p.nextSeq, q.goal)
		if errors.Is(err, gridloom.ErrCorrupt) {
			lost = fmt.Errorf("partition %d: %w", p.id, err)
			return false
		}
		if !ok && err == nil {
			return false
		}
		q.run(p, err)
		return true
	})
	if lost != nil {
		p.logLost.Store(&lost)
	}
	return lost
}

// sleep waits for d; it reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
