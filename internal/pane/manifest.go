package pane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/gridloom/gridloom"
)

// ManifestFormat is the version of the JSON form of manifests and lists.
const ManifestFormat = 1

// Manifest lists what is committed of a partition. Its head names it by path and
// crc. It is the root of a small tree: the latest segments stand in it, the others
// in sealed lists, files of their own that are carried on from manifest to manifest.
type Manifest struct {
	Format      int             `json:"format"` // ManifestFormat; WriteManifest sets it
	Head        gridloom.Head   `json:"head"`   // the head that it is swapped with; its Manifest cannot be known yet and is empty
	Recent      []Segment       `json:"recent"` // segments of all kinds but the snapshot, in the order of their commits
	Days        []DayRef        `json:"days"`   // sealed lists, oldest first
	Snapshot    *Segment        `json:"snapshot,omitempty"`
	SnapshotSeq uint64          `json:"snapshot_seq"` // the snapshot covers log sequences up to this one
	Width       gridloom.Millis `json:"width"`        // how the panes were made
	Lateness    gridloom.Millis `json:"lateness"`
	Bridge      gridloom.Millis `json:"bridge"`
	Dropped     []Dropped       `json:"dropped,omitempty"`
	RawFrom     gridloom.Millis `json:"raw_from"`             // raw readings that start before are past retention
	PanesFrom   gridloom.Millis `json:"panes_from,omitempty"` // panes that start before are
	Counts      Counts          `json:"counts"`
}

// Counts sums what a partition has taken since its beginning.
type Counts struct {
	Readings   uint64 `json:"readings"`   // rows of raw segments
	Duplicates uint64 `json:"duplicates"` // readings that said again what was known
	Panes      uint64 `json:"panes"`      // rows of pane segments
	Commits    uint64 `json:"commits"`
	Expired    uint64 `json:"expired,omitempty"` // readings that came when their time was past retention
	Records    uint64 `json:"records,omitempty"` // rows of registry and audit segments
}

// Dropped is a file of the current epoch that no manifest names any more. It is
// deleted when readers that started before At are done.
type Dropped struct {
	Path string          `json:"path"`
	At   gridloom.Millis `json:"at"` // wall clock
}

// DayRef names a sealed list and says what its segments may hold, as Segment does.
// A list holds the segments of one or more UTC days of log time, mostly of one; a
// busy day has several.
type DayRef struct {
	gridloom.FileRef
	Depth     int             `json:"depth"` // 0: a list of segments; n: a list of lists of depth n-1
	Segments  int             `json:"segments"`
	Rows      int64           `json:"rows"`
	Bytes     int64           `json:"bytes"`                // of the segments
	MaxRaw    uint64          `json:"max_raw"`              // greatest log sequence in a raw segment, 0 if there is none
	MaxRecord uint64          `json:"max_record,omitempty"` // in a segment of records, 0 if there is none
	MinLogged gridloom.Millis `json:"min_logged"`
	MaxLogged gridloom.Millis `json:"max_logged"`
	MinStart  gridloom.Millis `json:"min_start"`
	MaxEnd    gridloom.Millis `json:"max_end"` // exclusive
	MinMeter  string          `json:"min_meter"`
	MaxMeter  string          `json:"max_meter"`
}

// mayHold reports whether a segment of this kind below d may hold a row that sel chooses.
func (d *DayRef) mayHold(kind Kind, sel *Selector) bool {
	all := Segment{Kind: KindPane, MinStart: d.MinStart, MaxEnd: d.MaxEnd, MinMeter: d.MinMeter, MaxMeter: d.MaxMeter}
	if kind.HoldsRecords() {
		return d.MaxRecord > sel.After && all.mayHoldName(sel.Keys)
	}
	if sel.To != 0 && d.MinStart >= sel.To || d.MaxEnd <= sel.From {
		return false
	}
	if kind == KindRaw && (d.MaxRaw == 0 || sel.After != 0 && d.MaxRaw <= sel.After) {
		return false
	}
	return all.mayHoldName(sel.Meters)
}

// sealed is the content of a sealed list: segments (depth 0) or lists, in the order of their commits.
type sealed struct {
	Format   int       `json:"format"`
	Segments []Segment `json:"segments,omitempty"`
	Days     []DayRef  `json:"days,omitempty"`
}

// ReadManifest returns the manifest that a head names. A damaged one is
// ErrCorrupt, a vanished one ErrNotFound; both name the file.
func (s *Store) ReadManifest(ctx context.Context, ref gridloom.FileRef) (*Manifest, error) {
	data, err := s.fetch(ctx, "manifest", ref)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, s.refuse("manifest", ref.Path, err)
	}
	return m, nil
}

// PeekManifest reads a manifest that no head need name, so that nothing says what its
// crc is: one of the past, or one that was never swapped in.
func (s *Store) PeekManifest(ctx context.Context, path string) (*Manifest, error) {
	data, err := s.blobs.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, s.refuse("manifest", path, err)
	}
	return m, nil
}

func decodeManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	if m.Format != ManifestFormat {
		return nil, fmt.Errorf("format %d is not %d: written by another version of gridloom", m.Format, ManifestFormat)
	}
	for i := range m.Recent {
		if err := m.Recent[i].check(); err != nil {
			return nil, fmt.Errorf("recent[%d]: %w", i, err)
		}
	}
	if err := checkDays(m.Days, maxDepth); err != nil {
		return nil, err
	}
	if m.Snapshot != nil {
		if err := m.Snapshot.check(); err != nil {
			return nil, fmt.Errorf("snapshot: %w", err)
		}
	}
	return &m, nil
}

func (g *Segment) check() error {
	switch {
	case g.Path == "":
		return errors.New("a segment without a path")
	case g.Rows < 0 || g.Bytes < 0 || g.Level < 0:
		return fmt.Errorf("segment %s: %d rows, %d bytes, level %d", g.Path, g.Rows, g.Bytes, g.Level)
	}
	return nil
}

// checkDays accepts lists that a list of the given depth may name.
func checkDays(days []DayRef, depth int) error {
	for i := range days {
		if d := &days[i]; d.Path == "" || d.Depth < 0 || d.Depth >= depth {
			return fmt.Errorf("days[%d]: path %q, depth %d, want a path and a depth of 0 to %d", i, d.Path, d.Depth, depth-1)
		}
	}
	return nil
}

// Segments goes through the segments of one kind that may hold rows of sel, in the
// order of their commits, loading sealed lists as it needs them. An error ends it.
// The snapshot is not among them.
func (s *Store) Segments(ctx context.Context, m *Manifest, kind Kind, sel Selector) iter.Seq2[Segment, error] {
	return func(yield func(Segment, error) bool) {
		w := walker{s: s, ctx: ctx, kind: kind, sel: &sel, yield: yield}
		_ = w.days(m.Days) && w.segments(m.Recent)
	}
}

// walker carries one walk through the tree. Its methods return false when the walk is over.
type walker struct {
	s     *Store
	ctx   context.Context //nolint:containedctx // lives as long as one call of an iterator
	kind  Kind
	sel   *Selector
	yield func(Segment, error) bool
}

func (w *walker) days(days []DayRef) bool {
	for i := range days {
		d := &days[i]
		if !d.mayHold(w.kind, w.sel) {
			continue
		}
		l, err := w.s.readList(w.ctx, d)
		if err != nil {
			w.yield(Segment{}, err)
			return false
		}
		if !w.days(l.Days) || !w.segments(l.Segments) {
			return false
		}
	}
	return true
}

func (w *walker) segments(segments []Segment) bool {
	for i := range segments {
		if g := &segments[i]; g.Kind == w.kind && g.MayHold(w.sel) && !w.yield(*g, nil) {
			return false
		}
	}
	return true
}

func (s *Store) readList(ctx context.Context, d *DayRef) (*sealed, error) {
	data, err := s.fetch(ctx, "list", d.FileRef)
	if err != nil {
		return nil, err
	}
	l, err := decodeList(data, d.Depth)
	if err == nil && d.Segments != l.count() {
		err = fmt.Errorf("%d segments, want %d", l.count(), d.Segments)
	}
	if err != nil {
		return nil, s.refuse("list", d.Path, err)
	}
	return l, nil
}

func decodeList(data []byte, depth int) (*sealed, error) {
	var l sealed
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, err
	}
	if l.Format != ManifestFormat {
		return nil, fmt.Errorf("format %d is not %d: written by another version of gridloom", l.Format, ManifestFormat)
	}
	if depth == 0 && len(l.Days) > 0 || depth > 0 && len(l.Segments) > 0 {
		return nil, fmt.Errorf("depth is %d, but it holds %d segments and %d lists", depth, len(l.Segments), len(l.Days))
	}
	for i := range l.Segments {
		if err := l.Segments[i].check(); err != nil {
			return nil, err
		}
	}
	return &l, checkDays(l.Days, depth)
}

// count returns the segments in and below l.
func (l *sealed) count() int {
	n := len(l.Segments)
	for i := range l.Days {
		n += l.Days[i].Segments
	}
	return n
}
