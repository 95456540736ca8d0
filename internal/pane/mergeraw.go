package pane

import (
	"cmp"
	"container/heap"
	"context"
	"slices"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

// mergeRaw merges raw segments column by column: of each series it appends the rows of a
// row group of an input at a time, as slices, that first which begins first. They mostly
// follow one another in time, and only a series of which they do not is sorted. As rows it
// took 3 times as long (BenchmarkMerge).
func mergeRaw(ctx context.Context, s *Store, inputs []Segment, out *output) error {
	var order cursors[*rawCursor]
	for i, seg := range inputs {
		c := &rawCursor{seriesPlace: seriesPlace{place: i}, s: s, input: seg}
		more, err := c.open(ctx)
		if err != nil {
			return err
		}
		if more {
			order = append(order, c)
		}
	}
	heap.Init(&order)
	m := rawMerge{out: out, g: &out.w.merged}
	m.g.reset()
	for len(order) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		first := order[0]
		if err := m.begin(first.register, first.meter); err != nil {
			return err
		}
		at := seriesPlace{code: first.code, meter: first.meter}
		for len(order) > 0 && order[0].code == at.code && order[0].meter == at.meter {
			m.g.take(order[0])
			more, err := order[0].advance()
			switch {
			case err != nil:
				return err
			case more:
				heap.Fix(&order, 0)
			default:
				heap.Pop(&order)
			}
			if len(order) > 0 && order[0].code == at.code && order[0].meter == at.meter {
				m.pass(order[0].start)
			}
		}
		m.end()
	}
	m.flush(m.g.len())
	m.g.told = toldTimes{} // not kept with the writer
	return out.finish()
}

// rawCursor goes through one segment by series, a row group at a time.
type rawCursor struct {
	seriesPlace
	s     *Store
	input Segment

	d        *decoder
	c        chosen
	columns  rawColumns
	group    int // that is opened next
	register gridloom.RegisterID
	at, to   int // rows of the series that it stands at, in the open group
	rows     int
}

// open reads the segment's first rows; more is false if it has none.
func (c *rawCursor) open(ctx context.Context) (more bool, err error) {
	data, err := c.s.fetchOnce(ctx, string(c.input.Kind), gridloom.FileRef{Path: c.input.Path, CRC: c.input.CRC})
	if err != nil {
		return false, err
	}
	err = guarded(func() error {
		var err error
		c.d, err = newDecoder(memory.DefaultAllocator, data, rawFields())
		return err
	})
	if err != nil {
		return false, c.s.refuse(string(c.input.Kind), c.input.Path, err)
	}
	return c.advance()
}

// advance goes to the next series, or to the rest of this one in the next row group. more
// is false at the end.
func (c *rawCursor) advance() (more bool, err error) {
	if c.to == c.rows {
		if err := guarded(c.next); err != nil {
			return false, c.s.refuse(string(c.input.Kind), c.input.Path, err)
		}
	}
	if c.to == c.rows {
		return false, nil
	}
	c.at = c.to
	register, meter := c.c.register[c.at], c.c.meter[c.at]
	for c.to++; c.to < c.rows && c.c.register[c.to] == register && c.c.meter[c.to] == meter; c.to++ {
	}
	c.register, c.meter = c.c.registers[register], c.c.meters[meter]
	c.code, c.start = c.register.Info().Code, c.c.start[c.at]
	return true, nil
}

// next opens and decodes the next row group that has rows.
func (c *rawCursor) next() error {
	for c.at, c.to, c.rows = 0, 0, 0; c.rows == 0 && c.group < c.d.groups(); c.group++ {
		if err := c.d.open(c.group); err != nil {
			return err
		}
		if c.d.rows == 0 {
			continue
		}
		if err := c.d.choose(&c.c, &Selector{}, true); err != nil {
			return err
		}
		if err := c.columns.load(c.d, &c.c); err != nil {
			return err
		}
		c.rows = c.d.rows
	}
	return nil
}

// rawMerge writes what mergeRaw gathers.
type rawMerge struct {
	out  *output
	g    *mergedRaw
	from int // first row of the open series
}

// begin begins a series, and with it another segment where the open one is full.
func (m *rawMerge) begin(register gridloom.RegisterID, meter string) error {
	full, err := m.out.series(register, meter)
	if full && err == nil {
		m.flush(m.g.len())
		if err = m.out.finish(); err == nil {
			_, err = m.out.series(register, meter)
		}
	}
	m.from = m.g.len()
	m.g.runs = append(m.g.runs, seriesRun{register.Info().Code, meter, 0})
	return err
}

// pass writes full row groups of the open series, of which the rows that are to come start
// at next or later: however many there are, no more are held than a row group of each input.
func (m *rawMerge) pass(next int64) {
	g := m.g
	if g.len()-m.from < 2*groupRows {
		return
	}
	g.arrange(m.from)
	settled, _ := slices.BinarySearch(g.ints[mergedStart][m.from:], next)
	for settled += m.from; settled >= groupRows && g.len() > groupRows; settled -= groupRows {
		g.runs[len(g.runs)-1].count = int32(g.len() - m.from)
		m.flush(groupRows)
		m.from = max(m.from-groupRows, 0)
	}
}

// end puts the series in order and writes the row groups that are full.
func (m *rawMerge) end() {
	g := m.g
	g.runs[len(g.runs)-1].count = int32(g.len() - m.from)
	g.arrange(m.from)
	for g.len() >= groupRows {
		m.flush(groupRows)
	}
}

// flush writes the first n rows as a row group.
func (m *rawMerge) flush(n int) {
	if n == 0 {
		return
	}
	m.out.seg.Rows += int64(n)
	m.g.describe(&m.out.seg, n)
	m.g.write(&m.out.w.encoder, n)
	m.g.drop(n)
}

// seriesRun is a series and how many rows follow of it.
type seriesRun struct {
	code, meter string
	count       int32
}

// mergedRaw holds merged readings as columns, those of a row group and of the series that is
// being gathered.
type mergedRaw struct {
	ints          [mergedInts][]int64
	valid         []bool
	serial, agent []int32 // in the words of their lists
	serials       wordList
	agents        wordList
	runs          []seriesRun
	told          toldTimes

	meters, codes []string // of a row group's runs
	counts, ids   []int32
	values        []int64 // of the rows that have one
	order         []int32
	spare         []int64
	spareIDs      []int32
	spareValid    []bool
}

// The columns of integers.
const (
	mergedStart = iota
	mergedLength
	mergedValue
	mergedQuality
	mergedOrder
	mergedSequence
	mergedPlace
	mergedLoggedAt
	mergedInts
)

// wordList numbers words in order of appearance. Words are never taken off: what a merge
// meets of serials and agents is bounded by its inputs.
type wordList struct {
	words []string
	ids   map[string]int32
	last  int32
}

func (l *wordList) reset() {
	l.words, l.ids, l.last = l.words[:0], map[string]int32{}, -1
}

func (l *wordList) number(w string) int32 {
	if l.last >= 0 && l.words[l.last] == w {
		return l.last
	}
	id, ok := l.ids[w]
	if !ok {
		id = int32(len(l.words))
		l.ids[w] = id
		l.words = append(l.words, w)
	}
	l.last = id
	return id
}

func (g *mergedRaw) len() int { return len(g.valid) }

func (g *mergedRaw) reset() {
	for i := range g.ints {
		g.ints[i] = g.ints[i][:0]
	}
	g.valid, g.serial, g.agent, g.runs = g.valid[:0], g.serial[:0], g.agent[:0], g.runs[:0]
	g.serials.reset()
	g.agents.reset()
}

// take appends the rows that the cursor stands at.
func (g *mergedRaw) take(c *rawCursor) {
	k := &c.columns
	for i, column := range [mergedInts][]int64{c.c.start, c.c.length, k.value, k.quality, k.order, k.sequence, k.place, k.loggedAt} {
		g.ints[i] = append(g.ints[i], column[c.at:c.to]...)
	}
	g.valid = append(g.valid, k.valid[c.at:c.to]...)
	g.serial = appendWords32(g.serial, k.serial[c.at:c.to], k.serials, &g.serials)
	g.agent = appendWords32(g.agent, k.agent[c.at:c.to], k.agents, &g.agents)
}

// appendWords32 appends the numbers in list of words[index...], which come in long runs.
func appendWords32(dst, index []int32, words []string, list *wordList) []int32 {
	last, id := int32(-1), int32(0)
	for _, w := range index {
		if w != last {
			last, id = w, list.number(words[w])
		}
		dst = append(dst, id)
	}
	return dst
}

// compare orders rows of one series.
func (g *mergedRaw) compare(a, b int32) int {
	for _, column := range [...]int{mergedStart, mergedLength} {
		if c := cmp.Compare(g.ints[column][a], g.ints[column][b]); c != 0 {
			return c
		}
	}
	for _, column := range [...]int{mergedOrder, mergedSequence, mergedPlace} { // not signed
		if c := cmp.Compare(uint64(g.ints[column][a]), uint64(g.ints[column][b])); c != 0 {
			return c
		}
	}
	return 0
}

// arrange puts the rows from one on, all of one series, in order.
func (g *mergedRaw) arrange(from int) {
	sorted := true
	start := g.ints[mergedStart]
	for i := from + 1; i < len(start) && sorted; i++ {
		sorted = start[i-1] < start[i] || g.compare(int32(i-1), int32(i)) <= 0
	}
	if sorted {
		return
	}
	g.order = g.order[:0]
	for i := from; i < len(start); i++ {
		g.order = append(g.order, int32(i))
	}
	slices.SortStableFunc(g.order, g.compare)
	for i := range g.ints {
		g.spare = permute(g.ints[i][from:], g.order, g.spare)
	}
	g.spareValid = permute(g.valid[from:], g.order, g.spareValid)
	g.spareIDs = permute(g.serial[from:], g.order, g.spareIDs)
	g.spareIDs = permute(g.agent[from:], g.order, g.spareIDs)
}

// permute puts the values of the rows of order, of which the least is that of values[0], in
// that order. It returns spare, which it may have made larger.
func permute[T any](values []T, order []int32, spare []T) []T {
	spare = append(spare[:0], values...)
	least := slices.Min(order)
	for k, i := range order {
		values[k] = spare[i-least]
	}
	return spare
}

// describe widens what the segment tells by the first n rows.
func (g *mergedRaw) describe(seg *Segment, n int) {
	start, length := g.ints[mergedStart][:n], g.ints[mergedLength][:n]
	sequence, logged := g.ints[mergedSequence][:n], g.ints[mergedLoggedAt][:n]
	end, minSeq, maxSeq := int64(0), uint64(sequence[0]), uint64(sequence[0])
	for i, at := range start {
		end = max(end, at+int64(span(gridloom.Millis(length[i]))))
		minSeq, maxSeq = min(minSeq, uint64(sequence[i])), max(maxSeq, uint64(sequence[i]))
	}
	first := gridloom.Millis(slices.Min(start))
	seg.widen(minSeq, gridloom.Millis(slices.Min(logged)), first, gridloom.Millis(end))
	seg.widen(maxSeq, gridloom.Millis(slices.Max(logged)), first, gridloom.Millis(end))
}

// write encodes the first n rows as a row group.
func (g *mergedRaw) write(e *encoder, n int) {
	g.codes, g.meters, g.counts = g.codes[:0], g.meters[:0], g.counts[:0]
	rest := int32(n)
	for i := 0; rest > 0; i++ {
		r := &g.runs[i]
		count := min(r.count, rest)
		g.codes, g.meters, g.counts = append(g.codes, r.code), append(g.meters, r.meter), append(g.counts, count)
		rest -= count
	}
	if len(e.groups) == 0 {
		g.told.reset()
	}
	e.startGroup(n)
	g.ids = resize(g.ids, len(g.counts))
	for _, words := range [...][]string{g.codes, g.meters} {
		e.table.index(g.ids, words)
		e.stringRuns(e.table.words, g.ids, g.counts)
	}
	e.ints(g.ints[mergedStart][:n])
	e.ints(g.ints[mergedLength][:n])
	values := g.ints[mergedValue][:n]
	if slices.Contains(g.valid[:n], false) {
		g.values = g.values[:0]
		for i, v := range values {
			if g.valid[i] {
				g.values = append(g.values, v)
			}
		}
		values = g.values
	}
	e.nullInts(values, g.valid[:n])
	for _, column := range [...]int{mergedQuality, mergedOrder, mergedSequence, mergedPlace} {
		e.ints(g.ints[column][:n])
	}
	e.nullInts(g.told.leave(g.ints[mergedSequence][:n], g.ints[mergedLoggedAt][:n]))
	e.dictWords(g.serials.words, g.serial[:n])
	e.dictWords(g.agents.words, g.agent[:n])
}

// drop takes the first n rows away.
func (g *mergedRaw) drop(n int) {
	for i := range g.ints {
		g.ints[i] = slices.Delete(g.ints[i], 0, n)
	}
	g.valid = slices.Delete(g.valid, 0, n)
	g.serial, g.agent = slices.Delete(g.serial, 0, n), slices.Delete(g.agent, 0, n)
	i := 0
	for n > 0 && int(g.runs[i].count) <= n {
		n -= int(g.runs[i].count)
		i++
	}
	if g.runs = slices.Delete(g.runs, 0, i); n > 0 {
		g.runs[0].count -= int32(n)
	}
}
