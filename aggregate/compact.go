package aggregate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
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
			pause = min(2*pause, max(compactRetryMax, p.cfg.CompactEvery))
			continue
		case did:
			pause = 0
		default:
			pause = p.cfg.CompactEvery
		}
	}
}

// once does the merge that is due; did is false if there was none.
func (c *compactor) once(ctx context.Context) (did bool, err error) {
	now := c.p.cfg.Now()
	shown := c.p.shown.Load()
	if shown == nil || shown.manifest == c.looked && now < c.until {
		return false, nil
	}
	m, kind, ok, err := c.choose(ctx, shown.manifest, now)
	if err != nil {
		return false, err
	}
	if !ok {
		// Without another commit nothing becomes due before the hour is over.
		c.looked, c.until = shown.manifest, now.Floor(gridloom.Hour)+gridloom.Hour
		return false, nil
	}
	c.last = kind
	return true, c.p.merge(ctx, shown.head.Epoch, kind, m, func(path string) { c.skip[path] = true })
}

// choose finds what is to be merged, of the kinds in turn.
func (c *compactor) choose(ctx context.Context, manifest *pane.Manifest, now gridloom.Millis) (merge, pane.Kind, bool, error) {
	kinds := []pane.Kind{pane.KindRaw, pane.KindPane}
	if c.last == pane.KindRaw {
		kinds[0], kinds[1] = kinds[1], kinds[0]
	}
	for _, kind := range kinds {
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

// merge writes the inputs of m anew and has the next commit name the outputs instead.
// damaged is told an input that cannot be read.
func (p *partition) merge(ctx context.Context, epoch uint64, kind pane.Kind, m merge, damaged func(path string)) error {
	select {
	case p.merging <- struct{}{}: // one at a time in this process
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	p.metrics.merges.begin()
	outputs, err := p.store.Merge(ctx, pane.Where{Generation: p.cfg.Generation, Partition: p.id, Epoch: epoch}, kind, m.inputs, m.level)
	p.metrics.merges.end(kind, time.Since(began))
	<-p.merging
	if err != nil {
		p.drops(pathsOf(outputs)...)
		if errors.Is(err, gridloom.ErrCorrupt) || errors.Is(err, gridloom.ErrNotFound) {
			p.blame(ctx, m.inputs, damaged)
		}
		if ctx.Err() == nil {
			p.metrics.merges.failed.WithLabelValues(string(kind)).Inc()
		}
		return fmt.Errorf("merge %d %s segments: %w", len(m.inputs), kind, err)
	}
	p.cfg.Fault("compact.merged")
	applied, err := p.replace(ctx, epoch, m.inputs, outputs)
	if err != nil {
		return err
	}
	if !applied {
		p.metrics.merges.thrownAway.WithLabelValues(string(kind)).Inc()
		return nil
	}
	p.metrics.merges.count(kind, m.inputs, outputs)
	p.cfg.Fault("compact.edited")
	return nil
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

// replace has a commit name outputs in the place of inputs. applied is false if the
// manifest did not list all of them any more; outputs are then dropped.
func (p *partition) replace(ctx context.Context, epoch uint64, inputs, outputs []pane.Segment) (applied bool, err error) {
	paths := pathsOf(inputs)
	done := make(chan struct{})
	var placed bool // what the commit made of it; not ours before done
	var failed error
	e := &edit{
		done: func() { close(done) },
		amend: func(ctx context.Context, m *pane.Manifest) ([]string, error) {
			placed, failed = false, nil
			if m.Head.Epoch != epoch {
				return nil, nil // files of another epoch are the sweep's
			}
			dropped, ok, err := p.store.Replace(ctx, m, paths, outputs)
			if err != nil { // the commit does without: rows come before order
				failed = err
				return pathsOf(outputs), nil //nolint:nilerr // told to who merged, in failed
			}
			if placed = ok; !ok {
				dropped = append(dropped, pathsOf(outputs)...)
			}
			return dropped, nil
		},
	}
	select {
	case p.edits <- e:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case <-done:
		return placed, failed
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func pathsOf(list []pane.Segment) []string {
	paths := make([]string, len(list))
	for i := range list {
		paths[i] = list[i].Path
	}
	return paths
}
