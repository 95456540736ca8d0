package pane

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/parquet/metadata"

	"github.com/gridloom/gridloom"
)

// chosen is what a row group holds of a selector's rows, with the columns that
// say so. All slices but the dictionaries are of rows [lo, hi) of the group.
type chosen struct {
	lo, hi int   // all chosen rows lie in here
	rows   []int // chosen rows less lo; nil means all of [lo, hi)

	registers []gridloom.RegisterID
	register  []int32 // index into registers
	meters    []string
	meter     []int32
	start     []int64
	length    []int64
}

func (c *chosen) empty() bool { return c.lo == c.hi || c.rows != nil && len(c.rows) == 0 }

// each calls do with every chosen row less lo, in order.
func (c *chosen) each(do func(i int) error) error {
	if c.rows == nil {
		for i := range c.hi - c.lo {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range c.rows {
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// choose finds the rows of the open row group that sel wants, by register, meter
// and time. It reuses c's memory.
func (d *decoder) choose(c *chosen, sel *Selector, timed bool) error {
	c.lo, c.hi, c.rows = 0, d.rows, nil
	registers, meters, err := d.chooseSeries(c, sel)
	if err != nil || c.lo == c.hi {
		return err
	}
	all := registers == nil && meters == nil
	if timed {
		if err := d.times(c); err != nil {
			return err
		}
	}
	if all && (!timed || sel.From <= 0 && sel.To == 0) {
		return nil
	}
	rows := make([]int, 0, c.hi-c.lo)
	for i := range c.hi - c.lo {
		switch {
		case registers != nil && !registers[c.register[i]]:
		case meters != nil && !meters[c.meter[i]]:
		case timed && sel.To != 0 && c.start[i] >= int64(sel.To):
		case timed && c.start[i]+max(c.length[i], 1) <= int64(sel.From):
		default:
			rows = append(rows, i)
		}
	}
	c.rows = rows
	return nil
}

// chooseSeries decodes registers and meters, and narrows [lo, hi) to the rows
// between the first and the last of the wanted series. The returned sets say which
// dictionary entries are wanted; nil means all.
func (d *decoder) chooseSeries(c *chosen, sel *Selector) (registers, meters []bool, err error) {
	register, err := d.chunk(colRegister)
	if err != nil {
		return nil, nil, err
	}
	meter, err := d.chunk(colMeter)
	if err != nil {
		return nil, nil, err
	}
	c.register, c.meter = resize(c.register, d.rows), resize(c.meter, d.rows)
	codes, err := register.strings(c.register, 0, d.rows)
	if err != nil {
		return nil, nil, err
	}
	if c.meters, err = meter.strings(c.meter, 0, d.rows); err != nil {
		return nil, nil, err
	}
	c.registers = c.registers[:0]
	for _, code := range codes {
		id, ok := gridloom.RegisterByName(code)
		if !ok {
			return nil, nil, fmt.Errorf("register %q is not in this build's catalog: written by a newer gridloom", code)
		}
		c.registers = append(c.registers, id)
	}
	if sel.Registers != nil {
		registers = make([]bool, len(c.registers))
		for i, id := range c.registers {
			registers[i] = slices.Contains(sel.Registers, id)
		}
	}
	if sel.Meters != nil {
		meters = make([]bool, len(c.meters))
		for i, m := range c.meters {
			_, meters[i] = slices.BinarySearch(sel.Meters, m)
		}
	}
	if registers == nil && meters == nil {
		return nil, nil, nil
	}
	wanted := func(i int) bool {
		return (registers == nil || registers[c.register[i]]) && (meters == nil || meters[c.meter[i]])
	}
	for c.lo < c.hi && !wanted(c.lo) {
		c.lo++
	}
	for c.hi > c.lo && !wanted(c.hi-1) {
		c.hi--
	}
	c.register, c.meter = c.register[c.lo:c.hi], c.meter[c.lo:c.hi]
	return registers, meters, nil
}

// times decodes start and length of rows [lo, hi).
func (d *decoder) times(c *chosen) error {
	c.start, c.length = resize(c.start, c.hi-c.lo), resize(c.length, c.hi-c.lo)
	if err := d.ints(colStart, c.start, c); err != nil {
		return err
	}
	return d.ints(colLength, c.length, c)
}

// ints decodes a column's rows of c.
func (d *decoder) ints(column int, dst []int64, c *chosen) error {
	chunk, err := d.chunk(column)
	if err != nil {
		return err
	}
	return chunk.ints(dst, nil, c.lo, c.hi)
}

// mayHold reports, by its statistics, whether the open row group may hold rows of sel. False is certain.
func (d *decoder) mayHold(sel *Selector, timed bool) bool {
	if first, last, ok := stringBounds(d.group, colRegister); ok && sel.Registers != nil &&
		!slices.ContainsFunc(sel.Registers, func(id gridloom.RegisterID) bool {
			code := id.Info().Code
			return first <= code && code <= last
		}) {
		return false
	}
	if first, last, ok := stringBounds(d.group, colMeter); ok && sel.Meters != nil {
		at, _ := slices.BinarySearch(sel.Meters, first)
		if at == len(sel.Meters) || sel.Meters[at] > last {
			return false
		}
	}
	if !timed {
		return true
	}
	first, last, ok := intBounds(d.group, colStart)
	_, longest, ok2 := intBounds(d.group, colLength)
	if !ok || !ok2 {
		return true
	}
	return (sel.To == 0 || first < int64(sel.To)) && last+max(longest, 1) > int64(sel.From)
}

func stringBounds(g *metadata.RowGroupMetaData, column int) (first, last string, ok bool) {
	s, isText := bounds(g, column).(*metadata.ByteArrayStatistics)
	if !isText || !s.HasMinMax() {
		return "", "", false
	}
	return string(s.Min()), string(s.Max()), true
}

func intBounds(g *metadata.RowGroupMetaData, column int) (first, last int64, ok bool) {
	s, isInt := bounds(g, column).(*metadata.Int64Statistics)
	if !isInt || !s.HasMinMax() {
		return 0, 0, false
	}
	return s.Min(), s.Max(), true
}

func bounds(g *metadata.RowGroupMetaData, column int) metadata.TypedStatistics {
	c, err := g.ColumnChunk(column)
	if err != nil {
		return nil
	}
	if set, err := c.StatsSet(); err != nil || !set {
		return nil
	}
	s, err := c.Statistics()
	if err != nil {
		return nil
	}
	return s
}
