package pane

import (
	"cmp"
	"context"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/gridloom/gridloom"
)

// WriteRaw stores readings as a raw segment of level 0, sorted by (register code,
// meter, start, length, order, sequence, place). It does not keep or change rows.
// No rows are ErrInvalid; a full disk is ErrUnavailable.
func (s *Store) WriteRaw(ctx context.Context, where Where, rows []gridloom.Reading) (Segment, error) {
	seg := Segment{Kind: KindRaw, Rows: int64(len(rows)), Epoch: where.Epoch}
	return s.writeRows(ctx, where, seg, func(w *writer, seg *Segment) ([]byte, error) {
		order := w.sort.arrange(len(rows), func(i int) (gridloom.RegisterID, string) { return rows[i].Register, rows[i].Meter },
			func(i, j int32) int { return compareReadings(&rows[i], &rows[j]) })
		describeRaw(seg, rows, &order)
		return w.encodeRaw(where, rows, order.rows)
	})
}

func compareReadings(a, b *gridloom.Reading) int {
	if a.Start != b.Start {
		return cmp.Compare(a.Start, b.Start)
	}
	return cmp.Or(cmp.Compare(a.Length, b.Length), cmp.Compare(a.Order, b.Order),
		cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Place, b.Place))
}

func describeRaw(seg *Segment, rows []gridloom.Reading, order *arrangement) {
	seg.setSeries(order)
	first := &rows[0]
	seg.MinSeq, seg.MaxSeq = first.Sequence, first.Sequence
	seg.MinLogged, seg.MaxLogged = first.LoggedAt, first.LoggedAt
	seg.MinStart, seg.MaxEnd = first.Start, first.Start+span(first.Length)
	for i := range rows {
		r := &rows[i]
		seg.MinSeq, seg.MaxSeq = min(seg.MinSeq, r.Sequence), max(seg.MaxSeq, r.Sequence)
		seg.MinLogged, seg.MaxLogged = min(seg.MinLogged, r.LoggedAt), max(seg.MaxLogged, r.LoggedAt)
		seg.MinStart, seg.MaxEnd = min(seg.MinStart, r.Start), max(seg.MaxEnd, r.Start+span(r.Length))
	}
}

// rawGroup holds one row group as columns.
type rawGroup struct {
	register, meter, serial, agent                                  []string
	start, length, value, quality, order, sequence, place, loggedAt []int64
	present                                                         []bool
}

func (w *writer) encodeRaw(where Where, rows []gridloom.Reading, order []int32) ([]byte, error) {
	e, g := &w.encoder, &w.raw
	if err := e.begin(rawFields(), notesOf(KindRaw, where), compress.Codecs.Uncompressed); err != nil {
		return nil, err
	}
	for lo := 0; lo < len(order); lo += groupRows {
		hi := min(lo+groupRows, len(order))
		g.fill(rows, order[lo:hi])
		e.startGroup(hi - lo)
		e.strings(g.register)
		e.strings(g.meter)
		e.ints(g.start)
		e.ints(g.length)
		e.nullInts(g.value, g.present)
		e.ints(g.quality)
		e.ints(g.order)
		e.ints(g.sequence)
		e.ints(g.place)
		e.ints(g.loggedAt)
		e.strings(g.serial)
		e.strings(g.agent)
	}
	return e.finish(), nil
}

// fill gathers rows in one pass: each is touched once.
func (g *rawGroup) fill(rows []gridloom.Reading, order []int32) {
	n := len(order)
	for _, c := range []*[]string{&g.register, &g.meter, &g.serial, &g.agent} {
		*c = resize(*c, n)
	}
	for _, c := range []*[]int64{&g.start, &g.length, &g.value, &g.quality, &g.order, &g.sequence, &g.place, &g.loggedAt} {
		*c = resize(*c, n)
	}
	g.present = resize(g.present, n)
	values := 0
	for k, i := range order {
		r := &rows[i]
		g.register[k], g.meter[k], g.serial[k], g.agent[k] = r.Register.Info().Code, r.Meter, r.Serial, r.Agent
		g.start[k], g.length[k] = int64(r.Start), int64(r.Length)
		g.present[k] = !r.Void
		g.value[values] = r.Value
		if !r.Void {
			values++
		}
		g.quality[k], g.order[k], g.sequence[k] = int64(r.Quality), int64(r.Order), int64(r.Sequence)
		g.place[k], g.loggedAt[k] = int64(r.Place), int64(r.LoggedAt)
	}
	g.value = g.value[:values]
}

// ReadRaw calls fn for the readings of a raw segment that sel chooses, in file
// order. The pointer is reused between calls. Strings of one row group share
// memory: clone one that is kept for long. An error of fn ends the reading and is
// returned as it is. A file that is not what the segment says is ErrCorrupt, a
// vanished one ErrNotFound.
func (s *Store) ReadRaw(ctx context.Context, seg Segment, sel Selector, fn func(*gridloom.Reading) error) error {
	return s.readRows(ctx, seg, KindRaw, &sel, func(data []byte) (tally, error) {
		return decodeRaw(ctx, s.mem, data, &sel, fn)
	})
}

func decodeRaw(ctx context.Context, mem memory.Allocator, data []byte, sel *Selector, fn func(*gridloom.Reading) error) (tally, error) {
	var g rawColumns
	return decodeGroups(ctx, mem, data, rawFields(), sel, true, func(d *decoder, c *chosen) error {
		return g.read(d, c, sel, fn)
	})
}

// rawColumns holds the decoded rows of one row group.
type rawColumns struct {
	value, quality, order, sequence, place, loggedAt []int64
	valid                                            []bool
	serial, agent                                    []int32
}

func (g *rawColumns) read(d *decoder, c *chosen, sel *Selector, fn func(*gridloom.Reading) error) error {
	n := c.hi - c.lo
	for _, col := range []struct {
		at  int
		dst *[]int64
	}{{rawQuality, &g.quality}, {rawOrder, &g.order}, {rawSequence, &g.sequence}, {rawPlace, &g.place}, {rawLoggedAt, &g.loggedAt}} {
		*col.dst = resize(*col.dst, n)
		if err := d.ints(col.at, *col.dst, c); err != nil {
			return err
		}
	}
	g.value, g.valid = resize(g.value, n), resize(g.valid, n)
	value, err := d.chunk(rawValue)
	if err != nil {
		return err
	}
	if err := value.ints(g.value, g.valid, c.lo, c.hi); err != nil {
		return err
	}
	g.serial, g.agent = resize(g.serial, n), resize(g.agent, n)
	serials, err := d.strings(rawSerial, g.serial, c)
	if err != nil {
		return err
	}
	agents, err := d.strings(rawAgent, g.agent, c)
	if err != nil {
		return err
	}
	var r gridloom.Reading
	return c.each(func(i int) error {
		if sel.After != 0 && uint64(g.sequence[i]) <= sel.After {
			return nil
		}
		r = gridloom.Reading{
			Meter: c.meters[c.meter[i]], Register: c.registers[c.register[i]],
			Start: gridloom.Millis(c.start[i]), Length: gridloom.Millis(c.length[i]),
			Value: g.value[i], Void: !g.valid[i], Quality: gridloom.Quality(g.quality[i]), Order: gridloom.Order(g.order[i]),
			Serial: serials[g.serial[i]], Agent: agents[g.agent[i]],
			Sequence: uint64(g.sequence[i]), Place: uint32(g.place[i]), LoggedAt: gridloom.Millis(g.loggedAt[i]),
		}
		return call(d, fn, &r)
	})
}

// strings decodes a column's rows of c.
func (d *decoder) strings(column int, dst []int32, c *chosen) ([]string, error) {
	chunk, err := d.chunk(column)
	if err != nil {
		return nil, err
	}
	return chunk.strings(dst, c.lo, c.hi)
}
