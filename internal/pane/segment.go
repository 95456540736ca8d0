package pane

import (
	"slices"

	"github.com/gridloom/gridloom"
)

// Kind says what a segment holds.
type Kind string

// The kinds of segments.
const (
	KindRaw      Kind = "raw"
	KindPane     Kind = "pane"
	KindSnapshot Kind = "snapshot"
	KindExpired  Kind = "expired"  // readings that came when their time was past retention
	KindRegistry Kind = "registry" // records of the registry
	KindAudit    Kind = "audit"    // records of edits
)

// Segment names an immutable Parquet file and says what it may hold. Ranges are
// closed unless they say otherwise.
type Segment struct {
	Path  string `json:"path"`
	CRC   uint32 `json:"crc"` // CRC-32C of the whole file
	Bytes int64  `json:"bytes"`
	Kind  Kind   `json:"kind"`
	Rows  int64  `json:"rows"`
	Level int    `json:"level,omitempty"` // 0 as committed, rising with compaction
	Epoch uint64 `json:"epoch"`           // of the owner that wrote it

	MinSeq    uint64          `json:"min_seq"` // raw, records: log sequences; pane: revisions; snapshot: the sequence that it covers
	MaxSeq    uint64          `json:"max_seq"`
	MinLogged gridloom.Millis `json:"min_logged"` // raw, records: log times; pane: of the revisions; snapshot: its log time
	MaxLogged gridloom.Millis `json:"max_logged"`
	MinStart  gridloom.Millis `json:"min_start"` // not of a snapshot; records: as they were logged
	MaxEnd    gridloom.Millis `json:"max_end"`   // exclusive; an instant spans 1 ms

	MinMeter  string   `json:"min_meter"` // of records: keys
	MaxMeter  string   `json:"max_meter"`
	Meters    Filter   `json:"meters,omitempty"` // nil: may hold any of the range
	Registers []string `json:"registers"`        // OBIS codes, sorted
}

// MayHold reports whether the segment may hold a row that sel chooses. False is certain.
func (g *Segment) MayHold(sel *Selector) bool {
	if g.Kind.HoldsRecords() {
		return g.MaxSeq > sel.After && g.mayHoldName(sel.Keys)
	}
	if sel.To != 0 && g.MinStart >= sel.To || g.MaxEnd <= sel.From {
		return false
	}
	if g.Kind == KindRaw && sel.After != 0 && g.MaxSeq <= sel.After {
		return false
	}
	return g.mayHoldRegister(sel) && g.mayHoldName(sel.Meters)
}

func (g *Segment) mayHoldRegister(sel *Selector) bool {
	if sel.Registers == nil {
		return true
	}
	return slices.ContainsFunc(sel.Registers, func(id gridloom.RegisterID) bool {
		_, found := slices.BinarySearch(g.Registers, id.Info().Code)
		return found
	})
}

// mayHoldName is MayHold for sorted meters, or keys; nil are all.
func (g *Segment) mayHoldName(names []string) bool {
	if names == nil {
		return true
	}
	first, _ := slices.BinarySearch(names, g.MinMeter)
	for _, m := range names[first:] {
		if m > g.MaxMeter {
			return false
		}
		if g.Meters.MayHold(m) {
			return true
		}
	}
	return false
}

// Where says to which partition and epoch a new file belongs.
type Where struct {
	Generation uint32
	Partition  int
	Epoch      uint64
}

// span returns the part of time that a row covers: an instant 1 ms.
func span(length gridloom.Millis) gridloom.Millis { return max(length, 1) }

// recordRowBytes is what a record takes in memory beside its body, recordsPacked how much smaller
// a merge makes bodies that are alike, at most.
const (
	recordRowBytes = 160
	recordsPacked  = 32
)

// MergeBytes returns about how much memory g takes as an input of Merge: its file and
// one row group of its rows, and the log times that it tells but once.
func (g *Segment) MergeBytes() int64 {
	if g.Kind.HoldsRecords() { // all of it at once
		packed := int64(2)
		if g.Level > 0 {
			packed = recordsPacked
		}
		return packed*g.Bytes + g.Rows*recordRowBytes
	}
	row := int64(256) // a Reading of 136 bytes, and its columns before
	if g.Kind == KindPane {
		row = 448 // a Pane of 248 bytes, and its columns before
	}
	known := int64(0)
	if g.Kind == KindRaw && g.Level > 0 {
		known = min(g.Rows, maxTold) * toldBytes
	}
	return g.Bytes + min(g.Rows, groupRows)*row + known
}
