package pane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
)

func randomRecords(rng *rand.Rand, n int) []Record {
	rows := make([]Record, n)
	for i := range rows {
		rows[i] = Record{
			Key: fmt.Sprintf("meter/m%d", rng.IntN(30)), Sequence: uint64(i/3 + 1), Place: uint32(i % 3), LoggedAt: noon + gridloom.Millis(i/3),
			Body: bytes.Repeat([]byte{byte('a' + i%26)}, 1+rng.IntN(2000)),
		}
	}
	return rows
}

func readRecords(t testing.TB, s *Store, seg Segment, sel Selector) (rows []Record) {
	t.Helper()
	if err := s.ReadRecords(t.Context(), seg, sel, func(r *Record) error { rows = append(rows, *r); return nil }); err != nil {
		t.Fatal(err)
	}
	return rows
}

// sameRecords is cmp.Equal, quicker.
func sameRecords(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(a, b Record) bool {
		return CompareRecords(&a, &b) == 0 && a.LoggedAt == b.LoggedAt && bytes.Equal(a.Body, b.Body)
	})
}

func sortedRecords(rows []Record) []Record {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Record) int { return CompareRecords(&a, &b) })
	return rows
}

// TestRecordsComeBackAsTheyWereWritten, chosen by key and sequence, of one row group and of several, merged and not.
func TestRecordsComeBackAsTheyWereWritten(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	rng := rand.New(rand.NewPCG(4, 4))
	all := randomRecords(rng, 2*recordGroupBytes/1000)
	var segments []Segment
	for part := range slices.Chunk(all, len(all)/3+1) {
		seg, err := s.WriteRecords(t.Context(), where, KindRegistry, 0, part)
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, seg)
	}
	merged, err := s.Merge(t.Context(), where, KindRegistry, segments, 1)
	if err != nil || len(merged) != 1 || merged[0].Level != 1 || merged[0].Kind != KindRegistry {
		t.Fatalf("Merge = %+v, %v", merged, err)
	}
	if data := mustGet(t, s, merged[0].Path); bytes.Count(data, []byte("body")) == 0 || merged[0].Bytes > segments[0].Bytes {
		t.Errorf("three segments of %d bytes become one of %d", segments[0].Bytes, merged[0].Bytes)
	}
	sels := []Selector{{}, {Keys: []string{}}, {Keys: []string{"meter/m3"}}, {Keys: []string{"a", "meter/m1", "meter/m29", "z"}}, {After: 700}, {Keys: []string{"meter/m3"}, After: 700}}
	for _, sel := range sels {
		var want []Record
		for _, r := range all {
			if r.Sequence > sel.After && (sel.Keys == nil || slices.Contains(sel.Keys, r.Key)) {
				want = append(want, r)
			}
		}
		var got []Record
		for _, seg := range segments {
			got = append(got, readRecords(t, s, seg, sel)...)
		}
		if !sameRecords(sortedRecords(want), sortedRecords(got)) {
			t.Errorf("%+v: %d records, want %d", sel, len(got), len(want))
		}
		if got := readRecords(t, s, merged[0], sel); !sameRecords(sortedRecords(want), got) {
			t.Errorf("%+v merged: %d records, want %d", sel, len(got), len(want))
		}
		if got := sel.ChooseRecords(nil, all); !sameRecords(want, got) {
			t.Errorf("%+v of a tail: %d records, want %d", sel, len(got), len(want))
		}
	}
	if _, err := s.WriteRecords(t.Context(), where, KindAudit, 0, nil); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("no records: %v", err)
	}
}

func mustGet(t testing.TB, s *Store, path string) []byte {
	t.Helper()
	data, err := s.blobs.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestManifestFindsRecords: lists of segments without records are not read for them, and retention never drops any.
func TestManifestFindsRecords(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	m := &Manifest{Head: gridloom.Head{Format: 1, Generation: 1, Partition: 2, Epoch: 3, NextSeq: 9}}
	var want []string
	for i := range 300 {
		seg := listed(i)
		if i%100 == 7 {
			var err error
			rows := []Record{{Key: fmt.Sprintf("meter/m%d", i), Sequence: uint64(i + 1), LoggedAt: noon, Body: []byte("{}")}}
			if seg, err = s.WriteRecords(t.Context(), where, KindRegistry, 0, rows); err != nil {
				t.Fatal(err)
			}
			want = append(want, seg.Path)
		}
		m.Recent = append(m.Recent, seg)
	}
	ref, err := s.WriteManifest(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = s.ReadManifest(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	find := func(sel Selector) (paths []string, lists float64) {
		before := testutil.ToFloat64(s.metrics.read.WithLabelValues("list"))
		for seg, err := range s.Segments(t.Context(), m, KindRegistry, sel) {
			if err != nil {
				t.Fatal(err)
			}
			paths = append(paths, seg.Path)
		}
		return paths, testutil.ToFloat64(s.metrics.read.WithLabelValues("list")) - before
	}
	got, lists := find(Selector{From: noon + 1000*gridloom.Day, To: noon + 1001*gridloom.Day})
	if d := cmp.Diff(want, got); d != "" || lists > 3 {
		t.Errorf("%v lists read, %s", lists, d)
	}
	if got, _ := find(Selector{Keys: []string{"meter/m107"}}); len(got) != 1 || got[0] != want[1] {
		t.Errorf("of a key: %v", got)
	}
	if got, lists := find(Selector{After: 208}); len(got) != 0 || lists != 0 {
		t.Errorf("after the last: %v, %v lists read", got, lists)
	}
	if _, _, err := s.Retain(t.Context(), m, Bounds{RawFrom: noon + 2000*gridloom.Day, PanesFrom: noon + 2000*gridloom.Day}); err != nil {
		t.Fatal(err)
	}
	if got, _ := find(Selector{}); !slices.Equal(got, want) {
		t.Errorf("after retention: %v, want %v", got, want)
	}
}

func frozenRecords() []Record {
	return []Record{
		{Key: "meter/Zähler 7", Sequence: 9, Place: 1, LoggedAt: noon + 9, Body: []byte(`{"zone":"Europe/Berlin"}`)},
		{Key: "meter/MAC000002", Sequence: 7, LoggedAt: noon + 7, Body: []byte(`{"zone":"Europe/London"}`)},
		{Key: "meter/MAC000002", Sequence: 12, LoggedAt: noon + 12, Body: []byte(`{"deleted":true}`)},
	}
}

// TestFrozenRecordsAreRead, by us and by somebody else's reader.
func TestFrozenRecordsAreRead(t *testing.T) {
	name := filepath.Join("testdata", "v1", "registry.parquet")
	if *freeze {
		s, _ := newStore(t, StoreOptions{})
		seg, err := s.WriteRecords(t.Context(), where, KindRegistry, 0, frozenRecords())
		if err != nil {
			t.Fatal(err)
		}
		freezeFile(t, s, name, seg.Path)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got []Record
	if _, err := decodeRecords(t.Context(), memory.NewGoAllocator(), data, &Selector{}, func(r *Record) error { got = append(got, *r); return nil }); err != nil {
		t.Fatal(err)
	}
	want := sortedRecords(frozenRecords())
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	a, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := a.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	keys, bodies := table.Column(recordKey).Data().Chunk(0).(*array.String), table.Column(recordBody).Data().Chunk(0).(*array.String)
	sequences := table.Column(recordSequence).Data().Chunk(0).(*array.Uint64)
	for i := range want {
		if keys.Value(i) != want[i].Key || bodies.Value(i) != string(want[i].Body) || sequences.Value(i) != want[i].Sequence {
			t.Errorf("row %d is %s %d %s, want %+v", i, keys.Value(i), sequences.Value(i), bodies.Value(i), want[i])
		}
	}
	var out bytes.Buffer
	if err := DescribeSegment(&out, data, DescribeOptions{Rows: -1}); err != nil || !bytes.Contains(out.Bytes(), []byte("meter/MAC000002 .. meter/Zähler 7")) || !bytes.Contains(out.Bytes(), []byte("Europe/London")) {
		t.Errorf("%v, %s", err, &out)
	}
}

func FuzzDecodeRecords(f *testing.F) {
	s, _ := newStore(f, StoreOptions{})
	for level := range 2 {
		seg, err := s.WriteRecords(context.Background(), where, KindAudit, level, frozenRecords())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(mustGet(f, s, seg.Path))
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = decodeRecords(context.Background(), memory.NewGoAllocator(), data, &Selector{}, func(*Record) error { return nil }) // no panic, no endless loop
		_ = DescribeSegment(io.Discard, data, DescribeOptions{Rows: -1})
	})
}
