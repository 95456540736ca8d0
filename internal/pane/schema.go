package pane

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/schema"
)

// FormatVersion is the version of the segment format, in each file's metadata as gridloom.format.
// ToldOnceVersion is that of raw segments which a merge has written: their logged_at is NULL in
// rows whose frame an earlier row of the file has told of.
const (
	FormatVersion   = 1
	ToldOnceVersion = 2
)

// How a column is stored. Dictionaries serve columns with few values a row group,
// differences those that rise or stay close.
type layout uint8

const (
	plain layout = iota
	dictionary
	delta
)

// field describes a column.
type field struct {
	name     string
	physical parquet.Type
	logical  schema.LogicalType // nil: the physical type says all
	width    int                // of FIXED_LEN_BYTE_ARRAY
	null     bool
	layout   layout
	stats    bool // row groups carry its least and greatest value
}

func (f *field) node() schema.Node {
	rep := parquet.Repetitions.Required
	if f.null {
		rep = parquet.Repetitions.Optional
	}
	var n schema.Node
	var err error
	if f.logical == nil {
		n, err = schema.NewPrimitiveNode(f.name, rep, f.physical, -1, int32(f.width))
	} else {
		n, err = schema.NewPrimitiveNodeLogical(f.name, rep, f.logical, f.physical, f.width, -1)
	}
	if err != nil {
		panic(fmt.Sprintf("pane: column %s: %v", f.name, err)) // the tables below are wrong
	}
	return n
}

func text(name string, l layout) field {
	return field{name: name, physical: parquet.Types.ByteArray, logical: schema.StringLogicalType{}, layout: l, stats: true}
}

func instant(name string, l layout) field {
	return field{
		name: name, physical: parquet.Types.Int64, layout: l, stats: true,
		logical: schema.NewTimestampLogicalType(true, schema.TimeUnitMillis),
	}
}

func int64s(name string, l layout) field {
	return field{name: name, physical: parquet.Types.Int64, logical: schema.NewIntLogicalType(64, true), layout: l}
}

func uint64s(name string, l layout) field {
	return field{name: name, physical: parquet.Types.Int64, logical: schema.NewIntLogicalType(64, false), layout: l}
}

func uint32s(name string, l layout) field {
	return field{name: name, physical: parquet.Types.Int32, logical: schema.NewIntLogicalType(32, false), layout: l}
}

func (f field) nullable() field   { f.null = true; return f }
func (f field) withBounds() field { f.stats = true; return f }
func blobs(name string) field     { return field{name: name, physical: parquet.Types.ByteArray} }
func decimal128(name string) field {
	return field{
		name: name, physical: parquet.Types.FixedLenByteArray, width: 16,
		logical: schema.NewDecimalLogicalType(38, 0),
	}
}

// The first columns of every segment, in this order: rows are sorted by register
// code, meter and start.
const (
	colRegister = iota
	colMeter
	colStart // not of snapshots
	colLength
)

// The other columns of raw segments.
const (
	rawValue = colLength + 1 + iota
	rawQuality
	rawOrder
	rawSequence
	rawPlace
	rawLoggedAt
	rawSerial
	rawAgent
)

func rawFields() []field {
	return []field{
		text("register", dictionary), text("meter", dictionary), instant("start", delta), int64s("length", dictionary).withBounds(),
		int64s("value", delta).nullable(), uint32s("quality", dictionary), uint64s("order", delta), uint64s("sequence", dictionary).withBounds(),
		uint32s("place", delta), instant("logged_at", dictionary), text("serial", dictionary), text("agent", dictionary),
	}
}

// The other columns of pane segments.
const (
	paneRevision = colLength + 1 + iota
	paneComputedAt
	paneClosed
	paneN
	paneCoverage
	paneQuality
	paneSum
	paneMin
	paneMax
	paneFirst
	paneLast
	paneFirstAt
	paneLastAt
	paneTimeWeighted
	paneEnergy
	paneCarry
)

func paneFields() []field {
	closed := field{name: "closed", physical: parquet.Types.Boolean}
	return []field{
		text("register", dictionary), text("meter", dictionary), instant("start", plain), int64s("length", dictionary).withBounds(),
		uint64s("revision", dictionary).withBounds(), instant("computed_at", dictionary), closed, uint32s("n", dictionary),
		int64s("coverage", dictionary), uint32s("quality", dictionary),
		int64s("sum", plain).nullable(), int64s("min", plain).nullable(), int64s("max", plain).nullable(),
		int64s("first", plain).nullable(), int64s("last", plain).nullable(),
		instant("first_at", plain).nullable(), instant("last_at", plain).nullable(),
		decimal128("time_weighted").nullable(), int64s("energy", plain).nullable(), blobs("carry").nullable(),
	}
}

// compactRawFields and compactPaneFields are the columns as a merge writes them: the
// same, with differences where values rise or stay close.
func compactRawFields() []field { return toldOnce(differences(rawFields())) }

// toldOnce makes logged_at nullable, as ToldOnceVersion has it.
func toldOnce(fields []field) []field {
	fields = slices.Clone(fields)
	for i := range fields {
		if fields[i].name == "logged_at" {
			fields[i].null = true
		}
	}
	return fields
}

func compactPaneFields() []field { return differences(paneFields()) }

func differences(fields []field) []field {
	for i := range fields {
		f := &fields[i]
		integer := f.physical == parquet.Types.Int64 || f.physical == parquet.Types.Int32
		if integer && (f.layout == plain || f.name == "sequence" || f.name == "logged_at" || f.name == "revision" || f.name == "computed_at") {
			f.layout = delta
		}
	}
	return fields
}

const (
	snapState = colMeter + 1 + iota
	snapDials
	snapRating
)

func snapshotFields() []field {
	return []field{text("register", dictionary), text("meter", dictionary), blobs("state"), uint32s("dials", dictionary), int64s("rating", dictionary)}
}

func root(fields []field) *schema.GroupNode {
	nodes := make(schema.FieldList, len(fields))
	for i := range fields {
		nodes[i] = fields[i].node()
	}
	n, err := schema.NewGroupNode("gridloom", parquet.Repetitions.Required, nodes, -1)
	if err != nil {
		panic(fmt.Sprintf("pane: schema: %v", err))
	}
	return n
}
