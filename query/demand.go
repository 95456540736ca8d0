package query

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// demandQuery is a request for /demand: the greatest mean over an interval in each step.
type demandQuery struct {
	windowsQuery
	interval gridloom.Millis
	sliding  bool // by the minute, and not by its own length
}

// slide is by how much a sliding interval moves.
const slide = gridloom.Minute

// demandParams reads a request for /demand over stored panes of the given width.
func (p *params) demandParams(width gridloom.Millis) (demandQuery, error) {
	p.scaleOf = demandScale
	if p.values.Get("step") == "" {
		p.values.Set("step", "1d")
	}
	q := demandQuery{windowsQuery: windowsQuery{selection: p.selection()}}
	q.grid = p.grid(q.from, q.to, width)
	q.from, q.to = q.grid.from, q.grid.to
	q.closed = p.flag("closed")
	q.sliding = p.flag("sliding")
	q.interval = 15 * gridloom.Minute
	if s := p.one("interval"); s != "" {
		span, err := parseSpan(s)
		switch {
		case err != nil:
			p.fail("interval", s, mendOf(err))
		case span < 5*gridloom.Minute || gridloom.Hour%max(span, 1) != 0 || span%gridloom.Minute != 0:
			p.fail("interval", s, "want 5m to 1h, whole minutes that divide the hour, such as 15m or 30m")
		default:
			q.interval = span
		}
	}
	if q.interval%width != 0 && !q.sliding {
		p.fail("interval", spanString(q.interval), fmt.Sprintf("want a multiple of the window, which is %s here, or sliding=true", spanString(width)))
	}
	for _, id := range q.registers {
		if r := id.Info(); r.Kind == gridloom.Event {
			p.fail("register", r.Alias, "events have no mean: name counters, intervals or gauges")
		}
	}
	p.known = append(p.known, "format")
	return q, p.done()
}

// demandUnit returns the unit of the mean of what a register tells.
func demandUnit(id gridloom.RegisterID) string {
	r := id.Info()
	if r.Kind == gridloom.Gauge {
		return r.Unit
	}
	switch r.Unit {
	case "Wh":
		return "W"
	case "var.h":
		return "var"
	}
	return r.Unit + "/h"
}

// demandScale is unitScale for demands.
func demandScale(id gridloom.RegisterID, unit string) (int, error) {
	own := demandUnit(id)
	if unit == own || unit == "" {
		return thousandths, nil
	}
	for i := range gridloom.Registers() {
		if g := gridloom.RegisterID(i); g.Info().Kind == gridloom.Gauge && g.Info().Unit == own {
			if places, err := unitScale(g, unit); err == nil {
				return places, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: the demand of %s cannot be given in %q: it is in %s", gridloom.ErrInvalid, id, unit, own)
}

// listDemand answers GET /demand.
func (s *Server) listDemand(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	q, err := p.demandParams(s.cfg.Window.Width)
	if err != nil {
		return err
	}
	if q.format, err = formatOf(r, p.one("format")); err != nil {
		return err
	}
	sel := pane.Selector{Meters: q.meters, Registers: q.registers, From: q.from, To: q.to + q.interval}
	kind := pane.KindPane
	if q.asOf != 0 || q.sliding { // folded from the beginning of each series
		kind, sel.From, sel.To = pane.KindRaw, 0, 0
		q.margin = asOfMargin(q.registers, &s.cfg.Window)
	}
	return s.scan(w, r, &q.selection, kind, sel, func(ctx context.Context, sc *scan) error {
		if kept := keptFrom(sc.snaps, pane.KindRaw); q.sliding && kept != 0 && q.from < kept+q.margin {
			return overLimit("from", fmt.Sprintf("readings before %s are no longer kept, and sliding=true needs them", kept),
				fmt.Sprintf("ask from %s on, or without sliding", kept+q.margin))
		}
		head := append(q.head(sc), field{"step", kindString, text(q.grid.name)}, field{"interval", kindSpan, number(int64(q.interval))}, field{"sliding", kindBool, truth(q.sliding)})
		return s.answer(w, r, q.format, demandTable(&q, head), func(enc encoder) error { return s.demand(ctx, sc, &q, enc) })
	})
}

// demand walks the panes that q asks for and writes the greatest demands.
func (s *Server) demand(ctx context.Context, sc *scan, q *demandQuery, enc encoder) error {
	cfg := s.cfg.Window
	if q.sliding {
		cfg.Width = slide
	}
	out := &peaks{
		grid: &q.grid, interval: q.interval, stride: q.interval, sub: cfg.Width, series: s.limits.Series,
		emit: demandRows(q, s.watermarks(sc.snaps, q.asOf), cfg.Bridge, enc),
	}
	out.ring = make([]gridloom.Pane, q.interval/cfg.Width)
	if q.sliding {
		out.stride = slide
		return s.foldPanes(ctx, sc, &q.windowsQuery, cfg, q.from, q.to+q.interval, out)
	}
	if q.asOf != 0 {
		return s.foldPanes(ctx, sc, &q.windowsQuery, cfg, q.from, q.to+q.interval, out)
	}
	return s.storedPanes(ctx, sc, &q.windowsQuery, q.from, q.to+q.interval, out)
}

// peaks finds the greatest mean of each step among the intervals that begin in it and are
// wholly known. It takes panes of one width, and keeps those of one interval.
type peaks struct {
	grid                  *grid
	interval, stride, sub gridloom.Millis // sub divides stride, which divides interval
	series                int             // more of them are refused
	emit                  func(b *peak) error

	ring   []gridloom.Pane // the last ones that follow one another, by start / sub
	filled int             // of ring
	sum    gridloom.Int128 // of the filled ones
	seen   int
	best   peak
}

// peak is the greatest mean in one step.
type peak struct {
	meter     string
	register  gridloom.RegisterID
	step      int64
	intervals int64 // that were looked at; 0: there is none
	at        gridloom.Millis
	sum       gridloom.Int128 // energy, or value × ms of a gauge
	quality   gridloom.Quality
	interval  gridloom.Millis
}

// unfit are the bits of a window whose amount need not have flowed in it.
const unfit = gridloom.Missing | gridloom.CatchUp | gridloom.Range | gridloom.Suspect

func (k *peaks) take(p *gridloom.Pane) error {
	b := &k.best
	if k.seen == 0 || p.Register != b.register || p.Meter != b.meter {
		if err := k.flush(); err != nil {
			return err
		}
		if k.seen++; k.seen > k.series {
			return tooManySeries(k.series)
		}
		*b = peak{meter: p.Meter, register: p.Register, step: -1, interval: k.interval}
		k.filled = 0
	}
	kind := p.Register.Info().Kind
	if kind == gridloom.Event || p.Length != k.sub || p.Coverage < p.Length || p.Quality&unfit != 0 {
		k.filled = 0
		return nil
	}
	n := len(k.ring)
	place := int(p.Start / k.sub % gridloom.Millis(n))
	if k.filled > 0 && k.ring[(place+n-1)%n].Start != p.Start-k.sub {
		k.filled = 0
	}
	switch k.filled {
	case 0:
		k.sum = gridloom.Int128{}
	case n:
		k.sum = k.sum.Add(amountOf(&k.ring[place]).Neg())
		k.filled--
	}
	k.ring[place] = *p
	k.filled++
	k.sum = k.sum.Add(amountOf(p))
	start := p.Start + k.sub - k.interval
	if k.filled < n || start.Floor(k.stride) != start {
		return nil
	}
	return k.look(start)
}

// look compares the interval that is in the ring with the greatest so far.
func (k *peaks) look(start gridloom.Millis) error {
	step := k.grid.number(start)
	if step < 0 || step >= k.grid.len() {
		return nil
	}
	b := &k.best
	if step != b.step {
		if err := k.flush(); err != nil {
			return err
		}
		b.step, b.intervals = step, 0
	}
	if b.intervals++; b.intervals > 1 && !greater(k.sum, b.sum) {
		return nil
	}
	b.at, b.sum, b.quality = start, k.sum, 0
	for i := range k.ring {
		b.quality |= k.ring[i].Quality
	}
	return nil
}

// flush hands on the step at hand.
func (k *peaks) flush() error {
	if k.best.intervals == 0 {
		return nil
	}
	err := k.emit(&k.best)
	k.best.intervals = 0
	return err
}

func (k *peaks) end() error { return k.flush() }

// amountOf returns what a pane brings into a mean: energy, or value × ms of a gauge.
func amountOf(p *gridloom.Pane) gridloom.Int128 {
	if p.Register.Info().Kind == gridloom.Gauge {
		return p.TimeWeighted
	}
	return gridloom.MulInt64(p.Energy, 1)
}

func greater(a, b gridloom.Int128) bool { return a.Hi > b.Hi || a.Hi == b.Hi && a.Lo > b.Lo }

// mean returns the demand in thousandths of its unit; of a gauge it is rounded half to even.
func (b *peak) mean() (v int64, quality gridloom.Quality) {
	if b.register.Info().Kind == gridloom.Gauge {
		return roundDiv(b.sum, int64(b.interval)), b.quality
	}
	energy, fits := clamp(b.sum)
	perHour := int64(gridloom.Hour / b.interval)
	if !fits || energy > math.MaxInt64/perHour || energy < math.MinInt64/perHour {
		return math.MaxInt64, b.quality | gridloom.Range
	}
	return energy * perHour, b.quality
}

// demandTable describes the rows of /demand.
func demandTable(q *demandQuery, head []field) *table {
	times := append([]column{{name: "start", kind: kindInstant}, {name: "end", kind: kindInstant}}, localColumns(q.zone)...)
	at := []column{{name: "at", kind: kindInstant}}
	if q.zone != nil {
		at = append(at, column{name: "local_at"})
	}
	return &table{noun: "demand", head: head, columns: slices.Concat([]column{{name: "meter"}, {name: "register"}, {name: "unit"}}, times,
		[]column{{"demand", kindDecimal, q.scale}}, at,
		[]column{{name: "intervals", kind: kindInt}, {name: "quality", kind: kindQuality}, {name: "closed", kind: kindBool}})}
}

// demandRows returns the function that writes peaks as rows of demandTable. A step is
// closed when no reading in time can reach back into it.
func demandRows(q *demandQuery, watermark func(meter string) gridloom.Millis, bridge gridloom.Millis, enc encoder) func(b *peak) error {
	var cells []cell
	local := newLocal(q.zone, q.grid.layout)
	return func(b *peak) error {
		step := q.grid.step(b.step)
		closed := watermark(b.meter) >= step.End+q.interval+bridge
		if q.closed && !closed {
			return nil
		}
		unit := q.unit
		if unit == "" {
			unit = demandUnit(b.register)
		}
		v, quality := b.mean()
		cells = local.append(append(cells[:0], text(b.meter), text(b.register.Info().Alias), text(unit), instant(step.Start), instant(step.End)), step.Start)
		cells = append(cells, number(v), instant(b.at))
		if q.zone != nil {
			cells = append(cells, text(b.at.Time().In(q.zone).Format(time.RFC3339)))
		}
		cells = append(cells, number(b.intervals), cell{n: int64(quality)}, truth(closed))
		return enc.row(cells)
	}
}
