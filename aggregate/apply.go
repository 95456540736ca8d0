package aggregate

import (
	"errors"
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
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
	case wire.KindReadings, wire.KindEdit:
		p.applyReadings(f)
		p.unsaved = true
	case wire.KindTick:
	case wire.KindRegistry:
		return fmt.Errorf("%w: frame %d holds a registry change, which this version cannot apply: start a newer one", gridloom.ErrInvalid, f.Sequence)
	default:
		return fmt.Errorf("%w: frame %d is of kind %d, which this version does not know: start a newer one", gridloom.ErrInvalid, f.Sequence, info.Kind)
	}
	p.nextSeq = f.Sequence + 1
	p.lastRef = gridloom.FrameRef{Seq: f.Sequence, CRC: wire.CRC(f.Data)}
	p.metrics.frames.Inc()
	return nil
}

// applyReadings folds the decoded columns of frame f in.
func (p *partition) applyReadings(f *Frame) {
	c := &p.columns
	p.frameMeters = p.frameMeters[:0]
	for _, id := range c.Meters {
		p.frameMeters = append(p.frameMeters, p.table.meter(id))
	}
	p.frameAgents = p.internAll(p.frameAgents[:0], c.Agents)
	p.frameSerials = p.internAll(p.frameSerials[:0], c.Serials)
	var r window.Reading
	for i := range c.Len() {
		m := p.frameMeters[c.Meter[i]]
		s := &p.table.series[p.table.find(m, c.Register[i])]
		r = window.Reading{
			Start: c.Start[i], Length: c.Length[i], Value: c.Value[i], Void: c.Void[i], Quality: c.Quality[i],
			Order: c.Order[i], Sequence: f.Sequence, Place: uint32(i), LoggedAt: p.logTime, Serial: p.frameSerials[c.Serial[i]],
		}
		row := gridloom.Reading{
			Meter: p.table.meters[m], Register: s.register, Start: r.Start, Length: r.Length, Value: r.Value, Void: r.Void,
			Quality: r.Quality, Order: r.Order, Serial: r.Serial, Agent: p.frameAgents[c.Agent[i]],
			Sequence: r.Sequence, Place: r.Place, LoggedAt: r.LoggedAt,
		}
		p.add(s, &r, &row)
	}
	p.metrics.readings.Add(float64(c.Len()))
}

// add folds one reading into its series, or holds it until the series is refolded.
func (p *partition) add(s *series, r *window.Reading, row *gridloom.Reading) {
	if s.needsRefold() {
		// The state lags behind what is pending, so it cannot judge what follows.
		p.hold(s, r, row)
		return
	}
	held := s.state.Panes()
	switch outcome := p.cfg.Window.Add(s.kind, &s.state, r); outcome {
	case window.Folded, window.Ranked:
		if outcome == window.Ranked {
			p.metrics.ranked.Inc()
		}
		p.current.add(row)
		fresh := s.state.Panes() - held
		p.openPanes += fresh // counted anew at each commit
		p.current.bytes += int64(fresh) * paneBytes
	case window.Duplicate:
		p.duplicate()
	case window.Disorder:
		p.hold(s, r, row)
	}
}

// duplicate counts a reading that said again what was known.
func (p *partition) duplicate() {
	p.duplicates++
	p.metrics.duplicates.Inc()
}

// hold keeps a reading that came out of order for the next refold of its series.
func (p *partition) hold(s *series, r *window.Reading, row *gridloom.Reading) {
	from := p.cfg.Window.AffectedFrom(s.kind, &s.state, r)
	if !s.needsRefold() {
		s.refoldFrom = from
		p.disordered = append(p.disordered, p.table.indexOf(s))
	}
	s.refoldFrom = min(s.refoldFrom, from)
	s.pending = append(s.pending, *row)
	p.current.bytes += rowBytes
	p.metrics.disorder.Inc()
}

func (p *partition) internAll(dst, names []string) []string {
	for _, n := range names {
		dst = append(dst, p.table.intern(n))
	}
	return dst
}
