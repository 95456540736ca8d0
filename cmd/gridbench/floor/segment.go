package floor

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/pane"
)

// Commit is what one commit of a partition holds: objects of three readings, in the
// order in which they arrived.
type Commit struct {
	Meters  int
	Objects int // of each meter, a second apart
}

// Rows returns the number of readings.
func (c Commit) Rows() int { return objectRegisters * c.Meters * c.Objects }

const objectRegisters = 3

// registers are those of an object, in the order of their codes.
func registers() ([]gridloom.RegisterID, error) {
	var ids []gridloom.RegisterID
	for _, name := range []string{"energy_import", "power_import", "voltage_l1"} {
		id, ok := gridloom.RegisterByName(name)
		if !ok {
			return nil, fmt.Errorf("no register %s", name)
		}
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b gridloom.RegisterID) int { return strings.Compare(a.Info().Code, b.Info().Code) })
	return ids, nil
}

// columns are the commit's rows as an owner holds them.
func (c Commit) columns() (*pane.RawColumns, error) {
	ids, err := registers()
	if err != nil {
		return nil, err
	}
	cols := &pane.RawColumns{}
	t := &cols.Table
	t.Names = append(t.Names, "") // no serial
	for m := range c.Meters {
		t.Meters = append(t.Meters, fmt.Sprintf("m%07d", m))
		for _, id := range ids {
			t.MeterOf, t.Registers = append(t.MeterOf, uint32(m)), append(t.Registers, id)
		}
		if m%100 == 0 {
			t.Names = append(t.Names, fmt.Sprintf("gw-%d", m/100))
		}
	}
	place := uint32(0)
	for o := range c.Objects {
		at := kernelStart + gridloom.Millis(o)*gridloom.Second
		for m := range c.Meters {
			shared := pane.RawShared{
				Sequence: uint64(1 + (o*c.Meters+m)/1000), LoggedAt: at, Agent: uint32(1 + m/100),
				Order: gridloom.NewOrder(gridloom.ClassDevice, 5, uint32(o*(1+c.Meters/100)+m/100)),
			}
			for i := range ids {
				place++
				cols.Append(&pane.RawRow{
					Start: at, Series: uint32(objectRegisters*m + i), Place: place % 3000,
					Value: []int64{100_000 + int64(m*o*31%900_000), 1e9 + int64(m)*1000 + int64(o)*7919, 220_000 + int64(m*o*17%20_000)}[i],
				}, &shared)
			}
		}
	}
	return cols, nil
}

// repeat calls write until d has passed.
func repeat(rows int, d time.Duration, write func() (bytes int, err error)) (Work, error) {
	var w Work
	if _, err := write(); err != nil { // the first grows what the next ones use again
		return w, err
	}
	var watch stopwatch
	for watch.wall < d {
		if err := watch.start(); err != nil {
			return w, err
		}
		n, err := write()
		if err != nil {
			return w, err
		}
		if err := watch.stop(); err != nil {
			return w, err
		}
		w.N += int64(rows)
		w.Bytes += int64(n)
	}
	w.Wall, w.CPU = watch.wall, watch.cpu
	return w, nil
}

// lastFile is a store that keeps the last file in memory.
type lastFile struct {
	blob.Store
	data []byte
}

// Put keeps data.
func (l *lastFile) Put(_ context.Context, _ string, data []byte) error {
	l.data = append(l.data[:0], data...)
	return nil
}

// WriteSegment writes the rows as the raw segment of a commit, sorting included, into
// memory, again and again for d.
func WriteSegment(ctx context.Context, c Commit, d time.Duration) (Work, error) {
	cols, err := c.columns()
	if err != nil {
		return Work{}, err
	}
	file := &lastFile{}
	store := pane.NewStore(file, pane.StoreOptions{CacheBytes: -1})
	var rank pane.Ranking
	return repeat(c.Rows(), d, func() (int, error) {
		_, err := store.WriteRawColumns(ctx, pane.Where{Generation: 1, Epoch: 1}, cols, &rank)
		return len(file.data), err
	})
}

// WriteParquet writes the same rows, sorted beforehand and in Arrow arrays already, with
// arrow's own Parquet writer, zstd and dictionaries, into memory, again and again for d.
func WriteParquet(c Commit, d time.Duration) (Work, error) {
	cols, err := c.columns()
	if err != nil {
		return Work{}, err
	}
	rec := record(cols, c)
	defer rec.Release()
	table := array.NewTableFromRecords(rec.Schema(), []arrow.Record{rec})
	defer table.Release()
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithDictionaryDefault(true))
	var out bytes.Buffer
	return repeat(c.Rows(), d, func() (int, error) {
		out.Reset()
		err := pqarrow.WriteTable(table, &out, int64(c.Rows()), props, pqarrow.DefaultWriterProps())
		return out.Len(), err
	})
}

// record builds an Arrow record of a commit's rows in file order: by register, meter and start.
func record(cols *pane.RawColumns, c Commit) arrow.Record {
	field := func(name string, t arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: t} }
	schema := arrow.NewSchema([]arrow.Field{
		field("register", arrow.BinaryTypes.String), field("meter", arrow.BinaryTypes.String),
		field("start", arrow.FixedWidthTypes.Timestamp_ms), field("length", arrow.PrimitiveTypes.Int64),
		field("value", arrow.PrimitiveTypes.Int64), field("quality", arrow.PrimitiveTypes.Uint32),
		field("order", arrow.PrimitiveTypes.Uint64), field("sequence", arrow.PrimitiveTypes.Uint64), field("place", arrow.PrimitiveTypes.Uint32),
		field("logged_at", arrow.FixedWidthTypes.Timestamp_ms), field("serial", arrow.BinaryTypes.String), field("agent", arrow.BinaryTypes.String),
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Reserve(c.Rows())
	text := func(i int, s string) { b.Field(i).(*array.StringBuilder).Append(s) }
	instant := func(i int, at gridloom.Millis) { b.Field(i).(*array.TimestampBuilder).Append(arrow.Timestamp(at)) }
	whole := func(i int, v int64) { b.Field(i).(*array.Int64Builder).Append(v) }
	small := func(i int, v uint32) { b.Field(i).(*array.Uint32Builder).Append(v) }
	big := func(i int, v uint64) { b.Field(i).(*array.Uint64Builder).Append(v) }
	var x gridloom.Reading
	for i := range objectRegisters {
		for m := range c.Meters {
			for o := range c.Objects {
				cols.Reading(&cols.Table, objectRegisters*(o*c.Meters+m)+i, &x)
				text(0, x.Register.Info().Code)
				text(1, x.Meter)
				instant(2, x.Start)
				whole(3, int64(x.Length))
				whole(4, x.Value)
				small(5, uint32(x.Quality))
				big(6, uint64(x.Order))
				big(7, x.Sequence)
				small(8, x.Place)
				instant(9, x.LoggedAt)
				text(10, x.Serial)
				text(11, x.Agent)
			}
		}
	}
	return b.NewRecord()
}
