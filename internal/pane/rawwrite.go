package pane

import (
	"cmp"
	"context"
	"slices"

	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/gridloom/gridloom"
)

// WriteRaw stores readings as WriteRawColumns does: for callers that hold rows. It
// does not keep or change them.
func (s *Store) WriteRaw(ctx context.Context, where Where, rows []gridloom.Reading) (Segment, error) {
	return s.WriteRawColumns(ctx, where, columnsOf(rows))
}

// WriteRawColumns stores readings as a raw segment of level 0, sorted by (register
// code, meter, start, length, order, sequence, place). It does not keep or change c.
// No rows are ErrInvalid; a full disk is ErrUnavailable.
func (s *Store) WriteRawColumns(ctx context.Context, where Where, c *RawColumns) (Segment, error) {
	seg := Segment{Kind: KindRaw, Rows: int64(c.Len()), Epoch: where.Epoch}
	return s.writeRows(ctx, where, seg, func(w *writer, seg *Segment) ([]byte, error) {
		w.raw.arrange(c)
		w.raw.describe(seg, c)
		return w.encodeRaw(where, c)
	})
}

// rawGroup is what it takes to put the rows of RawColumns in order and to write
// them, a row group at a time.
type rawGroup struct {
	keys, spare []uint64 // rank of the series << 32 | row, in file order once arranged
	counts      []uint32

	// Runs of rows of one series, and what they are called.
	registers, meters []string
	codeIDs, meterIDs []int32
	runs              []int32
	known             map[uint32]int32

	ints    []int64
	present []bool
	index   []int32
	numbers []int32 // by frame, agent or serial: its number in the group + 1
	used    []int32
	values  []int64
	words   []string
}

// arrange sets g.keys. Rows of a series mostly come in the order of time, so that a
// stable radix sort by series does nearly all of it.
func (g *rawGroup) arrange(c *RawColumns) {
	n := c.Len()
	g.keys, g.spare = resize(g.keys, n), resize(g.spare, n)
	var most uint32
	for i, s := range c.Series {
		r := c.Names.Rank[s]
		most = max(most, r)
		g.keys[i] = uint64(r)<<32 | uint64(i)
	}
	const digit = 11
	g.counts = resize(g.counts, 1<<digit)
	for shift := 32; shift == 32 || most>>(shift-32) > 0; shift += digit {
		g.pass(shift, 1<<digit-1)
	}
	for lo := 0; lo < n; {
		hi := lo + 1
		inOrder := true
		for ; hi < n && g.keys[hi]>>32 == g.keys[lo]>>32; hi++ {
			inOrder = inOrder && c.compare(uint32(g.keys[hi-1]), uint32(g.keys[hi])) <= 0
		}
		if !inOrder {
			slices.SortStableFunc(g.keys[lo:hi], func(a, b uint64) int { return c.compare(uint32(a), uint32(b)) })
		}
		lo = hi
	}
}

// pass is one stable counting pass over a digit of the keys.
func (g *rawGroup) pass(shift int, mask uint64) {
	clear(g.counts)
	for _, k := range g.keys {
		g.counts[k>>shift&mask]++
	}
	at := uint32(0)
	for i, n := range g.counts {
		g.counts[i] = at
		at += n
	}
	for _, k := range g.keys {
		d := k >> shift & mask
		g.spare[g.counts[d]] = k
		g.counts[d]++
	}
	g.keys, g.spare = g.spare, g.keys
}

// compare orders two rows of one series.
func (c *RawColumns) compare(a, b uint32) int {
	if c.Start[a] != c.Start[b] {
		return cmp.Compare(c.Start[a], c.Start[b])
	}
	return cmp.Or(cmp.Compare(c.Length[a], c.Length[b]), cmp.Compare(c.Order[a], c.Order[b]),
		cmp.Compare(c.Frames[c.Frame[a]].Sequence, c.Frames[c.Frame[b]].Sequence), cmp.Compare(c.Place[a], c.Place[b]))
}

// describe fills in what seg says of its rows.
func (g *rawGroup) describe(seg *Segment, c *RawColumns) {
	last := c.Frame[0]
	first := c.Frames[last]
	seg.MinSeq, seg.MaxSeq, seg.MinLogged, seg.MaxLogged = first.Sequence, first.Sequence, first.LoggedAt, first.LoggedAt
	for _, k := range c.Frame {
		if k == last {
			continue
		}
		last = k
		f := &c.Frames[k]
		seg.MinSeq, seg.MaxSeq = min(seg.MinSeq, f.Sequence), max(seg.MaxSeq, f.Sequence)
		seg.MinLogged, seg.MaxLogged = min(seg.MinLogged, f.LoggedAt), max(seg.MaxLogged, f.LoggedAt)
	}
	seg.MinStart, seg.MaxEnd = c.Start[0], c.Start[0]+span(c.Length[0])
	for i, at := range c.Start {
		seg.MinStart, seg.MaxEnd = min(seg.MinStart, at), max(seg.MaxEnd, at+span(c.Length[i]))
	}
	var order arrangement
	seen := map[uint32]struct{}{}
	lastRank := ^uint64(0)
	var lastCode string
	for _, k := range g.keys {
		if k>>32 == lastRank {
			continue
		}
		lastRank = k >> 32
		s := c.Series[uint32(k)]
		if code := c.Names.Register[s].Info().Code; code != lastCode {
			order.registers, lastCode = append(order.registers, code), code
		}
		m := c.Names.Meter[s]
		if _, ok := seen[m]; !ok {
			seen[m] = struct{}{}
			order.meters = append(order.meters, c.Names.Meters[m])
		}
	}
	if len(order.registers) > 1 { // within one register the meters come sorted
		slices.Sort(order.meters)
	}
	seg.setSeries(&order)
}

func (w *writer) encodeRaw(where Where, c *RawColumns) ([]byte, error) {
	e, g := &w.encoder, &w.raw
	if err := e.begin(rawFields(), notesOf(KindRaw, where), compress.Codecs.Uncompressed); err != nil {
		return nil, err
	}
	for lo := 0; lo < len(g.keys); lo += groupRows {
		g.write(e, c, g.keys[lo:min(lo+groupRows, len(g.keys))])
	}
	return e.finish(), nil
}

// write writes one row group.
func (g *rawGroup) write(e *encoder, c *RawColumns, keys []uint64) {
	n := len(keys)
	g.ints, g.present, g.index = resize(g.ints, n), resize(g.present, n), resize(g.index, n)
	e.startGroup(n)
	g.series(c, keys)
	e.stringRuns(g.registers, g.codeIDs, g.runs)
	e.stringRuns(g.meters, g.meterIDs, g.runs)
	e.ints(gather(g.ints, keys, c.Start))
	e.ints(gather(g.ints, keys, c.Length))
	values := 0
	for i, k := range keys {
		row := uint32(k)
		void := c.Void[row]
		g.present[i] = !void
		g.ints[values] = c.Value[row]
		if !void {
			values++
		}
	}
	e.nullInts(g.ints[:values], g.present)
	e.ints(gather(g.ints, keys, c.Quality))
	e.ints(gather(g.ints, keys, c.Order))
	g.writeFrames(e, c, keys)
	g.writeNames(e, keys, c.Serial, c.Serials)
	g.writeNames(e, keys, c.Agent, c.Agents)
}

// gather sets dst to a column of the rows.
func gather[T ~int64 | ~uint64 | ~uint32](dst []int64, keys []uint64, column []T) []int64 {
	for i, k := range keys {
		dst[i] = int64(column[uint32(k)])
	}
	return dst
}

// series finds the runs of rows of one series and what they are called.
func (g *rawGroup) series(c *RawColumns, keys []uint64) {
	g.registers, g.codeIDs, g.meters, g.meterIDs, g.runs = g.registers[:0], g.codeIDs[:0], g.meters[:0], g.meterIDs[:0], g.runs[:0]
	if g.known == nil {
		g.known = map[uint32]int32{}
	}
	clear(g.known)
	first, last := c.Series[uint32(keys[0])], c.Series[uint32(keys[len(keys)-1])]
	several := c.Names.Register[first] != c.Names.Register[last] // a meter may come again
	var register gridloom.RegisterID
	for lo := 0; lo < len(keys); {
		hi := lo + 1
		for hi < len(keys) && keys[hi]>>32 == keys[lo]>>32 {
			hi++
		}
		s := c.Series[uint32(keys[lo])]
		if r := c.Names.Register[s]; lo == 0 || r != register {
			g.registers, register = append(g.registers, r.Info().Code), r
		}
		m := c.Names.Meter[s]
		id, ok := int32(0), false
		if several {
			id, ok = g.known[m]
		}
		if !ok {
			id = int32(len(g.meters))
			g.meters = append(g.meters, c.Names.Meters[m])
			if several {
				g.known[m] = id
			}
		}
		g.codeIDs, g.meterIDs, g.runs = append(g.codeIDs, int32(len(g.registers)-1)), append(g.meterIDs, id), append(g.runs, int32(hi-lo))
		lo = hi
	}
}

// writeFrames writes sequence, place and logged_at: the first and the last follow from the frame.
func (g *rawGroup) writeFrames(e *encoder, c *RawColumns, keys []uint64) {
	g.number(keys, c.Frame, len(c.Frames))
	g.values = resize(g.values, len(g.used))
	for i, f := range g.used {
		g.values[i] = int64(c.Frames[f].Sequence)
	}
	e.dictInts(g.values, g.index)
	e.ints(gather(g.ints, keys, c.Place))
	for i, f := range g.used {
		g.values[i] = int64(c.Frames[f].LoggedAt)
	}
	e.dictInts(g.values, g.index)
}

// writeNames writes a column of serials or agents.
func (g *rawGroup) writeNames(e *encoder, keys []uint64, column []uint32, names []string) {
	g.number(keys, column, len(names))
	g.words = g.words[:0]
	for _, id := range g.used {
		g.words = append(g.words, names[id])
	}
	e.dictStrings(g.words, g.index)
}

// number sets g.used to the distinct ids of the rows, which are below count, and
// g.index to the place of each row's id among them.
func (g *rawGroup) number(keys []uint64, column []uint32, count int) {
	if cap(g.numbers) < count {
		g.numbers = make([]int32, count+count/4)
	}
	numbers := g.numbers[:count]
	g.used = g.used[:0]
	for i, k := range keys {
		id := column[uint32(k)]
		at := numbers[id]
		if at == 0 {
			g.used = append(g.used, int32(id))
			at = int32(len(g.used))
			numbers[id] = at
		}
		g.index[i] = at - 1
	}
	for _, id := range g.used { // all zero again: a table of names may be far longer than a row group
		numbers[id] = 0
	}
}
