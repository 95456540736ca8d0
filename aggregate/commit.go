package aggregate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// commit is one attempt to move position and result together. The loop fills it
// and goes on; save runs beside the loop and touches nothing but the commit.
type commit struct {
	head     gridloom.Head    // as it will be swapped in, all but the manifest's reference
	revision uint64           // of the head that it replaces
	before   gridloom.FileRef // the manifest that it replaces
	base     *pane.Manifest
	where    pane.Where

	readings   pane.RawColumns
	ranking    *pane.Ranking // of their table; belongs to who saves
	panes      []gridloom.Pane
	paneSeries []uint32           // of each pane, in the readings' table
	expired    []gridloom.Reading // came when their time was past retention
	records    records
	bounds     pane.Bounds        // how far retention has come with this commit
	duplicates uint64             // dropped since the last commit
	snapshot   []pane.SnapshotRow // nil when none is due
	edit       *edit              // nil when none is wanted

	// What is already stored when an attempt is repeated: segments are written once.
	segments    []pane.Segment
	rawDone     bool
	panesDone   bool
	expiredDone bool
	recordsDone [len(recordKinds)]bool
	snapped     *pane.Segment
	dropped     []string // by the edit
	manifest    *pane.Manifest
}

// editPause keeps edits from making a commit each while the store cannot be read.
const editPause = 100 * time.Millisecond

// maxSparePanes bounds the memory of panes that is kept for the next commit: 3.5 MB. A
// large fleet closes all of its panes at once and then none for a window.
const maxSparePanes = 1 << 14

// commitResult is what save reports back to the loop.
type commitResult struct {
	c        *commit
	revision uint64
	err      error
	took     time.Duration
}

// due reports whether a commit should start now.
func (p *partition) due(now time.Time) bool {
	if p.frozen != nil {
		return false
	}
	if p.edit != nil && now.Sub(p.lastCommit) >= min(editPause, p.cfg.CommitEvery) || p.current.bytes >= p.cfg.CommitBytes || (p.budget.over() && p.current.bytes > 0) {
		return true
	}
	if len(p.outdated) > 0 && now.Sub(p.lastCommit) >= min(editPause, p.cfg.CommitEvery) {
		return true
	}
	return now.Sub(p.lastCommit) >= p.cfg.CommitEvery && (p.unsaved || p.mayClose() || p.mustMove.Load() && p.nextSeq > p.head.NextSeq)
}

// mayClose reports whether panes may have closed.
func (p *partition) mayClose() bool {
	return p.dues.next <= p.watermark()
}

// prepare closes what can be closed, freezes the tail and describes the commit.
// It returns nil if there is nothing to write.
func (p *partition) prepare(final bool) (*commit, error) {
	if err := p.refold(nil, nil); err != nil {
		return nil, err
	}
	if err := p.reconfigureSome(); err != nil {
		return nil, err
	}
	c := &commit{revision: p.revision, before: p.head.Manifest, base: p.manifest, edit: p.edit, where: pane.Where{Generation: p.cfg.Generation, Partition: p.id, Epoch: p.head.Epoch}}
	c.panes, c.paneSeries = p.closePanes()
	if !p.unsaved && len(c.panes) == 0 && !final && p.edit == nil && !p.mustMove.Load() {
		p.lastCommit = p.cfg.Clock()
		return nil, nil
	}
	if p.edit == nil && p.nextSeq == p.head.NextSeq && len(c.panes) == 0 && p.current.rows.Len() == 0 && p.manifest.SnapshotSeq+1 >= p.nextSeq {
		p.unsaved = false
		return nil, nil
	}
	p.mustMove.Store(false)
	moved := p.edit != nil && p.moveBounds(p.edit.bounds)
	p.edit = nil
	c.readings, c.duplicates, c.expired, c.bounds = p.current.rows, p.duplicates, p.current.expired, p.bounds
	c.records = p.current.records
	c.readings.Table, c.ranking = p.table.SeriesTable, p.ranking
	p.duplicates = 0
	p.sinceSnapshot += c.readings.Len()
	if final || moved || p.snapshotDue() {
		c.snapshot = p.snapshotRows()
		p.lastSnapshot, p.sinceSnapshot = p.cfg.Clock(), 0
	}
	to := protocol.Position{Next: p.nextSeq, Last: p.lastRef, LogTime: p.logTime}
	c.head = protocol.Commit(p.head, to, p.head.Manifest, p.cfg.NewID()) // its own manifest is yet to be written
	p.frozen = &tail{rows: c.readings, panes: c.panes, bytes: p.current.bytes, expired: c.expired, records: c.records}
	p.current = &tail{rows: p.spare}
	p.spare = pane.RawColumns{Pool: p.rows}
	p.account()
	p.unsaved = false
	p.lastCommit = p.cfg.Clock()
	p.table.rest(p.lastCommit)
	p.countSeries()
	return c, nil
}

// snapshotRowsMin and snapshotRowsPerSeries bound what a restart has to fold again:
// 64,000 rows take about 0.1 s. A process that never lives for SnapshotEvery must
// not leave ever more of them behind.
const (
	snapshotRowsMin       = 64_000
	snapshotRowsPerSeries = 4
)

// snapshotDue reports whether the commit that is being prepared takes a snapshot.
func (p *partition) snapshotDue() bool {
	return p.cfg.Clock().Sub(p.lastSnapshot) >= p.cfg.SnapshotEvery ||
		p.sinceSnapshot >= max(snapshotRowsMin, snapshotRowsPerSeries*p.table.len())
}

// closePanes takes every pane that is closed and not yet committed as it is from
// the states, leaving out those that a refold found unchanged in the store, and tells
// the series of each.
func (p *partition) closePanes() (panes []gridloom.Pane, of []uint32) {
	panes, of = p.sparePanes, p.sparePaneSeries
	p.sparePanes, p.sparePaneSeries = nil, nil
	watermark, revision := p.watermark(), p.nextSeq-1
	write := func(i uint32, pn *gridloom.Pane) {
		pn.Meter, pn.Register = p.table.meterName(i), p.table.at(i).register
		pn.Revision, pn.ComputedAt = revision, p.logTime
		panes, of = append(panes, *pn), append(of, i)
	}
	emit := func(i uint32, pn *gridloom.Pane) {
		if _, ok := p.table.at(i).isStored(pn); ok {
			p.metrics.unchanged.Inc()
			return
		}
		write(i, pn)
	}
	visit := func(i uint32) {
		s := p.table.at(i)
		s.due = math.MaxInt64
		s.window.Close(s.kind, p.table.state(i), watermark, func(pn *gridloom.Pane) { emit(i, pn) })
		p.noteState(i, s)
	}
	for _, i := range p.waited {
		s := p.table.at(i)
		for k := range s.wait.empty {
			emit(i, &s.wait.empty[k])
		}
		s.wait.eachRestated(func(pn *gridloom.Pane) { write(i, pn) })
		visit(i)
		if s.wait.stored, s.wait.empty, s.wait.restated = nil, nil, nil; !s.needsRefold() {
			s.wait = nil
		}
	}
	p.waited = slices.DeleteFunc(p.waited, func(i uint32) bool { return p.table.at(i).wait == nil })
	due := p.dues.count(watermark) // all of a fleet as a window ends: what grows by appending leaves as much behind
	panes, of = slices.Grow(panes, due), slices.Grow(of, due)
	p.dues.take(watermark, func(at gridloom.Millis, i uint32) {
		if p.table.at(i).due == at { // else it is listed elsewhere as well
			visit(i)
		}
	})
	return panes, of
}

// States are encoded into pieces of memory: one that grew to hold a million of them
// would be copied, and half empty. snapshotRest is what is left free of a piece.
const (
	snapshotPiece = 1 << 20
	snapshotRest  = 4 << 10 // a state is mostly smaller; one that is not gets memory of its own
)

// snapshotRows encodes the state of every series.
func (p *partition) snapshotRows() []pane.SnapshotRow {
	rows := make([]pane.SnapshotRow, 0, p.table.len())
	var arena []byte
	for i := range uint32(p.table.len()) {
		if cap(arena)-len(arena) < snapshotRest {
			arena = make([]byte, 0, min(snapshotPiece, snapshotRest*(p.table.len()+1)))
		}
		s := p.table.at(i)
		if s.state == nil && s.rest == nil {
			continue // it has seen nothing: all that came for it had expired
		}
		state := s.rest
		if s.state != nil {
			from := len(arena)
			arena = window.AppendState(arena, s.state)
			state = arena[from:len(arena):len(arena)]
		}
		dials := s.window.Dials
		if s.unsure {
			dials = unsureDials
		}
		rows = append(rows, pane.SnapshotRow{Meter: p.table.meterName(i), Register: s.register, State: state, Dials: dials, Rating: s.window.Rating})
	}
	return rows
}

// save writes segments and manifest and swaps the head. It may be called again
// with the same commit after a failure that may pass.
func (p *partition) save(ctx context.Context, c *commit) (uint64, error) {
	if err := p.heads.Committable(); err != nil {
		return 0, err
	}
	if !c.rawDone {
		if c.readings.Len() > 0 {
			seg, err := p.store.WriteRawColumns(ctx, c.where, &c.readings, c.ranking)
			if err != nil {
				return 0, fmt.Errorf("write raw rows: %w", err)
			}
			c.segments = append(c.segments, seg)
		}
		c.rawDone = true
		p.cfg.Fault("commit.raw")
	}
	if !c.panesDone {
		if len(c.panes) > 0 {
			seg, err := p.store.WriteSeriesPanes(ctx, c.where, &c.readings.Table, c.paneSeries, c.panes, c.ranking)
			if err != nil {
				return 0, fmt.Errorf("write panes: %w", err)
			}
			c.segments = append(c.segments, seg)
		}
		c.panesDone = true
		p.cfg.Fault("commit.panes")
	}
	if !c.expiredDone {
		if len(c.expired) > 0 {
			seg, err := p.store.WriteExpired(ctx, c.where, c.expired)
			if err != nil {
				return 0, fmt.Errorf("write expired readings: %w", err)
			}
			c.segments = append(c.segments, seg)
			p.cfg.Fault("commit.expired")
		}
		c.expiredDone = true
	}
	if err := p.saveRecords(ctx, c); err != nil {
		return 0, err
	}
	if c.snapshot != nil && c.snapped == nil {
		seg, err := p.store.WriteSnapshot(ctx, c.where, c.snapshot, c.head.LogTime, c.head.NextSeq-1)
		if err != nil {
			return 0, fmt.Errorf("write snapshot: %w", err)
		}
		c.snapped = &seg
		p.cfg.Fault("commit.snapshot")
	}
	if c.manifest == nil {
		m := *c.base // shared slices are copied where they change
		m.Head = c.head
		m.Recent = slices.Concat(c.base.Recent, c.segments)
		m.Days = slices.Clone(c.base.Days)
		m.Counts.Readings += uint64(c.readings.Len())
		m.Counts.Panes += uint64(len(c.panes))
		m.Counts.Duplicates += c.duplicates
		m.Counts.Commits++
		m.Counts.Expired += uint64(len(c.expired))
		m.Counts.Records += c.records.count()
		m.RawFrom, m.PanesFrom = c.bounds.RawFrom, c.bounds.PanesFrom
		if c.snapped != nil {
			m.Snapshot, m.SnapshotSeq = c.snapped, c.head.NextSeq-1
		}
		if c.edit != nil {
			var err error
			if c.dropped, err = c.edit.amend(ctx, &m); err != nil {
				return 0, fmt.Errorf("edit manifest: %w", err)
			}
		}
		ref, err := p.store.WriteManifest(ctx, &m)
		if err != nil {
			return 0, fmt.Errorf("write manifest: %w", err)
		}
		c.manifest, c.head.Manifest = &m, ref
		p.cfg.Fault("commit.manifest")
	}
	rev, err := p.heads.SwapHead(ctx, c.head, c.revision)
	if err != nil {
		return 0, fmt.Errorf("swap head: %w", err)
	}
	p.cfg.Fault("commit.swapped")
	return rev, nil
}

// startCommit prepares a commit and hands it to the saver goroutine.
func (p *partition) startCommit(final bool) error {
	c, err := p.prepare(final)
	if err != nil || c == nil {
		return err
	}
	p.toSave <- c // capacity 1, and only one commit is ever in flight
	return nil
}

// runSaver saves commits until toSave is closed, repeating what may pass with a
// growing pause. Once ctx has ended every commit gets one attempt only, which the end of served cuts short.
func (p *partition) runSaver(ctx, served context.Context) {
	for c := range p.toSave {
		start := time.Now()
		pause := retryMin
		var rev uint64
		var err error
		for {
			sctx, cancel := context.WithTimeout(served, saveTimeout)
			rev, err = p.save(sctx, c)
			cancel()
			if !errors.Is(err, gridloom.ErrUnavailable) {
				break
			}
			p.setProblem("commit", err)
			p.metrics.retries.Inc()
			if !sleep(ctx, pause) {
				break
			}
			pause = min(2*pause, retryMax)
		}
		p.setProblem("commit", nil)
		p.saved <- commitResult{c, rev, err, time.Since(start)} // capacity 1, and only one commit is ever in flight
	}
}

// finishCommit takes the outcome of a commit into the loop's state.
func (p *partition) finishCommit(r commitResult) error {
	if r.err != nil {
		return r.err
	}
	// Answers and segments hold copies, so the memory serves the next commit.
	p.spare = p.frozen.rows
	p.spare.Reset()
	if cap(p.frozen.panes) <= maxSparePanes {
		p.sparePanes, p.sparePaneSeries = p.frozen.panes[:0], r.c.paneSeries[:0]
	}
	p.frozen = nil
	p.account()
	p.head, p.revision, p.manifest = r.c.head, r.revision, r.c.manifest
	p.metrics.commits.Inc()
	p.metrics.commitSeconds.Observe(r.took.Seconds())
	p.metrics.panes.Add(float64(len(r.c.panes)))
	p.setCommitted()
	p.publishCommit(r.c)
	if r.c.edit != nil && r.c.edit.done != nil {
		r.c.edit.done()
	}
	p.mu.Lock()
	p.status.LastCommit = p.cfg.Now()
	p.mu.Unlock()
	return nil
}

// sortedKeys returns the keys of m in rising order.
func sortedKeys[K interface{ ~string | ~uint16 }](m map[K]struct{}) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
