package wire

import (
	"encoding/binary"
	"slices"

	"github.com/gridloom/gridloom"
)

// Run is the rows [From, To) of a Columns; all are of one meter.
type Run struct{ From, To uint32 }

// FrameBuilder encodes a frame column by column while its rows arrive, so that
// sealing it only joins the columns. The zero value is ready. Not safe for
// concurrent use.
//
// Rows are encoded from where a payload was decoded to, an object at a time, and
// nothing of them is kept but bytes: BenchmarkMessages takes 23 ns a reading. With
// rows copied to columns of the frame and encoded when it was sealed it took 46.
type FrameBuilder struct {
	rows   int
	shapes shapes
	last   []int64 // value of the last row, by register

	meters  table
	agents  table // place 0 is ""
	serials table // place 0 is ""

	meter, start                                 int64 // of the last object
	objectShape, objectMeter, objectStart, value []byte

	order                   orderRun // not yet in the columns
	orders                  []int64  // last order, by agent
	runs, runAgents, runAdd []byte

	length, quality, serial runColumn
	void                    []byte
	lastVoid                int
}

// orderRun is how many rows one agent sent with one order.
type orderRun struct {
	rows  uint64
	agent uint32
	order gridloom.Order
}

// table is a table of strings of a frame.
type table struct {
	interner
	strings []string // those of this frame, by place
	bytes   int      // of strings as fields
	last    uint32   // index of the one that add was asked for before
}

// place returns the place of the known string i in the frame's table.
func (t *table) place(i uint32) uint32 {
	n := len(t.strings)
	p := t.interner.place(i, &t.strings)
	if len(t.strings) > n {
		t.bytes += len(t.strings[n]) + 3
	}
	return p
}

// add returns the place of a string that need not be known; 0 for "".
func (t *table) add(s string) uint32 {
	if s == "" {
		return 0
	}
	return t.place(after(&t.interner, &t.last, s)) + 1
}

func (t *table) reset() {
	t.interner.reset()
	t.strings, t.bytes = t.strings[:0], 0
}

// Len returns the number of rows that were appended since the last Seal.
func (b *FrameBuilder) Len() int { return b.rows }

// Bytes returns about how long the frame is that Seal would write; it is never less.
func (b *FrameBuilder) Bytes() int {
	return len(b.value) + len(b.objectShape) + len(b.objectMeter) + len(b.objectStart) +
		len(b.runs) + len(b.runAgents) + len(b.runAdd) + b.length.bytes() + b.quality.bytes() + b.serial.bytes() +
		b.meters.bytes + b.agents.bytes + b.serials.bytes + b.shapes.bytes + len(b.void) + frameOverhead
}

// frameOverhead bounds the bytes of a frame beside its columns and tables: its head,
// the keys and lengths of its columns, and the runs that are not yet in them.
const frameOverhead = 256

// Append encodes the rows of runs, which are of src. Who appends the meters of one
// sender in the same order time and again keeps last for that sender: it says
// where its meter before was found. Any number will do.
func (b *FrameBuilder) Append(src *Columns, runs []Run, last *uint32) {
	if b.last == nil {
		b.reset()
	}
	for _, r := range runs {
		n := int(r.To - r.From)
		place := b.meters.place(after(&b.meters.interner, last, src.Meters[src.Meter[r.From]]))
		starts := src.Start[r.From:r.To]
		registers := src.Register[r.From:r.To][:n]
		values, voids := src.Value[r.From:r.To][:n], src.Void[r.From:r.To][:n]
		for i := 0; i < n; {
			j := i + 1
			for j < n && starts[j] == starts[i] {
				j++
			}
			b.object(int64(place), int64(starts[i]), registers[i:j])
			b.values(registers[i:j], values[i:j], voids[i:j])
			i = j
		}
		b.rest(src, r)
	}
}

// object encodes meter, start and shape of an object.
func (b *FrameBuilder) object(meter, start int64, registers []gridloom.RegisterID) {
	b.objectShape = appendUvarint(b.objectShape, uint64(b.shapes.of(registers)))
	b.objectMeter = appendUvarint(b.objectMeter, zigzag(meter-b.meter))
	b.objectStart = appendUvarint(b.objectStart, zigzag(start-b.start))
	b.meter, b.start = meter, start
}

// values encodes each value less the one before it of the same register. A void
// repeats the one before.
func (b *FrameBuilder) values(registers []gridloom.RegisterID, values []int64, voids []bool) {
	n := len(registers)
	w := slices.Grow(b.value, n*maxVarint+8)
	k := len(w)
	w = w[:cap(w)]
	values, voids = values[:n], voids[:n]
	for i, id := range registers {
		p := &b.last[id]
		v := values[i]
		if voids[i] {
			v = *p
			b.void = binary.AppendUvarint(b.void, uint64(b.rows+i-b.lastVoid))
			b.lastVoid = b.rows + i
		}
		u := zigzag(v - *p)
		*p = v
		if u >= 1<<56 {
			k += binary.PutUvarint(w[k:], u)
			continue
		}
		binary.LittleEndian.PutUint64(w[k:], spread(u))
		k += sizeUvarint(u)
	}
	b.value = w[:k]
	b.rows += n
}

// rest encodes what mostly is the same for all rows of a message.
func (b *FrameBuilder) rest(src *Columns, r Run) {
	for i := r.From; i < r.To; i++ {
		b.length.add(uint64(src.Length[i]))
		b.quality.add(uint64(src.Quality[i]))
		serial := src.Serial[i]
		if serial != 0 {
			serial = b.serials.add(src.Serials[serial])
		}
		b.serial.add(uint64(serial))
	}
	for i := r.From; i < r.To; {
		agent, order := src.Agent[i], src.Order[i]
		j := i + 1
		for j < r.To && src.Agent[j] == agent && src.Order[j] == order {
			j++
		}
		b.ordered(src.Agents[agent], order, uint64(j-i))
		i = j
	}
}

// ordered counts rows of one agent and order.
func (b *FrameBuilder) ordered(agent string, order gridloom.Order, rows uint64) {
	o := &b.order
	if o.rows > 0 && o.order == order && b.agentIs(agent) {
		o.rows += rows
		return
	}
	b.endOrders()
	*o = orderRun{rows, b.agents.add(agent), order}
}

// agentIs reports whether the open run of orders is of this agent.
func (b *FrameBuilder) agentIs(agent string) bool {
	if a := b.order.agent; a > 0 {
		return b.agents.strings[a-1] == agent
	}
	return agent == ""
}

// endOrders puts the open run of orders into the columns.
func (b *FrameBuilder) endOrders() {
	o := &b.order
	if o.rows == 0 {
		return
	}
	for len(b.orders) <= int(o.agent) {
		b.orders = append(b.orders, 0)
	}
	before := &b.orders[o.agent]
	b.runs = appendUvarint(b.runs, o.rows)
	b.runAgents = appendUvarint(b.runAgents, uint64(o.agent))
	b.runAdd = appendUvarint(b.runAdd, zigzag(int64(o.order)-*before)) // modulo 2^64
	*before = int64(o.order)
	o.rows = 0
}

// Seal appends the frame of info and of what was appended to dst, and empties b,
// which keeps its memory. Kinds without rows are sealed with none.
func (b *FrameBuilder) Seal(dst []byte, info FrameInfo) []byte {
	dst = appendUint(dst, frameVersion, FrameVersion)
	dst = appendUint(dst, frameKind, uint64(info.Kind))
	dst = appendUint(dst, frameGeneration, uint64(info.Generation))
	dst = appendUint(dst, framePartition, uint64(info.Partition))
	if len(info.Opaque) > 0 {
		dst = appendString(dst, frameOpaque, info.Opaque)
	}
	if b.rows == 0 {
		return dst
	}
	dst = appendUint(dst, frameReadings, uint64(b.rows))
	dst = b.meters.append(dst, frameMeter)
	dst = b.shapes.append(dst)
	dst = appendString(dst, frameObjectShape, b.objectShape)
	dst = appendString(dst, frameObjectMeter, b.objectMeter)
	dst = appendString(dst, frameObjectStart, b.objectStart)
	dst = appendString(dst, frameValue, b.value)
	dst = b.agents.append(dst, frameAgent)
	if len(b.runs) > 0 || b.order.agent != 0 || b.order.order != 0 {
		b.endOrders()
		dst = appendString(dst, frameOrderRun, b.runs)
		dst = appendString(dst, frameOrderAgent, b.runAgents)
		dst = appendString(dst, frameOrder, b.runAdd)
	}
	dst = b.serials.append(dst, frameSerial)
	dst = b.length.append(dst, frameLengthRun, frameLength)
	dst = b.quality.append(dst, frameQualityRun, frameQuality)
	dst = b.serial.append(dst, frameSerialRun, frameSerialIndex)
	if len(b.void) > 0 {
		dst = appendString(dst, frameVoid, b.void)
	}
	b.reset()
	return dst
}

// append writes the strings as fields.
func (t *table) append(dst []byte, field int) []byte {
	for _, s := range t.strings {
		dst = appendString(dst, field, s)
	}
	return dst
}

// reset empties b and keeps its memory and the strings it knows.
func (b *FrameBuilder) reset() {
	b.rows, b.meter, b.start, b.lastVoid = 0, 0, 0, 0
	b.shapes.reset()
	b.last = sized(b.last, gridloom.Registers())
	clear(b.last)
	b.meters.reset()
	b.agents.reset()
	b.serials.reset()
	b.objectShape, b.objectMeter, b.objectStart, b.value = b.objectShape[:0], b.objectMeter[:0], b.objectStart[:0], b.value[:0]
	b.order, b.orders = orderRun{}, b.orders[:0]
	b.runs, b.runAgents, b.runAdd = b.runs[:0], b.runAgents[:0], b.runAdd[:0]
	b.length.reset()
	b.quality.reset()
	b.serial.reset()
	b.void = b.void[:0]
}
