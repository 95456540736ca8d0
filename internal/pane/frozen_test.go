package pane

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

var freeze = flag.Bool("freeze", false, "write the frozen samples that are missing")

func frozenReadings() []gridloom.Reading {
	id := func(name string) gridloom.RegisterID { r, _ := gridloom.RegisterByName(name); return r }
	order := gridloom.NewOrder(gridloom.ClassDevice, 217_000_000, 981)
	return []gridloom.Reading{
		{Meter: "MAC000002", Register: id("energy_import_interval"), Start: noon, Length: 30 * gridloom.Minute, Value: 123_000, Order: order, Agent: "gw-17", Sequence: 5, LoggedAt: noon + 1},
		{Meter: "MAC000002", Register: id("energy_import_interval"), Start: noon, Length: 30 * gridloom.Minute, Void: true, Quality: gridloom.Edited, Order: gridloom.NewOrder(gridloom.ClassEdit, 1, 2), Sequence: 6, Place: 3, LoggedAt: noon + 2},
		{Meter: "Zähler 7", Register: id("power"), Start: noon + 5, Value: -432_100, Quality: gridloom.ClockSuspect, Serial: "1ESY1", Sequence: 7, Place: 9, LoggedAt: noon + 3},
	}
}

func frozenPanes() []gridloom.Pane {
	id := func(name string) gridloom.RegisterID { r, _ := gridloom.RegisterByName(name); return r }
	return []gridloom.Pane{
		{
			Meter: "MAC000002", Register: id("energy_import_interval"), Start: noon, Length: gridloom.DefaultWidth, Revision: 7, ComputedAt: noon + 3, Closed: true,
			N: 1, Coverage: gridloom.DefaultWidth, Quality: gridloom.Derived, Sum: 123_000, Min: 123_000, Max: 123_000, First: 123_000, Last: 123_000,
			FirstAt: noon, LastAt: noon, Energy: 61_500, HasEnergy: true, Carry: []byte{1, 2, 3},
		},
		{
			Meter: "Zähler 7", Register: id("power"), Start: noon, Length: gridloom.DefaultWidth, Revision: 7, ComputedAt: noon + 3,
			Quality: gridloom.Missing, TimeWeighted: gridloom.MulInt64(-432_100, 899_995),
		},
	}
}

// frozenMerged are readings of which two stand in one frame.
func frozenMerged() []gridloom.Reading {
	rows := frozenReadings()
	again := rows[2]
	again.Meter, again.Value, again.Place = "Zähler 8", 1_000, 10
	return append(rows, again)
}

// TestFrozenMergedSampleIsRead reads a merged file of version 2, which tells log times once.
func TestFrozenMergedSampleIsRead(t *testing.T) {
	if *freeze {
		s, _ := newStore(t, StoreOptions{})
		freezeFile(t, s, filepath.Join("testdata", "v2", "raw.parquet"), mergedObjects(t, s, frozenMerged()).Path)
	}
	data, err := os.ReadFile(filepath.Join("testdata", "v2", "raw.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := readForeign(data)
	if diff := cmp.Diff(sortedReadings(frozenMerged()), got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, times := foreignLogTimes(t, data); times[3] != -1 || times[2] < 0 {
		t.Errorf("log times %v, want the last row's told by the one before it", times)
	}
}

// TestFrozenSamplesAreRead reads files of the first version of the format. They
// never change: a reader that cannot read them any more needs a new version, and
// keeps the old one.
func TestFrozenSamplesAreRead(t *testing.T) {
	if *freeze {
		writeFrozen(t)
	}
	sample := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata", "v1", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var readings []gridloom.Reading
	if _, err := decodeRaw(t.Context(), memory.NewGoAllocator(), sample("raw.parquet"), &Selector{}, func(r *gridloom.Reading) error {
		readings = append(readings, *r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sortedReadings(frozenReadings()), readings); diff != "" {
		t.Error(diff)
	}
	var panes []gridloom.Pane
	if _, err := decodePanes(t.Context(), memory.NewGoAllocator(), sample("pane.parquet"), &Selector{}, AllColumns, func(p *gridloom.Pane) error {
		panes = append(panes, *p)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(frozenPanes(), panes); diff != "" {
		t.Error(diff)
	}
	states := map[string]string{}
	if _, err := decodeSnapshot(t.Context(), memory.NewGoAllocator(), sample("snapshot.parquet"), func(r *SnapshotRow) error {
		states[r.Meter] = string(r.State)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "xyz", "b": ""}, states); diff != "" {
		t.Error(diff)
	}
	m, err := decodeManifest(sample("manifest.json"))
	if err != nil || len(m.Recent) != 2 || m.Snapshot == nil || m.SnapshotSeq != 7 || m.Head.NextSeq != 8 || !m.Recent[0].Meters.MayHold("MAC000002") {
		t.Errorf("%+v, %v", m, err)
	}
}

// writeFrozen writes the samples that are missing.
func writeFrozen(t *testing.T) {
	t.Helper()
	s, _ := newStore(t, StoreOptions{})
	raw, err := s.WriteRaw(t.Context(), where, frozenReadings())
	if err != nil {
		t.Fatal(err)
	}
	panes, err := s.WritePanes(t.Context(), where, frozenPanes())
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.WriteSnapshot(t.Context(), where, []SnapshotRow{{"a", 1, []byte("xyz"), 9, 17_250_000}, {"b", 2, nil, 0, 0}}, noon, 7)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := s.WriteManifest(t.Context(), &Manifest{
		Head: gridloom.Head{Format: 1, Generation: 1, Partition: 2, Epoch: 3, NextSeq: 8}, Recent: []Segment{raw, panes}, Snapshot: &snap, SnapshotSeq: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"raw.parquet": raw.Path, "pane.parquet": panes.Path, "snapshot.parquet": snap.Path, "manifest.json": ref.Path} {
		freezeFile(t, s, filepath.Join("testdata", "v1", name), path)
	}
}

// freezeFile writes a sample unless it is there.
func freezeFile(t *testing.T, s *Store, name, path string) {
	t.Helper()
	if _, err := os.Stat(name); err == nil {
		return
	}
	data, err := s.blobs.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
