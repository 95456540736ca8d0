package pane

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

// MaxAnswerBytes bounds the chunks of one answer together: more than an owner's
// tails may grow to, which stop at 64 MiB by its own count.
const MaxAnswerBytes = 512 << 20

// TailReader puts a Tail, or a list of series, together again from its chunks. The
// zero value is ready. It is used by one goroutine.
type TailReader struct {
	tail   *Tail
	series []SeriesInfo
	listed bool // a chunk of series was read
	bytes  int64
	words  map[string]string
	last   string // the word before: rows that follow one another mostly share theirs
}

// Add reads the next chunk, which it does not keep. ErrCorrupt: it is none, or not of
// this answer. ErrUnavailable: the answer is larger than MaxAnswerBytes.
func (t *TailReader) Add(chunk []byte) error {
	if t.bytes += int64(len(chunk)); t.bytes > MaxAnswerBytes {
		return fmt.Errorf("%w: an owner's answer is larger than %d MiB: ask for fewer meters or a shorter span", gridloom.ErrUnavailable, MaxAnswerBytes>>20)
	}
	if err := t.add(chunk); err != nil {
		return fmt.Errorf("%w: chunk of an owner's answer: %w", gridloom.ErrCorrupt, err)
	}
	return nil
}

func (t *TailReader) add(chunk []byte) (err error) {
	// Arrow panics on what it does not expect.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("does not read: %v", r)
		}
	}()
	quota := &quota{left: 2*len(chunk) + chunkFrame}
	r, err := ipc.NewReaderFromMessageReader(&chunkMessages{rest: chunk}, ipc.WithAllocator(quota))
	if err != nil {
		return err
	}
	defer r.Release()
	meta := r.Schema().Metadata()
	if f, _ := meta.GetValue(metaFormat); f != chunkFormat {
		return fmt.Errorf("it has format %q, this gridloom reads %s: use the version of the owner", f, chunkFormat)
	}
	if text, ok := meta.GetValue(metaTail); ok {
		if err := t.begin(text); err != nil {
			return err
		}
	}
	switch kind, _ := meta.GetValue(metaRows); {
	case kind == rowsSeries && t.tail == nil:
		t.listed = true
		t.series, err = addRows(t, r, seriesChunk, t.series)
	case kind == rowsReadings && t.tail != nil && !t.listed:
		t.tail.Readings, err = addRows(t, r, readingChunk, t.tail.Readings)
	case kind == rowsPanes && t.tail != nil && !t.listed:
		t.tail.Panes, err = addRows(t, r, paneChunk, t.tail.Panes)
	case kind == rowsRecords && t.tail != nil && !t.listed:
		t.tail.Records, err = addRows(t, r, recordChunk, t.tail.Records)
	default:
		return fmt.Errorf("rows of kind %q do not belong here", kind)
	}
	return err
}

// begin reads what the first chunk of a tail carries.
func (t *TailReader) begin(text string) error {
	if t.tail != nil {
		return errors.New("a second tail begins")
	}
	var m tailMeta
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return err
	}
	t.tail = &Tail{Head: m.Head, LogTime: m.LogTime, Watermark: m.Watermark, NextSeq: m.NextSeq, Bounds: Bounds{m.RawFrom, m.PanesFrom}}
	return nil
}

func addRows[T any](t *TailReader, r *ipc.Reader, columns []chunkColumn[T], to []T) ([]T, error) {
	fields := r.Schema().Fields()
	if len(fields) != len(columns) {
		return to, fmt.Errorf("%d columns instead of %d", len(fields), len(columns))
	}
	for i := range columns {
		if f := fields[i]; f.Name != columns[i].name || !arrow.TypeEqual(f.Type, columns[i].dataType()) {
			return to, fmt.Errorf("column %d is %s %s instead of %s %s", i, f.Name, f.Type, columns[i].name, columns[i].dataType())
		}
	}
	records := 0
	for ; r.Next(); records++ {
		rec := r.Record()
		// Every column has at least a bit a row.
		if rec.NumRows() < 0 || rec.NumRows() > 8*ChunkBytes {
			return to, fmt.Errorf("%d rows", rec.NumRows())
		}
		from := len(to)
		to = append(to, make([]T, rec.NumRows())...)
		for i := range columns {
			if err := columns[i].fill(rec.Column(i), to[from:], t.intern); err != nil {
				return to[:from], err
			}
		}
	}
	if err := r.Err(); err != nil {
		return to, err
	}
	if records != 1 {
		return to, fmt.Errorf("%d record batches instead of 1", records)
	}
	return to, nil
}

// intern returns a copy of a word that all rows with it share.
func (t *TailReader) intern(word string) string {
	if word == t.last {
		return t.last
	}
	own, ok := t.words[word]
	if !ok {
		if t.words == nil {
			t.words = map[string]string{}
		}
		own = strings.Clone(word)
		t.words[own] = own
	}
	t.last = own
	return own
}

// Tail returns the tail of all chunks. ErrCorrupt: there was none in them.
func (t *TailReader) Tail() (*Tail, error) {
	if t.tail == nil {
		return nil, fmt.Errorf("%w: an owner's answer holds no tail", gridloom.ErrCorrupt)
	}
	return t.tail, nil
}

// Series returns the series of all chunks. ErrCorrupt: there was no list in them.
func (t *TailReader) Series() ([]SeriesInfo, error) {
	if !t.listed {
		return nil, fmt.Errorf("%w: an owner's answer holds no list of series", gridloom.ErrCorrupt)
	}
	return t.series, nil
}

// chunkMessages gives a chunk to Arrow message by message. Arrow's own reader would
// believe the lengths that a chunk states and ask for as much memory.
type chunkMessages struct {
	rest []byte
	at   *ipc.Message
	many bool // the schema, which comes first, has been read
}

const continuation = 0xFFFFFFFF

// Message implements ipc.MessageReader.
func (m *chunkMessages) Message() (*ipc.Message, error) {
	size, err := m.word()
	if err == nil && size == continuation {
		size, err = m.word()
	}
	if err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, io.EOF
	}
	meta, err := m.take(int64(size))
	if err != nil {
		return nil, err
	}
	if !m.many {
		if err := checkSchema(meta); err != nil {
			return nil, err
		}
		m.many = true
	}
	// The metadata tells how long the body is.
	empty := ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(nil))
	body, err := m.take(empty.BodyLen())
	empty.Release()
	if err != nil {
		return nil, err
	}
	m.Release()
	m.at = ipc.NewMessage(memory.NewBufferBytes(meta), memory.NewBufferBytes(body))
	return m.at, nil
}

func (m *chunkMessages) word() (uint32, error) {
	b, err := m.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (m *chunkMessages) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(m.rest)) {
		return nil, io.ErrUnexpectedEOF
	}
	b := m.rest[:n:n]
	m.rest = m.rest[n:]
	return b, nil
}

// Release implements ipc.MessageReader.
func (m *chunkMessages) Release() {
	if m.at != nil {
		m.at.Release()
		m.at = nil
	}
}

// Retain implements ipc.MessageReader; a chunk has one reader.
func (m *chunkMessages) Retain() {}

// quota is Go's memory for one chunk: Arrow copies its buffers, once each.
type quota struct {
	memory.GoAllocator
	left int
}

// Allocate implements memory.Allocator. It panics, as Arrow's own code does on what
// it does not expect, where a chunk asks for more than it can hold.
func (q *quota) Allocate(size int) []byte {
	q.spend(size)
	return q.GoAllocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (q *quota) Reallocate(size int, b []byte) []byte {
	q.spend(size)
	return q.GoAllocator.Reallocate(size, b)
}

func (q *quota) spend(size int) {
	if q.left -= size; q.left < 0 {
		panic("it asks for more memory than it can fill")
	}
}
