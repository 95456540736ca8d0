package pane

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/compress"

	"github.com/gridloom/gridloom"
)

// DefaultSegmentBytes is about the size at which a merge begins another segment, at
// the next series.
const DefaultSegmentBytes = 64 << 20

// Merge writes the rows of inputs, segments of one kind, into few sorted and
// compressed segments of a level above 0. All raw rows and records are kept; of the panes of one
// series and start only the one with the greatest revision. Outputs follow one
// another in the order of (register code, meter) and do not share a series. It holds
// the inputs' bytes and a row group of each in memory, and the output's bytes.
//
// A damaged input is ErrCorrupt and names the file. When Merge fails or is
// cancelled, files that it had written are in written, as they are on success.
func (s *Store) Merge(ctx context.Context, where Where, kind Kind, inputs []Segment, level int) (written []Segment, err error) {
	if len(inputs) == 0 || level < 1 || kind != KindRaw && kind != KindPane && !kind.HoldsRecords() {
		return nil, fmt.Errorf("%w: merge of %d %s segments to level %d", gridloom.ErrInvalid, len(inputs), kind, level)
	}
	if kind.HoldsRecords() {
		return s.mergeRecords(ctx, where, kind, inputs, level)
	}
	w := s.writers.get()
	out := &output{s: s, ctx: ctx, w: w, where: where, kind: kind, level: level}
	if kind == KindRaw {
		err = mergeRaw(ctx, s, inputs, out)
	} else {
		err = mergeRows(ctx, s, inputs, out, paneRows{})
	}
	if err == nil && cap(w.encoder.out) <= maxPooledBytes {
		s.writers.put(w)
	}
	return out.written, err
}

// rowKind is what merging rows of a kind takes beyond their order.
type rowKind[T any] interface { //nolint:interfacebloat // what tells raw rows from panes, in one place
	fields() []field
	read(d *decoder, c *chosen, rows []T) ([]T, error) // appends the rows of the open group
	series(*T) (gridloom.RegisterID, string)
	compare(a, b *T) int
	settle(rows []T) []T // of one series, sorted
	write(e *encoder, w *writer, rows []T)
	describe(seg *Segment, r *T)
}

// cursor goes through the rows of one segment, a row group at a time.
type cursor[T any] struct {
	seriesPlace // of the row at at
	input       Segment
	d           *decoder
	c           chosen
	group       int
	rows        []T
	at          int
}

// mergeRows goes through the inputs series by series.
func mergeRows[T any](ctx context.Context, s *Store, inputs []Segment, out *output, k rowKind[T]) error {
	var order cursors[*cursor[T]]
	for i, seg := range inputs {
		c, err := openCursor(ctx, s, seg, i, k)
		if err != nil {
			return err
		}
		if c.rows != nil {
			order = append(order, c)
		}
	}
	heap.Init(&order)
	m := merging[T]{s: s, out: out, k: k}
	for len(order) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		code, meter := order[0].code, order[0].meter
		m.run = m.run[:0]
		for len(order) > 0 && order[0].code == code && order[0].meter == meter {
			more, err := m.take(order[0])
			if err != nil {
				return err
			}
			if more {
				heap.Fix(&order, 0)
			} else {
				heap.Pop(&order)
			}
		}
		if err := m.emit(); err != nil {
			return err
		}
	}
	if len(m.rows) > 0 {
		m.flush()
	}
	return out.finish()
}

// merging is the state of one merge.
type merging[T any] struct {
	s    *Store
	out  *output
	k    rowKind[T]
	run  []T // rows of one series
	rows []T // of the row group that is gathered
}

// take moves the rows of the cursor's series to the run. more is false at the end of the segment.
func (m *merging[T]) take(c *cursor[T]) (more bool, err error) {
	register, meter := m.k.series(&c.rows[c.at])
	for {
		from := c.at
		for c.at < len(c.rows) {
			if r, id := m.k.series(&c.rows[c.at]); r != register || id != meter {
				m.run = append(m.run, c.rows[from:c.at]...)
				c.name(m.k)
				return true, nil
			}
			c.at++
		}
		m.run = append(m.run, c.rows[from:]...)
		if more, err := c.next(m.s, m.k); !more || err != nil {
			return false, err
		}
		if r, id := m.k.series(&c.rows[0]); r != register || id != meter {
			return true, nil
		}
	}
}

// emit puts the run in order and gathers it.
func (m *merging[T]) emit() error {
	compare := m.k.compare
	for i := 1; i < len(m.run); i++ {
		if compare(&m.run[i-1], &m.run[i]) > 0 {
			slices.SortStableFunc(m.run, func(a, b T) int { return compare(&a, &b) })
			break
		}
	}
	rows := m.k.settle(m.run)
	if len(rows) == 0 {
		return nil
	}
	full, err := m.out.series(m.k.series(&rows[0]))
	if err != nil {
		return err
	}
	if full { // the next segment begins with this series
		if len(m.rows) > 0 {
			m.flush()
		}
		if err := m.out.finish(); err != nil {
			return err
		}
		if _, err := m.out.series(m.k.series(&rows[0])); err != nil {
			return err
		}
	}
	for len(rows) > 0 {
		n := min(groupRows-len(m.rows), len(rows))
		m.rows = append(m.rows, rows[:n]...)
		rows = rows[n:]
		if len(m.rows) == groupRows {
			m.flush()
		}
	}
	return nil
}

// flush writes the gathered row group.
func (m *merging[T]) flush() {
	o := m.out
	for i := range m.rows {
		m.k.describe(&o.seg, &m.rows[i])
	}
	o.seg.Rows += int64(len(m.rows))
	m.k.write(&o.w.encoder, o.w, m.rows)
	m.rows = m.rows[:0]
}

// openCursor reads the first rows of a segment; rows is nil if it has none.
func openCursor[T any](ctx context.Context, s *Store, seg Segment, place int, k rowKind[T]) (*cursor[T], error) {
	data, err := s.fetchOnce(ctx, string(seg.Kind), gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
	if err != nil {
		return nil, err
	}
	c := &cursor[T]{seriesPlace: seriesPlace{place: place}, input: seg}
	err = guarded(func() error {
		var err error
		c.d, err = newDecoder(memory.DefaultAllocator, data, k.fields())
		return err
	})
	if err != nil {
		return nil, s.refuse(string(seg.Kind), seg.Path, err)
	}
	_, err = c.next(s, k)
	return c, err
}

// next reads the next row group that has rows.
func (c *cursor[T]) next(s *Store, k rowKind[T]) (more bool, err error) {
	err = guarded(func() error {
		for c.rows, c.at = c.rows[:0], 0; len(c.rows) == 0 && c.group < c.d.groups(); c.group++ {
			if err := c.d.open(c.group); err != nil {
				return err
			}
			if c.d.rows == 0 {
				continue
			}
			if err := c.d.choose(&c.c, &Selector{}, true); err != nil {
				return err
			}
			if c.rows, err = k.read(c.d, &c.c, slices.Grow(c.rows, c.d.rows)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, s.refuse(string(c.input.Kind), c.input.Path, err)
	}
	if len(c.rows) == 0 {
		c.rows = nil
		return false, nil
	}
	c.name(k)
	return true, nil
}

// name notes which series the cursor stands at.
func (c *cursor[T]) name(k rowKind[T]) {
	register, meter := k.series(&c.rows[c.at])
	c.code, c.meter = register.Info().Code, meter
}

// guarded turns a panic of the Parquet library into an error.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = libraryPanic(r)
		}
	}()
	return do()
}

// seriesPlace is the series that a cursor stands at, and its input's place among the inputs.
type seriesPlace struct {
	code, meter string
	start       int64 // of its next row; 0 where rows of one series come input by input
	place       int
}

func (p *seriesPlace) stands() *seriesPlace { return p }

// cursors is a heap by series, and of one series by start and input.
type cursors[C interface{ stands() *seriesPlace }] []C

func (h cursors[C]) Len() int { return len(h) }
func (h cursors[C]) Less(i, j int) bool {
	a, b := h[i].stands(), h[j].stands()
	if a.code != b.code {
		return a.code < b.code
	}
	if a.meter != b.meter {
		return a.meter < b.meter
	}
	if a.start != b.start {
		return a.start < b.start
	}
	return a.place < b.place
}
func (h cursors[C]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursors[C]) Push(x any)   { *h = append(*h, x.(C)) }
func (h *cursors[C]) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// output is the segment that a merge writes, and those that it has written.
type output struct {
	s       *Store
	ctx     context.Context //nolint:containedctx // lives as long as one merge
	w       *writer
	where   Where
	kind    Kind
	level   int
	written []Segment

	seg    Segment
	open   bool
	names  arrangement
	meters map[string]struct{}
}

// series begins a series, and a segment if none is open. It reports instead whether
// the open one is full.
func (o *output) series(register gridloom.RegisterID, meter string) (full bool, err error) {
	if o.open && len(o.w.encoder.out) >= o.s.segment {
		return true, nil
	}
	if !o.open {
		fields := compactRawFields()
		if o.kind == KindPane {
			fields = compactPaneFields()
		}
		if err := o.w.encoder.begin(fields, notesOf(o.kind, o.where, o.level), compress.Codecs.Zstd); err != nil {
			return false, err
		}
		o.open, o.seg = true, Segment{Kind: o.kind, Level: o.level, Epoch: o.where.Epoch}
		o.names, o.meters = arrangement{}, map[string]struct{}{}
	}
	code := register.Info().Code
	if n := len(o.names.registers); n == 0 || o.names.registers[n-1] != code {
		o.names.registers = append(o.names.registers, code)
	}
	if _, ok := o.meters[meter]; !ok {
		o.meters[meter] = struct{}{}
		o.names.meters = append(o.names.meters, meter)
	}
	return false, nil
}

// finish stores the open segment.
func (o *output) finish() error {
	if !o.open {
		return nil
	}
	o.open = false
	if o.seg.Rows == 0 {
		return errors.New("a merged segment without rows")
	}
	slices.Sort(o.names.meters)
	o.seg.setSeries(&o.names)
	data := o.w.encoder.finish()
	ref, err := o.s.put(o.ctx, o.where, string(o.kind), o.seg.MinSeq, "parquet", data)
	if err != nil {
		return err
	}
	o.seg.Path, o.seg.CRC, o.seg.Bytes = ref.Path, ref.CRC, int64(len(data))
	o.written = append(o.written, o.seg)
	return nil
}

// widen makes seg's ranges hold a row.
func (g *Segment) widen(seq uint64, logged, start, end gridloom.Millis) {
	if g.MaxEnd == 0 && g.MinStart == 0 {
		g.MinSeq, g.MaxSeq, g.MinLogged, g.MaxLogged, g.MinStart, g.MaxEnd = seq, seq, logged, logged, start, end
		return
	}
	g.MinSeq, g.MaxSeq = min(g.MinSeq, seq), max(g.MaxSeq, seq)
	g.MinLogged, g.MaxLogged = min(g.MinLogged, logged), max(g.MaxLogged, logged)
	g.MinStart, g.MaxEnd = min(g.MinStart, start), max(g.MaxEnd, end)
}

type paneRows struct{}

func (paneRows) fields() []field { return paneFields() }

func (paneRows) read(d *decoder, c *chosen, rows []gridloom.Pane) ([]gridloom.Pane, error) {
	g := paneColumns{cols: AllColumns}
	err := g.read(d, c, func(p *gridloom.Pane) error { rows = append(rows, *p); return nil })
	return rows, err
}

func (paneRows) series(p *gridloom.Pane) (gridloom.RegisterID, string) { return p.Register, p.Meter }

func (paneRows) compare(a, b *gridloom.Pane) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.Revision, b.Revision))
}

// settle keeps the last of the panes of one start: the one with the greatest
// revision, or of equal ones the one that was committed last.
func (paneRows) settle(rows []gridloom.Pane) []gridloom.Pane {
	out := rows[:0]
	for i := range rows {
		if n := len(out); n > 0 && out[n-1].Start == rows[i].Start {
			out[n-1] = rows[i]
			continue
		}
		out = append(out, rows[i])
	}
	return out
}

func (paneRows) describe(seg *Segment, p *gridloom.Pane) {
	seg.widen(p.Revision, p.ComputedAt, p.Start, p.Start+span(p.Length))
}

func (paneRows) write(e *encoder, w *writer, rows []gridloom.Pane) { w.panes.writeGroup(e, rows, nil) }
