package pane

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"
)

// pageRows is how many integers a page of differences holds where it is not compressed:
// a reader of one meter adds up those before it in the page.
const pageRows = 4096

// groupRows bounds a row group at level 0. A reader of one meter decodes whole
// pages of the groups that may hold it: BenchmarkReadRawOneMeter.
const groupRows = 32 << 10

// encoder writes the columns of a segment, row group by row group, each in the
// order of its fields. Pages are made here and not by Arrow, which takes 5 times as
// long for the same bytes (BenchmarkWriteRaw): a page of indexes is mostly a few runs,
// and differences of integers cost less than what they spare the disk. Not safe for concurrent use.
type encoder struct {
	fields []field
	notes  []note
	codec  compress.Compression
	page   int // rows of a page of integers
	zstd   compress.Codec
	schema []byte // the schema's field of the file's metadata
	known  map[schemaKey][]byte

	out    []byte
	groups []rowGroup
	chunks []columnChunk // of all row groups
	next   int           // field that comes next
	rows   int64         // of all row groups

	body, words, packed []byte // of the page that is made, of a dictionary, and compressed
	thrift              thriftOut
	numbers             numberTable
	table               wordTable
	index               []int32
	placed              []int32  // of each word of a longer list: its place in found, plus 1
	found               []string // words of a row group
}

// schemaKey tells the schemas of segments apart: each kind's last column has a name of its
// own, and a merge's raw segments have a column more that is nullable.
type schemaKey struct {
	last  string
	nulls int
}

// rowGroup is a finished or open row group of the file.
type rowGroup struct {
	rows   int
	offset int
}

// columnChunk is what the metadata says of one column of one row group.
type columnChunk struct {
	field            *field
	rows             int
	offset           int // of the first page
	data             int // of the data page
	size, full       int // stored, and before compression; heads of pages included
	encoding         parquet.Encoding
	nulls            int
	bounded          bool
	least, greatest  [8]byte
	leastText, mostT string
}

// writer is what it takes to write a segment, kept in a pool: a third of the cost
// was clearing fresh memory.
type writer struct {
	encoder encoder
	sort    arranger
	raw     rawGroup
	merged  mergedRaw
	panes   paneGroup
}

// note is one entry of a file's own metadata.
type note struct{ key, value string }

// begin starts a file, keeping the memory of the one before it.
func (e *encoder) begin(fields []field, notes []note, codec compress.Compression) error {
	e.fields, e.notes, e.codec, e.rows, e.page = fields, notes, codec, 0, pageRows
	if codec != compress.Codecs.Uncompressed {
		e.page = maxGroupRows
	}
	e.groups, e.chunks = e.groups[:0], e.chunks[:0]
	e.next = len(fields)
	e.out = append(e.out[:0], "PAR1"...)
	if codec != compress.Codecs.Uncompressed && e.zstd == nil {
		var err error
		if e.zstd, err = compress.GetCodec(compress.Codecs.Zstd); err != nil {
			return err
		}
	}
	kind := schemaKey{last: fields[len(fields)-1].name}
	for i := range fields {
		if fields[i].null {
			kind.nulls++
		}
	}
	if e.schema = e.known[kind]; e.schema != nil {
		return nil
	}
	var err error
	if e.schema, err = schemaBytes(fields); err != nil {
		return err
	}
	if e.known == nil {
		e.known = map[schemaKey][]byte{}
	}
	e.known[kind] = e.schema
	return nil
}

// schemaBytes returns the metadata's schema as Arrow writes it.
func schemaBytes(fields []field) ([]byte, error) {
	var empty bytes.Buffer
	w := file.NewParquetWriter(&empty, root(fields), file.WithWriterProps(parquet.NewWriterProperties(parquet.WithAllocator(memory.NewGoAllocator()))))
	if err := w.Close(); err != nil {
		return nil, err
	}
	data := empty.Bytes()
	size := int(binary.LittleEndian.Uint32(data[len(data)-8:]))
	t := thrift{src: data[len(data)-8-size : len(data)-8]}
	var found []byte
	t.fields(func(id int16, kind byte) {
		before := t.src
		t.skip(kind, 1)
		if id == 2 && !t.bad {
			found = before[:len(before)-len(t.src)]
		}
	})
	if t.bad || found == nil {
		return nil, fmt.Errorf("no schema in the %d bytes of an empty file", len(data))
	}
	return slices.Clone(found), nil
}

// startGroup begins a row group of n rows, ending the one before it.
func (e *encoder) startGroup(n int) {
	e.must(e.next == len(e.fields))
	e.groups = append(e.groups, rowGroup{rows: n, offset: len(e.out)})
	e.rows += int64(n)
	e.next = 0
}

// must panics if our own code wrote columns that are not those of the schema.
func (e *encoder) must(ok bool) {
	if !ok {
		panic(fmt.Sprintf("pane: column %d of %d written out of turn", e.next, len(e.fields)))
	}
}

// column begins the next column.
func (e *encoder) column() (*field, *columnChunk) {
	e.must(e.next < len(e.fields))
	f := &e.fields[e.next]
	e.next++
	e.chunks = append(e.chunks, columnChunk{field: f, rows: e.groups[len(e.groups)-1].rows, offset: len(e.out), data: -1})
	e.body = e.body[:0]
	return f, &e.chunks[len(e.chunks)-1]
}

// addPage appends a page of body to the file.
func (e *encoder) addPage(c *columnChunk, kind int, values int, encoding parquet.Encoding, body []byte) {
	full := len(body)
	if e.codec != compress.Codecs.Uncompressed {
		if n := int(e.zstd.CompressBound(int64(full))); cap(e.packed) < n {
			e.packed = make([]byte, n)
		}
		body = e.zstd.Encode(e.packed[:cap(e.packed)], body)
	}
	at := len(e.out)
	t := &e.thrift
	t.reset(e.out)
	t.i32(1, kind)
	t.i32(2, full)
	t.i32(3, len(body))
	if kind == pageDictionary {
		t.structure(7)
		t.i32(1, values)
		t.i32(2, int(parquet.Encodings.Plain))
	} else {
		t.structure(5)
		t.i32(1, values)
		t.i32(2, int(encoding))
		t.i32(3, int(parquet.Encodings.RLE))
		t.i32(4, int(parquet.Encodings.RLE))
		if c.encoding = encoding; c.data < 0 {
			c.data = at
		}
	}
	t.close()
	t.dst = append(t.dst, thriftStop)
	head := len(t.dst) - at
	e.out = append(t.dst, body...)
	c.size += head + len(body)
	c.full += head + full
}

// ints writes a required integer column of either width.
func (e *encoder) ints(values []int64) {
	f, c := e.column()
	c.bound(f, values)
	if f.layout == dictionary {
		e.index = resize(e.index, len(values))
		e.numbers.index(e.index, values)
		e.indexed(f, c, e.numbers.numbers, e.index)
		return
	}
	e.integers(f, c, values)
}

// integers appends the pages of an integer column without nulls.
func (e *encoder) integers(f *field, c *columnChunk, values []int64) {
	for part := range slices.Chunk(values, e.page) {
		e.body = e.body[:0]
		e.pageOf(f, c, part, len(part))
	}
}

// pageOf appends a page of integers of some rows, whose levels are in the body already.
func (e *encoder) pageOf(f *field, c *columnChunk, values []int64, rows int) {
	encoding := parquet.Encodings.Plain
	if f.layout == delta {
		encoding = parquet.Encodings.DeltaBinaryPacked
		e.body = appendDelta(e.body, values, f.physical == parquet.Types.Int32)
	} else {
		e.body = appendPlain(e.body, f, values)
	}
	e.addPage(c, pageData, rows, encoding, e.body)
}

func appendPlain(dst []byte, f *field, values []int64) []byte {
	if f.physical == parquet.Types.Int32 {
		at := len(dst)
		dst = slices.Grow(dst, 4*len(values))[:at+4*len(values)]
		for i, v := range values {
			binary.LittleEndian.PutUint32(dst[at+4*i:], uint32(v))
		}
		return dst
	}
	if littleEndian && len(values) > 0 {
		return append(dst, unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 8*len(values))...)
	}
	for _, v := range values {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(v))
	}
	return dst
}

// littleEndian is whether integers lie in memory as Parquet wants them.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// indexed appends the dictionary page of numbers and the page of each row's index.
func (e *encoder) indexed(f *field, c *columnChunk, numbers []int64, index []int32) {
	e.words = appendPlain(e.words[:0], f, numbers)
	e.addPage(c, pageDictionary, len(numbers), parquet.Encodings.Plain, e.words)
	e.indexes(c, index, len(numbers))
}

// indexes appends the page of each row's place in a dictionary of n words.
func (e *encoder) indexes(c *columnChunk, index []int32, n int) {
	width := widthOf(n)
	e.body = appendHybrid(append(e.body, byte(width)), index, width)
	e.addPage(c, pageData, c.rows, parquet.Encodings.RLEDict, e.body)
}

// dictInts writes a required integer column of which the caller knows the distinct
// values and each row's place among them.
func (e *encoder) dictInts(numbers []int64, index []int32) {
	f, c := e.column()
	c.bound(f, numbers)
	if f.layout == dictionary {
		e.indexed(f, c, numbers, index)
		return
	}
	values := make([]int64, len(index))
	for i, k := range index {
		values[i] = numbers[k]
	}
	e.integers(f, c, values)
}

// nullInts writes a nullable column of 64 bits: present says which rows have a
// value, and values holds only theirs.
func (e *encoder) nullInts(values []int64, present []bool) {
	f, c := e.column()
	c.nulls = len(present) - len(values)
	c.bound(f, values)
	if e.repeats(f, values) {
		e.repeated(f, c, present)
		return
	}
	for part := range slices.Chunk(present, e.page) {
		n := len(part)
		if c.nulls > 0 {
			n = countTrue(part)
		}
		e.body = appendLevels(e.body[:0], part)
		e.pageOf(f, c, values[:n], len(part))
		values = values[n:]
	}
}

func countTrue(values []bool) int {
	n := 0
	for _, v := range values {
		if v {
			n++
		}
	}
	return n
}

// strings writes a required column of strings through a dictionary.
func (e *encoder) strings(values []string) {
	e.index = resize(e.index, len(values))
	e.table.index(e.index, values)
	e.dictStrings(e.table.words, e.index)
}

// dictWords writes a required column of strings of which index says which of words each
// row has. Not all of words need be there.
func (e *encoder) dictWords(words []string, index []int32) {
	e.placed, e.found = resize(e.placed, len(words)), e.found[:0]
	clear(e.placed)
	e.index = resize(e.index, len(index))
	for i, w := range index {
		at := e.placed[w]
		if at == 0 {
			e.found = append(e.found, words[w])
			at = int32(len(e.found))
			e.placed[w] = at
		}
		e.index[i] = at - 1
	}
	e.dictStrings(e.found, e.index)
}

// dictStrings writes a required column of strings of which the caller knows the
// distinct ones and each row's place among them.
func (e *encoder) dictStrings(words []string, index []int32) {
	_, c := e.column()
	e.dictionary(c, words)
	e.indexes(c, index, len(words))
}

// stringRuns writes a required column of strings that stand for counts rows each.
func (e *encoder) stringRuns(words []string, ids, counts []int32) {
	_, c := e.column()
	e.dictionary(c, words)
	width := widthOf(len(words))
	e.body = append(e.body, byte(width))
	for i := 0; i < len(ids); {
		n := counts[i]
		j := i + 1
		for ; j < len(ids) && ids[j] == ids[i]; j++ {
			n += counts[j]
		}
		e.body = appendRun(e.body, int(n), ids[i], width)
		i = j
	}
	e.addPage(c, pageData, c.rows, parquet.Encodings.RLEDict, e.body)
}

// dictionary appends the page of words, and notes the least and the greatest.
func (e *encoder) dictionary(c *columnChunk, words []string) {
	e.words = e.words[:0]
	for i, w := range words {
		e.words = append(binary.LittleEndian.AppendUint32(e.words, uint32(len(w))), w...)
		if i == 0 {
			c.leastText, c.mostT = w, w
		}
		c.leastText, c.mostT = min(c.leastText, w), max(c.mostT, w)
	}
	c.bounded = c.field.stats && len(words) > 0
	e.addPage(c, pageDictionary, len(words), parquet.Encodings.Plain, e.words)
}

// blobs writes a plain column of byte strings; present is nil for a required one,
// else values holds only the rows' that have one.
func (e *encoder) blobs(values [][]byte, present []bool) {
	_, c := e.column()
	if present != nil {
		c.nulls = len(present) - len(values)
		e.body = appendLevels(e.body, present)
	}
	for _, v := range values {
		e.body = append(binary.LittleEndian.AppendUint32(e.body, uint32(len(v))), v...)
	}
	e.addPage(c, pageData, c.rows, parquet.Encodings.Plain, e.body)
}

// decimals writes a nullable column of fixed width; values holds those of the rows that have one.
func (e *encoder) decimals(values []byte, present []bool) {
	f, c := e.column()
	c.nulls = len(present) - len(values)/f.width
	e.body = append(appendLevels(e.body, present), values...)
	e.addPage(c, pageData, c.rows, parquet.Encodings.Plain, e.body)
}

// bools writes a required column.
func (e *encoder) bools(values []bool) {
	_, c := e.column()
	e.body = appendBits(e.body, values, false)
	e.addPage(c, pageData, c.rows, parquet.Encodings.Plain, e.body)
}

// bound notes the least and the greatest of values, if the field wants them.
func (c *columnChunk) bound(f *field, values []int64) {
	if !f.stats || len(values) == 0 {
		return
	}
	lo, hi := values[0], values[0]
	for _, v := range values {
		lo, hi = min(lo, v), max(hi, v)
	}
	c.bounded = true
	binary.LittleEndian.PutUint64(c.least[:], uint64(lo))
	binary.LittleEndian.PutUint64(c.greatest[:], uint64(hi))
}

// resize returns a slice of length n with s's memory if it is large enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
