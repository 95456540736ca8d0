package pane

import "encoding/binary"

// thriftOut writes Thrift's compact protocol: what a Parquet file's page headers
// and metadata are made of. Field numbers are parquet.thrift's and rise within a
// structure.
type thriftOut struct {
	dst  []byte
	last []int16 // the field before, of each open structure
}

const (
	thriftI16 = 4
	thriftI32 = 5
)

func (t *thriftOut) reset(dst []byte) {
	t.dst = dst
	t.last = append(t.last[:0], 0)
}

// field writes the head of a field.
func (t *thriftOut) field(id int16, kind byte) {
	at := &t.last[len(t.last)-1]
	if d := id - *at; d > 0 && d < 16 {
		t.dst = append(t.dst, byte(d)<<4|kind)
	} else {
		t.dst = append(t.dst, kind)
		t.zigzag(int64(id))
	}
	*at = id
}

func (t *thriftOut) zigzag(v int64) { t.dst = binary.AppendVarint(t.dst, v) }

func (t *thriftOut) i32(id int16, v int) {
	t.field(id, thriftI32)
	t.zigzag(int64(v))
}

func (t *thriftOut) i64(id int16, v int64) {
	t.field(id, thriftI64)
	t.zigzag(v)
}

func (t *thriftOut) bytes(id int16, v []byte) {
	t.field(id, thriftBinary)
	t.dst = append(binary.AppendUvarint(t.dst, uint64(len(v))), v...)
}

func (t *thriftOut) text(id int16, v string) {
	t.field(id, thriftBinary)
	t.dst = append(binary.AppendUvarint(t.dst, uint64(len(v))), v...)
}

// structure opens a structure as a field; close ends it.
func (t *thriftOut) structure(id int16) {
	t.field(id, thriftStruct)
	t.element()
}

// element opens a structure as an element of a list.
func (t *thriftOut) element() { t.last = append(t.last, 0) }

func (t *thriftOut) close() {
	t.dst = append(t.dst, thriftStop)
	t.last = t.last[:len(t.last)-1]
}

// list writes the head of a list of n elements, which follow.
func (t *thriftOut) list(id int16, kind byte, n int) {
	t.field(id, thriftList)
	if n < 15 {
		t.dst = append(t.dst, byte(n)<<4|kind)
		return
	}
	t.dst = binary.AppendUvarint(append(t.dst, 0xf0|kind), uint64(n))
}
