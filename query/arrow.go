package query

import (
	"fmt"
	"io"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/decimal128"
	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

// batchRows is the number of rows of one record batch of an Arrow answer.
const batchRows = 8192

// arrowEncoder writes an Arrow IPC stream of record batches. The end of the stream
// is marked only by finish, so a reader sees an answer that was cut off.
type arrowEncoder struct {
	columns []column
	build   *array.RecordBuilder
	out     *ipc.Writer
	rows    int

	quality int64 // of the last row that had one, which the next mostly has too
	names   []string
}

func newArrow(t *table, w io.Writer) (*arrowEncoder, error) {
	fields := make([]arrow.Field, len(t.columns))
	for i, c := range t.columns {
		fields[i] = arrow.Field{Name: c.name, Type: arrowType(c), Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	build := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	return &arrowEncoder{columns: t.columns, build: build, out: ipc.NewWriter(w, ipc.WithSchema(schema))}, nil
}

func arrowType(c column) arrow.DataType {
	switch c.kind {
	case kindString:
		return arrow.BinaryTypes.String
	case kindInstant:
		return &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	case kindSpan:
		return arrow.FixedWidthTypes.Duration_ms
	case kindDecimal:
		return &arrow.Decimal128Type{Precision: 38, Scale: int32(c.scale)}
	case kindInt:
		return arrow.PrimitiveTypes.Int64
	case kindBool:
		return arrow.FixedWidthTypes.Boolean
	case kindQuality, kindList:
		return arrow.ListOf(arrow.BinaryTypes.String)
	}
	panic(fmt.Sprintf("query: no Arrow type for column %s", c.name))
}

func (e *arrowEncoder) row(cells []cell) error {
	for i, v := range cells {
		if e.columns[i].kind == kindQuality && v.n != 0 {
			if v.n != e.quality {
				e.quality, e.names = v.n, gridloom.Quality(v.n).Names()
			}
			v.list = &e.names
		}
		appendArrow(e.build.Field(i), v)
	}
	if e.rows++; e.rows < batchRows {
		return nil
	}
	return e.flush()
}

func (e *arrowEncoder) flush() error {
	if e.rows == 0 {
		return nil
	}
	e.rows = 0
	rec := e.build.NewRecord()
	defer rec.Release()
	if err := e.out.Write(rec); err != nil {
		return err
	}
	e.build.Reserve(batchRows) // a full batch is mostly followed by another
	return nil
}

func (e *arrowEncoder) finish() error {
	if err := e.flush(); err != nil {
		return err
	}
	e.build.Release()
	return e.out.Close()
}

// appendArrow appends v to the builder of its column; a quality comes as the list of its names.
func appendArrow(b array.Builder, v cell) {
	if v.null {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(v.text)
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.n))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(v.n))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(v.n))
	case *array.Int64Builder:
		b.Append(v.n)
	case *array.BooleanBuilder:
		b.Append(v.n != 0)
	case *array.ListBuilder:
		var list []string
		if v.list != nil {
			list = *v.list
		}
		b.Append(true)
		items := b.ValueBuilder().(*array.StringBuilder)
		for _, s := range list {
			items.Append(s)
		}
	}
}
