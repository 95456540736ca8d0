package pane

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

func allReadings(t *testing.T, s *Store, segments []Segment) []gridloom.Reading {
	t.Helper()
	var rows []gridloom.Reading
	for _, seg := range segments {
		if err := s.ReadRaw(t.Context(), seg, Selector{}, func(r *gridloom.Reading) error { rows = append(rows, *r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

func allPanes(t *testing.T, s *Store, segments []Segment) []gridloom.Pane {
	t.Helper()
	var rows []gridloom.Pane
	for _, seg := range segments {
		if err := s.ReadPanes(t.Context(), seg, Selector{}, AllColumns, func(p *gridloom.Pane) error { rows = append(rows, keep(p)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

func keep(p *gridloom.Pane) gridloom.Pane {
	q := *p
	q.Carry = slices.Clone(p.Carry)
	return q
}

// TestMergeKeepsEveryReading merges segments, and the results again, and finds the rows of all of them.
func TestMergeKeepsEveryReading(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	for _, n := range []int{1, 50, 4000, groupRows + 999} {
		s, _ := newStore(t, StoreOptions{CacheBytes: -1})
		var all []gridloom.Reading
		var inputs []Segment
		for range 5 {
			rows := randomReadings(rng, n)
			seg, err := s.WriteRaw(t.Context(), where, rows)
			if err != nil {
				t.Fatal(err)
			}
			inputs, all = append(inputs, seg), append(all, rows...)
		}
		first, err := s.Merge(t.Context(), where, KindRaw, inputs[:3], 1)
		if err != nil {
			t.Fatal(err)
		}
		merged, err := s.Merge(t.Context(), where, KindRaw, append(first, inputs[3:]...), 2)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(sortedReadings(all), allReadings(t, s, merged)); diff != "" {
			t.Fatalf("%d rows (-written +merged):\n%s", n, diff)
		}
		var want Segment
		for _, seg := range inputs {
			want.widen(seg.MinSeq, seg.MinLogged, seg.MinStart, seg.MaxEnd)
			want.widen(seg.MaxSeq, seg.MaxLogged, seg.MinStart, seg.MaxEnd)
		}
		got := merged[0]
		if got.Level != 2 || got.MinSeq != want.MinSeq || got.MaxSeq != want.MaxSeq || got.MinLogged != want.MinLogged || got.MaxLogged != want.MaxLogged ||
			got.MinStart != want.MinStart || got.MaxEnd != want.MaxEnd || got.Rows != int64(len(all)) {
			t.Errorf("merged segment says %+v, inputs %+v", got, want)
		}
	}
}

// TestMergeKeepsTheNewestPane merges revisions of panes.
func TestMergeKeepsTheNewestPane(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 1))
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	type key struct {
		s  gridloom.Series
		at gridloom.Millis
	}
	newest := map[key]gridloom.Pane{}
	var inputs []Segment
	for commit := range 8 {
		rows := randomPanes(rng, 700)
		seen := map[key]bool{}
		kept := rows[:0]
		for _, p := range rows {
			k := key{gridloom.Series{Meter: p.Meter, Register: p.Register}, p.Start}
			if seen[k] {
				continue // one commit writes a pane once
			}
			seen[k] = true
			p.Revision = uint64(100 + commit*10 + rng.IntN(10))
			kept = append(kept, p)
			newest[k] = p
		}
		seg, err := s.WritePanes(t.Context(), where, kept)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, seg)
	}
	merged, err := s.Merge(t.Context(), where, KindPane, inputs, 1)
	if err != nil {
		t.Fatal(err)
	}
	rows := allPanes(t, s, merged)
	if len(rows) != len(newest) {
		t.Errorf("%d panes, want %d", len(rows), len(newest))
	}
	for _, p := range rows {
		if diff := cmp.Diff(newest[key{gridloom.Series{Meter: p.Meter, Register: p.Register}, p.Start}], p); diff != "" {
			t.Fatalf("pane (-newest +merged):\n%s", diff)
		}
	}
}

// TestMergeCutsBetweenSeries writes more than fits one segment.
func TestMergeCutsBetweenSeries(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1, SegmentBytes: 1 << 20})
	rng := rand.New(rand.NewPCG(13, 1))
	rows := benchReadings(3000, 10)
	for i := range rows { // nothing to compress
		rows[i].Value, rows[i].Order, rows[i].Place = rng.Int64(), gridloom.Order(rng.Uint64()>>4), rng.Uint32()
		rows[i].LoggedAt += gridloom.Millis(rng.IntN(1 << 40))
		rows[i].Start += gridloom.Millis(rng.IntN(1 << 40))
		rows[i].Agent = fmt.Sprint(rng.Uint64())
	}
	seg, err := s.WriteRaw(t.Context(), where, rows)
	if err != nil {
		t.Fatal(err)
	}
	inputs := []Segment{seg, seg, seg, seg, seg, seg}
	merged, err := s.Merge(t.Context(), where, KindRaw, inputs, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(merged) < 2 {
		t.Fatalf("%d segments of %d bytes, want several", len(merged), merged[0].Bytes)
	}
	n := int64(0)
	for i, seg := range merged {
		n += seg.Rows
		if seg.Bytes > 4<<20 {
			t.Errorf("segment %d has %d bytes", i, seg.Bytes)
		}
	}
	if n != int64(6*len(rows)) {
		t.Errorf("%d rows, want %d", n, 6*len(rows))
	}
}

// TestReplaceInTheTree replaces segments wherever they stand.
func TestReplaceInTheTree(t *testing.T) {
	ctx := context.Background()
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	m := &Manifest{}
	m.Head.Generation, m.Head.Partition, m.Head.Epoch = 1, 2, 3
	for i := range 400 {
		kind := KindRaw
		if i%2 == 1 {
			kind = KindPane
		}
		g := Segment{
			Path: fmt.Sprintf("g1/p2/e3/x-%d", i), Kind: kind, Rows: 1, Bytes: 10, MinSeq: uint64(i), MaxSeq: uint64(i),
			MinLogged: noon, MaxLogged: noon, MinStart: noon, MaxEnd: noon + gridloom.Millis(i) + 1, MinMeter: "a", MaxMeter: "b", Registers: []string{"1-0:1.8.0"},
		}
		m.Recent = append(m.Recent, g)
		if _, err := s.WriteManifest(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	paths := func(kind Kind) (list []string) {
		for seg, err := range s.Segments(ctx, m, kind, Selector{}) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, seg.Path)
		}
		return list
	}
	named := func() int {
		n := 0
		if err := s.Tree(ctx, m, func(string, *Segment) { n++ }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	raw, panes, before := paths(KindRaw), paths(KindPane), named()

	gone := append(slices.Clone(raw[3:150]), "g1/p2/e3/never-there")
	if _, ok, err := s.Replace(ctx, m, gone, []Segment{{Path: "new", Kind: KindRaw}}); ok || err != nil {
		t.Fatalf("replaced although an input is not listed: %v %v", ok, err)
	}
	if got := paths(KindRaw); !slices.Equal(got, raw) {
		t.Fatal("a refused replacement has changed the manifest")
	}
	one := Segment{Path: "new", Kind: KindRaw, Rows: 5, MinLogged: noon, MaxLogged: noon, MinStart: noon, MaxEnd: noon + 1, MinMeter: "a", MaxMeter: "b"}
	dropped, ok, err := s.Replace(ctx, m, raw[3:150], []Segment{one})
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := slices.Concat(raw[:3], []string{"new"}, raw[150:])
	if diff := cmp.Diff(want, paths(KindRaw)); diff != "" {
		t.Errorf("raw segments (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(panes, paths(KindPane)); diff != "" {
		t.Errorf("pane segments (-want +got):\n%s", diff)
	}
	for _, path := range raw[3:150] {
		if !slices.Contains(dropped, path) {
			t.Fatalf("%s is not named any more and not dropped", path)
		}
	}
	if after := named(); after >= before {
		t.Errorf("%d files named, %d before", after, before)
	}
	if _, err := s.WriteManifest(ctx, m); err != nil { // it can still be sealed and written
		t.Fatal(err)
	}

	if _, _, err := s.Retain(ctx, m, Bounds{PanesFrom: noon + 200}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(panes[100:], paths(KindPane)); diff != "" {
		t.Errorf("panes after retention (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, paths(KindRaw)); diff != "" {
		t.Errorf("raw segments after retention of panes (-want +got):\n%s", diff)
	}
}

// TestAFailedReplacementTellsWhatItMade: lists that were written before another one could
// not be read are told, so that they are deleted; the manifest stays as it is.
func TestAFailedReplacementTellsWhatItMade(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	m := &Manifest{}
	m.Head.Generation, m.Head.Partition, m.Head.Epoch = 1, 2, 3
	for i := range 150 {
		m.Recent = append(m.Recent, Segment{
			Path: fmt.Sprintf("g1/p2/e3/x-%d", i), Kind: KindRaw, Rows: 1, Bytes: 10, MinLogged: noon, MaxLogged: noon,
			MinStart: noon, MaxEnd: noon + gridloom.Millis(i) + 1, MinMeter: "a", MaxMeter: "b",
		})
	}
	if _, err := s.WriteManifest(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if len(m.Days) < 2 {
		t.Fatalf("%d sealed lists, want some", len(m.Days))
	}
	if err := s.Delete(t.Context(), m.Days[len(m.Days)-1].Path); err != nil {
		t.Fatal(err)
	}
	lists := func() (paths []string) {
		files, err := s.Files(t.Context(), 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if n, _ := ParseName(f.Path); n.Kind == "list" {
				paths = append(paths, f.Path)
			}
		}
		return paths
	}
	f := func(name string, edit func() ([]string, error)) {
		before, days := lists(), slices.Clone(m.Days)
		dropped, err := edit()
		if !errors.Is(err, gridloom.ErrNotFound) {
			t.Fatalf("%s beneath a list that is gone: %v", name, err)
		}
		made := slices.DeleteFunc(lists(), func(path string) bool { return slices.Contains(before, path) })
		if len(made) == 0 || !cmp.Equal(made, slices.Sorted(slices.Values(dropped))) {
			t.Errorf("%s has made %q and tells of %q", name, made, dropped)
		}
		if diff := cmp.Diff(days, m.Days); diff != "" {
			t.Errorf("%s has failed and changed the manifest:\n%s", name, diff)
		}
	}
	f("Replace", func() ([]string, error) {
		dropped, ok, err := s.Replace(t.Context(), m, []string{"g1/p2/e3/x-0", "g1/p2/e3/x-1"}, []Segment{{Path: "new", Kind: KindRaw}})
		if ok {
			t.Error("replaced, and failed")
		}
		return dropped, err
	})
	f("Retain", func() ([]string, error) {
		_, dropped, err := s.Retain(t.Context(), m, Bounds{RawFrom: noon + 3})
		return dropped, err
	})
}

// TestMergeOfOneLongSeriesHoldsLittle merges a series that is much longer than a row group,
// told in time order by one input after the other, by all of them at once, or backwards.
func TestMergeOfOneLongSeriesHoldsLittle(t *testing.T) {
	const inputs, each = 3, 4 * groupRows
	for name, start := range map[string]func(input, i int) int{
		"one after the other": func(input, i int) int { return input*each + i },
		"side by side":        func(input, i int) int { return i*inputs + input },
		"at the same instant": func(_, i int) int { return i },
		"backwards":           func(input, i int) int { return (inputs-input)*each + i },
	} {
		files := byPath{}
		s := NewStore(files, StoreOptions{CacheBytes: -1})
		var segments []Segment
		for input := range inputs {
			rows := make([]gridloom.Reading, each)
			for i := range rows {
				rows[i] = gridloom.Reading{
					Meter: "m", Start: noon + gridloom.Millis(start(input, i)), Value: int64(i % 7), LoggedAt: noon,
					Sequence: uint64(1 + input), Place: uint32(i),
				}
			}
			rows[0].Meter, rows[each-1].Meter = "a", "z" // neighbours in its row groups
			seg, err := s.WriteRaw(t.Context(), where, rows)
			if err != nil {
				t.Fatal(err)
			}
			segments = append(segments, seg)
		}
		s = NewStore(files, StoreOptions{CacheBytes: -1})
		merged, err := s.Merge(t.Context(), where, KindRaw, segments, 1)
		if err != nil {
			t.Fatal(err)
		}
		seen, n := make([]bool, inputs*each), 0
		var last gridloom.Reading
		if err := s.ReadRaw(t.Context(), merged[0], Selector{}, func(r *gridloom.Reading) error {
			input, i := int(r.Sequence)-1, int(r.Place)
			at := input*each + i
			if seen[at] || int(r.Start-noon) != start(input, i) || r.Value != int64(i%7) ||
				r.Meter < last.Meter || r.Meter == last.Meter && compareReadings(&last, r) > 0 {
				return fmt.Errorf("row %d is %+v after %+v", n, r, &last)
			}
			seen[at], last = true, *r
			n++
			return nil
		}); err != nil || n != len(seen) {
			t.Fatalf("%s: %d rows of %d, %v", name, n, len(seen), err)
		}
		if rows := cap(s.writers.get().merged.valid); rows == 0 || rows > (inputs+4)*groupRows {
			t.Errorf("%s: %d rows are held, want at most a row group of %d of each input and a few", name, rows, groupRows)
		}
	}
}

// byPath is a store in memory.
type byPath map[string][]byte

func (b byPath) Put(_ context.Context, path string, data []byte) error {
	b[path] = slices.Clone(data)
	return nil
}
func (b byPath) Get(_ context.Context, path string) ([]byte, error) { return b[path], nil }
func (b byPath) List(context.Context, string) ([]blob.Info, error)  { return nil, nil }
func (b byPath) Delete(context.Context, string) error               { return nil }
