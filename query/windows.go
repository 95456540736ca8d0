package query

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// listWindows answers GET /windows.
func (s *Server) listWindows(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	p.calendars = s.cfg.Calendars
	q, err := p.windowsParams(s.cfg.Window.Width)
	if err != nil {
		return err
	}
	if q.format, err = formatOf(r, p.one("format")); err != nil {
		return err
	}
	sel := pane.Selector{Meters: q.meters, Registers: q.registers}
	sel.From, sel.To = q.reads()
	kind := pane.KindPane
	if q.asOf != 0 { // folded from the beginning of each series
		kind, sel.From, sel.To = pane.KindRaw, 0, 0
		from, _ := q.reads()
		q.margin = asOfMargin(q.registers, &s.cfg.Window) + q.from - from
	}
	return s.scan(w, r, &q.selection, kind, sel, func(ctx context.Context, sc *scan) error {
		head := append(q.head(sc), field{"step", kindString, text(q.grid.name)})
		if q.fill != fillNone {
			head = append(head, field{"fill", kindString, text(fillNames[q.fill])})
		}
		if q.bands != nil {
			head = append(head, field{"calendar", kindString, text(q.bands.name)})
		}
		t := windowTable(&q, head)
		if q.group != noGrouping {
			t = groupTable(&q, append(head, field{"group_by", kindString, text(groupNames[q.group])}, field{"agg", kindString, text(aggNames[q.agg])}))
		}
		return s.answer(w, r, q.format, t, func(enc encoder) error { return s.windows(ctx, sc, &q, enc) })
	})
}

// windows walks the panes that q asks for and writes what comes of them.
func (s *Server) windows(ctx context.Context, sc *scan, q *windowsQuery, enc encoder) error {
	watermark := s.watermarks(sc.snaps, q.asOf)
	var bands *banded // in place of steps
	if q.bands != nil {
		bands = newBanded(s.cfg.Window, &q.grid, q.bands, watermark)
	}
	var out paneSink = newWindowRows(q, bands, enc)
	if q.group != noGrouping {
		out = &groups{by: q.group, agg: q.agg, grid: &q.grid, bands: bands, single: len(q.registers) == 1, most: s.limits.Steps, named: map[string]*group{}, emit: groupRows(q, bands, enc)}
	}
	if bands != nil {
		bands.next, out = out, bands
	} else {
		out = &steps{window: s.cfg.Window, grid: &q.grid, watermark: watermark, next: out}
	}
	out = &countSeries{most: s.limits.Series, next: out}
	from, to := q.reads()
	if q.fill != fillNone {
		f := &fill{from: q.from, to: q.to, width: s.cfg.Window.Width, next: out}
		if q.fill == fillLikeDay {
			f.days = newLikeDays(f.width, q.zone, q.bands)
		}
		out = f
	}
	if q.asOf == 0 {
		return s.storedPanes(ctx, sc, q, from, to, out)
	}
	return s.foldPanes(ctx, sc, q, s.cfg.Window, from, to, out)
}

// storedPanes walks the panes that overlap [from, to) as they are stored and held.
func (s *Server) storedPanes(ctx context.Context, sc *scan, q *windowsQuery, from, to gridloom.Millis, out paneSink) error {
	newest := &newestPanes{from: from, to: to, next: out}
	sources, err := s.paneSources(ctx, sc, q)
	if err != nil {
		return err
	}
	if err := merge(ctx, sources, s.order.ofPane, newest.take); err != nil {
		return err
	}
	return newest.end()
}

// foldPanes walks the panes that overlap [from, to) as cfg makes them of the readings
// that were logged until q.asOf, or of all that there are.
func (s *Server) foldPanes(ctx context.Context, sc *scan, q *windowsQuery, cfg window.Config, from, to gridloom.Millis, out paneSink) error {
	asOf := q.asOf
	if asOf == 0 {
		asOf = math.MaxInt64
	}
	windowOf, err := s.windowsAsOf(ctx, cfg, q.meters, q.asOf)
	if err != nil {
		return err
	}
	fold := &foldSeries{window: cfg, windowOf: windowOf, asOf: asOf, from: from, to: to, kept: s.rawFrom(sc.snaps), watermark: s.watermarks(sc.snaps, q.asOf), next: func(p *gridloom.Pane) error {
		if p.Start >= to || p.Start+p.Length <= from || window.IsEmpty(p) {
			return nil
		}
		return out.take(p)
	}}
	sources, err := s.readingSources(ctx, sc)
	if err != nil {
		return err
	}
	if err := merge(ctx, sources, s.order.ofReading, fold.take); err != nil {
		return err
	}
	if err := fold.end(); err != nil {
		return err
	}
	return out.end()
}

// listReadings answers GET /readings.
func (s *Server) listReadings(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	q, err := p.readingsParams()
	if err != nil {
		return err
	}
	if q.format, err = formatOf(r, p.one("format")); err != nil {
		return err
	}
	sel := pane.Selector{Meters: q.meters, Registers: q.registers, From: q.from, To: q.to}
	return s.scan(w, r, &q.selection, pane.KindRaw, sel, func(ctx context.Context, sc *scan) error {
		return s.answer(w, r, q.format, readingTable(&q, q.head(sc)), func(enc encoder) error {
			sources, err := s.readingSources(ctx, sc)
			if err != nil {
				return err
			}
			rows := &seriesRows{series: s.limits.Series, from: q.from, to: q.to, asOf: q.asOf, history: q.history, emit: readingRows(&q, enc)}
			if err := merge(ctx, sources, s.order.ofReading, rows.take); err != nil {
				return err
			}
			return rows.end()
		})
	})
}

// head is what an answer says once, before its rows.
func (sel *selection) head(sc *scan) []field {
	head := []field{
		{"from", kindInstant, instant(sel.from)},
		{"to", kindInstant, instant(sel.to)},
		{"partial", kindBool, truth(isPartial(sc.snaps))},
	}
	if sel.zone != nil {
		head = append(head, field{"tz", kindString, text(sel.zone.String())})
	}
	if sel.asOf != 0 {
		head = append(head, field{"as_of", kindInstant, instant(sel.asOf)})
	}
	return head
}

// scan is what one query reads: a snapshot of each partition that it touches and
// the segments that may hold rows for it.
type scan struct {
	snaps    []*snapshot
	sel      pane.Selector
	segments []scanSegment
	buffered int64 // rows held in memory
}

type scanSegment struct {
	pane.Segment
	partition int
	bounds    pane.Bounds
	rank      int32 // among all of the scan; of one partition in the manifest's order
}

// meterShare is the part of a segment's rows that a query for named meters is
// thought to read, the others being passed over by row group.
const meterShare = 8

// tellWithin is how long after its time a request may still be told that it is over.
const tellWithin = 5 * time.Second

// scan waits for its turn, takes the snapshots and lets answer read them, all within the time of the request.
func (s *Server) scan(w http.ResponseWriter, r *http.Request, q *selection, kind pane.Kind, sel pane.Selector, answer func(ctx context.Context, sc *scan) error) error {
	ctx, cancel := context.WithTimeout(r.Context(), q.timeout)
	defer cancel()
	leave, err := s.gate.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	sc := &scan{sel: sel}
	if sc.snaps, err = s.snapshots(ctx, only(sel, kind), q.partial); err != nil {
		return err
	}
	rows, err := s.findSegments(ctx, sc, kind)
	if err != nil {
		return err
	}
	if err := checkKept(sc.snaps, q); err != nil {
		return err
	}
	markKept(w, keptFrom(sc.snaps, kind), q.from)
	if sel.Meters != nil {
		rows /= meterShare
	}
	if rows > s.limits.HeavyRows {
		leave, err := s.gate.enterHeavy(ctx)
		if err != nil {
			return err
		}
		defer leave()
	}
	markPartial(w, isPartial(sc.snaps))
	if deadline, ok := ctx.Deadline(); ok { // a client that does not read must not hold its place
		_ = http.NewResponseController(w).SetWriteDeadline(deadline.Add(tellWithin)) // not every writer can; the context still ends the reading
	}
	return answer(ctx, sc)
}

// findSegments lists the segments that may hold rows for the scan, and how many rows they have.
func (s *Server) findSegments(ctx context.Context, sc *scan, kind pane.Kind) (rows int64, err error) {
	for _, snap := range sc.snaps {
		if snap.manifest == nil {
			continue
		}
		for seg, err := range s.store.Segments(ctx, snap.manifest, kind, sc.sel) {
			if err != nil {
				return 0, fmt.Errorf("partition %d: %w", snap.partition, err)
			}
			rows += seg.Rows
			sc.segments = append(sc.segments, scanSegment{seg, snap.partition, snap.bounds, int32(len(sc.segments))})
		}
	}
	return rows, nil
}

// only asks owners for rows of one kind.
func only(sel pane.Selector, kind pane.Kind) pane.Selector {
	sel.Only = kind
	return sel
}
