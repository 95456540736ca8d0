package pane

import (
	"cmp"

	"github.com/gridloom/gridloom"
)

// RawRow is a reading as its owner holds it until it is committed: 32 bytes, without
// a pointer, the rest of it by number.
type RawRow struct {
	Start   gridloom.Millis
	Value   int64  // 0 if void
	Series  uint32 // into the SeriesTable
	Shared  uint32 // into RawColumns.Shared
	Place   uint32 // in its frame
	Quality gridloom.Quality
}

// RawShared is what readings that stand side by side in a frame have in common: those
// of one message, or of one meter in it. 48 bytes.
type RawShared struct {
	Sequence uint64 // of the frame in the log
	LoggedAt gridloom.Millis
	Order    gridloom.Order
	Length   gridloom.Millis
	Agent    uint32 // into SeriesTable.Names
	Serial   uint32 // the same
	Void     bool
}

// RawColumns holds the readings of a commit. Rows and Shared stand in the order of the
// log; not every one of Shared needs to have a row.
type RawColumns struct {
	Table  SeriesTable
	Rows   []RawRow
	Shared []RawShared
}

// Append appends a row, whose Shared it sets, and what it shares unless that is what the row
// before it shares. It copies both.
func (c *RawColumns) Append(r *RawRow, shared *RawShared) {
	if n := len(c.Shared); n == 0 || c.Shared[n-1] != *shared {
		c.Shared = append(c.Shared, *shared)
	}
	r.Shared = uint32(len(c.Shared) - 1)
	c.Rows = append(c.Rows, *r)
}

// Reading sets x to row i, with names from t: c's table, or a later form of it.
func (c *RawColumns) Reading(t *SeriesTable, i int, x *gridloom.Reading) {
	r := &c.Rows[i]
	sh := &c.Shared[r.Shared]
	*x = gridloom.Reading{
		Meter: t.Meters[t.MeterOf[r.Series]], Register: t.Registers[r.Series],
		Start: r.Start, Length: sh.Length, Value: r.Value, Void: sh.Void, Quality: r.Quality, Order: sh.Order,
		Serial: t.Names[sh.Serial], Agent: t.Names[sh.Agent],
		Sequence: sh.Sequence, Place: r.Place, LoggedAt: sh.LoggedAt,
	}
}

// Reset empties c and keeps its memory.
func (c *RawColumns) Reset() {
	c.Table, c.Rows, c.Shared = SeriesTable{}, c.Rows[:0], c.Shared[:0]
}

// compare orders rows of one series.
func (c *RawColumns) compare(a, b int32) int {
	x, y := &c.Rows[a], &c.Rows[b]
	if x.Start != y.Start {
		return cmp.Compare(x.Start, y.Start)
	}
	m, n := &c.Shared[x.Shared], &c.Shared[y.Shared]
	return cmp.Or(cmp.Compare(m.Length, n.Length), cmp.Compare(m.Order, n.Order), cmp.Compare(m.Sequence, n.Sequence), cmp.Compare(x.Place, y.Place))
}

// columnsOf numbers what rows tell in words.
func columnsOf(rows []gridloom.Reading) *RawColumns {
	c := &RawColumns{Rows: make([]RawRow, 0, len(rows))}
	meters, names, series := map[string]uint32{}, map[string]uint32{}, map[gridloom.Series]uint32{}
	for i := range rows {
		r := &rows[i]
		m := numberOf(meters, &c.Table.Meters, r.Meter)
		at, ok := series[gridloom.Series{Meter: r.Meter, Register: r.Register}]
		if !ok {
			at = uint32(len(c.Table.MeterOf))
			series[gridloom.Series{Meter: r.Meter, Register: r.Register}] = at
			c.Table.MeterOf, c.Table.Registers = append(c.Table.MeterOf, m), append(c.Table.Registers, r.Register)
		}
		c.Append(&RawRow{Start: r.Start, Value: r.Value, Series: at, Place: r.Place, Quality: r.Quality}, &RawShared{
			Sequence: r.Sequence, LoggedAt: r.LoggedAt, Order: r.Order, Length: r.Length, Void: r.Void,
			Agent: numberOf(names, &c.Table.Names, r.Agent), Serial: numberOf(names, &c.Table.Names, r.Serial),
		})
	}
	return c
}

// numberOf returns the place of a word in words, to which it appends a new one.
func numberOf(places map[string]uint32, words *[]string, word string) uint32 {
	at, ok := places[word]
	if !ok {
		at = uint32(len(*words))
		places[word] = at
		*words = append(*words, word)
	}
	return at
}
