package aggregate

import (
	"errors"
	"fmt"
	"math"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// maxFrameAhead is how far the log's clock may be ahead of ours before one of them must be wrong.
const maxFrameAhead = 5 * gridloom.Minute

// apply folds one frame in. An error stops the partition: a frame is never skipped.
func (p *partition) apply(f *Frame) error {
	if now := p.cfg.Now(); f.LoggedAt > now+maxFrameAhead {
		return fmt.Errorf("%w: frame %d was stored at %s, but the clock here says %s: set the clock and start again",
			errClock, f.Sequence, f.LoggedAt, now)
	}
	info, err := wire.DecodeFrame(f.Data, &p.columns)
	if errors.Is(err, wire.ErrNewer) {
		return fmt.Errorf("frame %d of partition %d was written by a newer gridloom, start that: %w", f.Sequence, p.id, err)
	}
	if err != nil {
		return fmt.Errorf("frame %d of partition %d: %w", f.Sequence, p.id, err)
	}
	if info.Generation != p.cfg.Generation || info.Partition != p.id {
		return fmt.Errorf("%w: frame %d says generation %d partition %d, and lies in generation %d partition %d",
			gridloom.ErrCorrupt, f.Sequence, info.Generation, info.Partition, p.cfg.Generation, p.id)
	}
	p.logTime = max(p.logTime, f.LoggedAt)
	switch info.Kind {
	case wire.KindReadings:
		p.applyReadings(f)
		p.unsaved = true
	case wire.KindEdit, wire.KindRegistry:
		if err := p.applyRecords(f, &info); err != nil {
			return err
		}
		p.applyReadings(f)
		p.unsaved = true
	case wire.KindTick:
	default:
		return fmt.Errorf("%w: frame %d is of kind %d, which this version does not know: start a newer one", gridloom.ErrInvalid, f.Sequence, info.Kind)
	}
	p.nextSeq = f.Sequence + 1
	p.lastRef = gridloom.FrameRef{Seq: f.Sequence, CRC: wire.CRC(f.Data)}
	p.trail.Read(p.lastRef)
	p.metrics.frames.Inc()
	return nil
}

// applyReadings folds the decoded columns of frame f in.
func (p *partition) applyReadings(f *Frame) {
	c := &p.columns
	p.frameMeters = p.frameMeters[:0]
	last := uint32(0)
	for _, id := range c.Meters {
		last = p.table.meterAfter(last, id)
		p.frameMeters = append(p.frameMeters, last)
	}
	p.frameAgents = p.internAll(p.frameAgents[:0], c.Agents)
	p.frameSerials = p.internAll(p.frameSerials[:0], c.Serials)
	r := window.Reading{Sequence: f.Sequence, LoggedAt: p.logTime}
	shared := pane.RawShared{Sequence: f.Sequence, LoggedAt: p.logTime}
	var ahead [fetched]uint32
	for i := range c.Len() {
		if i%fetched == 0 {
			p.fetch(ahead[:min(fetched, c.Len()-i)], i)
		}
		series := ahead[i%fetched]
		row := pane.RawRow{Start: c.Start[i], Value: c.Value[i], Series: series, Place: uint32(i), Quality: c.Quality[i]}
		shared.Order, shared.Length, shared.Void = c.Order[i], c.Length[i], c.Void[i]
		shared.Agent, shared.Serial = p.frameAgents[c.Agent[i]], p.frameSerials[c.Serial[i]]
		r.Start, r.Length, r.Value, r.Void, r.Quality = row.Start, shared.Length, row.Value, shared.Void, row.Quality
		r.Order, r.Place, r.Serial = shared.Order, row.Place, p.table.Names[shared.Serial]
		if r.Start < p.bounds.RawFrom {
			p.expire(&r, &row, &shared)
			continue
		}
		p.add(&r, &row, &shared)
	}
	p.metrics.readings.Add(float64(c.Len()))
}

// fetched is for how many readings of a frame the series are looked up, and what folding them
// touches is loaded, before they are folded: what memory takes for them overlaps.
const fetched = 32

// fetch sets ahead to the series of the decoded readings from the one at from on.
func (p *partition) fetch(ahead []uint32, from int) {
	c := &p.columns
	for i := range ahead {
		ahead[i] = p.table.find(p.frameMeters[c.Meter[from+i]], c.Register[from+i])
	}
	var states [fetched]*window.State
	for i, series := range ahead {
		states[i] = p.table.at(series).state
	}
	p.cfg.Window.Fetch(states[:len(ahead)], c.Start[from:])
}

// add folds one reading, told as the kernel and as the tail want it, into its series, or
// holds it until the series is refolded.
func (p *partition) add(r *window.Reading, row *pane.RawRow, shared *pane.RawShared) {
	s := p.table.at(row.Series)
	if s.needsRefold() {
		// The state lags behind what is pending, so it cannot judge what follows.
		p.hold(r, row, shared)
		return
	}
	st := s.state
	if s.touched = true; st == nil {
		st = p.table.wake(row.Series)
	}
	if s.open > 0 && s.window.AddNext(s.kind, st, r) {
		p.current.add(row, shared)
		return
	}
	held := st.Panes()
	switch outcome := s.window.Add(s.kind, st, r); outcome {
	case window.Folded:
		p.current.add(row, shared)
		panes := st.Panes()
		if panes > keptPanes { // of a backfill; what every series keeps is no part of the tail
			p.current.bytes += int64(max(panes-held, 0)) * paneBytes
		}
		p.noteState(row.Series, s)
	case window.Ranked:
		p.current.add(row, shared)
		p.metrics.ranked.Inc()
	case window.Duplicate:
		p.duplicate()
	case window.Disorder:
		p.hold(r, row, shared)
	}
}

// duplicate counts a reading that said again what was known.
func (p *partition) duplicate() {
	p.duplicates++
	p.metrics.duplicates.Inc()
}

// hold keeps a reading that came out of order for the next refold of its series.
func (p *partition) hold(r *window.Reading, row *pane.RawRow, shared *pane.RawShared) {
	w := p.awaitRefold(row.Series, p.stretchOf(row.Series, r))
	w.pending = append(w.pending, p.readingOf(r, row, shared))
	p.current.bytes += pendingBytes
	p.metrics.disorder.Inc()
}

// readingOf tells a reading as the kernel and the tail want it in one.
func (p *partition) readingOf(r *window.Reading, row *pane.RawRow, shared *pane.RawShared) gridloom.Reading {
	return gridloom.Reading{
		Meter: p.table.meterName(row.Series), Register: p.table.at(row.Series).register, Start: r.Start, Length: r.Length, Value: r.Value, Void: r.Void,
		Quality: r.Quality, Order: r.Order, Serial: r.Serial, Agent: p.table.Names[shared.Agent],
		Sequence: r.Sequence, Place: r.Place, LoggedAt: r.LoggedAt,
	}
}

// stretchOf says what a reading that came out of order may change.
func (p *partition) stretchOf(i uint32, r *window.Reading) stretch {
	s := p.table.at(i)
	x := stretch{s.window.AffectedFrom(s.kind, p.table.state(i), r), r.Start}
	if newest, _ := p.table.last(i); r.Order.Class() == gridloom.ClassUndo && r.Start >= newest.Start {
		// The state may know the newest reading from the edit that is undone: what comes next is not to be judged against that.
		x.at = math.MaxInt64
	}
	return x
}

// awaitRefold lists a series that must be refolded because of what a reading may change.
func (p *partition) awaitRefold(i uint32, x stretch) *waiting {
	s := p.table.at(i)
	if x.from != math.MinInt64 {
		x.from = max(x.from, p.bounds.RawFrom) // panes before are final
	}
	if s.wait == nil {
		s.wait = &waiting{}
		p.waited = append(p.waited, i)
	}
	if !s.needsRefold() {
		s.wait.refoldFrom = x.from
		p.disordered = append(p.disordered, i)
	}
	s.wait.refoldFrom = min(s.wait.refoldFrom, x.from)
	s.wait.note(x)
	return s.wait
}

func (p *partition) internAll(dst []uint32, names []string) []uint32 {
	for _, n := range names {
		dst = append(dst, p.table.intern(n))
	}
	return dst
}
