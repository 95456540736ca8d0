package aggregate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/pane"
)

// compactRetryMax bounds the pause after merges that failed.
const compactRetryMax = time.Minute

// compactor merges the segments of one partition while its owner owns it. It works
// beside the loop: it reads what was committed, writes files that nobody knows of, and
// then asks the loop for a commit that names them in the place of what they were made of.
type compactor struct {
	p      *partition
	looked *pane.Manifest  // had nothing to merge ...
	until  gridloom.Millis // ... before this instant
	skip   map[string]bool // damaged or vanished: merging goes on around them
	last   pane.Kind       // that was merged
}

// mergedKinds are the kinds of segments that are merged, in turn.
var mergedKinds = [...]pane.Kind{pane.KindRaw, pane.KindPane, pane.KindRegistry, pane.KindAudit}

// runCompaction merges what is due until ctx ends. What it was about then is left
// behind as files that no manifest names.
func (p *partition) runCompaction(ctx context.Context) {
	if p.cfg.CompactEvery < 0 {
		return
	}
	c := compactor{p: p, skip: map[string]bool{}}
	for pause := p.cfg.CompactEvery; sleep(ctx, pause); {
		did, err := c.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// Not a problem of the partition: it takes readings, commits and answers.
			p.logger.Warn("segments were not merged", "err", err)
			pause = afterFailure(pause, p.cfg.CompactEvery)
			continue
		case did:
			pause = 0
		default:
			pause = p.cfg.CompactEvery
		}
	}
}

// afterFailure returns the pause that follows one after which a merge failed: twice as
// long, and never none, although none follows a merge that went well.
func afterFailure(pause, every time.Duration) time.Duration {
	return min(max(2*pause, every), max(compactRetryMax, every))
}

// once does the merge that is due; did is false if there was none.
func (c *compactor) once(ctx context.Context) (did bool, err error) {
	j, ok, err := c.next(ctx)
	if err != nil || !ok {
		return false, err
	}
	outputs, err := c.write(ctx, j)
	if err != nil {
		return true, err
	}
	return true, c.p.replace(ctx, j, outputs)
}

// job is a merge of what was committed in an epoch.
type job struct {
	merge
	kind  pane.Kind
	epoch uint64
}

// next finds the merge that is due; ok is false if there is none.
func (c *compactor) next(ctx context.Context) (j job, ok bool, err error) {
	now := c.p.cfg.Now()
	shown := c.p.shown.Load()
	if shown == nil || shown.manifest == c.looked && now < c.until {
		return j, false, nil
	}
	m, kind, ok, err := c.choose(ctx, shown.manifest, now)
	if err != nil {
		return j, false, err
	}
	if !ok {
		// Without another commit nothing becomes due before the hour is over.
		c.looked, c.until = shown.manifest, now.Floor(gridloom.Hour)+gridloom.Hour
		return j, false, nil
	}
	c.last = kind
	return job{m, kind, shown.head.Epoch}, true, nil
}

// choose finds what is to be merged, of the kinds in turn.
func (c *compactor) choose(ctx context.Context, manifest *pane.Manifest, now gridloom.Millis) (merge, pane.Kind, bool, error) {
	first := 1 + slices.Index(mergedKinds[:], c.last) // the first of all if none was merged yet
	for i := range mergedKinds {
		kind := mergedKinds[(first+i)%len(mergedKinds)]
		var list []pane.Segment
		for seg, err := range c.p.store.Segments(ctx, manifest, kind, pane.Selector{}) {
			if err != nil {
				return merge{}, kind, false, err
			}
			list = append(list, seg)
		}
		limit := mergeLimits{files: c.p.cfg.MergeFiles, bytes: c.p.cfg.MergeBytes, large: pane.DefaultSegmentBytes / 2}
		if m, ok := nextMerge(list, now, limit, c.skip); ok {
			return m, kind, true, nil
		}
	}
	return merge{}, "", false, nil
}

// write writes the inputs of a merge anew. Those that cannot be read are skipped from
// then on.
func (c *compactor) write(ctx context.Context, j job) (outputs []pane.Segment, err error) {
	p := c.p
	select {
	case p.merging <- struct{}{}: // one at a time in this process
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	p.metrics.merges.begin()
	outputs, err = p.store.Merge(ctx, pane.Where{Generation: p.cfg.Generation, Partition: p.id, Epoch: j.epoch}, j.kind, j.inputs, j.level)
	p.metrics.merges.end(j.kind, time.Since(began))
	<-p.merging
	if err != nil {
		p.drops(pathsOf(outputs)...)
		if errors.Is(err, gridloom.ErrCorrupt) || errors.Is(err, gridloom.ErrNotFound) {
			p.blame(ctx, j.inputs, func(path string) { c.skip[path] = true })
		}
		if ctx.Err() == nil {
			p.metrics.merges.failed.WithLabelValues(string(j.kind)).Inc()
		}
		return nil, fmt.Errorf("merge %d %s segments: %w", len(j.inputs), j.kind, err)
	}
	p.cfg.Fault("compact.merged")
	return outputs, nil
}

// blame tells damaged which of the inputs cannot be read; all of them if each is what
// was written, and yet they could not be merged.
func (p *partition) blame(ctx context.Context, inputs []pane.Segment, damaged func(path string)) {
	found := false
	for i := range inputs {
		if err := p.store.Check(ctx, inputs[i]); errors.Is(err, gridloom.ErrCorrupt) || errors.Is(err, gridloom.ErrNotFound) {
			damaged(inputs[i].Path)
			found = true
		}
	}
	for i := range inputs {
		if !found {
			damaged(inputs[i].Path)
		}
	}
}

// replace has a commit name outputs in the place of the inputs of j. If the manifest
// does not list all of them any more, outputs are dropped.
func (p *partition) replace(ctx context.Context, j job, outputs []pane.Segment) error {
	r := p.replacing(j, outputs)
	select {
	case p.edits <- r.edit:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.outcome()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// replacement is an edit that puts outputs in the place of the inputs of a merge.
type replacement struct {
	p       *partition
	job     job
	outputs []pane.Segment
	edit    *edit
	done    chan struct{} // closed when the commit has passed
	placed  bool          // what the commit made of it; not ours before done
	failed  error
}

func (p *partition) replacing(j job, outputs []pane.Segment) *replacement {
	r := &replacement{p: p, job: j, outputs: outputs, done: make(chan struct{})}
	r.edit = &edit{done: func() { close(r.done) }, amend: r.amend}
	return r
}

func (r *replacement) amend(ctx context.Context, m *pane.Manifest) ([]string, error) {
	r.placed, r.failed = false, nil
	if !protocol.MayList(&m.Head, r.job.epoch) {
		return nil, nil // files of another epoch are the sweep's
	}
	dropped, ok, err := r.p.store.Replace(ctx, m, pathsOf(r.job.inputs), r.outputs)
	if err != nil { // the commit does without: rows come before order
		r.failed = err
		return append(dropped, pathsOf(r.outputs)...), nil //nolint:nilerr // told to who merged, in failed
	}
	if r.placed = ok; !ok {
		dropped = append(dropped, pathsOf(r.outputs)...)
	}
	return dropped, nil
}

// outcome counts what became of it, once it is done.
func (r *replacement) outcome() error {
	m := r.p.metrics.merges
	switch {
	case r.failed != nil:
		return r.failed
	case !r.placed:
		m.thrownAway.WithLabelValues(string(r.job.kind)).Inc()
		return nil
	}
	m.count(r.job.kind, r.job.inputs, r.outputs)
	r.p.cfg.Fault("compact.edited")
	return nil
}

func pathsOf(list []pane.Segment) []string {
	paths := make([]string, len(list))
	for i := range list {
		paths[i] = list[i].Path
	}
	return paths
}
