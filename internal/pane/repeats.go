package pane

import (
	"slices"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
)

// A row group of which nearly all of the first values differ is noise or a counter: to
// number the rest of them costs 50 ns each and gains nothing.
const (
	repeatsSample = 512
	repeatsMost   = repeatsSample * 15 / 16
)

// repeats reports whether a row group's amounts, which are laid out as differences in a
// compressed file, are shorter as places in a dictionary: a gauge says the same few
// values again and again, while the differences between them have twice the bits. It
// leaves the dictionary in numbers and the places in index. Bits that are packed are
// hardly compressed any more, so that their number before compression decides.
func (e *encoder) repeats(f *field, values []int64) bool {
	if f.layout != delta || e.codec == compress.Codecs.Uncompressed || len(values) == 0 {
		return false
	}
	e.index = resize(e.index, len(values))
	if len(values) > repeatsSample && !e.numbers.indexFew(e.index, values[:repeatsSample], repeatsMost) ||
		!e.numbers.indexFew(e.index, values, max(len(values)/4, 1)) {
		return false
	}
	e.words = appendDelta(e.words[:0], values, false)
	n := len(e.numbers.numbers)
	return 8*n+len(values)*widthOf(n)/8 < len(e.words)
}

// repeated writes what repeats has left; present says which rows have a value.
func (e *encoder) repeated(f *field, c *columnChunk, present []bool) {
	numbers, index := e.numbers.numbers, e.index
	e.words = appendPlain(e.words[:0], f, numbers)
	e.addPage(c, pageDictionary, len(numbers), parquet.Encodings.Plain, e.words)
	width := widthOf(len(numbers))
	for part := range slices.Chunk(present, e.page) {
		n := len(part)
		if c.nulls > 0 {
			n = countTrue(part)
		}
		e.body = append(appendLevels(e.body[:0], part), byte(width))
		e.body = appendHybrid(e.body, index[:n], width)
		e.addPage(c, pageData, len(part), parquet.Encodings.RLEDict, e.body)
		index = index[n:]
	}
}
