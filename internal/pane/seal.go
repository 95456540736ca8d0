package pane

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gridloom/gridloom"
)

// The shape of a manifest's tree. Two segments a commit and a commit every 15 s
// are 11,520 segments a day: with 32 to a list, 9 days of them are a root of at
// most 96 segments and 96 lists at 3 depths.
const (
	// MaxManifestBytes is what a manifest is kept below by sealing. A manifest that
	// has nothing left to seal (a long list of dropped files) may pass it.
	MaxManifestBytes = 64 << 10

	maxRecent = 64 // entries of one depth before the oldest are sealed
	sealSize  = 32 // entries that go into one list
	maxDepth  = 8  // 32^8 segments
)

// WriteManifest stores a manifest under the generation, partition and epoch of its
// head. Where it has grown, the oldest segments are sealed into lists first: Recent
// and Days of m change, and stay right if the manifest cannot be stored.
func (s *Store) WriteManifest(ctx context.Context, m *Manifest) (gridloom.FileRef, error) {
	m.Format = ManifestFormat
	m.Head.Manifest = gridloom.FileRef{}
	where := Where{m.Head.Generation, m.Head.Partition, m.Head.Epoch}
	for limit := maxRecent; ; limit /= 2 {
		if err := s.seal(ctx, where, m, limit); err != nil {
			return gridloom.FileRef{}, err
		}
		data, err := json.Marshal(m)
		if err != nil {
			return gridloom.FileRef{}, fmt.Errorf("encode manifest: %w", err)
		}
		if len(data) <= MaxManifestBytes || limit == 0 {
			return s.put(ctx, where, "manifest", m.Head.NextSeq, "json", data)
		}
	}
}

// seal moves the oldest segments, and the oldest lists of each depth, into lists
// until there are no more than limit of each.
func (s *Store) seal(ctx context.Context, where Where, m *Manifest, limit int) error {
	for len(m.Recent) > limit {
		n := sealedSegments(m.Recent[:min(sealSize, len(m.Recent))])
		ref, err := s.putList(ctx, where, &sealed{Segments: m.Recent[:n]}, 0)
		if err != nil {
			return err
		}
		m.Recent = slices.Clone(m.Recent[n:])
		m.Days = append(m.Days, ref)
	}
	for depth := range maxDepth - 1 {
		for {
			first, n := sealedLists(m.Days, depth)
			if n <= max(limit, 1) {
				break
			}
			n = min(n, sealSize)
			ref, err := s.putList(ctx, where, &sealed{Days: m.Days[first : first+n]}, depth+1)
			if err != nil {
				return err
			}
			m.Days = slices.Concat(m.Days[:first], []DayRef{ref}, m.Days[first+n:])
		}
	}
	return nil
}

// sealedSegments returns how many of the oldest segments go into one list: up to
// the last change of the UTC day in their second half, so that most lists are of
// one day and none is small.
func sealedSegments(oldest []Segment) int {
	for n := len(oldest) - 1; n >= max(1, len(oldest)/2); n-- {
		if oldest[n].MaxLogged.Floor(gridloom.Day) != oldest[n-1].MaxLogged.Floor(gridloom.Day) {
			return n
		}
	}
	return len(oldest)
}

// sealedLists returns where the lists of a depth are. Deeper ones are older and
// come first, so that they stand together.
func sealedLists(days []DayRef, depth int) (first, n int) {
	first = slices.IndexFunc(days, func(d DayRef) bool { return d.Depth == depth })
	if first < 0 {
		return 0, 0
	}
	for first+n < len(days) && days[first+n].Depth == depth {
		n++
	}
	return first, n
}

func (s *Store) putList(ctx context.Context, where Where, l *sealed, depth int) (DayRef, error) {
	l.Format = ManifestFormat
	ref := DayRef{Depth: depth}
	for i := range l.Segments {
		ref.addSegment(&l.Segments[i])
	}
	for i := range l.Days {
		ref.addList(&l.Days[i])
	}
	data, err := json.Marshal(l)
	if err != nil {
		return DayRef{}, fmt.Errorf("encode list: %w", err)
	}
	ref.FileRef, err = s.put(ctx, where, "list", uint64(ref.MinLogged), "json", data)
	return ref, err
}

func (d *DayRef) addSegment(g *Segment) {
	one := DayRef{
		Segments: 1, Rows: g.Rows, Bytes: g.Bytes, MinLogged: g.MinLogged, MaxLogged: g.MaxLogged,
		MinStart: g.MinStart, MaxEnd: g.MaxEnd, MinMeter: g.MinMeter, MaxMeter: g.MaxMeter,
	}
	if g.Kind == KindRaw {
		one.MaxRaw = g.MaxSeq
	}
	if g.Kind.HoldsRecords() {
		one.MaxRecord = g.MaxSeq
	}
	d.addList(&one)
}

func (d *DayRef) addList(o *DayRef) {
	if d.Segments == 0 {
		d.MinLogged, d.MinStart, d.MinMeter, d.MaxMeter = o.MinLogged, o.MinStart, o.MinMeter, o.MaxMeter
		d.MaxLogged, d.MaxEnd = o.MaxLogged, o.MaxEnd
	}
	d.Segments += o.Segments
	d.Rows += o.Rows
	d.Bytes += o.Bytes
	d.MaxRaw, d.MaxRecord = max(d.MaxRaw, o.MaxRaw), max(d.MaxRecord, o.MaxRecord)
	d.MinLogged, d.MaxLogged = min(d.MinLogged, o.MinLogged), max(d.MaxLogged, o.MaxLogged)
	d.MinStart, d.MaxEnd = min(d.MinStart, o.MinStart), max(d.MaxEnd, o.MaxEnd)
	d.MinMeter, d.MaxMeter = min(d.MinMeter, o.MinMeter), max(d.MaxMeter, o.MaxMeter)
}
