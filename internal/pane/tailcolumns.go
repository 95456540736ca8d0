package pane

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/bitutil"
	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

// chunkColumn is one column of the rows that an owner answers with, told once for
// both directions. Exactly one of the pointers is set. No column has nulls.
type chunkColumn[T any] struct {
	name     string
	text     func(*T) *string
	register func(*T) *gridloom.RegisterID // as its OBIS code: numbers differ between versions
	bytes    func(*T) *[]byte              // nil as empty
	signed   func(*T) *int64
	unsigned func(*T) *uint64
	short    func(*T) *uint32
	truth    func(*T) *bool
}

var readingChunk = []chunkColumn[gridloom.Reading]{
	{name: "meter", text: func(r *gridloom.Reading) *string { return &r.Meter }},
	{name: "register", register: func(r *gridloom.Reading) *gridloom.RegisterID { return &r.Register }},
	{name: "start", signed: func(r *gridloom.Reading) *int64 { return (*int64)(&r.Start) }},
	{name: "length", signed: func(r *gridloom.Reading) *int64 { return (*int64)(&r.Length) }},
	{name: "value", signed: func(r *gridloom.Reading) *int64 { return &r.Value }},
	{name: "void", truth: func(r *gridloom.Reading) *bool { return &r.Void }},
	{name: "quality", short: func(r *gridloom.Reading) *uint32 { return (*uint32)(&r.Quality) }},
	{name: "order", unsigned: func(r *gridloom.Reading) *uint64 { return (*uint64)(&r.Order) }},
	{name: "serial", text: func(r *gridloom.Reading) *string { return &r.Serial }},
	{name: "agent", text: func(r *gridloom.Reading) *string { return &r.Agent }},
	{name: "sequence", unsigned: func(r *gridloom.Reading) *uint64 { return &r.Sequence }},
	{name: "place", short: func(r *gridloom.Reading) *uint32 { return &r.Place }},
	{name: "logged_at", signed: func(r *gridloom.Reading) *int64 { return (*int64)(&r.LoggedAt) }},
}

var paneChunk = []chunkColumn[gridloom.Pane]{
	{name: "meter", text: func(p *gridloom.Pane) *string { return &p.Meter }},
	{name: "register", register: func(p *gridloom.Pane) *gridloom.RegisterID { return &p.Register }},
	{name: "start", signed: func(p *gridloom.Pane) *int64 { return (*int64)(&p.Start) }},
	{name: "length", signed: func(p *gridloom.Pane) *int64 { return (*int64)(&p.Length) }},
	{name: "revision", unsigned: func(p *gridloom.Pane) *uint64 { return &p.Revision }},
	{name: "computed_at", signed: func(p *gridloom.Pane) *int64 { return (*int64)(&p.ComputedAt) }},
	{name: "closed", truth: func(p *gridloom.Pane) *bool { return &p.Closed }},
	{name: "n", short: func(p *gridloom.Pane) *uint32 { return &p.N }},
	{name: "coverage", signed: func(p *gridloom.Pane) *int64 { return (*int64)(&p.Coverage) }},
	{name: "quality", short: func(p *gridloom.Pane) *uint32 { return (*uint32)(&p.Quality) }},
	{name: "sum", signed: func(p *gridloom.Pane) *int64 { return &p.Sum }},
	{name: "min", signed: func(p *gridloom.Pane) *int64 { return &p.Min }},
	{name: "max", signed: func(p *gridloom.Pane) *int64 { return &p.Max }},
	{name: "first", signed: func(p *gridloom.Pane) *int64 { return &p.First }},
	{name: "last", signed: func(p *gridloom.Pane) *int64 { return &p.Last }},
	{name: "first_at", signed: func(p *gridloom.Pane) *int64 { return (*int64)(&p.FirstAt) }},
	{name: "last_at", signed: func(p *gridloom.Pane) *int64 { return (*int64)(&p.LastAt) }},
	{name: "time_weighted_hi", signed: func(p *gridloom.Pane) *int64 { return &p.TimeWeighted.Hi }},
	{name: "time_weighted_lo", unsigned: func(p *gridloom.Pane) *uint64 { return &p.TimeWeighted.Lo }},
	{name: "energy", signed: func(p *gridloom.Pane) *int64 { return &p.Energy }},
	{name: "has_energy", truth: func(p *gridloom.Pane) *bool { return &p.HasEnergy }},
	{name: "carry", bytes: func(p *gridloom.Pane) *[]byte { return &p.Carry }},
}

var seriesChunk = []chunkColumn[SeriesInfo]{
	{name: "meter", text: func(s *SeriesInfo) *string { return &s.Meter }},
	{name: "register", register: func(s *SeriesInfo) *gridloom.RegisterID { return &s.Register }},
	{name: "serial", text: func(s *SeriesInfo) *string { return &s.Serial }},
	{name: "last_at", signed: func(s *SeriesInfo) *int64 { return (*int64)(&s.LastAt) }},
	{name: "last_length", signed: func(s *SeriesInfo) *int64 { return (*int64)(&s.LastLength) }},
	{name: "last_value", signed: func(s *SeriesInfo) *int64 { return &s.LastValue }},
	{name: "last_void", truth: func(s *SeriesInfo) *bool { return &s.LastVoid }},
	{name: "last_quality", short: func(s *SeriesInfo) *uint32 { return (*uint32)(&s.LastQuality) }},
}

var recordChunk = []chunkColumn[Record]{
	{name: "key", text: func(r *Record) *string { return &r.Key }},
	{name: "sequence", unsigned: func(r *Record) *uint64 { return &r.Sequence }},
	{name: "place", short: func(r *Record) *uint32 { return &r.Place }},
	{name: "logged_at", signed: func(r *Record) *int64 { return (*int64)(&r.LoggedAt) }},
	{name: "body", bytes: func(r *Record) *[]byte { return &r.Body }},
}

func (c *chunkColumn[T]) dataType() arrow.DataType {
	switch {
	case c.text != nil, c.register != nil:
		return arrow.BinaryTypes.String
	case c.bytes != nil:
		return arrow.BinaryTypes.Binary
	case c.signed != nil:
		return arrow.PrimitiveTypes.Int64
	case c.unsigned != nil:
		return arrow.PrimitiveTypes.Uint64
	case c.short != nil:
		return arrow.PrimitiveTypes.Uint32
	case c.truth != nil:
		return arrow.FixedWidthTypes.Boolean
	}
	panic("pane: column " + c.name + " reads nothing")
}

// bytesOf returns what a row takes in the column at most, padding left out.
func (c *chunkColumn[T]) bytesOf(r *T) int {
	const offset = 4
	switch {
	case c.text != nil:
		return offset + len(*c.text(r))
	case c.register != nil:
		return offset + len(c.register(r).Info().Code)
	case c.bytes != nil:
		return offset + len(*c.bytes(r))
	case c.short != nil:
		return 4
	case c.truth != nil:
		return 1
	}
	return 8
}

// wrap returns the column of rows as an array around slices that nothing copies: an
// Append a value costs ten times as much.
func (c *chunkColumn[T]) wrap(rows []T) arrow.Array {
	n := len(rows)
	var buffers []*memory.Buffer
	switch {
	case c.text != nil:
		buffers = variable(rows, func(r *T) string { return *c.text(r) })
	case c.register != nil:
		buffers = variable(rows, func(r *T) string { return c.register(r).Info().Code })
	case c.bytes != nil:
		buffers = variable(rows, func(r *T) []byte { return *c.bytes(r) })
	case c.signed != nil:
		buffers = fixed(arrow.Int64Traits.CastToBytes(values(rows, c.signed)))
	case c.unsigned != nil:
		buffers = fixed(arrow.Uint64Traits.CastToBytes(values(rows, c.unsigned)))
	case c.short != nil:
		buffers = fixed(arrow.Uint32Traits.CastToBytes(values(rows, c.short)))
	case c.truth != nil:
		bits := make([]byte, bitutil.BytesForBits(int64(n)))
		for i := range rows {
			bitutil.SetBitTo(bits, i, *c.truth(&rows[i]))
		}
		buffers = fixed(bits)
	}
	return array.MakeFromData(array.NewData(c.dataType(), n, buffers, nil, 0, 0))
}

func values[T, V any](rows []T, at func(*T) *V) []V {
	out := make([]V, len(rows))
	for i := range rows {
		out[i] = *at(&rows[i])
	}
	return out
}

func fixed(data []byte) []*memory.Buffer {
	return []*memory.Buffer{nil, memory.NewBufferBytes(data)}
}

func variable[T any, V string | []byte](rows []T, at func(*T) V) []*memory.Buffer {
	offsets := make([]int32, 1, len(rows)+1)
	var data []byte
	for i := range rows {
		data = append(data, at(&rows[i])...)
		offsets = append(offsets, int32(len(data)))
	}
	return []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets)), memory.NewBufferBytes(data)}
}

// fill sets the column of rows from an array of the column's type. Texts come
// through intern, so that a chunk's memory is not kept for one of its words.
func (c *chunkColumn[T]) fill(a arrow.Array, rows []T, intern func(string) string) error {
	if a.NullN() != 0 || a.Len() != len(rows) {
		return fmt.Errorf("column %s has %d values, %d of them null, for %d rows", c.name, a.Len(), a.NullN(), len(rows))
	}
	switch a := a.(type) {
	case *array.String:
		for i := range rows {
			v := intern(a.Value(i))
			if c.text != nil {
				*c.text(&rows[i]) = v
				continue
			}
			id, ok := gridloom.RegisterByName(v)
			if !ok || id.Info().Code != v {
				return fmt.Errorf("register %q is not known here: was it sent by a newer gridloom?", v)
			}
			*c.register(&rows[i]) = id
		}
	case *array.Binary:
		for i := range rows {
			if v := a.Value(i); len(v) > 0 {
				*c.bytes(&rows[i]) = append([]byte(nil), v...)
			}
		}
	case *array.Int64:
		set(rows, c.signed, a.Int64Values())
	case *array.Uint64:
		set(rows, c.unsigned, a.Uint64Values())
	case *array.Uint32:
		set(rows, c.short, a.Uint32Values())
	case *array.Boolean:
		for i := range rows {
			*c.truth(&rows[i]) = a.Value(i)
		}
	default:
		return errors.New("column " + c.name + " is of no type that is sent")
	}
	return nil
}

func set[T, V any](rows []T, at func(*T) *V, vs []V) {
	for i := range rows {
		*at(&rows[i]) = vs[i]
	}
}
