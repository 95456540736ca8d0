package pane

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/gridloom/gridloom"
)

// PaneColumns chooses columns of a pane. Meter, Register, Start and Length are always read.
type PaneColumns uint32

// The columns of a pane. What is not asked for is zero in the panes that are read.
const (
	ColRevision PaneColumns = 1 << iota
	ColComputedAt
	ColClosed
	ColN
	ColCoverage
	ColQuality
	ColSum
	ColMin
	ColMax
	ColFirst // First and FirstAt
	ColLast  // Last and LastAt
	ColTimeWeighted
	ColEnergy // Energy and HasEnergy
	ColCarry

	// AllColumns is every column.
	AllColumns PaneColumns = 1<<iota - 1
)

// WritePanes stores panes as a pane segment of level 0, sorted by (register code,
// meter, start). It does not keep or change rows. No rows are ErrInvalid; a full
// disk is ErrUnavailable.
func (s *Store) WritePanes(ctx context.Context, where Where, rows []gridloom.Pane) (Segment, error) {
	var t SeriesTable
	series := make([]uint32, len(rows))
	number := t.numberer()
	for i := range rows {
		series[i] = number(gridloom.Series{Meter: rows[i].Meter, Register: rows[i].Register})
	}
	return s.WriteSeriesPanes(ctx, where, &t, series, rows, &Ranking{})
}

// WriteSeriesPanes stores panes as WritePanes does; row i is of series[i] of the table,
// to which rank belongs. It changes nothing but rank, which it brings up to date.
func (s *Store) WriteSeriesPanes(ctx context.Context, where Where, t *SeriesTable, series []uint32, rows []gridloom.Pane, rank *Ranking) (Segment, error) {
	seg := Segment{Kind: KindPane, Rows: int64(len(rows)), Epoch: where.Epoch}
	return s.writeRows(ctx, where, seg, func(w *writer, seg *Segment) ([]byte, error) {
		rank.update(t)
		g := &w.panes
		for _, s := range series {
			rank.count(s)
		}
		g.series, g.ends = rank.settle(g.ends)
		g.order = resize(g.order, len(rows))
		for i, s := range series {
			g.order[rank.next(s)] = int32(i)
		}
		rank.clear()
		rank.describe(seg, t, g.series)
		describePanes(seg, rows)
		return w.encodePanes(where, t, rows)
	})
}

func describePanes(seg *Segment, rows []gridloom.Pane) {
	first := &rows[0]
	seg.MinSeq, seg.MaxSeq = first.Revision, first.Revision
	seg.MinLogged, seg.MaxLogged = first.ComputedAt, first.ComputedAt
	seg.MinStart, seg.MaxEnd = first.Start, first.Start+span(first.Length)
	for i := range rows {
		p := &rows[i]
		seg.MinSeq, seg.MaxSeq = min(seg.MinSeq, p.Revision), max(seg.MaxSeq, p.Revision)
		seg.MinLogged, seg.MaxLogged = min(seg.MinLogged, p.ComputedAt), max(seg.MaxLogged, p.ComputedAt)
		seg.MinStart, seg.MaxEnd = min(seg.MinStart, p.Start), max(seg.MaxEnd, p.Start+span(p.Length))
	}
}

// paneRowBytes is about what a pane takes in a segment.
const paneRowBytes = 100

// statistics are the columns that have no value where N is 0, in file order.
const statistics = 7

// paneGroup is what it takes to put panes in order and to write them, a row group at a
// time.
type paneGroup struct {
	order       []int32 // rows in file order
	series      []uint32
	ends        []int32
	groupSeries []uint32
	groupCounts []int32
	runs        runMemo

	// Of one row group.
	register, meter                                                   []string
	start, length, revision, computedAt, n, coverage, quality, energy []int64
	closed                                                            []bool

	stats     [statistics][]int64
	counted   []bool // n > 0
	hasEnergy []bool
	weighted  []bool
	weights   []byte
	carried   []bool
	carries   [][]byte
	all       []int32
}

func (w *writer) encodePanes(where Where, t *SeriesTable, rows []gridloom.Pane) ([]byte, error) {
	e, g := &w.encoder, &w.panes
	if err := e.begin(paneFields(), notesOf(KindPane, where, 0), compress.Codecs.Uncompressed); err != nil {
		return nil, err
	}
	e.out = slices.Grow(e.out, paneRowBytes*len(rows))
	compare := func(i, j int32) int {
		return cmp.Or(cmp.Compare(rows[i].Start, rows[j].Start), cmp.Compare(rows[i].Revision, rows[j].Revision))
	}
	lo := int32(0)
	for _, hi := range g.ends {
		if order := g.order[lo:hi]; !slices.IsSortedFunc(order, compare) {
			slices.SortStableFunc(order, compare)
		}
		lo = hi
	}
	next := 0 // series
	for lo := 0; lo < len(rows); lo += groupRows {
		order := g.order[lo:min(lo+groupRows, len(rows))]
		g.groupSeries, g.groupCounts = g.groupSeries[:0], g.groupCounts[:0]
		for at := lo; at < lo+len(order); next++ {
			end := min(int(g.ends[next]), lo+len(order))
			g.groupSeries, g.groupCounts = append(g.groupSeries, g.series[next]), append(g.groupCounts, int32(end-at))
			if at = end; end < int(g.ends[next]) {
				break // the rest is for the next row group
			}
		}
		g.fill(rows, order)
		e.startGroup(len(order))
		e.seriesRuns(t, g.groupSeries, g.groupCounts, &g.runs)
		g.writeColumns(e)
	}
	return e.finish(), nil
}

// writeGroup writes the rows that order chooses (nil: all, as they stand) as one row group.
func (g *paneGroup) writeGroup(e *encoder, rows []gridloom.Pane, order []int32) {
	if order == nil {
		for len(g.all) < len(rows) {
			g.all = append(g.all, int32(len(g.all)))
		}
		order = g.all[:len(rows)]
	}
	g.fill(rows, order)
	g.register, g.meter = resize(g.register, len(order)), resize(g.meter, len(order))
	for k, i := range order {
		g.register[k], g.meter[k] = rows[i].Register.Info().Code, rows[i].Meter
	}
	e.startGroup(len(order))
	e.strings(g.register)
	e.strings(g.meter)
	g.writeColumns(e)
}

// writeColumns writes the columns after register and meter.
func (g *paneGroup) writeColumns(e *encoder) {
	e.ints(g.start)
	e.ints(g.length)
	e.ints(g.revision)
	e.ints(g.computedAt)
	e.bools(g.closed)
	e.ints(g.n)
	e.ints(g.coverage)
	e.ints(g.quality)
	for _, values := range g.stats {
		e.nullInts(values, g.counted)
	}
	e.decimals(g.weights, g.weighted)
	e.nullInts(g.energy, g.hasEnergy)
	e.blobs(g.carries, g.carried)
}

// fill gathers rows in one pass: each is touched once.
func (g *paneGroup) fill(rows []gridloom.Pane, order []int32) {
	n := len(order)
	for _, c := range []*[]int64{&g.start, &g.length, &g.revision, &g.computedAt, &g.n, &g.coverage, &g.quality} {
		*c = resize(*c, n)
	}
	for _, c := range []*[]bool{&g.closed, &g.counted, &g.hasEnergy, &g.weighted, &g.carried} {
		*c = resize(*c, n)
	}
	for i := range g.stats {
		g.stats[i] = g.stats[i][:0]
	}
	g.energy, g.weights, g.carries = g.energy[:0], g.weights[:0], g.carries[:0]
	for k, i := range order {
		p := &rows[i]
		g.start[k], g.length[k] = int64(p.Start), int64(p.Length)
		g.revision[k], g.computedAt[k], g.closed[k] = int64(p.Revision), int64(p.ComputedAt), p.Closed
		g.n[k], g.coverage[k], g.quality[k] = int64(p.N), int64(p.Coverage), int64(p.Quality)
		g.counted[k] = p.N > 0
		if p.N > 0 {
			g.addStatistics(p)
		}
		if g.hasEnergy[k] = p.HasEnergy; p.HasEnergy {
			g.energy = append(g.energy, p.Energy)
		}
		if g.weighted[k] = p.Register.Info().Kind == gridloom.Gauge || p.TimeWeighted != (gridloom.Int128{}); g.weighted[k] {
			g.weights = binary.BigEndian.AppendUint64(g.weights, uint64(p.TimeWeighted.Hi))
			g.weights = binary.BigEndian.AppendUint64(g.weights, p.TimeWeighted.Lo)
		}
		if g.carried[k] = p.Carry != nil; p.Carry != nil {
			g.carries = append(g.carries, p.Carry)
		}
	}
}

func (g *paneGroup) addStatistics(p *gridloom.Pane) {
	for i, v := range [statistics]int64{p.Sum, p.Min, p.Max, p.First, p.Last, int64(p.FirstAt), int64(p.LastAt)} {
		g.stats[i] = append(g.stats[i], v)
	}
}

// ReadPanes calls fn for the panes of a pane segment that sel chooses, in file
// order, with the columns of cols. Pointer, strings and errors are as with
// ReadRaw; Carry is valid during the call only.
func (s *Store) ReadPanes(ctx context.Context, seg Segment, sel Selector, cols PaneColumns, fn func(*gridloom.Pane) error) error {
	return s.readRows(ctx, seg, KindPane, &sel, func(data []byte) (tally, error) {
		return decodePanes(ctx, s.mem, data, &sel, cols, fn)
	})
}

func decodePanes(ctx context.Context, mem memory.Allocator, data []byte, sel *Selector, cols PaneColumns, fn func(*gridloom.Pane) error) (tally, error) {
	g := paneColumns{cols: cols}
	return decodeGroups(ctx, mem, data, paneFields(), sel, true, func(d *decoder, c *chosen) error {
		return g.read(d, c, fn)
	})
}

// intColumns are the integer columns and the bits that ask for them.
var intColumns = [...]struct {
	at  int
	bit PaneColumns
}{
	{paneRevision, ColRevision},
	{paneComputedAt, ColComputedAt},
	{paneN, ColN},
	{paneCoverage, ColCoverage},
	{paneQuality, ColQuality},
	{paneSum, ColSum},
	{paneMin, ColMin},
	{paneMax, ColMax},
	{paneFirst, ColFirst},
	{paneLast, ColLast},
	{paneFirstAt, ColFirst},
	{paneLastAt, ColLast},
}

// paneColumns holds the decoded rows of one row group.
type paneColumns struct {
	cols      PaneColumns
	ints      [paneCarry + 1][]int64 // by column; of a column that is not read: zeros
	zeros     []int64
	falses    []bool
	closed    []bool
	hasEnergy []bool
	weights   []gridloom.Int128
	carries   [][]byte
}

func (g *paneColumns) read(d *decoder, c *chosen, fn func(*gridloom.Pane) error) error {
	n := c.hi - c.lo
	if len(g.zeros) < n {
		g.zeros, g.falses = make([]int64, n), make([]bool, n)
	}
	for _, col := range intColumns {
		if g.cols&col.bit == 0 {
			g.ints[col.at] = g.zeros[:n]
			continue
		}
		g.ints[col.at] = resize(g.ints[col.at], n)
		if err := d.ints(col.at, g.ints[col.at], c); err != nil {
			return err
		}
	}
	if err := g.readOthers(d, c); err != nil {
		return err
	}
	var p gridloom.Pane
	return c.each(func(i int) error {
		g.pane(&p, c, i)
		return call(d, fn, &p)
	})
}

// readOthers decodes the columns that are not plain integers.
func (g *paneColumns) readOthers(d *decoder, c *chosen) error {
	n := c.hi - c.lo
	g.closed, g.hasEnergy, g.ints[paneEnergy] = g.falses[:n], g.falses[:n], g.zeros[:n]
	g.weights, g.carries = nil, nil
	read := func(bit PaneColumns, column int, do func(*chunk) error) error {
		if g.cols&bit == 0 {
			return nil
		}
		chunk, err := d.chunk(column)
		if err != nil {
			return err
		}
		return do(chunk)
	}
	if err := read(ColClosed, paneClosed, func(k *chunk) error {
		g.closed = make([]bool, n)
		return k.bools(g.closed, c.lo, c.hi)
	}); err != nil {
		return err
	}
	if err := read(ColEnergy, paneEnergy, func(k *chunk) error {
		g.ints[paneEnergy], g.hasEnergy = make([]int64, n), make([]bool, n)
		return k.ints(g.ints[paneEnergy], g.hasEnergy, c.lo, c.hi)
	}); err != nil {
		return err
	}
	if err := read(ColTimeWeighted, paneTimeWeighted, func(k *chunk) error {
		g.weights = make([]gridloom.Int128, n)
		return k.fixed(c.lo, c.hi, func(row int, v []byte) {
			g.weights[row-c.lo] = gridloom.Int128{Hi: int64(binary.BigEndian.Uint64(v)), Lo: binary.BigEndian.Uint64(v[8:])}
		})
	}); err != nil {
		return err
	}
	return read(ColCarry, paneCarry, func(k *chunk) error {
		g.carries = make([][]byte, n)
		return k.blobs(c.lo, c.hi, func(row int, v []byte) error {
			g.carries[row-c.lo] = v
			return nil
		})
	})
}

// pane sets p to row i of c.
func (g *paneColumns) pane(p *gridloom.Pane, c *chosen, i int) {
	*p = gridloom.Pane{
		Meter: c.meters[c.meter[i]], Register: c.registers[c.register[i]],
		Start: gridloom.Millis(c.start[i]), Length: gridloom.Millis(c.length[i]),
		Revision: uint64(g.ints[paneRevision][i]), ComputedAt: gridloom.Millis(g.ints[paneComputedAt][i]), Closed: g.closed[i],
		N: uint32(g.ints[paneN][i]), Coverage: gridloom.Millis(g.ints[paneCoverage][i]), Quality: gridloom.Quality(g.ints[paneQuality][i]),
		Sum: g.ints[paneSum][i], Min: g.ints[paneMin][i], Max: g.ints[paneMax][i], First: g.ints[paneFirst][i], Last: g.ints[paneLast][i],
		FirstAt: gridloom.Millis(g.ints[paneFirstAt][i]), LastAt: gridloom.Millis(g.ints[paneLastAt][i]),
		Energy: g.ints[paneEnergy][i], HasEnergy: g.hasEnergy[i],
	}
	if g.weights != nil {
		p.TimeWeighted = g.weights[i]
	}
	if g.carries != nil {
		p.Carry = g.carries[i]
	}
}
