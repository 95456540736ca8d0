package aggregate

import (
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// rowBytes and paneBytes are what a row and a new pane of the tail count against
// the commit bounds: about their size in memory, strings being shared. A pane is
// held twice, as the kernel's accumulator and, during a commit, as a row. A reading
// that waits for a refold is a row of its own kind.
const (
	rowBytes     = 32
	sharedBytes  = 48
	pendingBytes = 152
	paneBytes    = 120 + 208
)

// keptPanes is how many panes a series in steady flow holds.
const keptPanes = 2

// tail is what is not yet in a segment: the raw rows of the frames after the
// head's position and, once a commit has frozen it, the panes of that commit. Rows
// tell series, agents and serials by their numbers in the partition's table; their own
// table is set when they are frozen.
type tail struct {
	rows  pane.RawColumns
	panes []gridloom.Pane
	bytes int64

	expired []gridloom.Reading // came when their time was past retention
	records records
}

// add appends a row and what it shares with others.
func (t *tail) add(r *pane.RawRow, shared *pane.RawShared) {
	before := len(t.rows.Shared)
	t.rows.Append(r, shared)
	t.bytes += rowBytes + int64(len(t.rows.Shared)-before)*sharedBytes
}

// addReading appends a row that waited for a refold.
func (t *tail) addReading(tab *table, series uint32, x *gridloom.Reading) {
	t.add(&pane.RawRow{Start: x.Start, Value: x.Value, Series: series, Place: x.Place, Quality: x.Quality}, &pane.RawShared{
		Sequence: x.Sequence, LoggedAt: x.LoggedAt, Order: x.Order, Length: x.Length,
		Agent: tab.intern(x.Agent), Serial: tab.intern(x.Serial), Void: x.Void,
	})
}

// eachTailReading calls f for the uncommitted raw rows of the marked series, oldest
// first; no marks stand for all series. The pointer is reused.
func (p *partition) eachTailReading(marks []bool, f func(i uint32, r *gridloom.Reading)) {
	var x gridloom.Reading
	for _, t := range []*tail{p.frozen, p.current} {
		if t == nil {
			continue
		}
		for i := range t.rows.Len() {
			if s := t.rows.Row(i).Series; marks == nil || marks[s] {
				t.rows.Reading(&p.table.SeriesTable, i, &x)
				f(s, &x)
			}
		}
	}
}

// answer builds one consistent answer for a query: the committed head and every
// row after it, or record, that the selector chooses. Series with readings that came out of
// order are refolded first.
func (p *partition) answer(sel pane.Selector) (*pane.Tail, error) {
	out := &pane.Tail{Head: p.head, LogTime: p.logTime, Watermark: p.watermark(), NextSeq: p.nextSeq, Bounds: p.bounds}
	if sel.Only.HoldsRecords() {
		p.eachTailRecords(sel.Only, func(list []pane.Record) { out.Records = sel.ChooseRecords(out.Records, list) })
		return out, nil
	}
	if err := p.reconfigureAsked(&sel); err != nil {
		return nil, err
	}
	if err := p.refold(sel.Meters, sel.Registers); err != nil {
		return nil, err
	}
	pick := newPicker(sel)
	if sel.Only != pane.KindPane {
		p.eachTailReading(p.table.chosen(&sel), func(_ uint32, r *gridloom.Reading) {
			if r.Start >= p.bounds.RawFrom && pick.span(r.Start, r.Length) {
				out.Readings = append(out.Readings, *r)
			}
		})
	}
	if sel.Only == pane.KindRaw {
		return out, nil
	}

	pick.sel.From = max(pick.sel.From, p.bounds.PanesFrom) // a day's start: no pane lies across it

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
			s.wait.eachRestated(emit)
		}
		if s.open > 0 {
			s.window.Open(s.kind, p.table.peek(i), out.Watermark, emit)
		}
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

// refoldUndone refolds the meters for which an undo waits: what counts instead of an edit that is
// taken back stands in their rows alone.
func (p *partition) refoldUndone() error {
	var meters []string
	for _, i := range p.disordered {
		w := p.table.at(i).wait
		if w != nil && slices.ContainsFunc(w.pending, func(r gridloom.Reading) bool { return r.Order.Class() == gridloom.ClassUndo }) {
			meters = append(meters, p.table.meterName(i))
		}
	}
	if meters == nil {
		return nil
	}
	return p.refold(meters, nil)
}

// seriesInfo lists what the states know of each series. No undo is pending: refoldUndone.
func (p *partition) seriesInfo() []pane.SeriesInfo {
	out := make([]pane.SeriesInfo, 0, p.table.len())
	for i := range uint32(p.table.len()) {
		s := p.table.at(i)
		last, known := p.table.last(i)
		var pending []gridloom.Reading
		if s.wait != nil {
			pending = s.wait.pending
		}
		if !known && len(pending) == 0 {
			continue
		}
		info := pane.SeriesInfo{
			Meter: p.table.meterName(i), Register: s.register, Serial: last.Serial,
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
