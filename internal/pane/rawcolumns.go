package pane

import (
	"cmp"
	"sync"

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

// RawColumns holds the readings of a commit, mostly in the order of the log. The zero
// value is empty. Not safe for concurrent use.
type RawColumns struct {
	Table  SeriesTable
	Shared []RawShared // may hold some that no row has
	Pool   *RowPool    // of the memory of rows; nil: none

	chunks []*rowChunk
	n      int
}

// Rows are kept in pieces that never move: a slice that grows to a few million bytes is
// copied several times and leaves as much behind.
const (
	chunkShift = 13
	chunkRows  = 1 << chunkShift
)

type rowChunk [chunkRows]RawRow

// RowPool lends memory for rows to several RawColumns in turn. The zero value is
// ready. Safe for concurrent use.
type RowPool struct{ chunks sync.Pool }

func (p *RowPool) get() *rowChunk {
	if p != nil {
		if c, ok := p.chunks.Get().(*rowChunk); ok {
			return c
		}
	}
	return new(rowChunk)
}

// Len returns the number of rows.
func (c *RawColumns) Len() int { return c.n }

// Row returns row i, which stays where it is until Reset.
func (c *RawColumns) Row(i int) *RawRow { return &c.chunks[i>>chunkShift][i&(chunkRows-1)] }

// Append appends a row, whose Shared it sets, and what it shares unless that is what the row
// before it shares. It copies both.
func (c *RawColumns) Append(r *RawRow, shared *RawShared) {
	if n := len(c.Shared); n == 0 || c.Shared[n-1] != *shared {
		c.Shared = append(c.Shared, *shared)
	}
	r.Shared = uint32(len(c.Shared) - 1)
	if c.n == len(c.chunks)<<chunkShift {
		c.chunks = append(c.chunks, c.Pool.get())
	}
	*c.Row(c.n) = *r
	c.n++
}

// Reading sets x to row i, with names from t: c's table, or a later form of it.
func (c *RawColumns) Reading(t *SeriesTable, i int, x *gridloom.Reading) {
	r := c.Row(i)
	sh := &c.Shared[r.Shared]
	*x = gridloom.Reading{
		Meter: t.Meters[t.MeterOf[r.Series]], Register: t.Registers[r.Series],
		Start: r.Start, Length: sh.Length, Value: r.Value, Void: sh.Void, Quality: r.Quality, Order: sh.Order,
		Serial: t.Names[sh.Serial], Agent: t.Names[sh.Agent],
		Sequence: sh.Sequence, Place: r.Place, LoggedAt: sh.LoggedAt,
	}
}

// Reset empties c and gives the memory of its rows back.
func (c *RawColumns) Reset() {
	if c.Pool != nil {
		for _, chunk := range c.chunks {
			c.Pool.chunks.Put(chunk)
		}
	}
	clear(c.chunks)
	c.Table, c.Shared, c.chunks, c.n = SeriesTable{}, c.Shared[:0], c.chunks[:0], 0
}

// compare orders rows of one series.
func (c *RawColumns) compare(a, b int32) int {
	x, y := c.Row(int(a)), c.Row(int(b))
	if x.Start != y.Start {
		return cmp.Compare(x.Start, y.Start)
	}
	m, n := &c.Shared[x.Shared], &c.Shared[y.Shared]
	return cmp.Or(cmp.Compare(m.Length, n.Length), cmp.Compare(m.Order, n.Order), cmp.Compare(m.Sequence, n.Sequence), cmp.Compare(x.Place, y.Place))
}

// columnsOf numbers what rows tell in words.
func columnsOf(rows []gridloom.Reading) *RawColumns {
	c := &RawColumns{}
	series, names := c.Table.numberer(), map[string]uint32{}
	for i := range rows {
		r := &rows[i]
		at := series(gridloom.Series{Meter: r.Meter, Register: r.Register})
		c.Append(&RawRow{Start: r.Start, Value: r.Value, Series: at, Place: r.Place, Quality: r.Quality}, &RawShared{
			Sequence: r.Sequence, LoggedAt: r.LoggedAt, Order: r.Order, Length: r.Length, Void: r.Void,
			Agent: numberOf(names, &c.Table.Names, r.Agent), Serial: numberOf(names, &c.Table.Names, r.Serial),
		})
	}
	return c
}

// numberer returns a function that numbers series in an empty table, in order of appearance.
func (t *SeriesTable) numberer() func(gridloom.Series) uint32 {
	meters, series := map[string]uint32{}, map[gridloom.Series]uint32{}
	return func(s gridloom.Series) uint32 {
		at, ok := series[s]
		if !ok {
			at = uint32(len(t.MeterOf))
			series[s] = at
			t.MeterOf, t.Registers = append(t.MeterOf, numberOf(meters, &t.Meters, s.Meter)), append(t.Registers, s.Register)
		}
		return at
	}
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
