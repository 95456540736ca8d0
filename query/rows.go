package query

import (
	"slices"

	"github.com/gridloom/gridloom"
)

// unitOf returns the unit that values of a register are given in.
func (sel *selection) unitOf(id gridloom.RegisterID) string {
	if sel.unit != "" {
		return sel.unit
	}
	return id.Info().Unit
}

// windowTable describes the rows of /windows without group_by.
func windowTable(q *windowsQuery, head []field) *table {
	dec := func(name string) column { return column{name, kindDecimal, q.scale} }
	times := append([]column{{name: "start", kind: kindInstant}, {name: "end", kind: kindInstant}}, localColumns(q.zone)...)
	return &table{noun: "windows", head: head, columns: slices.Concat([]column{{name: "meter"}, {name: "register"}, {name: "unit"}}, times, bandColumn(q.bands), []column{
		dec("energy"),
		{"coverage", kindDecimal, 6},
		{name: "coverage_ms", kind: kindInt},
		{name: "n", kind: kindInt},
		dec("sum"), dec("min"), dec("max"), dec("mean"), dec("first"), dec("last"),
		{name: "quality", kind: kindQuality},
		{name: "closed", kind: kindBool},
		{name: "revision", kind: kindInt},
		{name: "computed_at", kind: kindInstant},
	})}
}

// windowRows writes panes as rows of windowTable.
type windowRows struct {
	q     *windowsQuery
	bands *banded // nil: there is no such column
	enc   encoder
	local local
	cells []cell
}

func newWindowRows(q *windowsQuery, bands *banded, enc encoder) *windowRows {
	return &windowRows{q: q, bands: bands, enc: enc, local: newLocal(q.zone, q.grid.layout)}
}

func (w *windowRows) take(p *gridloom.Pane) error {
	end := p.Start + p.Length
	if w.q.closed && !p.Closed || p.Start >= w.q.to || end <= w.q.from {
		return nil
	}
	kind := p.Register.Info().Kind
	some, stored := p.N > 0, w.q.asOf == 0
	var mean int64
	hasMean := false
	if kind == gridloom.Gauge {
		mean, hasMean = timeWeightedMean(p)
	}
	covers := kind != gridloom.Event
	var covered int64
	length := p.Length
	if w.bands != nil {
		length = w.bands.length(gridloom.Window{Start: p.Start, End: end}, w.bands.band)
	}
	if covers {
		covered = ratio(p.Coverage, length)
	}
	w.cells = w.local.append(append(w.cells[:0],
		text(p.Meter), text(p.Register.Info().Alias), text(w.q.unitOf(p.Register)), instant(p.Start), instant(end)), p.Start)
	if w.bands != nil {
		w.cells = append(w.cells, w.bands.name(w.bands.band))
	}
	w.cells = append(w.cells,
		when(p.HasEnergy, p.Energy), when(covers, covered), when(covers, int64(p.Coverage)), number(p.N),
		when(some && (kind == gridloom.Interval || kind == gridloom.Event), p.Sum),
		when(some, p.Min), when(some, p.Max), when(hasMean, mean), when(some, p.First), when(some, p.Last),
		quality(p.Quality), truth(p.Closed), when(stored, int64(p.Revision)), when(stored, int64(p.ComputedAt)))
	return w.enc.row(w.cells)
}

func (w *windowRows) end() error { return nil }

// groupTable describes the rows of /windows with group_by.
func groupTable(q *windowsQuery, head []field) *table {
	dec := func(name string) column { return column{name, kindDecimal, q.scale} }
	name, members := "register", "meters"
	if q.group == byMeter {
		name, members = "meter", "registers"
	}
	times := append([]column{{name: "start", kind: kindInstant}, {name: "end", kind: kindInstant}}, localColumns(q.zone)...)
	return &table{noun: "windows", head: head, columns: slices.Concat([]column{{name: name}, {name: "unit"}}, times, bandColumn(q.bands), []column{
		{name: members, kind: kindInt},
		dec("energy"), dec("mean"), dec("sum"),
		{"coverage", kindDecimal, 6},
		{name: "n", kind: kindInt},
		dec("min"), dec("max"),
		{name: "quality", kind: kindQuality},
		{name: "closed", kind: kindBool},
		{name: "computed_at", kind: kindInstant},
	})}
}

// groupRows returns the function that writes sums as rows of groupTable.
func groupRows(q *windowsQuery, bands *banded, enc encoder) func(g *group, step gridloom.Window, band int, s *groupSum) error {
	var cells []cell
	at := newLocal(q.zone, q.grid.layout)
	return func(g *group, step gridloom.Window, band int, s *groupSum) error {
		if q.closed && s.open || step.Start >= q.to || step.End <= q.from {
			return nil
		}
		name := g.meter
		if q.group == byRegister {
			name = g.register.Info().Alias
		}
		v, ok := s.result(q.agg)
		kind := g.register.Info().Kind
		covers := kind != gridloom.Event
		var covered int64
		length := step.Length()
		if bands != nil {
			length = bands.length(step, band)
		}
		if covers {
			covered = ratio(s.coverage, length*gridloom.Millis(s.series))
		}
		cells = at.append(append(cells[:0], text(name), text(q.unitOf(g.register)), instant(step.Start), instant(step.End)), step.Start)
		if bands != nil {
			cells = append(cells, bands.name(band))
		}
		cells = append(cells,
			number(s.series), when(ok && kind <= gridloom.Interval, v), when(ok && kind == gridloom.Gauge, v), when(ok && kind == gridloom.Event, v),
			when(covers, covered), number(s.n), when(s.extremes, s.least), when(s.extremes, s.greatest), quality(s.quality),
			truth(!s.open), when(q.asOf == 0, int64(s.computedAt)))
		return enc.row(cells)
	}
}

// readingTable describes the rows of /readings.
func readingTable(q *readingsQuery, head []field) *table {
	times := append([]column{{name: "start", kind: kindInstant}, {name: "length", kind: kindSpan}}, localColumns(q.zone)...)
	t := &table{noun: "readings", head: head, columns: slices.Concat([]column{{name: "meter"}, {name: "register"}, {name: "unit"}}, times, []column{
		{"value", kindDecimal, q.scale},
		{name: "quality", kind: kindQuality},
		{name: "serial"},
	})}
	if q.history {
		t.columns = append(t.columns, column{name: "void", kind: kindBool}, column{name: "order"}, column{name: "sequence", kind: kindInt},
			column{name: "place", kind: kindInt}, column{name: "agent"}, column{name: "logged_at", kind: kindInstant}, column{name: "counts", kind: kindBool})
	}
	return t
}

// readingRows returns the function that writes readings as rows of readingTable.
func readingRows(q *readingsQuery, enc encoder) func(r *gridloom.Reading, counts bool) error {
	var cells []cell
	at := newLocal(q.zone, calendarStep{}.layout())
	return func(r *gridloom.Reading, counts bool) error {
		cells = at.append(append(cells[:0],
			text(r.Meter), text(r.Register.Info().Alias), text(q.unitOf(r.Register)), instant(r.Start), when(r.Length > 0, int64(r.Length))), r.Start)
		cells = append(cells,
			when(!r.Void, r.Value), quality(r.Quality), textOrNull(r.Serial))
		if q.history {
			cells = append(cells, truth(r.Void), text(r.Order.String()), number(int64(r.Sequence)), number(r.Place), textOrNull(r.Agent), instant(r.LoggedAt), truth(counts))
		}
		return enc.row(cells)
	}
}
