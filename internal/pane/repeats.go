package pane

import (
	"slices"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
)

// repeats reports whether a row group's integers, which are laid out as differences in a
// compressed file, are shorter as places in a dictionary: a gauge says the same few
// values again and again, while the differences between them have twice the bits. It
// leaves the dictionary in numbers and the places in index. Bits that are packed are
// hardly compressed any more, so that their number before compression decides.
func (e *encoder) repeats(f *field, values []int64) bool {
	if f.layout != delta || e.codec == compress.Codecs.Uncompressed || len(values) == 0 {
		return false
	}
	e.index = resize(e.index, len(values))
	if !e.numbers.indexFew(e.index, values, len(values)/4) {
		return false
	}
	narrow := f.physical == parquet.Types.Int32
	e.words = appendDelta(e.words[:0], values, narrow)
	differences := len(e.words)
	each := 8
	if narrow {
		each = 4
	}
	n := len(e.numbers.numbers)
	return n*each+len(values)*widthOf(n)/8 < differences
}

// repeated writes what repeats has left; present says which rows have a value, nil all.
func (e *encoder) repeated(f *field, c *columnChunk, present []bool) {
	numbers, index := e.numbers.numbers, e.index
	e.words = appendPlain(e.words[:0], f, numbers)
	e.addPage(c, pageDictionary, len(numbers), parquet.Encodings.Plain, e.words)
	width := widthOf(len(numbers))
	page := func(part []int32, rows int) {
		e.body = appendHybrid(append(e.body, byte(width)), part, width)
		e.addPage(c, pageData, rows, parquet.Encodings.RLEDict, e.body)
	}
	if present == nil {
		for part := range slices.Chunk(index, e.page) {
			e.body = e.body[:0]
			page(part, len(part))
		}
		return
	}
	for part := range slices.Chunk(present, e.page) {
		n := len(part)
		if c.nulls > 0 {
			n = countTrue(part)
		}
		e.body = appendLevels(e.body[:0], part)
		page(index[:n], len(part))
		index = index[n:]
	}
}
