package wire

import (
	"encoding/binary"
	"slices"

	"github.com/gridloom/gridloom"
)

// shapes are the registers and shapes of a frame that is built: the registers of
// an object, in their order, are its shape, and few shapes serve a frame.
type shapes struct {
	spans     []span
	rows      []gridloom.RegisterID // the registers of all shapes, one after the other
	shape     uint32                // of the last object
	like      []gridloom.RegisterID // its registers
	local     []int32               // by register: its index in the frame plus 1, 0 if none
	registers []gridloom.RegisterID // of the frame
	bytes     int                   // about, as fields
}

// span is a part of a slice.
type span struct{ from, to uint32 }

// shapesSearched is how many of the newest shapes an object is compared with
// before its own is added. A batch holds few; the bound keeps a hostile one linear.
const shapesSearched = 16

// of returns the index of the shape with these registers, adding it if none of the
// newest has them.
func (s *shapes) of(registers []gridloom.RegisterID) uint32 {
	if !slices.Equal(registers, s.like) {
		s.shape = s.find(registers)
		sp := s.spans[s.shape]
		s.like = s.rows[sp.from:sp.to]
	}
	return s.shape
}

func (s *shapes) find(registers []gridloom.RegisterID) uint32 {
	for i := len(s.spans) - 1; i >= max(0, len(s.spans)-shapesSearched); i-- {
		sp := s.spans[i]
		if slices.Equal(s.rows[sp.from:sp.to], registers) {
			return uint32(i)
		}
	}
	from := uint32(len(s.rows))
	s.rows = append(s.rows, registers...)
	s.spans = append(s.spans, span{from, uint32(len(s.rows))})
	s.bytes += 8 + 2*len(registers)
	for _, id := range registers {
		if s.local[id] == 0 {
			s.registers = append(s.registers, id)
			s.local[id] = int32(len(s.registers))
			s.bytes += len(id.Info().Code) + 2
		}
	}
	return uint32(len(s.spans) - 1)
}

// append writes registers and shapes as fields.
func (s *shapes) append(dst []byte) []byte {
	for _, id := range s.registers {
		dst = appendString(dst, frameRegister, id.Info().Code)
	}
	for _, sp := range s.spans {
		var at int
		dst, at = openBytes(dst, frameShape)
		for _, id := range s.rows[sp.from:sp.to] {
			dst = binary.AppendUvarint(dst, uint64(s.local[id]-1))
		}
		dst = closeBytes(dst, at)
	}
	return dst
}

func (s *shapes) reset() {
	s.spans, s.rows, s.registers = s.spans[:0], s.rows[:0], s.registers[:0]
	s.shape, s.like, s.bytes = 0, nil, 0
	s.local = sized(s.local, gridloom.Registers())
	clear(s.local)
}

// runColumn is a column that is written as runs of equal numbers, or not at all
// while all are 0.
type runColumn struct {
	lengths, numbers []byte
	number, count    uint64 // the run that is not yet in them
}

// add appends one number.
func (c *runColumn) add(v uint64) {
	if v != c.number {
		c.end()
		c.number = v
	}
	c.count++
}

// end puts the open run into the column.
func (c *runColumn) end() {
	if c.count > 0 {
		c.lengths = appendUvarint(c.lengths, c.count)
		c.numbers = appendUvarint(c.numbers, c.number)
		c.count = 0
	}
}

// append writes the column as two fields.
func (c *runColumn) append(dst []byte, lengths, numbers int) []byte {
	if len(c.lengths) == 0 && c.number == 0 {
		return dst
	}
	c.end()
	return appendString(appendString(dst, lengths, c.lengths), numbers, c.numbers)
}

func (c *runColumn) bytes() int { return len(c.lengths) + len(c.numbers) }

func (c *runColumn) reset() { *c = runColumn{lengths: c.lengths[:0], numbers: c.numbers[:0]} }
