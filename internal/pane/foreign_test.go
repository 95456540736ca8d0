package pane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// A foreignWriter says how somebody else's program writes Parquet.
type foreignWriter struct {
	name  string
	props []parquet.WriterProperty
}

func foreignWriters() []foreignWriter {
	w := func(name string, props ...parquet.WriterProperty) foreignWriter { return foreignWriter{name, props} }
	dict, codec := parquet.WithDictionaryDefault, parquet.WithCompression
	return []foreignWriter{
		w("plain", dict(false)),
		w("dictionary", dict(true)),
		w("version 1", parquet.WithVersion(parquet.V1_0), dict(true)),
		w("pages of version 2", parquet.WithDataPageVersion(parquet.DataPageV2), dict(true), codec(compress.Codecs.Zstd)),
		w("snappy", codec(compress.Codecs.Snappy)),
		w("gzip", codec(compress.Codecs.Gzip), dict(false)),
		w("brotli", codec(compress.Codecs.Brotli)),
		w("small pages", parquet.WithDataPageSize(64), parquet.WithDictionaryPageSizeLimit(64)),
		w("small groups", parquet.WithMaxRowGroupLength(7)),
		w("no statistics", parquet.WithStats(false)),
		w("differences", dict(false), parquet.WithEncodingFor("start", parquet.Encodings.DeltaBinaryPacked), parquet.WithEncodingFor("value", parquet.Encodings.DeltaBinaryPacked)),
	}
}

// foreignRaw writes readings with Arrow's own writer: the columns of a raw segment and
// its note, by a program that is not gridloom.
func foreignRaw(t testing.TB, rows []gridloom.Reading, props ...parquet.WriterProperty) []byte {
	t.Helper()
	return foreignRawOf(t, FormatVersion, rows, props...)
}

// foreignRawOf writes a version of the format. Of ToldOnceVersion rows with a negative
// log time do not tell theirs.
func foreignRawOf(t testing.TB, version int, rows []gridloom.Reading, props ...parquet.WriterProperty) []byte {
	t.Helper()
	var fields []arrow.Field
	columns := rawFields()
	if version == ToldOnceVersion {
		columns = toldOnce(columns)
	}
	for _, f := range columns {
		kind := arrow.PrimitiveTypes.Int64
		switch f.physical {
		case parquet.Types.ByteArray:
			kind = arrow.BinaryTypes.String
		case parquet.Types.Int32:
			kind = arrow.PrimitiveTypes.Uint32
		}
		fields = append(fields, arrow.Field{Name: f.name, Type: kind, Nullable: f.null})
	}
	md := arrow.NewMetadata([]string{"gridloom.format"}, []string{fmt.Sprint(version)})
	schema := arrow.NewSchema(fields, &md)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range rows {
		r := &rows[i]
		for c, v := range []any{
			r.Register.Info().Code, r.Meter, int64(r.Start), int64(r.Length), r.Value, uint32(r.Quality), int64(r.Order),
			int64(r.Sequence), r.Place, int64(r.LoggedAt), r.Serial, r.Agent,
		} {
			switch v := v.(type) {
			case string:
				b.Field(c).(*array.StringBuilder).Append(v)
			case uint32:
				b.Field(c).(*array.Uint32Builder).Append(v)
			case int64:
				if c == rawValue && r.Void || c == rawLoggedAt && v < 0 {
					b.Field(c).AppendNull()
				} else {
					b.Field(c).(*array.Int64Builder).Append(v)
				}
			}
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(props...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err == nil {
		err = w.Write(rec)
	}
	if err == nil {
		err = w.AppendKeyValueMetadata("gridloom.format", fmt.Sprint(version))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readForeign reads bytes as a raw segment.
func readForeign(data []byte) (rows []gridloom.Reading, err error) {
	_, err = decodeRaw(context.Background(), memory.NewGoAllocator(), data, &Selector{}, func(r *gridloom.Reading) error {
		rows = append(rows, *r)
		return nil
	})
	return rows, err
}

// TestForeignParquetIsReadOrRefused reads what another writer made of the same rows: the
// same rows or a refusal, never others, and no panic.
func TestForeignParquetIsReadOrRefused(t *testing.T) {
	rows := sortedReadings(randomReadings(rand.New(rand.NewPCG(8, 8)), 200))
	read := 0
	for _, w := range foreignWriters() {
		data := foreignRaw(t, rows, w.props...)
		got, err := readForeign(data)
		switch {
		case err != nil:
			t.Logf("%s: refused: %v", w.name, err)
		case !cmp.Equal(rows, got):
			t.Errorf("%s: other rows:\n%s", w.name, cmp.Diff(rows, got))
		default:
			read++
		}
		if err := DescribeSegment(io.Discard, data, DescribeOptions{Rows: -1}); err != nil && !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("%s: inspect: %v", w.name, err)
		}
	}
	if read < 4 {
		t.Errorf("%d of the foreign files are read, want at least the plain and the dictionary ones", read)
	}
}

// TestDamagedForeignParquetNeverPanics flips and cuts bytes of foreign files, for the
// reader and for inspect.
func TestDamagedForeignParquetNeverPanics(t *testing.T) {
	rows := randomReadings(rand.New(rand.NewPCG(9, 9)), 20)
	for _, w := range foreignWriters() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			whole := foreignRaw(t, rows, w.props...)
			refused := 0
			for at := 0; at < len(whole); at += max(1, len(whole)/100) { // FuzzForeignParquet looks at more
				data := slices.Clone(whole)
				data[at] ^= byte(1 + at%255)
				if at%11 == 0 {
					data = data[:at]
				}
				if _, err := readForeign(data); err != nil {
					refused++
				}
				_ = DescribeSegment(io.Discard, data, DescribeOptions{Rows: -1, JSON: at%2 == 0})
			}
			if refused == 0 {
				t.Error("no damage was noticed")
			}
		})
	}
}

// TestOtherTablesAreRefused gives Parquet that has nothing to do with meters, nested
// and empty tables among it.
func TestOtherTablesAreRefused(t *testing.T) {
	list := arrow.ListOf(arrow.PrimitiveTypes.Float64)
	for _, fields := range [][]arrow.Field{
		{{Name: "x", Type: arrow.PrimitiveTypes.Float64}},
		{{Name: "register", Type: arrow.BinaryTypes.String}, {Name: "meter", Type: list, Nullable: true}},
		{{Name: "register", Type: arrow.StructOf(arrow.Field{Name: "meter", Type: list})}},
	} {
		for _, note := range []string{"", fmt.Sprint(FormatVersion)} {
			schema := arrow.NewSchema(fields, nil)
			b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			rec := b.NewRecord()
			var out bytes.Buffer
			w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
			if err == nil {
				err = w.Write(rec)
			}
			if err == nil && note != "" {
				err = w.AppendKeyValueMetadata("gridloom.format", note)
			}
			if err == nil {
				err = w.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, kind := range []Kind{KindRaw, KindPane, KindSnapshot} {
				if err := drainBytes(kind, out.Bytes()); err == nil {
					t.Errorf("a table of %v is taken for a %s segment", schema, kind)
				}
			}
			if err := DescribeSegment(io.Discard, out.Bytes(), DescribeOptions{Rows: -1}); err != nil && !errors.Is(err, gridloom.ErrCorrupt) {
				t.Errorf("inspect: %v", err)
			}
			rec.Release()
			b.Release()
		}
	}
}

// FuzzForeignParquet decodes mutations of foreign files: no panic leaves the reader or inspect.
func FuzzForeignParquet(f *testing.F) {
	rows := randomReadings(rand.New(rand.NewPCG(11, 11)), 5)
	for _, w := range foreignWriters() {
		f.Add(foreignRaw(f, rows, w.props...))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = readForeign(data)
		_ = DescribeSegment(io.Discard, data, DescribeOptions{Rows: -1})
	})
}
