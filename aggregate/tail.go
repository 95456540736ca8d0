package aggregate

import (
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// rowBytes and paneBytes are what a row and a new pane of the tail count against
// the commit bounds: about their size in memory, strings being shared. A pane is
// held twice, as the kernel's accumulator and, during a commit, as a row. A reading
// that waits for a refold is a row of its own kind.
const (
	rowBytes     = 57
	pendingBytes = 152
	paneBytes    = 120 + 208
)

// tail is what is not yet in a segment: the raw rows of the frames after the
// head's position and, once a commit has frozen it, the panes of that commit. Rows
// are columns whose series, agents and serials are numbers of the table.
type tail struct {
	rows  pane.RawColumns
	panes []gridloom.Pane
	bytes int64
}

// frame returns the number of a frame, to which the next rows belong.
func (t *tail) frame(at pane.FrameAt) uint32 {
	if n := len(t.rows.Frames); n == 0 || t.rows.Frames[n-1] != at {
		t.rows.Frames = append(t.rows.Frames, at)
	}
	return uint32(len(t.rows.Frames) - 1)
}

// extend appends n rows, whose series, agents and serials the caller sets; the other
// columns are those of c from its row first on.
func (t *tail) extend(c *wire.Columns, first, n int, frame uint32) (at int) {
	r := &t.rows
	at = len(r.Series)
	r.Series = slices.Grow(r.Series, n)[:at+n]
	r.Start = append(r.Start, c.Start[first:first+n]...)
	r.Length = append(r.Length, c.Length[first:first+n]...)
	r.Value = append(r.Value, c.Value[first:first+n]...)
	r.Void = append(r.Void, c.Void[first:first+n]...)
	r.Quality = append(r.Quality, c.Quality[first:first+n]...)
	r.Order = append(r.Order, c.Order[first:first+n]...)
	r.Serial = slices.Grow(r.Serial, n)[:at+n]
	r.Agent = slices.Grow(r.Agent, n)[:at+n]
	r.Frame = slices.Grow(r.Frame, n)[:at+n]
	r.Place = slices.Grow(r.Place, n)[:at+n]
	for i := range n {
		r.Frame[at+i], r.Place[at+i] = frame, uint32(first+i)
	}
	return at
}

// move puts row from in the place of row to.
func (t *tail) move(to, from int) {
	r := &t.rows
	r.Series[to], r.Start[to], r.Length[to], r.Value[to] = r.Series[from], r.Start[from], r.Length[from], r.Value[from]
	r.Void[to], r.Quality[to], r.Order[to] = r.Void[from], r.Quality[from], r.Order[from]
	r.Serial[to], r.Agent[to], r.Frame[to], r.Place[to] = r.Serial[from], r.Agent[from], r.Frame[from], r.Place[from]
}

// truncate drops the rows from n on.
func (t *tail) truncate(n int) {
	r := &t.rows
	r.Series, r.Start, r.Length, r.Value = r.Series[:n], r.Start[:n], r.Length[:n], r.Value[:n]
	r.Void, r.Quality, r.Order = r.Void[:n], r.Quality[:n], r.Order[:n]
	r.Serial, r.Agent, r.Frame, r.Place = r.Serial[:n], r.Agent[:n], r.Frame[:n], r.Place[:n]
}

// add appends one row that came out of order.
func (t *tail) add(tab *table, series uint32, x *gridloom.Reading) {
	r := &t.rows
	frame := t.frame(pane.FrameAt{Sequence: x.Sequence, LoggedAt: x.LoggedAt})
	r.Series, r.Start, r.Length = append(r.Series, series), append(r.Start, x.Start), append(r.Length, x.Length)
	r.Value, r.Void, r.Quality = append(r.Value, x.Value), append(r.Void, x.Void), append(r.Quality, x.Quality)
	r.Order, r.Place, r.Frame = append(r.Order, x.Order), append(r.Place, x.Place), append(r.Frame, frame)
	r.Serial, r.Agent = append(r.Serial, tab.intern(x.Serial)), append(r.Agent, tab.intern(x.Agent))
	t.bytes += rowBytes
}

// reading sets x to row i, whose names are those of tab.
func (t *tail) reading(tab *table, i int, x *gridloom.Reading) {
	r := &t.rows
	f := &r.Frames[r.Frame[i]]
	*x = gridloom.Reading{
		Meter: tab.meterName(r.Series[i]), Register: tab.register[r.Series[i]], Start: r.Start[i], Length: r.Length[i],
		Value: r.Value[i], Void: r.Void[i], Quality: r.Quality[i], Order: r.Order[i],
		Serial: tab.names[r.Serial[i]], Agent: tab.names[r.Agent[i]],
		Sequence: f.Sequence, Place: r.Place[i], LoggedAt: f.LoggedAt,
	}
}

// emptied returns the memory of rows for others.
func emptied(r pane.RawColumns) pane.RawColumns {
	t := tail{rows: r}
	t.truncate(0)
	t.rows.Names, t.rows.Agents, t.rows.Serials, t.rows.Frames = pane.SeriesNames{}, nil, nil, t.rows.Frames[:0]
	return t.rows
}

// eachTailReading calls f for the uncommitted raw rows of the marked series, oldest
// first; no marks stand for all series. The pointer is reused.
func (p *partition) eachTailReading(marks []bool, f func(i uint32, r *gridloom.Reading)) {
	var x gridloom.Reading
	for _, t := range []*tail{p.frozen, p.current} {
		if t == nil {
			continue
		}
		for i, s := range t.rows.Series {
			if marks == nil || marks[s] {
				t.reading(p.table, i, &x)
				f(s, &x)
			}
		}
	}
}

// answer builds one consistent answer for a query: the committed head and every
// row after it that the selector chooses. Series with readings that came out of
// order are refolded first.
func (p *partition) answer(sel pane.Selector) (*pane.Tail, error) {
	if err := p.refold(sel.Meters, sel.Registers); err != nil {
		return nil, err
	}
	out := &pane.Tail{Head: p.head, LogTime: p.logTime, Watermark: p.watermark(), NextSeq: p.nextSeq}
	pick := newPicker(sel)
	if sel.Only != pane.KindPane {
		p.eachTailReading(p.table.chosen(&sel), func(_ uint32, r *gridloom.Reading) {
			if pick.span(r.Start, r.Length) {
				out.Readings = append(out.Readings, *r)
			}
		})
	}
	if sel.Only == pane.KindRaw {
		return out, nil
	}

	// The state of a series tells the newest form of each pane that it still holds,
	// so it goes over what the commit in flight has frozen.
	type key struct {
		meter    string
		register gridloom.RegisterID
		start    gridloom.Millis
	}
	at := map[key]int{}
	put := func(pn *gridloom.Pane) {
		k := key{pn.Meter, pn.Register, pn.Start}
		if i, ok := at[k]; ok {
			out.Panes[i] = *pn
			return
		}
		at[k] = len(out.Panes)
		out.Panes = append(out.Panes, *pn)
	}
	if p.frozen != nil {
		for i := range p.frozen.panes {
			pn := &p.frozen.panes[i]
			if pick.series(pn.Meter, pn.Register) && pick.span(pn.Start, pn.Length) {
				put(pn)
			}
		}
	}
	direct := len(at) == 0 // nothing can be replaced: skip the map
	revision := p.nextSeq - 1
	p.table.matching(sel.Meters, sel.Registers, func(i uint32, s *series) {
		emit := func(pn *gridloom.Pane) {
			if !pick.span(pn.Start, pn.Length) {
				return
			}
			pn.Meter, pn.Register = p.table.meterName(i), s.register
			pn.Revision, pn.ComputedAt = revision, p.logTime
			if old, ok := s.isStored(pn); ok { // a refold gave it again as it was
				pn.Revision, pn.ComputedAt = old.Revision, old.ComputedAt
			}
			if direct {
				out.Panes = append(out.Panes, *pn)
				return
			}
			put(pn)
		}
		if s.wait != nil {
			for k := range s.wait.empty {
				emit(&s.wait.empty[k])
			}
		}
		p.cfg.Window.Open(s.kind, &s.state, out.Watermark, emit)
	})
	return out, nil
}

// picker tests rows against a selector.
type picker struct {
	sel    pane.Selector
	meters map[string]bool
}

func newPicker(sel pane.Selector) picker {
	p := picker{sel: sel}
	if sel.Meters != nil {
		p.meters = make(map[string]bool, len(sel.Meters))
		for _, m := range sel.Meters {
			p.meters[m] = true
		}
	}
	return p
}

func (p *picker) series(meter string, reg gridloom.RegisterID) bool {
	if p.meters != nil && !p.meters[meter] {
		return false
	}
	return p.sel.Registers == nil || slices.Contains(p.sel.Registers, reg)
}

// span reports whether a row that starts at start overlaps the selector's span.
func (p *picker) span(start, length gridloom.Millis) bool {
	if start+max(length, 1) <= p.sel.From {
		return false
	}
	return p.sel.To == 0 || start < p.sel.To
}

// seriesInfo lists what the states know of each series.
func (p *partition) seriesInfo() []pane.SeriesInfo {
	out := make([]pane.SeriesInfo, 0, len(p.table.series))
	for i := range p.table.series {
		s := &p.table.series[i]
		last, known := s.state.Last()
		var pending []gridloom.Reading
		if s.wait != nil {
			pending = s.wait.pending
		}
		if !known && len(pending) == 0 {
			continue
		}
		info := pane.SeriesInfo{
			Meter: p.table.meterName(uint32(i)), Register: s.register, Serial: last.Serial,
			LastAt: last.Start, LastLength: last.Length, LastValue: last.Value, LastVoid: last.Void, LastQuality: last.Quality,
		}
		// Readings that wait for a refold may be newer than the state knows, or correct what it knows.
		for j := range pending {
			if r := &pending[j]; !known || r.Start > last.Start || r.Start == last.Start && r.Order >= last.Order {
				known, last.Start, last.Order = true, r.Start, r.Order
				info.LastAt, info.LastLength, info.Serial = r.Start, r.Length, r.Serial
				info.LastValue, info.LastVoid, info.LastQuality = r.Value, r.Void, r.Quality
			}
		}
		out = append(out, info)
	}
	return out
}
