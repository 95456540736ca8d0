package pane

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/gridloom/gridloom"
)

// What an owner answers travels in chunks. Each is a whole Arrow IPC stream of one
// record batch, whose schema's metadata says what its rows are; the first chunk of a
// tail also carries the rest of it. docs/format/subjects.md.
const (
	metaFormat = "gridloom.format"
	metaRows   = "gridloom.rows"
	metaTail   = "gridloom.tail"

	chunkFormat = "1"

	rowsReadings = "readings"
	rowsPanes    = "panes"
	rowsSeries   = "series"
	rowsRecords  = "records"
)

// ChunkBytes bounds a chunk. One row that is larger by itself, as a pane with a long
// carry may be, makes a larger one.
const ChunkBytes = 512 << 10

// chunkFrame is what a chunk takes beside the bytes of its rows: schema, framing
// and the padding of its buffers.
const chunkFrame = 16 << 10

// tailMeta is what the first chunk carries of a Tail beside its rows.
type tailMeta struct {
	Head      gridloom.Head   `json:"head"`
	LogTime   gridloom.Millis `json:"log_time"`
	Watermark gridloom.Millis `json:"watermark"`
	NextSeq   uint64          `json:"next_seq"`
	RawFrom   gridloom.Millis `json:"raw_from,omitempty"`
	PanesFrom gridloom.Millis `json:"panes_from,omitempty"`
}

// EncodeTail hands t over to emit in chunks, at least one. emit may keep a chunk; it
// is not built before the one before it was taken. An error of emit ends it.
func EncodeTail(t *Tail, emit func(chunk []byte) error) error {
	meta, err := json.Marshal(tailMeta{t.Head, t.LogTime, t.Watermark, t.NextSeq, t.Bounds.RawFrom, t.Bounds.PanesFrom})
	if err != nil {
		return fmt.Errorf("encode tail: %w", err)
	}
	first := string(meta)
	if err := encodeRows(rowsReadings, first, readingChunk, t.Readings, emit); err != nil {
		return err
	}
	if len(t.Panes) > 0 {
		if err := encodeRows(rowsPanes, "", paneChunk, t.Panes, emit); err != nil {
			return err
		}
	}
	if len(t.Records) == 0 {
		return nil
	}
	return encodeRows(rowsRecords, "", recordChunk, t.Records, emit)
}

// EncodeSeries hands infos over to emit in chunks, as EncodeTail does.
func EncodeSeries(infos []SeriesInfo, emit func(chunk []byte) error) error {
	return encodeRows(rowsSeries, "", seriesChunk, infos, emit)
}

// encodeRows emits at least one chunk; the first carries tail.
func encodeRows[T any](kind, tail string, columns []chunkColumn[T], rows []T, emit func([]byte) error) error {
	for first := true; first || len(rows) > 0; first = false {
		n, bytes := 0, len(tail)+chunkFrame
		for ; n < len(rows); n++ {
			for c := range columns {
				bytes += columns[c].bytesOf(&rows[n])
			}
			if bytes > ChunkBytes && n > 0 {
				break
			}
		}
		chunk, err := encodeChunk(kind, tail, columns, rows[:n])
		if err != nil {
			return err
		}
		if err := emit(chunk); err != nil {
			return err
		}
		rows, tail = rows[n:], ""
	}
	return nil
}

func encodeChunk[T any](kind, tail string, columns []chunkColumn[T], rows []T) ([]byte, error) {
	keys, vals := []string{metaFormat, metaRows}, []string{chunkFormat, kind}
	if tail != "" {
		keys, vals = append(keys, metaTail), append(vals, tail)
	}
	meta := arrow.NewMetadata(keys, vals)
	schema := arrow.NewSchema(fieldsOf(columns), &meta)
	arrays := make([]arrow.Array, len(columns))
	for i := range columns {
		arrays[i] = columns[i].wrap(rows)
		defer arrays[i].Release()
	}
	rec := array.NewRecord(schema, arrays, int64(len(rows)))
	defer rec.Release()
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(schema))
	if err := w.Write(rec); err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return out.Bytes(), nil
}

func fieldsOf[T any](columns []chunkColumn[T]) []arrow.Field {
	fields := make([]arrow.Field, len(columns))
	for i := range columns {
		fields[i] = arrow.Field{Name: columns[i].name, Type: columns[i].dataType()}
	}
	return fields
}
