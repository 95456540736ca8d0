package pane

import (
	"context"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

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
	serials, agents                                  []string
}

func (g *rawColumns) read(d *decoder, c *chosen, sel *Selector, fn func(*gridloom.Reading) error) error {
	if err := g.load(d, c); err != nil {
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
			Serial: g.serials[g.serial[i]], Agent: g.agents[g.agent[i]],
			Sequence: uint64(g.sequence[i]), Place: uint32(g.place[i]), LoggedAt: gridloom.Millis(g.loggedAt[i]),
		}
		return call(d, fn, &r)
	})
}

// load decodes the columns of c's rows.
func (g *rawColumns) load(d *decoder, c *chosen) error {
	n := c.hi - c.lo
	for _, col := range []struct {
		at  int
		dst *[]int64
	}{{rawQuality, &g.quality}, {rawOrder, &g.order}, {rawSequence, &g.sequence}, {rawPlace, &g.place}} {
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
	g.loggedAt = resize(g.loggedAt, n)
	if err := d.logTimes(g.loggedAt, g.sequence, c); err != nil {
		return err
	}
	g.serial, g.agent = resize(g.serial, n), resize(g.agent, n)
	if g.serials, err = d.strings(rawSerial, g.serial, c); err != nil {
		return err
	}
	g.agents, err = d.strings(rawAgent, g.agent, c)
	return err
}

// strings decodes a column's rows of c.
func (d *decoder) strings(column int, dst []int32, c *chosen) ([]string, error) {
	chunk, err := d.chunk(column)
	if err != nil {
		return nil, err
	}
	return chunk.strings(dst, c.lo, c.hi)
}
