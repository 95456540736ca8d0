package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/gridloom/gridloom"
)

// Kind says what a frame is.
type Kind uint8

// The kinds of frames. Numbers are frozen; a partition stops at one it does not know.
const (
	KindReadings Kind = 1 // rows from agents
	KindEdit     Kind = 2 // rows from a person or an import
	KindRegistry Kind = 3 // an opaque change of the registry or of rules
	KindTick     Kind = 4 // nothing: only its log time counts
)

// String returns the kind's word in docs and metrics.
func (k Kind) String() string {
	switch k {
	case KindReadings:
		return "readings"
	case KindEdit:
		return "edit"
	case KindRegistry:
		return "registry"
	case KindTick:
		return "tick"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// FrameInfo is what a frame says beside its rows.
type FrameInfo struct {
	Kind       Kind
	Generation uint32
	Partition  int
	Readings   int    // number of rows; set by DecodeFrame, ignored by AppendFrame
	Opaque     []byte // payload of a registry frame; of DecodeFrame: part of its data
}

// FrameVersion is the version that AppendFrame writes and DecodeFrame reads.
const FrameVersion = 1

// ErrNewer is a frame that a newer gridloom wrote: it is whole, but its version,
// kind, a field or a register is not known here. The partition stops and nothing
// is skipped. It is a kind of ErrCorrupt, for who does not tell them apart.
var ErrNewer = fmt.Errorf("%w: written by a newer gridloom", gridloom.ErrCorrupt)

// Fields of a frame (docs/format/wire.md). Frozen.
const (
	frameVersion     = 1
	frameKind        = 2
	frameGeneration  = 3
	framePartition   = 4
	frameReadings    = 5
	frameMeter       = 6
	frameRegister    = 7
	frameShape       = 8
	frameObjectShape = 9
	frameObjectMeter = 10
	frameObjectStart = 11
	frameValue       = 12
	frameOrderRun    = 13
	frameOrderAgent  = 14
	frameOrder       = 15
	frameAgent       = 16
	frameSerial      = 17
	frameLengthRun   = 18
	frameLength      = 19
	frameQualityRun  = 20
	frameQuality     = 21
	frameSerialRun   = 22
	frameSerialIndex = 23
	frameVoid        = 24
	frameOpaque      = 25
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC returns the CRC-32C of data.
func CRC(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// scratch is working memory that a Columns lends to the coding of itself.
type scratch struct {
	objects   []object
	shapes    []span
	shapeRows []gridloom.RegisterID // the registers of all shapes, one after the other
	last      []int64               // by register or agent
	local     []int32               // by register: its index in the frame, -1 if none
	ids       []gridloom.RegisterID
	series    seriesScratch
}

// object is a run of rows of one meter and start.
type object struct {
	row   uint32 // the first
	shape uint32
}

// span is a part of a slice.
type span struct{ from, to uint32 }

// shapesSearched is how many of the newest shapes an object is compared with
// before its own is added. A batch holds few; the bound keeps a hostile one linear.
const shapesSearched = 16

// AppendFrame appends the frame of info and the rows of c, which may be nil for
// kinds without rows. It allocates nothing once dst and c have grown.
func AppendFrame(dst []byte, info FrameInfo, c *Columns) []byte {
	dst = appendUint(dst, frameVersion, FrameVersion)
	dst = appendUint(dst, frameKind, uint64(info.Kind))
	dst = appendUint(dst, frameGeneration, uint64(info.Generation))
	dst = appendUint(dst, framePartition, uint64(info.Partition))
	if len(info.Opaque) > 0 {
		dst = appendString(dst, frameOpaque, info.Opaque)
	}
	if c == nil || c.Len() == 0 {
		return dst
	}
	dst = appendUint(dst, frameReadings, uint64(c.Len()))
	for _, m := range c.Meters {
		dst = appendString(dst, frameMeter, m)
	}
	dst = c.appendObjects(dst)
	dst = c.appendValues(dst)
	dst = c.appendOrders(dst)
	for _, s := range c.Serials[min(1, len(c.Serials)):] {
		dst = appendString(dst, frameSerial, s)
	}
	dst = appendRuns(dst, frameLengthRun, frameLength, c.Length)
	dst = appendRuns(dst, frameQualityRun, frameQuality, c.Quality)
	dst = appendRuns(dst, frameSerialRun, frameSerialIndex, c.Serial)
	return c.appendVoids(dst)
}

// appendObjects writes registers, shapes and objects.
func (c *Columns) appendObjects(dst []byte) []byte {
	s := &c.scratch
	s.findObjects(c)
	meter, start := c.Meter, c.Start

	s.local = sized(s.local, gridloom.Registers())
	for i := range s.local {
		s.local[i] = -1
	}
	registers := int32(0)
	for _, id := range s.shapeRows {
		if s.local[id] < 0 {
			s.local[id] = registers
			registers++
			dst = appendString(dst, frameRegister, id.Info().Code)
		}
	}
	var at int
	for _, sh := range s.shapes {
		dst, at = openBytes(dst, frameShape)
		for _, id := range s.shapeRows[sh.from:sh.to] {
			dst = binary.AppendUvarint(dst, uint64(s.local[id]))
		}
		dst = closeBytes(dst, at)
	}

	dst, at = openBytes(dst, frameObjectShape)
	dst = slices.Grow(dst, len(s.objects)*maxVarint)
	w := dst[at:cap(dst)]
	k := 0
	for _, o := range s.objects {
		k += putUvarint(w[k:], uint64(o.shape))
	}
	dst = closeBytes(dst[:at+k], at)

	dst, at = openBytes(dst, frameObjectMeter)
	dst = slices.Grow(dst, len(s.objects)*maxVarint)
	w, k = dst[at:cap(dst)], 0
	before := int64(0)
	for _, o := range s.objects {
		m := int64(meter[o.row])
		k += putUvarint(w[k:], zigzag(m-before))
		before = m
	}
	dst = closeBytes(dst[:at+k], at)

	dst, at = openBytes(dst, frameObjectStart)
	dst = slices.Grow(dst, len(s.objects)*maxVarint)
	w, k = dst[at:cap(dst)], 0
	before = 0
	for _, o := range s.objects {
		t := int64(start[o.row])
		k += putUvarint(w[k:], zigzag(t-before))
		before = t
	}
	return closeBytes(dst[:at+k], at)
}

// findObjects cuts the rows of c into objects and gives each its shape.
func (s *scratch) findObjects(c *Columns) {
	s.objects, s.shapes, s.shapeRows = s.objects[:0], s.shapes[:0], s.shapeRows[:0]
	n := c.Len()
	meter, start, registers := c.Meter[:n], c.Start[:n], c.Register[:n]
	shape, like := uint32(0), []gridloom.RegisterID(nil) // those of the object before
	for i := 0; i < n; {
		m, t := meter[i], start[i]
		j, k := i, 0 // k counts how far the object is like the one before
		for ; j < n && meter[j] == m && start[j] == t; j++ {
			if k < len(like) && registers[j] == like[k] {
				k++
			}
		}
		if k != len(like) || j-i != k {
			shape = s.shapeOf(registers[i:j])
			sh := s.shapes[shape]
			like = s.shapeRows[sh.from:sh.to]
		}
		s.objects = append(s.objects, object{uint32(i), shape})
		i = j
	}
}

// shapeOf returns the index of the shape with these registers, adding it if none
// of the newest has them.
func (s *scratch) shapeOf(registers []gridloom.RegisterID) uint32 {
	for i := len(s.shapes) - 1; i >= max(0, len(s.shapes)-shapesSearched); i-- {
		sh := s.shapes[i]
		if int(sh.to-sh.from) == len(registers) && slices.Equal(s.shapeRows[sh.from:sh.to], registers) {
			return uint32(i)
		}
	}
	from := uint32(len(s.shapeRows))
	s.shapeRows = append(s.shapeRows, registers...)
	s.shapes = append(s.shapes, span{from, uint32(len(s.shapeRows))})
	return uint32(len(s.shapes) - 1)
}

// appendValues writes each value less the one before it of the same register. A
// void repeats the one before.
func (c *Columns) appendValues(dst []byte) []byte {
	last := sized(c.scratch.last, gridloom.Registers())
	clear(last)
	c.scratch.last = last
	n := c.Len()
	dst, at := openBytes(dst, frameValue)
	dst = slices.Grow(dst, n*maxVarint)
	w, k := dst[at:cap(dst)], 0
	registers, voids := c.Register[:n], c.Void[:n]
	for i, v := range c.Value[:n] {
		p := &last[registers[i]]
		if voids[i] {
			v = *p
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
	return closeBytes(dst[:at+k], at)
}

// appendOrders writes the agents and, for every run of rows of one agent and
// order, how many they are, who sent them and the order less that agent's last.
func (c *Columns) appendOrders(dst []byte) []byte {
	agents := c.Agents[min(1, len(c.Agents)):]
	for _, a := range agents {
		dst = appendString(dst, frameAgent, a)
	}
	n := c.Len()
	runs := c.scratch.objects[:0]
	for i := 0; i < n; {
		runs = append(runs, object{row: uint32(i)})
		a, o := c.Agent[i], c.Order[i]
		for i++; i < n && c.Agent[i] == a && c.Order[i] == o; i++ {
		}
	}
	c.scratch.objects = runs
	if len(runs) == 1 && c.Agent[0] == 0 && c.Order[0] == 0 {
		return dst
	}

	dst, at := openBytes(dst, frameOrderRun)
	for i, r := range runs {
		end := n
		if i+1 < len(runs) {
			end = int(runs[i+1].row)
		}
		dst = binary.AppendUvarint(dst, uint64(end-int(r.row)))
	}
	dst = closeBytes(dst, at)
	dst, at = openBytes(dst, frameOrderAgent)
	for _, r := range runs {
		dst = binary.AppendUvarint(dst, uint64(c.Agent[r.row]))
	}
	dst = closeBytes(dst, at)
	last := sized(c.scratch.last, len(agents)+1)
	clear(last)
	c.scratch.last = last
	dst, at = openBytes(dst, frameOrder)
	for _, r := range runs {
		p := &last[c.Agent[r.row]]
		o := int64(c.Order[r.row])
		dst = binary.AppendUvarint(dst, zigzag(o-*p)) // modulo 2^64
		*p = o
	}
	return closeBytes(dst, at)
}

// appendRuns writes a column as runs of equal numbers; nothing if all are 0.
func appendRuns[T ~int64 | ~uint32](dst []byte, lengths, numbers int, column []T) []byte {
	i := 0
	for i < len(column) && column[i] == 0 {
		i++
	}
	if i == len(column) {
		return dst
	}
	dst, at := openBytes(dst, lengths)
	for i := 0; i < len(column); {
		j := i + 1
		for j < len(column) && column[j] == column[i] {
			j++
		}
		dst = binary.AppendUvarint(dst, uint64(j-i))
		i = j
	}
	dst = closeBytes(dst, at)
	dst, at = openBytes(dst, numbers)
	for i, v := range column {
		if i == 0 || v != column[i-1] {
			dst = binary.AppendUvarint(dst, uint64(v))
		}
	}
	return closeBytes(dst, at)
}

// appendVoids writes the rows that are void, each less the one before.
func (c *Columns) appendVoids(dst []byte) []byte {
	at, before := 0, 0
	for i, void := range c.Void {
		if !void {
			continue
		}
		if at == 0 {
			dst, at = openBytes(dst, frameVoid)
		}
		dst = binary.AppendUvarint(dst, uint64(i-before))
		before = i
	}
	if at == 0 {
		return dst
	}
	return closeBytes(dst, at)
}
