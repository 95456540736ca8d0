package wire

import (
	"fmt"
	"hash/crc32"

	"github.com/gridloom/gridloom"
)

// Kind says what a frame is.
type Kind uint8

// The kinds of frames. Numbers are frozen; a partition stops at one it does not know.
const (
	KindReadings Kind = 1 // rows from agents
	KindEdit     Kind = 2 // rows from a person or an import, and records of who and why
	KindRegistry Kind = 3 // records of the registry
	KindTick     Kind = 4 // nothing: only its log time counts
)

// String returns the kind's word in docs and metrics.
func (k Kind) String() string {
	switch k {
	case KindReadings:
		return "readings"
	case KindEdit:
		return "edit"
	case KindRegistry:
		return "registry"
	case KindTick:
		return "tick"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// FrameInfo is what a frame says beside its rows.
type FrameInfo struct {
	Kind       Kind
	Generation uint32
	Partition  int
	Readings   int    // number of rows; set by DecodeFrame, ignored by AppendFrame
	Opaque     []byte // records of a registry or edit frame (AppendRecord); of DecodeFrame: part of its data
}

// FrameVersion is the version that AppendFrame writes and DecodeFrame reads.
const FrameVersion = 1

// ErrNewer is a frame that a newer gridloom wrote: it is whole, but its version,
// kind, a field or a register is not known here. The partition stops and nothing
// is skipped. It is a kind of ErrCorrupt, for who does not tell them apart.
var ErrNewer = fmt.Errorf("%w: written by a newer gridloom", gridloom.ErrCorrupt)

// Fields of a frame (docs/format/wire.md). Frozen.
const (
	frameVersion     = 1
	frameKind        = 2
	frameGeneration  = 3
	framePartition   = 4
	frameReadings    = 5
	frameMeter       = 6
	frameRegister    = 7
	frameShape       = 8
	frameObjectShape = 9
	frameObjectMeter = 10
	frameObjectStart = 11
	frameValue       = 12
	frameOrderRun    = 13
	frameOrderAgent  = 14
	frameOrder       = 15
	frameAgent       = 16
	frameSerial      = 17
	frameLengthRun   = 18
	frameLength      = 19
	frameQualityRun  = 20
	frameQuality     = 21
	frameSerialRun   = 22
	frameSerialIndex = 23
	frameVoid        = 24
	frameOpaque      = 25
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC returns the CRC-32C of data.
func CRC(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// scratch is working memory that a Columns lends to the coding of itself.
type scratch struct {
	shapes    []span
	shapeRows []gridloom.RegisterID // the registers of all shapes, one after the other
	last      []int64               // by register or agent
	ids       []gridloom.RegisterID
	series    seriesScratch
	builder   *FrameBuilder // of AppendFrame
}

// AppendFrame appends the frame of info and the rows of c, which may be nil for
// kinds without rows. It allocates nothing once dst and c have grown.
func AppendFrame(dst []byte, info FrameInfo, c *Columns) []byte {
	if c == nil {
		return new(FrameBuilder).Seal(dst, info)
	}
	b := c.scratch.builder
	if b == nil {
		b = new(FrameBuilder)
		c.scratch.builder = b
	}
	n, last := c.Len(), uint32(0)
	for i := 0; i < n; {
		j := i + 1
		for j < n && c.Meter[j] == c.Meter[i] {
			j++
		}
		b.Append(c, []Run{{uint32(i), uint32(j)}}, &last)
		i = j
	}
	return b.Seal(dst, info)
}
