package pane

import (
	"encoding/binary"
	"fmt"
)

// Arrow believes the lengths that a schema's flatbuffer states and makes slices of
// them: a damaged one ends the process for want of memory. So what a schema of a
// chunk may hold is looked at before Arrow reads it. Positions outside of the message
// panic, which TailReader.Add recovers from as from Arrow's own panics.

// flatTable is the position of a table in a flatbuffer.
type flatTable struct {
	data []byte
	at   uint32
}

// Places of fields in Arrow's tables (Message.fbs, Schema.fbs), and kinds of columns.
const (
	messageHeaderType, messageHeader = 1, 2
	schemaFields, schemaMetadata     = 1, 2
	fieldType, fieldDictionary       = 2, 4
	fieldChildren, fieldMetadata     = 5, 6

	headerSchema = 1

	typeInt, typeBinary, typeUTF8, typeBool = 2, 4, 5, 6

	mostFields, mostMetadata = 64, 8
)

func flatRoot(data []byte) flatTable { return flatTable{data, word(data, 0)} }

func word(data []byte, at uint32) uint32 { return binary.LittleEndian.Uint32(data[at:]) }

// field returns where the i-th field of the table stands; 0 if it is left out.
func (t flatTable) field(i uint32) uint32 {
	vtable := t.at - word(t.data, t.at) // the offset is signed; unsigned arithmetic wraps to the same place
	if size := uint32(binary.LittleEndian.Uint16(t.data[vtable:])); 4+2*i >= size {
		return 0
	}
	offset := uint32(binary.LittleEndian.Uint16(t.data[vtable+4+2*i:]))
	if offset == 0 {
		return 0
	}
	return t.at + offset
}

// byteOf returns a field of one byte, 0 if it is left out.
func (t flatTable) byteOf(i uint32) byte {
	if at := t.field(i); at != 0 {
		return t.data[at]
	}
	return 0
}

// follow returns what an offset at a place leads to.
func (t flatTable) follow(at uint32) flatTable { return flatTable{t.data, at + word(t.data, at)} }

// vector returns the length of a vector and where its elements begin.
func (t flatTable) vector(i uint32) (length, at uint32) {
	place := t.field(i)
	if place == 0 {
		return 0, 0
	}
	v := t.follow(place).at
	return word(t.data, v), v + 4
}

// checkSchema refuses a first message of a chunk that is no schema of a few plain columns.
func checkSchema(meta []byte) error {
	message := flatRoot(meta)
	header := message.field(messageHeader)
	if message.byteOf(messageHeaderType) != headerSchema || header == 0 {
		return fmt.Errorf("it begins with a message of type %d and not with a schema", message.byteOf(messageHeaderType))
	}
	schema := message.follow(header)
	if n, _ := schema.vector(schemaMetadata); n > mostMetadata {
		return fmt.Errorf("its schema has %d entries of metadata", n)
	}
	n, at := schema.vector(schemaFields)
	if n > mostFields {
		return fmt.Errorf("its schema has %d columns", n)
	}
	for i := range n {
		f := schema.follow(at + 4*i)
		children, _ := f.vector(fieldChildren)
		entries, _ := f.vector(fieldMetadata)
		if children > 0 || entries > 0 || f.field(fieldDictionary) != 0 {
			return fmt.Errorf("column %d of its schema is not plain", i)
		}
		switch kind := f.byteOf(fieldType); kind {
		case typeInt, typeBinary, typeUTF8, typeBool:
		default:
			return fmt.Errorf("column %d of its schema is of type %d", i, kind)
		}
	}
	return nil
}
