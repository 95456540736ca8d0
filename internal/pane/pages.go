package pane

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
)

// Parquet's page headers, read here rather than by Arrow: its page reader copies
// each page twice and allocates what a damaged header asks for. Reading one meter
// out of a segment is 6 times as fast (BenchmarkReadRawOneMeter), all readings 3 times.

// Page types and limits of parquet.thrift.
const (
	pageData       = 0
	pageDictionary = 2

	maxPageBytes = 1 << 28 // of one page once it is decompressed
)

// pageHeader is what of parquet.thrift's PageHeader is needed.
type pageHeader struct {
	kind, size, stored int64 // bytes before and after compression
	values, encoding   int64
	levelEncoding      int64
	described          bool // has a header for its kind
}

// readPageHeader reads a header and returns what follows it.
func readPageHeader(src []byte) (h pageHeader, rest []byte, err error) {
	t := thrift{src: src}
	h.kind = -1
	t.fields(func(id int16, kind byte) {
		switch id {
		case 1:
			h.kind = t.integer(kind)
		case 2:
			h.size = t.integer(kind)
		case 3:
			h.stored = t.integer(kind)
		case 5: // DataPageHeader
			t.structure(kind, func(id int16, kind byte) { h.data(&t, id, kind) })
		case 7: // DictionaryPageHeader
			t.structure(kind, func(id int16, kind byte) { h.data(&t, id, kind) })
		default:
			t.skip(kind, 0)
		}
	})
	if t.bad || !h.described || h.values < 0 || h.size < 0 || h.stored < 0 || h.stored > int64(len(t.src)) || h.size > maxPageBytes {
		return h, nil, errShort
	}
	return h, t.src, nil
}

// data reads a field that data pages and dictionary pages have in common.
func (h *pageHeader) data(t *thrift, id int16, kind byte) {
	h.described = true
	switch id {
	case 1:
		h.values = t.integer(kind)
	case 2:
		h.encoding = t.integer(kind)
	case 3:
		if kind == thriftTrue || kind == thriftFalse {
			return // is_sorted of a dictionary
		}
		h.levelEncoding = t.integer(kind)
	default:
		t.skip(kind, 0)
	}
}

// readPages reads the pages of a column chunk out of its bytes.
func (c *chunk) readPages(src []byte, codec compress.Compression) error {
	first := 0
	for first < c.d.rows {
		h, rest, err := readPageHeader(src)
		if err != nil {
			return err
		}
		body := rest[:h.stored:h.stored]
		src = rest[h.stored:]
		if codec != compress.Codecs.Uncompressed {
			if body, err = decompress(codec, body, int(h.size)); err != nil {
				return err
			}
		}
		if int64(len(body)) != h.size {
			return errShort
		}
		switch h.kind {
		case pageDictionary:
			if c.words != nil || h.values > int64(len(body)) {
				return errShort
			}
			c.words, c.count = body, int(h.values)
		case pageData:
			p, err := c.page(&h, body, first)
			if err != nil {
				return err
			}
			c.pages = append(c.pages, p)
			first += p.rows
		default:
			return fmt.Errorf("pages of type %d are not written by gridloom", h.kind)
		}
	}
	return nil
}

func decompress(codec compress.Compression, body []byte, size int) ([]byte, error) {
	c, err := compress.GetCodec(codec)
	if err != nil {
		return nil, err
	}
	return c.Decode(make([]byte, size), body), nil // panics on damage: guard
}

func (c *chunk) page(h *pageHeader, values []byte, first int) (page, error) {
	out := page{first: first, rows: int(h.values), values: values}
	if h.values == 0 || h.values > int64(c.d.rows-first) {
		return page{}, errShort
	}
	if c.f.null {
		if len(values) < 4 || parquet.Encoding(h.levelEncoding) != parquet.Encodings.RLE {
			return page{}, errShort
		}
		size := binary.LittleEndian.Uint32(values)
		if uint64(size) > uint64(len(values)-4) {
			return page{}, errShort
		}
		out.levels, out.values = values[4:4+size], values[4+size:]
	}
	switch e := parquet.Encoding(h.encoding); e {
	case parquet.Encodings.Plain:
	case parquet.Encodings.PlainDict, parquet.Encodings.RLEDict:
		out.indexed = true
	case parquet.Encodings.DeltaBinaryPacked:
		out.delta = true
	default:
		return page{}, fmt.Errorf("encoding %s is not known to this build", e)
	}
	return out, nil
}

// thrift reads Thrift's compact protocol. Once it is bad it stays so.
type thrift struct {
	src []byte
	bad bool
}

// Types of the compact protocol.
const (
	thriftStop   = 0
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12

	maxThriftDepth = 16
)

func (t *thrift) byte() byte {
	if len(t.src) == 0 {
		t.bad = true
		return 0
	}
	b := t.src[0]
	t.src = t.src[1:]
	return b
}

func (t *thrift) unsigned() uint64 {
	v, n := binary.Uvarint(t.src)
	if n <= 0 {
		t.bad = true
		return 0
	}
	t.src = t.src[n:]
	return v
}

// integer reads an integer of 16 to 64 bits.
func (t *thrift) integer(kind byte) int64 {
	if kind <= thriftByte || kind > thriftI64 {
		t.bad = true
		return 0
	}
	v := t.unsigned()
	return int64(v>>1) ^ -int64(v&1)
}

func (t *thrift) pass(n uint64) {
	if n > uint64(len(t.src)) {
		t.bad = true
		return
	}
	t.src = t.src[n:]
}

func (t *thrift) structure(kind byte, do func(id int16, kind byte)) {
	if kind != thriftStruct {
		t.bad = true
		return
	}
	t.fields(do)
}

// fields calls do for each field of a structure; do reads or skips the value.
func (t *thrift) fields(do func(id int16, kind byte)) {
	id := int16(0)
	for !t.bad {
		b := t.byte()
		if b == thriftStop {
			return
		}
		if delta := b >> 4; delta != 0 {
			id += int16(delta)
		} else {
			id = int16(t.integer(thriftI64))
		}
		do(id, b&15)
	}
}

// skip passes over a value.
func (t *thrift) skip(kind byte, depth int) {
	if depth > maxThriftDepth {
		t.bad = true
	}
	if t.bad {
		return
	}
	switch kind {
	case thriftTrue, thriftFalse:
	case thriftByte:
		t.pass(1)
	case thriftByte + 1, thriftByte + 2, thriftI64:
		t.unsigned()
	case thriftDouble:
		t.pass(8)
	case thriftBinary:
		t.pass(t.unsigned())
	case thriftStruct:
		t.fields(func(_ int16, kind byte) { t.skip(kind, depth+1) })
	case thriftList, thriftSet:
		t.list(depth)
	default:
		t.bad = true // Parquet has no maps
	}
}

// list passes over a list. Each element takes a byte or more, so that a count
// above the bytes that are left is a lie.
func (t *thrift) list(depth int) {
	b := t.byte()
	kind, count := b&15, uint64(b>>4)
	if count == 15 {
		count = t.unsigned()
	}
	if count > uint64(len(t.src)) {
		t.bad = true
	}
	for range count {
		if t.bad {
			return
		}
		if kind == thriftTrue || kind == thriftFalse {
			t.byte() // a boolean outside of a structure is a byte of its own
			continue
		}
		t.skip(kind, depth+1)
	}
}

// checkFooter walks through a file's metadata before Arrow reads it: Arrow makes
// room for as many elements as a damaged list claims to have, which may be more
// memory than there is.
func checkFooter(data []byte) error {
	const tail = 8 // length of the metadata, magic
	if len(data) < tail+4 || string(data[len(data)-4:]) != "PAR1" {
		return errors.New("the end is not that of a Parquet file: cut off, or another file")
	}
	size := binary.LittleEndian.Uint32(data[len(data)-tail:])
	if uint64(size) > uint64(len(data)-tail-4) {
		return errShort
	}
	t := thrift{src: data[len(data)-tail-int(size) : len(data)-tail]}
	t.fields(func(_ int16, kind byte) { t.skip(kind, 1) })
	if t.bad {
		return errors.New("the metadata at its end is damaged")
	}
	return nil
}
