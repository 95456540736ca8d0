package pane

import (
	"context"
	"math"
	"slices"

	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/gridloom/gridloom"
)

// WriteRaw stores readings as WriteRawColumns does: for callers that hold rows. It
// does not keep or change them.
func (s *Store) WriteRaw(ctx context.Context, where Where, rows []gridloom.Reading) (Segment, error) {
	return s.WriteRawColumns(ctx, where, columnsOf(rows), &Ranking{})
}

// WriteRawColumns stores readings as a raw segment of level 0, sorted by (register
// code, meter, start, length, order, sequence, place). It does not keep or change c.
// rank belongs to c's table and is brought up to date. No rows are ErrInvalid; a full
// disk is ErrUnavailable.
func (s *Store) WriteRawColumns(ctx context.Context, where Where, c *RawColumns, rank *Ranking) (Segment, error) {
	return s.writeRaw(ctx, where, KindRaw, c, rank)
}

// writeRaw stores readings as a segment of a kind.
func (s *Store) writeRaw(ctx context.Context, where Where, kind Kind, c *RawColumns, rank *Ranking) (Segment, error) {
	seg := Segment{Kind: kind, Rows: int64(c.Len()), Epoch: where.Epoch}
	return s.writeRows(ctx, where, seg, func(w *writer, seg *Segment) ([]byte, error) {
		rank.update(&c.Table)
		w.raw.order, w.raw.series, w.raw.ends = c.arrange(rank, w.raw.order, w.raw.ends)
		rank.describe(seg, &c.Table, w.raw.series)
		return w.encodeRaw(where, c, seg)
	})
}

// arrange orders rows by series, rows of one series as they come. It returns their
// positions in file order, the series that have rows in that order, and where each
// one's rows end.
func (c *RawColumns) arrange(rank *Ranking, order, ends []int32) (positions []int32, series []uint32, bounds []int32) {
	rest := c.n
	for _, chunk := range c.chunks {
		for j := range chunk[:min(rest, chunkRows)] {
			rank.count(chunk[j].Series)
		}
		rest -= chunkRows
	}
	series, ends = rank.settle(ends)
	order = resize(order, c.n)
	i := int32(0)
	for _, chunk := range c.chunks {
		for j := range chunk[:min(c.n-int(i), chunkRows)] {
			order[rank.next(chunk[j].Series)] = i
			i++
		}
	}
	rank.clear()
	return order, series, ends
}

// rawRowBytes is about what a row takes in a segment; more is rare.
const rawRowBytes = 16

// rawGroup is what it takes to put rows in order and to write them, a row group at a time.
type rawGroup struct {
	order  []int32 // rows in file order
	series []uint32
	ends   []int32

	// Of the row group that is being gathered.
	start, value, place, quality []int64
	shared                       []int32  // into distinct
	distinct                     []uint32 // of RawColumns.Shared
	local                        []int32  // number of each of Shared in distinct, plus 1; 0 between row groups
	groupSeries                  []uint32
	groupCounts                  []int32

	runs    runMemo
	numbers []int64 // of distinct
	ids     []int32
	index   []int32
	present []bool
}

func (w *writer) encodeRaw(where Where, c *RawColumns, seg *Segment) ([]byte, error) {
	e, g := &w.encoder, &w.raw
	if err := e.begin(rawFields(), notesOf(seg.Kind, where, 0), compress.Codecs.Uncompressed); err != nil {
		return nil, err
	}
	e.out = slices.Grow(e.out, rawRowBytes*c.n)
	if len(g.local) < len(c.Shared) {
		g.local = make([]int32, max(len(c.Shared), 2*len(g.local)))
	}
	first := c.Shared[c.Row(0).Shared]
	seg.MinSeq, seg.MaxSeq, seg.MinLogged, seg.MaxLogged = first.Sequence, first.Sequence, first.LoggedAt, first.LoggedAt
	seg.MinStart, seg.MaxEnd = c.Row(0).Start, c.Row(0).Start+span(first.Length)
	g.reset()
	lo := int32(0)
	for i, hi := range g.ends {
		rows := g.order[lo:hi]
		if len(rows) > groupRows-len(g.start) {
			g.arrange(c, rows)
		}
		for len(rows) > 0 {
			n := min(groupRows-len(g.start), len(rows))
			g.groupSeries, g.groupCounts = append(g.groupSeries, g.series[i]), append(g.groupCounts, int32(n))
			if !g.gather(c, rows[:n]) {
				g.arrange(c, rows[:n])
				g.forget(n)
				g.gather(c, rows[:n])
			}
			if rows = rows[n:]; len(g.start) == groupRows {
				g.flush(e, c, seg)
			}
		}
		lo = hi
	}
	if len(g.start) > 0 {
		g.flush(e, c, seg)
	}
	return e.finish(), nil
}

// arrange brings the rows of one series into order.
func (g *rawGroup) arrange(c *RawColumns, rows []int32) {
	for k := 1; k < len(rows); k++ {
		if c.compare(rows[k-1], rows[k]) > 0 {
			slices.SortStableFunc(rows, c.compare)
			return
		}
	}
}

// gather appends rows of one series to the columns of the row group: each is touched once.
// It reports whether they rise in time, as rows that come from one device mostly do.
func (g *rawGroup) gather(c *RawColumns, rows []int32) bool {
	at := len(g.start)
	n := at + len(rows)
	g.start, g.value, g.place, g.quality, g.shared = g.start[:n], g.value[:n], g.place[:n], g.quality[:n], g.shared[:n]
	start, value, place, quality, shared := g.start[at:], g.value[at:], g.place[at:], g.quality[at:], g.shared[at:]
	rises, before := true, int64(math.MinInt64)
	for k, i := range rows {
		r := c.Row(int(i))
		start[k], value[k], place[k], quality[k] = int64(r.Start), r.Value, int64(r.Place), int64(r.Quality)
		shared[k] = int32(r.Shared)
		rises = rises && int64(r.Start) > before
		before = int64(r.Start)
	}
	for k, sh := range shared {
		id := g.local[sh]
		if id == 0 {
			g.distinct = append(g.distinct, uint32(sh))
			id = int32(len(g.distinct))
			g.local[sh] = id
		}
		shared[k] = id - 1
	}
	return rises
}

// forget takes back the last n rows that were gathered.
func (g *rawGroup) forget(n int) {
	n = len(g.start) - n
	g.start, g.value, g.place, g.quality, g.shared = g.start[:n], g.value[:n], g.place[:n], g.quality[:n], g.shared[:n]
}

// flush writes the gathered row group and makes room for the next.
func (g *rawGroup) flush(e *encoder, c *RawColumns, seg *Segment) {
	g.describe(c, seg)
	e.startGroup(len(g.start))
	e.seriesRuns(&c.Table, g.groupSeries, g.groupCounts, &g.runs)
	e.ints(g.start)
	e.dictInts(g.number(e, c, func(s *RawShared) int64 { return int64(s.Length) }))
	g.writeValues(e, c)
	e.ints(g.quality)
	e.rareInts(g.number(e, c, func(s *RawShared) int64 { return int64(s.Order) }))
	e.dictInts(g.number(e, c, func(s *RawShared) int64 { return int64(s.Sequence) }))
	e.ints(g.place)
	e.dictInts(g.number(e, c, func(s *RawShared) int64 { return int64(s.LoggedAt) }))
	e.names(c, g, func(s *RawShared) int64 { return int64(s.Serial) })
	e.names(c, g, func(s *RawShared) int64 { return int64(s.Agent) })
	for _, i := range g.distinct {
		g.local[i] = 0
	}
	g.reset()
}

func (g *rawGroup) reset() {
	if cap(g.start) < groupRows {
		g.start, g.value, g.place = make([]int64, groupRows), make([]int64, groupRows), make([]int64, groupRows)
		g.quality, g.shared = make([]int64, groupRows), make([]int32, groupRows)
	}
	g.start, g.value, g.place, g.quality, g.shared = g.start[:0], g.value[:0], g.place[:0], g.quality[:0], g.shared[:0]
	g.distinct, g.groupSeries, g.groupCounts = g.distinct[:0], g.groupSeries[:0], g.groupCounts[:0]
}

// describe widens what the segment tells by the gathered rows.
func (g *rawGroup) describe(c *RawColumns, seg *Segment) {
	g.numbers = resize(g.numbers, len(g.distinct))
	for k, i := range g.distinct {
		sh := &c.Shared[i]
		seg.MinSeq, seg.MaxSeq = min(seg.MinSeq, sh.Sequence), max(seg.MaxSeq, sh.Sequence)
		seg.MinLogged, seg.MaxLogged = min(seg.MinLogged, sh.LoggedAt), max(seg.MaxLogged, sh.LoggedAt)
		g.numbers[k] = int64(span(sh.Length))
	}
	from, to := int64(seg.MinStart), int64(seg.MaxEnd)
	for k, at := range g.start {
		from, to = min(from, at), max(to, at+g.numbers[g.shared[k]])
	}
	seg.MinStart, seg.MaxEnd = gridloom.Millis(from), gridloom.Millis(to)
}

// number numbers what the gathered rows share of one column, and each row's number of it.
func (g *rawGroup) number(e *encoder, c *RawColumns, of func(*RawShared) int64) (numbers []int64, index []int32) {
	g.numbers, g.ids = resize(g.numbers, len(g.distinct)), resize(g.ids, len(g.distinct))
	for k, i := range g.distinct {
		g.numbers[k] = of(&c.Shared[i])
	}
	e.numbers.index(g.ids, g.numbers)
	g.index = resize(g.index, len(g.shared))
	if len(e.numbers.numbers) == 1 {
		clear(g.index)
		return e.numbers.numbers, g.index
	}
	ids, index := g.ids, g.index
	for k, s := range g.shared {
		index[k] = ids[s]
	}
	return e.numbers.numbers, index
}

// names writes a column of agents or serials.
func (e *encoder) names(c *RawColumns, g *rawGroup, of func(*RawShared) int64) {
	numbers, index := g.number(e, c, of)
	words := g.runs.words[:0]
	for _, n := range numbers {
		words = append(words, c.Table.Names[n])
	}
	g.runs.words = words
	e.dictStrings(words, index)
}

// rareInts writes a column of differences through a dictionary where that is half as long.
func (e *encoder) rareInts(numbers []int64, index []int32) {
	if 2*len(numbers) > len(index) {
		e.dictInts(numbers, index)
		return
	}
	f, c := e.column()
	c.bound(f, numbers)
	e.indexed(f, c, numbers, index)
}

// writeValues writes the values of the rows that have one.
func (g *rawGroup) writeValues(e *encoder, c *RawColumns) {
	g.present = resize(g.present, len(g.value))
	void := slices.ContainsFunc(g.distinct, func(i uint32) bool { return c.Shared[i].Void })
	if !void {
		for k := range g.present {
			g.present[k] = true
		}
		e.nullInts(g.value, g.present)
		return
	}
	n := 0
	for k, s := range g.shared {
		g.present[k] = !c.Shared[g.distinct[s]].Void
		g.value[n] = g.value[k]
		if g.present[k] {
			n++
		}
	}
	e.nullInts(g.value[:n], g.present)
}
