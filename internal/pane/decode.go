package pane

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/metadata"
)

// maxGroupRows bounds a row group that is read.
const maxGroupRows = 1 << 20

// decoder reads the columns of one segment. Arrow's reader parses the file's
// metadata; pages and values are decoded here, only those of the rows that are
// wanted, and strings by their dictionary. Not safe for concurrent use.
type decoder struct {
	fields []field
	data   []byte
	r      *file.Reader

	group   *metadata.RowGroupMetaData
	ordinal int
	rows    int

	index  []int32
	levels []int32

	told frameTimes

	calling bool // a caller's function runs
}

// newDecoder opens a segment of these fields, or of these and others that a newer build added at the end.
func newDecoder(mem memory.Allocator, data []byte, fields []field) (*decoder, error) {
	if err := checkFooter(data); err != nil {
		return nil, err
	}
	r, err := file.NewParquetReader(bytes.NewReader(data), file.WithReadProps(parquet.NewReaderProperties(mem)))
	if err != nil {
		return nil, err
	}
	meta := r.MetaData()
	switch v := noteOf(meta, "gridloom.format"); v {
	case fmt.Sprint(FormatVersion):
	case fmt.Sprint(ToldOnceVersion):
		fields = toldOnce(fields)
	default:
		return nil, fmt.Errorf("format %q is neither %d nor %d: written by another version of gridloom, or not by gridloom", v, FormatVersion, ToldOnceVersion)
	}
	if meta.Schema.NumColumns() < len(fields) {
		return nil, fmt.Errorf("%d columns, want %d", meta.Schema.NumColumns(), len(fields))
	}
	for i := range fields {
		f, c := &fields[i], meta.Schema.Column(i)
		levels := int16(0)
		if f.null {
			levels = 1
		}
		if c.Name() != f.name || c.PhysicalType() != f.physical || c.MaxDefinitionLevel() != levels || c.MaxRepetitionLevel() != 0 ||
			f.width > 0 && c.TypeLength() != f.width {
			return nil, fmt.Errorf("column %d is %s %s, want %s %s", i, c.Name(), c.PhysicalType(), f.name, f.physical)
		}
	}
	return &decoder{fields: fields, data: data, r: r}, nil
}

func noteOf(meta *metadata.FileMetaData, key string) string {
	if kv := meta.KeyValueMetadata(); kv != nil {
		if v := kv.FindValue(key); v != nil {
			return *v
		}
	}
	return ""
}

func (d *decoder) groups() int { return d.r.NumRowGroups() }

// open goes to a row group.
func (d *decoder) open(ordinal int) error {
	d.ordinal = ordinal
	d.group = d.r.RowGroup(ordinal).MetaData()
	n := d.group.NumRows()
	if n < 0 || n > maxGroupRows {
		return fmt.Errorf("row group %d has %d rows, want at most %d", ordinal, n, maxGroupRows)
	}
	d.rows = int(n)
	return nil
}

// page is one data page: rows [first, first+rows) of its row group.
type page struct {
	first, rows int
	indexed     bool   // values are indexes into the dictionary
	delta       bool   // values are differences
	levels      []byte // of a nullable column: 1 where the row has a value
	values      []byte
}

// chunk is one column of the open row group.
type chunk struct {
	d     *decoder
	f     *field
	pages []page
	words []byte // the dictionary page, plain
	count int    // of the dictionary
}

// chunk reads the pages of a column.
func (d *decoder) chunk(column int) (*chunk, error) {
	c := &chunk{d: d, f: &d.fields[column]}
	if err := c.load(column); err != nil {
		return nil, fmt.Errorf("row group %d, column %s: %w", d.ordinal, c.f.name, err)
	}
	return c, nil
}

func (c *chunk) load(column int) error {
	meta, err := c.d.group.ColumnChunk(column)
	if err != nil {
		return err
	}
	start, size := meta.DataPageOffset(), meta.TotalCompressedSize()
	if meta.HasDictionaryPage() && meta.DictionaryPageOffset() > 0 {
		start = min(start, meta.DictionaryPageOffset())
	}
	if start < 0 || size < 0 || start > int64(len(c.d.data)) || size > int64(len(c.d.data))-start {
		return errShort
	}
	return c.readPages(c.d.data[start:start+size], meta.Compression())
}

// each calls do for every page with rows in [lo, hi), with that part of the page's rows.
func (c *chunk) each(lo, hi int, do func(p *page, from, to int) error) error {
	for i := range c.pages {
		p := &c.pages[i]
		from, to := max(lo, p.first)-p.first, min(hi, p.first+p.rows)-p.first
		if from >= to {
			continue
		}
		if err := do(p, from, to); err != nil {
			return fmt.Errorf("row group %d, column %s: %w", c.d.ordinal, c.f.name, err)
		}
	}
	return nil
}

// present returns, for rows [from, to) of a page, which have a value, how many do,
// and how many of the rows before them. nil means all.
func (c *chunk) present(p *page, from, to int) (levels []int32, before, count int, err error) {
	if !c.f.null {
		return nil, from, to - from, nil
	}
	c.d.levels = resize(c.d.levels, to)
	levels = c.d.levels
	if err := decodeHybrid(levels, 0, 1, 2, p.levels); err != nil {
		return nil, 0, 0, err
	}
	for _, l := range levels[:from] {
		before += int(l)
	}
	for _, l := range levels[from:] {
		count += int(l)
	}
	return levels[from:], before, count, nil
}

// ints decodes rows [lo, hi) of an integer column into dst, whose length is hi-lo;
// rows without a value become 0 and, if valid is not nil, false there.
func (c *chunk) ints(dst []int64, valid []bool, lo, hi int) error {
	words, err := c.intWords()
	if err != nil {
		return err
	}
	return c.each(lo, hi, func(p *page, from, to int) error {
		levels, before, count, err := c.present(p, from, to)
		if err != nil {
			return err
		}
		at := p.first + from - lo
		out := dst[at : at+to-from]
		switch {
		case p.indexed:
			err = c.indexedInts(out[:count], p.values, before, words)
		case p.delta:
			err = decodeDelta(out[:count], before, c.f.physical == parquet.Types.Int32, p.values)
		default:
			err = c.plainInts(out[:count], p.values, before)
		}
		if err != nil {
			return err
		}
		if valid != nil {
			mark(valid[at:at+to-from], levels)
		}
		spread(out, levels, count)
		return nil
	})
}

// mark sets valid where levels are 1, or everywhere if there are none.
func mark(valid []bool, levels []int32) {
	for i := range valid {
		valid[i] = levels == nil || levels[i] == 1
	}
}

// spread moves the first count values to the rows whose level is 1, and zeroes the others.
func spread[T any](out []T, levels []int32, count int) {
	if levels == nil || count == len(out) {
		return
	}
	var zero T
	for i := len(out) - 1; i >= 0; i-- {
		if levels[i] == 0 {
			out[i] = zero
			continue
		}
		count--
		out[i] = out[count]
	}
}

func (c *chunk) intWords() ([]int64, error) {
	if c.count == 0 {
		return nil, nil
	}
	if c.count < 0 || c.count > len(c.words) {
		return nil, errShort
	}
	words := make([]int64, c.count)
	if err := c.plainInts(words, c.words, 0); err != nil {
		return nil, err
	}
	return words, nil
}

// plainInts decodes values that follow one another, after passing over skip of them.
func (c *chunk) plainInts(dst []int64, src []byte, skip int) error {
	if c.f.physical == parquet.Types.Int32 {
		if len(src)/4 < skip+len(dst) {
			return errShort
		}
		src = src[4*skip:]
		for i := range dst {
			dst[i] = int64(binary.LittleEndian.Uint32(src[4*i:])) // all columns of 32 bits are unsigned
		}
		return nil
	}
	if len(src)/8 < skip+len(dst) {
		return errShort
	}
	src = src[8*skip:]
	for i := range dst {
		dst[i] = int64(binary.LittleEndian.Uint64(src[8*i:]))
	}
	return nil
}

func (c *chunk) indexedInts(dst []int64, src []byte, skip int, words []int64) error {
	index, err := c.indexes(len(dst), src, skip)
	if err != nil {
		return err
	}
	for i, w := range index {
		dst[i] = words[w]
	}
	return nil
}

// indexes decodes n dictionary indexes, all within the dictionary, after passing over skip.
func (c *chunk) indexes(n int, src []byte, skip int) ([]int32, error) {
	c.d.index = resize(c.d.index, n)
	if n == 0 {
		return c.d.index, nil
	}
	if len(src) == 0 || c.count <= 0 {
		return nil, errShort
	}
	return c.d.index, decodeHybrid(c.d.index, skip, int(src[0]), uint32(c.count), src[1:])
}

// strings decodes rows [lo, hi) of a required column of strings: each distinct one
// once, and its number for each row, into dst, whose length is hi-lo. The strings share memory.
func (c *chunk) strings(dst []int32, lo, hi int) ([]string, error) {
	words, err := c.stringWords()
	if err != nil {
		return nil, err
	}
	err = c.each(lo, hi, func(p *page, from, to int) error {
		out := dst[p.first+from-lo : p.first+to-lo]
		if p.indexed {
			index, err := c.indexes(len(out), p.values, from)
			copy(out, index)
			return err
		}
		if p.delta {
			return errShort
		}
		// Not written by gridloom at level 0, but any Parquet writer may fall back to it.
		return eachBlob(p.values, to, func(i int, v []byte) error {
			if i >= from {
				out[i-from] = int32(len(words))
				words = append(words, string(v))
			}
			return nil
		})
	})
	return words, err
}

func (c *chunk) stringWords() ([]string, error) {
	if c.count == 0 {
		return nil, nil
	}
	if c.count < 0 || c.count > len(c.words) {
		return nil, errShort
	}
	all := string(c.words)
	words := make([]string, 0, c.count)
	err := eachBlob(c.words, c.count, func(_ int, v []byte) error {
		end := cap(c.words) - cap(v) + len(v)
		words = append(words, all[end-len(v):end])
		return nil
	})
	return words, err
}

// blobs calls do for each of the rows [lo, hi) that has a value; v is valid during the call.
func (c *chunk) blobs(lo, hi int, do func(row int, v []byte) error) error {
	return c.each(lo, hi, func(p *page, from, to int) error {
		if p.indexed || p.delta {
			return errors.New("byte strings through a dictionary are not written by gridloom")
		}
		levels, before, count, err := c.present(p, from, to)
		if err != nil {
			return err
		}
		row := from - 1
		return eachBlob(p.values, before+count, func(i int, v []byte) error {
			if i < before {
				return nil
			}
			for row++; levels != nil && levels[row-from] == 0; row++ {
			}
			return do(p.first+row, v)
		})
	})
}

// eachBlob calls do for n plain byte strings.
func eachBlob(src []byte, n int, do func(i int, v []byte) error) error {
	for i := range n {
		if len(src) < 4 {
			return errShort
		}
		size := binary.LittleEndian.Uint32(src)
		if size > math.MaxInt32 || int(size) > len(src)-4 {
			return errShort
		}
		if err := do(i, src[4:4+size]); err != nil {
			return err
		}
		src = src[4+size:]
	}
	return nil
}

// fixed decodes rows [lo, hi) of a nullable plain column of 16 bytes a value.
func (c *chunk) fixed(lo, hi int, do func(row int, v []byte)) error {
	return c.each(lo, hi, func(p *page, from, to int) error {
		levels, before, count, err := c.present(p, from, to)
		if err != nil {
			return err
		}
		if p.indexed || p.delta || len(p.values)/16 < before+count {
			return errShort
		}
		at := 16 * before
		for i := range to - from {
			if levels == nil || levels[i] == 1 {
				do(p.first+from+i, p.values[at:at+16])
				at += 16
			}
		}
		return nil
	})
}

// bools decodes rows [lo, hi) of a required plain column.
func (c *chunk) bools(dst []bool, lo, hi int) error {
	return c.each(lo, hi, func(p *page, from, to int) error {
		if p.indexed || p.delta || len(p.values)*8 < to {
			return errShort
		}
		for i := from; i < to; i++ {
			dst[p.first+i-lo] = p.values[i/8]&(1<<(i%8)) != 0
		}
		return nil
	})
}
