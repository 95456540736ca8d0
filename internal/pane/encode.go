package pane

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/metadata"
)

// groupRows bounds a row group at level 0. A reader of one meter decodes whole
// pages of the groups that may hold it: BenchmarkReadRawOneMeter.
const groupRows = 32 << 10

// writeBatch is how many values go into a page between two looks at its size.
const writeBatch = 8 << 10

// encoder writes the columns of a segment, row group by row group, each in the
// order of its fields. Its first error stays. Not safe for concurrent use.
type encoder struct {
	fields []field
	out    bytes.Buffer
	w      *file.Writer
	group  file.SerialRowGroupWriter
	next   int // field that comes next
	err    error

	words   wordTable
	numbers numberTable
	index   []int32
	narrow  []int32
	levels  []int16
	texts   []parquet.ByteArray
}

// writer is what it takes to write a segment, kept in a pool: a third of the cost
// was clearing fresh memory (BenchmarkWriteRaw allocates 165 instead of 248 bytes a row).
type writer struct {
	encoder encoder
	sort    arranger
	raw     rawGroup
	panes   paneGroup
}

// note is one entry of a file's own metadata.
type note struct{ key, value string }

// begin starts a file, keeping the memory of the one before it.
func (e *encoder) begin(mem memory.Allocator, fields []field, notes []note) {
	e.fields, e.err, e.next = fields, nil, 0
	e.out.Reset()
	props := []parquet.WriterProperty{
		parquet.WithAllocator(mem), parquet.WithCreatedBy("gridloom"), parquet.WithVersion(parquet.V2_LATEST),
		parquet.WithCompression(compress.Codecs.Uncompressed), parquet.WithDictionaryDefault(false), parquet.WithStats(false),
		parquet.WithBatchSize(writeBatch), parquet.WithMaxRowGroupLength(groupRows),
		// Dictionaries are made beforehand and never left half-way.
		parquet.WithDictionaryPageSizeLimit(1 << 30),
	}
	for _, f := range fields {
		if f.layout == dictionary {
			props = append(props, parquet.WithDictionaryFor(f.name, true))
		}
		if f.stats {
			props = append(props, parquet.WithStatsFor(f.name, true))
		}
	}
	kv := metadata.NewKeyValueMetadata()
	for _, n := range notes {
		_ = kv.Append(n.key, n.value) // fails on a nil receiver only
	}
	e.w = file.NewParquetWriter(&e.out, root(fields), file.WithWriterProps(parquet.NewWriterProperties(props...)), file.WithWriteMetadata(kv))
}

// startGroup begins a row group, ending the one before it.
func (e *encoder) startGroup() {
	if e.err != nil {
		return
	}
	e.next = 0
	e.group = e.w.AppendRowGroup()
}

// finish returns the file's bytes, valid until the encoder begins another.
func (e *encoder) finish() ([]byte, error) {
	if e.err == nil {
		e.err = e.w.Close()
	}
	return e.out.Bytes(), e.err
}

// column returns the writer of the next field.
func (e *encoder) column() (file.ColumnChunkWriter, *field) {
	if e.err != nil {
		return nil, nil
	}
	if e.next >= len(e.fields) {
		e.err = fmt.Errorf("more than %d columns", len(e.fields))
		return nil, nil
	}
	f := &e.fields[e.next]
	e.next++
	w, err := e.group.NextColumn()
	if err != nil {
		e.err = fmt.Errorf("column %s: %w", f.name, err)
		return nil, nil
	}
	return w, f
}

func (e *encoder) check(f *field, err error) {
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("column %s: %w", f.name, err)
	}
}

// ints writes a required integer column of either width.
func (e *encoder) ints(values []int64) {
	w, f := e.column()
	if w == nil {
		return
	}
	if f.layout == dictionary {
		e.index = resize(e.index, len(values))
		e.numbers.index(e.index, values)
		words := e.numbers.array64
		if f.physical == parquet.Types.Int32 {
			words = e.numbers.array32
		}
		e.check(f, writeIndexed(w, words(), e.index))
		return
	}
	if w, ok := w.(*file.Int32ColumnChunkWriter); ok {
		e.narrow = resize(e.narrow, len(values))
		for i, v := range values {
			e.narrow[i] = int32(v)
		}
		_, err := w.WriteBatch(e.narrow, nil, nil)
		e.check(f, err)
		return
	}
	_, err := w.(*file.Int64ColumnChunkWriter).WriteBatch(values, nil, nil)
	e.check(f, err)
}

// nullInts writes a nullable column of 64 bits: present says which rows have a
// value, and values holds only theirs.
func (e *encoder) nullInts(values []int64, present []bool) {
	w, f := e.column()
	if w == nil {
		return
	}
	_, err := w.(*file.Int64ColumnChunkWriter).WriteBatch(notNil(values), e.levelsOf(present), nil)
	e.check(f, err)
}

// strings writes a required column of strings through a dictionary.
func (e *encoder) strings(values []string) {
	w, f := e.column()
	if w == nil {
		return
	}
	e.index = resize(e.index, len(values))
	e.words.index(e.index, values)
	e.check(f, writeIndexed(w, e.words.array(), e.index))
}

// blobs writes a plain column of byte strings; present is nil for a required one,
// else values holds only the rows' that have one.
func (e *encoder) blobs(values [][]byte, present []bool) {
	w, f := e.column()
	if w == nil {
		return
	}
	e.texts = e.texts[:0]
	for _, v := range values {
		e.texts = append(e.texts, v)
	}
	var levels []int16
	if present != nil {
		levels = e.levelsOf(present)
	}
	_, err := w.(*file.ByteArrayColumnChunkWriter).WriteBatch(notNil(e.texts), levels, nil)
	e.check(f, err)
}

// decimals writes a nullable column of fixed width; see nullInts.
func (e *encoder) decimals(values []parquet.FixedLenByteArray, present []bool) {
	w, f := e.column()
	if w == nil {
		return
	}
	_, err := w.(*file.FixedLenByteArrayColumnChunkWriter).WriteBatch(notNil(values), e.levelsOf(present), nil)
	e.check(f, err)
}

// bools writes a required column.
func (e *encoder) bools(values []bool) {
	w, f := e.column()
	if w == nil {
		return
	}
	_, err := w.(*file.BooleanColumnChunkWriter).WriteBatch(values, nil, nil)
	e.check(f, err)
}

// levelsOf turns presence into Parquet's definition levels.
func (e *encoder) levelsOf(present []bool) []int16 {
	e.levels = resize(e.levels, len(present))
	for i, p := range present {
		e.levels[i] = 0
		if p {
			e.levels[i] = 1
		}
	}
	return e.levels
}

// writeIndexed writes a dictionary and the index of each row.
func writeIndexed(w file.ColumnChunkWriter, words arrow.Array, index []int32) error {
	defer words.Release()
	enc, ok := w.CurrentEncoder().(interface {
		PutDictionary(values arrow.Array) error
	})
	if !ok {
		return fmt.Errorf("no dictionary encoder but %T", w.CurrentEncoder())
	}
	if err := enc.PutDictionary(words); err != nil {
		return err
	}
	if stats := w.PageStatistics(); stats != nil {
		if err := stats.UpdateFromArrow(words, false); err != nil {
			return err
		}
	}
	rows := wrap32(index)
	defer rows.Release()
	return w.WriteDictIndices(rows, nil, nil)
}

// resize returns a slice of length n with s's memory if it is large enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// notNil keeps Arrow's writer from taking "no values" for "no column".
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
