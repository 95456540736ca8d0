package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/gridloom/gridloom"
)

// DecodeFrame decodes a frame into c, which is reset first. Strings are c's own,
// those of earlier frames where they are equal. What it allocates is bounded by a
// small multiple of len(data), and nothing a reading once c has grown.
//
// The error is a kind of ErrCorrupt; where it is ErrNewer, the info says of which
// kind the frame is.
func DecodeFrame(data []byte, c *Columns) (FrameInfo, error) {
	c.Reset()
	var f frame
	if err := f.read(data, c); err != nil {
		return f.info, err
	}
	if err := f.check(); err != nil {
		return f.info, err
	}
	c.Extend(f.readings)
	if err := f.rows(c); err != nil {
		c.Truncate(0)
		return f.info, err
	}
	f.info.Readings = f.readings
	return f.info, nil
}

// frame is a frame taken apart: its columns still encoded.
type frame struct {
	info     FrameInfo
	readings int
	nums     [frameReadings + 1]uint64 // by field
	columns  [frameOpaque + 1][]byte   // by field, of those that occur once
	seen     uint32                    // bit of each field
}

// corrupt is the error of a frame that is not what was written.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: frame: %s", gridloom.ErrCorrupt, fmt.Sprintf(format, args...))
}

// read finds the fields and decodes the tables.
func (f *frame) read(data []byte, c *Columns) error {
	s := &c.scratch
	s.ids, s.shapes, s.shapeRows = s.ids[:0], s.shapes[:0], s.shapeRows[:0]
	var newer error // what only a newer gridloom knows; it matters if the frame is whole
	var fd field
	for rest := data; len(rest) > 0; {
		next, ok := fd.read(rest)
		if !ok {
			return corrupt("no field at byte %d", len(data)-len(rest))
		}
		rest = next
		n := fd.number
		if n > frameOpaque {
			newer = fmt.Errorf("frame: field %d: %w", n, ErrNewer)
			continue
		}
		if n <= frameReadings != (fd.typ == typeVarint) || n > frameReadings && fd.typ != typeBytes {
			return corrupt("field %d of type %d", n, fd.typ)
		}
		switch n {
		case frameMeter:
			c.Meters = append(c.Meters, c.meters.entries[after(&c.meters, &c.lastMeter, fd.bytes)].s)
		case frameAgent:
			c.Agents = append(c.Agents, c.agents.text(fd.bytes))
		case frameSerial:
			c.Serials = append(c.Serials, c.serials.text(fd.bytes))
		case frameRegister:
			id, ok := FindRegister(fd.bytes)
			if !ok {
				newer = fmt.Errorf("frame: register %q: %w", fd.bytes, ErrNewer)
			}
			s.ids = append(s.ids, id)
		case frameShape:
			if err := s.readShape(fd.bytes); err != nil {
				return err
			}
		default:
			if f.seen&(1<<n) != 0 {
				return corrupt("field %d twice", n)
			}
			f.seen |= 1 << n
			if n <= frameReadings {
				f.nums[n] = fd.num
			} else {
				f.columns[n] = fd.bytes
			}
		}
	}
	return f.head(newer)
}

// readShape resolves the registers of a shape, which come before it.
func (s *scratch) readShape(b []byte) error {
	from := uint32(len(s.shapeRows))
	for len(b) > 0 {
		v, n := uvarint(b)
		if n == 0 || v >= uint64(len(s.ids)) {
			return corrupt("shape %d names register %d of %d", len(s.shapes), v, len(s.ids))
		}
		s.shapeRows = append(s.shapeRows, s.ids[v])
		b = b[n:]
	}
	if int(from) == len(s.shapeRows) {
		return corrupt("shape %d is empty", len(s.shapes))
	}
	s.shapes = append(s.shapes, span{from, uint32(len(s.shapeRows))})
	return nil
}

// head sets the info. Version and kind decide before anything else: a frame of
// another version may mean something else by every other field.
func (f *frame) head(newer error) error {
	kind, generation, partition := f.nums[frameKind], f.nums[frameGeneration], f.nums[framePartition]
	if kind > 255 || generation > 1<<32-1 || partition > 1<<31-1 {
		return corrupt("kind %d, generation %d, partition %d", kind, generation, partition)
	}
	f.info = FrameInfo{Kind: Kind(kind), Generation: uint32(generation), Partition: int(partition), Opaque: f.columns[frameOpaque]}
	switch v := f.nums[frameVersion]; {
	case v == 0:
		return corrupt("no version")
	case v != FrameVersion:
		return fmt.Errorf("frame: version %d: %w", v, ErrNewer)
	case kind == 0:
		return corrupt("no kind")
	case f.info.Kind > KindTick:
		return fmt.Errorf("frame: kind %d: %w", kind, ErrNewer)
	}
	return newer
}

// check counts the readings, so that nothing is allocated for rows that are not
// there: every value is at least a byte.
func (f *frame) check() error {
	n, ok := countVarints(f.columns[frameValue])
	if !ok || uint64(n) != f.nums[frameReadings] {
		return corrupt("%d readings with %d values", f.nums[frameReadings], n)
	}
	if n > 0 && (f.info.Kind == KindTick || f.info.Kind == KindRegistry) {
		return corrupt("%d readings in a %s frame", n, f.info.Kind)
	}
	if len(f.info.Opaque) > 0 && f.info.Kind != KindEdit && f.info.Kind != KindRegistry {
		return corrupt("records in a %s frame", f.info.Kind)
	}
	f.readings = n
	return nil
}

// rows decodes the columns into the rows of c, which are there already.
func (f *frame) rows(c *Columns) error {
	if err := f.objects(c); err != nil {
		return err
	}
	if err := f.values(c); err != nil {
		return err
	}
	if err := f.orders(c); err != nil {
		return err
	}
	if err := f.runs(c); err != nil {
		return err
	}
	return f.voids(c)
}

// objects fills Meter, Register and Start.
func (f *frame) objects(c *Columns) error {
	s := &c.scratch
	shapes, meters, starts := f.columns[frameObjectShape], f.columns[frameObjectMeter], f.columns[frameObjectStart]
	row, count := 0, 0
	var meter, start int64
	for ; len(shapes) > 0; count++ {
		shape, n := uvarint(shapes)
		md, k := uvarint(meters)
		sd, l := uvarint(starts)
		if n == 0 || k == 0 || l == 0 {
			return corrupt("object %d is cut", count)
		}
		shapes, meters, starts = shapes[n:], meters[k:], starts[l:]
		meter += unzigzag(md)
		start += unzigzag(sd)
		if shape >= uint64(len(s.shapes)) || uint64(meter) >= uint64(len(c.Meters)) {
			return corrupt("object %d has shape %d of %d, meter %d of %d", count, shape, len(s.shapes), meter, len(c.Meters))
		}
		sp := s.shapes[shape]
		registers := s.shapeRows[sp.from:sp.to]
		if len(registers) > f.readings-row {
			return corrupt("objects hold more than %d readings", f.readings)
		}
		ms, ss := c.Meter[row:row+len(registers)], c.Start[row:row+len(registers)]
		rs := c.Register[row : row+len(registers)]
		for i, r := range registers {
			ms[i], ss[i], rs[i] = uint32(meter), gridloom.Millis(start), r
		}
		row += len(registers)
	}
	if row != f.readings || len(meters) > 0 || len(starts) > 0 {
		return corrupt("objects hold %d of %d readings", row, f.readings)
	}
	return nil
}

// values fills Value. The column's ends of varints were counted before: if none is
// longer than a varint may be, it holds exactly one a row.
func (f *frame) values(c *Columns) error {
	last := sized(c.scratch.last, gridloom.Registers())
	clear(last)
	c.scratch.last = last
	// Reading on past the column's end is harmless and keeps to the quick path.
	b := f.columns[frameValue]
	b = b[:min(len(b)+8, cap(b))]
	registers := c.Register[:f.readings]
	values := c.Value[:f.readings]
	for i, r := range registers {
		var u uint64
		var n int
		if len(b) >= 8 {
			w := binary.LittleEndian.Uint64(b)
			stop := ^w & 0x8080_8080_8080_8080
			u, n = gather(w, stop), bits.TrailingZeros64(stop)/8+1
		}
		if n == 0 || n > 8 {
			if u, n = uvarintLong(b); n == 0 {
				return corrupt("value %d is no number", i)
			}
		}
		b = b[n:]
		v := last[r] + unzigzag(u)
		last[r] = v
		values[i] = v
	}
	return nil
}

// orders fills Agent and Order.
func (f *frame) orders(c *Columns) error {
	runs, agents, orders := f.columns[frameOrderRun], f.columns[frameOrderAgent], f.columns[frameOrder]
	if len(runs)+len(agents)+len(orders) == 0 {
		clear(c.Agent)
		clear(c.Order)
		return nil
	}
	last := sized(c.scratch.last, len(c.Agents))
	clear(last)
	c.scratch.last = last
	row := 0
	for len(runs) > 0 {
		count, n := uvarint(runs)
		agent, k := uvarint(agents)
		od, l := uvarint(orders)
		if n == 0 || k == 0 || l == 0 || count == 0 || count > uint64(f.readings-row) || agent >= uint64(len(c.Agents)) {
			return corrupt("run of orders at reading %d: %d readings of agent %d of %d", row, count, agent, len(c.Agents))
		}
		runs, agents, orders = runs[n:], agents[k:], orders[l:]
		last[agent] += unzigzag(od)
		o := gridloom.Order(last[agent])
		as, os := c.Agent[row:row+int(count)], c.Order[row:row+int(count)]
		for i := range as {
			as[i], os[i] = uint32(agent), o
		}
		row += int(count)
	}
	if row != f.readings || len(agents) > 0 || len(orders) > 0 {
		return corrupt("orders are of %d of %d readings", row, f.readings)
	}
	return nil
}

// runs fills Length, Quality and Serial.
func (f *frame) runs(c *Columns) error {
	if err := fillRuns(c.Length, f.columns[frameLengthRun], f.columns[frameLength], uint64(gridloom.MaxInterval)+1); err != nil {
		return fmt.Errorf("%w of length", err)
	}
	if err := fillRuns(c.Quality, f.columns[frameQualityRun], f.columns[frameQuality], 1<<32); err != nil {
		return fmt.Errorf("%w of quality", err)
	}
	if err := fillRuns(c.Serial, f.columns[frameSerialRun], f.columns[frameSerialIndex], uint64(len(c.Serials))); err != nil {
		return fmt.Errorf("%w of serial", err)
	}
	return nil
}

// fillRuns decodes runs of numbers below limit over the whole of column.
func fillRuns[T ~int64 | ~uint32](column []T, lengths, numbers []byte, limit uint64) error {
	if len(lengths)+len(numbers) == 0 {
		clear(column)
		return nil
	}
	row := 0
	for len(lengths) > 0 {
		count, n := uvarint(lengths)
		v, k := uvarint(numbers)
		if n == 0 || k == 0 || count == 0 || count > uint64(len(column)-row) || v >= limit {
			return corrupt("run of %d times %d at reading %d", count, v, row)
		}
		lengths, numbers = lengths[n:], numbers[k:]
		part := column[row : row+int(count)]
		for i := range part {
			part[i] = T(v)
		}
		row += int(count)
	}
	if row != len(column) || len(numbers) > 0 {
		return corrupt("runs over %d of %d readings", row, len(column))
	}
	return nil
}

// voids fills Void and takes the values of void rows away.
func (f *frame) voids(c *Columns) error {
	clear(c.Void)
	row := uint64(0)
	for i, b := 0, f.columns[frameVoid]; len(b) > 0; i++ {
		d, n := uvarint(b)
		if n == 0 || d >= uint64(f.readings)-row || i > 0 && d == 0 {
			return corrupt("void %d at %d after %d", i, d, row)
		}
		b = b[n:]
		row += d
		c.Void[row], c.Value[row] = true, 0
	}
	return nil
}
