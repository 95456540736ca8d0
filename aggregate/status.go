package aggregate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// setState notes what the partition is doing.
func (p *partition) setState(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.State = s
	p.status.Epoch = p.head.Epoch
}

// setProblem notes that something is in the way, or with nil that it is gone, and
// logs the change.
func (p *partition) setProblem(where string, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	p.mu.Lock()
	before := p.problems[where]
	if err == nil {
		delete(p.problems, where)
	} else {
		p.problems[where] = err
	}
	p.mu.Unlock()
	switch {
	case before == nil && err != nil:
		p.logger.Warn("partition waits", "at", where, "err", err)
	case before != nil && err == nil:
		p.logger.Info("partition goes on", "at", where)
	}
}

// setCommitted notes the position of the head.
func (p *partition) setCommitted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.Epoch = p.head.Epoch
	p.status.CommittedSeq = p.head.NextSeq
}

// publish copies what /status tells out of the loop.
func (p *partition) publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.NextSeq, p.status.LogTime, p.status.Watermark = p.nextSeq, p.logTime, p.watermark()
	if p.logTime == 0 {
		p.status.Watermark = 0
	}
	p.status.Series, p.status.OpenPanes, p.status.TailBytes = p.table.len(), p.openPanes, p.counted
}

// snapshotStatus returns what /status tells of the partition, all but the lag.
func (p *partition) snapshotStatus() pane.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.status
	var texts []string
	for _, w := range slices.Sorted(maps.Keys(p.problems)) {
		texts = append(texts, w+": "+p.problems[w].Error())
	}
	st.Problem = strings.Join(texts, "; ")
	return st
}

// Status returns the state of every partition that is owned here. Lag counts the sequences of the
// whole log that lie between what was read and the last frame of the partition;
// it is an upper bound of the frames that wait.
func (w *Worker) Status(ctx context.Context) ([]pane.Status, error) {
	out := make([]pane.Status, 0, len(w.slots))
	for _, p := range w.all() {
		out = append(out, w.statusOf(ctx, p))
	}
	return out, nil
}

// PartitionStatus is Status of one partition. ErrUnavailable: it is not owned here.
func (w *Worker) PartitionStatus(ctx context.Context, id int) (pane.Status, error) {
	p := w.owned(id)
	if p == nil {
		return pane.Status{}, notOwned(id)
	}
	return w.statusOf(ctx, p), nil
}

func (w *Worker) statusOf(ctx context.Context, p *partition) pane.Status {
	st := p.snapshotStatus()
	last, err := w.log.LastSequence(ctx, p.id)
	switch {
	case err != nil:
		if st.Problem == "" {
			st.Problem = err.Error()
		}
	case last >= st.NextSeq:
		st.Lag = last - st.NextSeq + 1
	}
	return st
}

// LogProblem returns why nothing may be appended to a partition's log now: its
// owner has not compared it with the head yet, or it is not the log that was read
// before, so that what is stored there would be thrown away when the right one is
// restored. ErrUnavailable, or nil.
func (w *Worker) LogProblem(id int) error {
	p := w.owned(id)
	if p == nil {
		return notOwned(id)
	}
	if lost := p.logLost.Load(); lost != nil {
		return fmt.Errorf("%w: partition %d takes no readings: %w", gridloom.ErrUnavailable, id, *lost)
	}
	if !p.logKnown.Load() {
		return fmt.Errorf("%w: partition %d takes no readings yet: its log is being compared with its head", gridloom.ErrUnavailable, id)
	}
	return nil
}

// Ready returns nil if every partition that is owned here runs, else the first reason why not.
func (w *Worker) Ready() error {
	for _, p := range w.all() {
		st := p.snapshotStatus()
		if st.State != "running" {
			return fmt.Errorf("%w: partition %d is %s: %s", gridloom.ErrUnavailable, st.Partition, st.State, st.Problem)
		}
	}
	return nil
}
