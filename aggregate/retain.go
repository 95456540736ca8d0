package aggregate

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// Retention says how long rows are kept, and how many bytes of them in the whole store. Zero is
// for ever, and without limit.
type Retention struct {
	Raw, Panes           time.Duration // after the time that they tell of
	RawBytes, PanesBytes int64
}

// limits reports whether anything is not kept for ever.
func (r *Retention) limits() bool { return *r != Retention{} }

// retainer finds what is past retention in one partition, while its owner owns it. It works
// beside the loop: what it has found, the next commit carries out (moveBounds).
type retainer struct {
	p      *partition
	looked *pane.Manifest  // had nothing past retention ...
	until  gridloom.Millis // ... before this instant
}

// runRetention moves the bounds of retention until ctx ends.
func (p *partition) runRetention(ctx context.Context) {
	if !p.cfg.Retain.limits() || p.cfg.RetainEvery < 0 {
		return
	}
	r := retainer{p: p}
	for pause := p.cfg.RetainEvery; sleep(ctx, pause); {
		pause = p.cfg.RetainEvery
		did, err := r.once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.metrics.retention.failed.Inc()
			p.logger.Warn("what is past retention was not dropped", "err", err)
			pause = min(max(2*pause, time.Second), retryMax)
		case did:
			p.cfg.Fault("retain.edited")
		}
	}
}

// once has a commit carry out what is due; did is false if nothing is.
func (r *retainer) once(ctx context.Context) (did bool, err error) {
	bounds, ok, err := r.next(ctx)
	if err != nil || !ok {
		return false, err
	}
	e := r.p.expiring(bounds)
	select {
	case r.p.edits <- e.edit:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	select {
	case <-e.done:
		return true, e.outcome()
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// next says where the bounds should be; ok is false if they are there and nothing is left
// of what is before.
func (r *retainer) next(ctx context.Context) (bounds pane.Bounds, ok bool, err error) {
	now := r.p.cfg.Now()
	shown := r.p.shown.Load()
	if shown == nil || shown.head.Manifest.Path == "" || shown.manifest == r.looked && now < r.until {
		return bounds, false, nil
	}
	var kept stock
	left := false
	m := shown.manifest
	for _, kind := range []pane.Kind{pane.KindRaw, pane.KindPane, pane.KindExpired} {
		for seg, err := range r.p.store.Segments(ctx, m, kind, pane.Selector{}) {
			if err != nil {
				return bounds, false, err
			}
			left = left || m.Bounds().Passed(&seg)
			kept.add(&seg)
		}
	}
	limit := lastDay(r.p.cfg.Window, shown.head.LogTime-r.p.cfg.Window.Lateness)
	bounds = kept.bounds(r.p.cfg.Retain.share(r.p.cfg.Partitions), m.Bounds(), now, limit)
	if bounds == m.Bounds() && !left {
		r.looked, r.until = m, now.Floor(gridloom.Day)+gridloom.Day
		return bounds, false, nil
	}
	return bounds, true, nil
}

// share is what one of so many partitions may keep.
func (r Retention) share(partitions int) Retention {
	r.RawBytes /= int64(max(partitions, 1))
	r.PanesBytes /= int64(max(partitions, 1))
	return r
}

// lastDay returns the last start of a day at which retention can stand: panes before it are
// closed at the watermark, and those of the day before are whole.
func lastDay(w window.Config, watermark gridloom.Millis) gridloom.Millis {
	return max(0, (watermark - w.Lookahead() - w.Width).Floor(gridloom.Day))
}

// stock is what a manifest lists of a kind.
type stock struct{ raw, panes []pane.Segment }

func (s *stock) add(g *pane.Segment) {
	switch g.Kind {
	case pane.KindRaw:
		s.raw = append(s.raw, *g)
	case pane.KindPane:
		s.panes = append(s.panes, *g)
	case pane.KindExpired, pane.KindSnapshot, pane.KindRegistry, pane.KindAudit:
	}
}

// bounds returns how far retention should come that stands at from: by age and by size, at
// most to limit, and never back. now is the wall clock.
func (s *stock) bounds(keep Retention, from pane.Bounds, now, limit gridloom.Millis) pane.Bounds {
	to := pane.Bounds{
		RawFrom:   boundOf(s.raw, keep.Raw, keep.RawBytes, from.RawFrom, now, limit),
		PanesFrom: boundOf(s.panes, keep.Panes, keep.PanesBytes, from.PanesFrom, now, limit),
	}
	to.RawFrom = max(to.RawFrom, to.PanesFrom) // without its panes a reading cannot be judged
	return to
}

// boundOf returns where the bound of a kind should be. It does not move where nothing would go.
func boundOf(list []pane.Segment, age time.Duration, most int64, from, now, limit gridloom.Millis) gridloom.Millis {
	to := from
	if age > 0 {
		at := min((now - gridloom.SpanOf(age)).Floor(gridloom.Day), limit)
		if slices.ContainsFunc(list, func(g pane.Segment) bool { return g.MinStart < at }) {
			to = max(to, at)
		}
	}
	if most == 0 {
		return to
	}
	list = slices.DeleteFunc(slices.Clone(list), func(g pane.Segment) bool { return g.MaxEnd <= to })
	slices.SortFunc(list, func(a, b pane.Segment) int { return cmp.Compare(a.MaxEnd, b.MaxEnd) })
	var bytes int64
	for i := range list {
		bytes += list[i].Bytes
	}
	for i := range list {
		day := (list[i].MaxEnd + gridloom.Day - 1).Floor(gridloom.Day)
		if bytes <= most || day > limit {
			break
		}
		to = max(to, day)
		bytes -= list[i].Bytes
	}
	return to
}

// moveBounds makes the bounds of retention count from the commit on that is being prepared:
// what is read from then on and starts before is expired, and the states let go of the panes
// before. All readings so far are folded in and what is closed is emitted; the commit takes
// a snapshot, so that no restart folds again what was taken under other bounds. It
// reports whether they have moved.
func (p *partition) moveBounds(to pane.Bounds) bool {
	limit := lastDay(p.cfg.Window, p.watermark())
	to = p.bounds.Later(pane.Bounds{RawFrom: min(to.RawFrom, limit), PanesFrom: min(to.PanesFrom, limit)})
	if to == p.bounds {
		return false
	}
	p.bounds = to
	for i := range uint32(p.table.len()) {
		s := p.table.at(i)
		if b := p.table.peek(i).Bound(); b > 0 && b < to.RawFrom { // one that has no bound has nothing closed
			s.window.Freeze(s.kind, p.table.state(i), to.RawFrom)
			p.noteState(i, s)
		}
	}
	return true
}

// window is the arithmetic of a refold of a series, which knows how far panes are final.
func (p *partition) window(s *series) *window.Config {
	w := *s.window
	w.Final = p.bounds.RawFrom
	return &w
}

// expire takes a reading whose time is past retention: it is stored for a look, and nothing else.
func (p *partition) expire(r *window.Reading, row *pane.RawRow, shared *pane.RawShared) {
	p.current.expired = append(p.current.expired, p.readingOf(r, row, shared))
	p.current.bytes += pendingBytes
	p.metrics.retention.expired.Inc()
}

// expiry is an edit that moves the bounds of retention and drops what is before them.
type expiry struct {
	p      *partition
	bounds pane.Bounds
	edit   *edit
	done   chan struct{} // closed when the commit has passed
	gone   []pane.Segment
	failed error // what came of it; not ours before done
}

func (p *partition) expiring(b pane.Bounds) *expiry {
	e := &expiry{p: p, bounds: b, done: make(chan struct{})}
	e.edit = &edit{bounds: b, amend: e.amend, done: func() { close(e.done) }}
	return e
}

// amend drops the segments that are past the bounds that the commit writes.
func (e *expiry) amend(ctx context.Context, m *pane.Manifest) (dropped []string, err error) {
	e.gone, dropped, e.failed = e.p.store.Retain(ctx, m, m.Bounds())
	return dropped, nil // the commit does without: what is listed and past is tried again
}

// outcome counts what became of it, once it is done.
func (e *expiry) outcome() error {
	if e.failed != nil {
		return e.failed
	}
	e.p.metrics.retention.count(e.gone)
	return nil
}
