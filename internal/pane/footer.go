package pane

import (
	"encoding/binary"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
)

// finish returns the file's bytes, valid until the encoder begins another.
func (e *encoder) finish() []byte {
	e.must(e.next == len(e.fields))
	at := len(e.out)
	t := &e.thrift
	t.reset(e.out)
	t.i32(1, 2) // version of the format: RLE_DICTIONARY and logical types
	t.field(2, thriftList)
	t.dst = append(t.dst, e.schema...)
	t.i64(3, e.rows)
	t.list(4, thriftStruct, len(e.groups))
	for i := range e.groups {
		e.describeGroup(i)
	}
	t.list(5, thriftStruct, len(e.notes))
	for _, n := range e.notes {
		t.element()
		t.text(1, n.key)
		t.text(2, n.value)
		t.close()
	}
	t.text(6, "gridloom")
	t.list(7, thriftStruct, len(e.fields))
	for range e.fields {
		t.element()
		t.structure(1) // the order of the type
		t.close()
		t.close()
	}
	t.dst = append(t.dst, thriftStop)
	e.out = binary.LittleEndian.AppendUint32(t.dst, uint32(len(t.dst)-at))
	e.out = append(e.out, "PAR1"...)
	return e.out
}

func (e *encoder) describeGroup(i int) {
	t, g := &e.thrift, &e.groups[i]
	chunks := e.chunks[i*len(e.fields) : (i+1)*len(e.fields)]
	var size, full int64
	for j := range chunks {
		size += int64(chunks[j].size)
		full += int64(chunks[j].full)
	}
	t.element()
	t.list(1, thriftStruct, len(chunks))
	for j := range chunks {
		e.describeChunk(&chunks[j])
	}
	t.i64(2, full)
	t.i64(3, int64(g.rows))
	t.i64(5, int64(g.offset))
	t.i64(6, size)
	t.field(7, thriftI16)
	t.zigzag(int64(i))
	t.close()
}

func (e *encoder) describeChunk(c *columnChunk) {
	t := &e.thrift
	t.element()
	t.i64(2, int64(c.offset))
	t.structure(3)
	t.i32(1, int(c.field.physical))
	t.list(2, thriftI32, 3)
	for _, enc := range []parquet.Encoding{parquet.Encodings.Plain, parquet.Encodings.RLE, c.encoding} {
		t.zigzag(int64(enc))
	}
	t.list(3, thriftBinary, 1)
	t.dst = append(binary.AppendUvarint(t.dst, uint64(len(c.field.name))), c.field.name...)
	t.i32(4, codecNumber(e.codec))
	t.i64(5, int64(c.rows))
	t.i64(6, int64(c.full))
	t.i64(7, int64(c.size))
	t.i64(9, int64(c.data))
	if c.data != c.offset {
		t.i64(11, int64(c.offset))
	}
	if c.bounded {
		least, greatest := c.least[:], c.greatest[:]
		if c.field.physical == parquet.Types.ByteArray {
			least, greatest = []byte(c.leastText), []byte(c.mostT)
		}
		t.structure(12)
		t.i64(3, int64(c.nulls))
		t.bytes(5, greatest)
		t.bytes(6, least)
		t.close()
	}
	t.close()
	t.close()
}

// codecNumber is parquet.thrift's number of a codec.
func codecNumber(c compress.Compression) int {
	if c == compress.Codecs.Uncompressed {
		return 0
	}
	return 6 // ZSTD
}
