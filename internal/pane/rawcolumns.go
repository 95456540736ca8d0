package pane

import (
	"cmp"
	"slices"

	"github.com/gridloom/gridloom"
)

// SeriesNames says what series are called, by index. An owner only ever appends to
// its slices and makes Rank anew, so that a writer may go on with an older view.
type SeriesNames struct {
	Meters   []string              // ids
	Meter    []uint32              // of each series, index into Meters
	Register []gridloom.RegisterID // of each series
	Rank     []uint32              // place of each series in the order of (register code, meter); no two have one
}

// FrameAt is the place of a frame in the log.
type FrameAt struct {
	Sequence uint64
	LoggedAt gridloom.Millis // log time
}

// RawColumns holds raw rows as columns, all of one length, in any order. Names of
// series, agents, serials and frames stand once, in tables.
type RawColumns struct {
	Names   SeriesNames
	Agents  []string
	Serials []string
	Frames  []FrameAt

	Series  []uint32 // index into Names
	Start   []gridloom.Millis
	Length  []gridloom.Millis
	Value   []int64 // thousandths of the register's unit; anything where Void
	Void    []bool
	Quality []gridloom.Quality
	Order   []gridloom.Order
	Serial  []uint32 // index into Serials
	Agent   []uint32 // index into Agents
	Frame   []uint32 // index into Frames
	Place   []uint32 // in its frame
}

// RawRowBytes is what a row of RawColumns takes in memory.
const RawRowBytes = 4 + 3*8 + 1 + 4 + 8 + 4*4

// Len returns the number of rows.
func (c *RawColumns) Len() int { return len(c.Series) }

// Reading sets r to row i.
func (c *RawColumns) Reading(i int, r *gridloom.Reading) {
	s, f := c.Series[i], &c.Frames[c.Frame[i]]
	*r = gridloom.Reading{
		Meter: c.Names.Meters[c.Names.Meter[s]], Register: c.Names.Register[s], Start: c.Start[i], Length: c.Length[i],
		Value: c.Value[i], Void: c.Void[i], Quality: c.Quality[i], Order: c.Order[i],
		Serial: c.Serials[c.Serial[i]], Agent: c.Agents[c.Agent[i]], Sequence: f.Sequence, Place: c.Place[i], LoggedAt: f.LoggedAt,
	}
}

// columnsOf turns rows into columns.
func columnsOf(rows []gridloom.Reading) *RawColumns {
	c := &RawColumns{}
	meters, series := map[string]uint32{}, map[gridloom.Series]uint32{}
	agents, serials := map[string]uint32{}, map[string]uint32{}
	frames := map[FrameAt]uint32{}
	for i := range rows {
		r := &rows[i]
		key := gridloom.Series{Meter: r.Meter, Register: r.Register}
		s, ok := series[key]
		if !ok {
			s = uint32(len(series))
			series[key] = s
			c.Names.Meter = append(c.Names.Meter, numberOf(meters, &c.Names.Meters, r.Meter))
			c.Names.Register = append(c.Names.Register, r.Register)
		}
		c.Series, c.Start, c.Length = append(c.Series, s), append(c.Start, r.Start), append(c.Length, r.Length)
		c.Value, c.Void, c.Quality, c.Order = append(c.Value, r.Value), append(c.Void, r.Void), append(c.Quality, r.Quality), append(c.Order, r.Order)
		c.Serial, c.Agent = append(c.Serial, numberOf(serials, &c.Serials, r.Serial)), append(c.Agent, numberOf(agents, &c.Agents, r.Agent))
		c.Frame, c.Place = append(c.Frame, numberOf(frames, &c.Frames, FrameAt{r.Sequence, r.LoggedAt})), append(c.Place, r.Place)
	}
	c.Names.Rank = ranksOf(&c.Names)
	return c
}

// numberOf returns the index of v in table, appending it where it is new.
func numberOf[T comparable](known map[T]uint32, table *[]T, v T) uint32 {
	i, ok := known[v]
	if !ok {
		i = uint32(len(*table))
		known[v] = i
		*table = append(*table, v)
	}
	return i
}

// ranksOf sorts all series.
func ranksOf(n *SeriesNames) []uint32 {
	order := make([]uint32, len(n.Meter))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(n.Register[a].Info().Code, n.Register[b].Info().Code), cmp.Compare(n.Meters[n.Meter[a]], n.Meters[n.Meter[b]]))
	})
	ranks := make([]uint32, len(order))
	for r, s := range order {
		ranks[s] = uint32(r)
	}
	return ranks
}
