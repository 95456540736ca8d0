package pane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

// listed makes the n-th segment of a busy partition: every 15 s a raw and a pane one.
func listed(n int) Segment {
	logged := noon + gridloom.Millis(n/2)*15*gridloom.Second
	meters := []string{fmt.Sprintf("MAC%06d", n%7*1000), fmt.Sprintf("MAC%06d", n%7*1000+333)}
	g := Segment{
		Path: fmt.Sprintf("g1/p2/e3/raw-%d-abcdefghijklm.parquet", n), CRC: uint32(n), Bytes: 1e6, Kind: KindRaw, Rows: 10_000, Epoch: 3,
		MinSeq: uint64(10 * n), MaxSeq: uint64(10*n + 19), MinLogged: logged - 15*gridloom.Second, MaxLogged: logged, MinStart: logged - gridloom.Minute, MaxEnd: logged,
		MinMeter: meters[0], MaxMeter: meters[1], Meters: slices.Repeat(newFilter(meters), maxFilterBytes/8), Registers: []string{"1-0:1.7.0", "1-0:1.8.0", "1-0:32.7.0"},
	}
	if n%2 == 1 {
		g.Kind, g.Path = KindPane, strings.Replace(g.Path, "raw", "pane", 1)
	}
	return g
}

func collect(t *testing.T, s *Store, m *Manifest, kind Kind, sel Selector) []Segment {
	t.Helper()
	var got []Segment
	for g, err := range s.Segments(t.Context(), m, kind, sel) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, g)
	}
	return got
}

// TestManifestStaysSmall commits for five days, and finds every segment
// again in the order of its commit, by time and by meter.
func TestManifestStaysSmall(t *testing.T) {
	t.Parallel()
	const commits = 30_000
	s, fsys := newStore(t, StoreOptions{})
	m := &Manifest{Head: gridloom.Head{Generation: 1, Partition: 2, Epoch: 3}}
	var all []Segment
	var ref gridloom.FileRef
	for n := 0; n < 2*commits; n += 2 {
		pair := []Segment{listed(n), listed(n + 1)}
		all = append(all, pair...)
		m.Recent = append(m.Recent, pair...)
		if n%1000 != 0 && len(m.Recent) <= maxRecent { // most manifests change nothing of the tree: save time
			continue
		}
		var err error
		if ref, err = s.WriteManifest(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		info, err := fsys.Stat("/store/" + ref.Path)
		if err != nil || info.Size() > MaxManifestBytes {
			t.Fatalf("after %d commits the manifest has %d bytes, %v", n/2, info.Size(), err)
		}
	}
	if m, err := s.ReadManifest(t.Context(), ref); err != nil || len(m.Recent) > maxRecent {
		t.Fatal(err)
	}
	f := func(kind Kind, sel Selector) {
		t.Helper()
		var want []Segment
		for i := range all {
			if g := &all[i]; g.Kind == kind && g.MayHold(&sel) {
				want = append(want, *g)
			}
		}
		if got := collect(t, s, m, kind, sel); !slices.EqualFunc(got, want, func(a, b Segment) bool { return a.Path == b.Path }) {
			t.Errorf("%s %+v: %d segments, want %d", kind, sel, len(got), len(want))
		}
	}
	f(KindRaw, Selector{})
	f(KindPane, Selector{})
	f(KindRaw, Selector{After: 10*commits + 5})
	f(KindPane, Selector{From: noon + gridloom.Day, To: noon + gridloom.Day + gridloom.Hour})
	f(KindRaw, Selector{Meters: []string{"MAC003333"}, From: noon + 2*gridloom.Day, To: noon + 3*gridloom.Day})
}

func TestManifestRoundTrip(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	snap := listed(9)
	snap.Kind = KindSnapshot
	want := &Manifest{
		Head:   gridloom.Head{Format: 1, Generation: 1, Partition: 2, Epoch: 3, Owner: "o", Node: "n", CommitID: "c", NextSeq: 44, LogTime: noon},
		Recent: []Segment{listed(0), listed(1)}, Snapshot: &snap, SnapshotSeq: 43, Width: gridloom.DefaultWidth, Lateness: gridloom.DefaultLateness,
		Bridge: gridloom.DefaultBridge, Dropped: []Dropped{{"g1/p2/e3/x", noon}}, RawFrom: noon, PanesFrom: noon - gridloom.Day, Counts: Counts{1, 2, 3, 4, 5, 6},
	}
	ref, err := s.WriteManifest(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.ReadManifest(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(ref.Path, "g1/p2/e3/manifest-44-") {
		t.Errorf("path %s", ref.Path)
	}
}

// TestVanishedListIsAnError takes a sealed list away: the walk must end with its name.
func TestVanishedListIsAnError(t *testing.T) {
	s, fsys := newStore(t, StoreOptions{CacheBytes: -1})
	m := &Manifest{Head: gridloom.Head{Generation: 1, Partition: 2, Epoch: 3}}
	for n := range 3 * maxRecent {
		m.Recent = append(m.Recent, listed(n))
	}
	if _, err := s.WriteManifest(t.Context(), m); err != nil || len(m.Days) < 2 {
		t.Fatal(len(m.Days), err)
	}
	gone := m.Days[1].Path
	if err := fsys.Remove("/store/" + gone); err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range s.Segments(t.Context(), m, KindRaw, Selector{}) {
		last = err
	}
	if !errors.Is(last, gridloom.ErrNotFound) || !strings.Contains(last.Error(), gone) {
		t.Errorf("got %v", last)
	}
}

// TestCommitSurvivesPowerLoss takes the power away at every operation of two
// commits: a manifest that was returned is there, with all that it names.
func TestCommitSurvivesPowerLoss(t *testing.T) {
	rows := randomReadings(rand.New(rand.NewPCG(2, 2)), 20)
	commit := func(s *Store, m *Manifest) (gridloom.FileRef, error) {
		seg, err := s.WriteRaw(context.Background(), where, rows)
		if err != nil {
			return gridloom.FileRef{}, err
		}
		m.Recent = append(m.Recent, seg)
		return s.WriteManifest(context.Background(), m)
	}
	for at := 1; ; at++ {
		fsys := faultfs.New()
		var chance *rand.Rand
		if at%2 == 0 {
			chance = rand.New(rand.NewPCG(uint64(at), 0))
		}
		fsys.Inject(faultfs.PowerLossAt(at, chance))
		var refs []gridloom.FileRef
		d, err := blob.OpenDir("/store", fsys)
		if err == nil {
			s := NewStore(d, StoreOptions{})
			m := &Manifest{Head: gridloom.Head{Generation: 1, Partition: 2, Epoch: 3}}
			for n := 0; n < 2 && err == nil; n++ {
				var ref gridloom.FileRef
				if ref, err = commit(s, m); err == nil {
					refs = append(refs, ref)
				}
			}
		}
		if err == nil {
			if at < 20 {
				t.Fatalf("only %d operations were tried", at)
			}
			return
		}
		fsys.Restart()
		if d, err = blob.OpenDir("/store", fsys); err != nil {
			t.Fatal(err)
		}
		s := NewStore(d, StoreOptions{})
		for i, ref := range refs {
			m, err := s.ReadManifest(t.Context(), ref)
			if err != nil || len(m.Recent) != i+1 {
				t.Fatalf("power lost at operation %d: manifest %d: %v", at, i, err)
			}
			for _, seg := range m.Recent {
				if got := readRaw(t, s, seg, Selector{}); len(got) != len(rows) {
					t.Fatalf("power lost at operation %d: %d readings", at, len(got))
				}
			}
		}
	}
}

func TestFilesListsAPartition(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	writeOneOfEach(t, s)
	if _, err := s.WriteSnapshot(t.Context(), Where{Generation: 1, Partition: 20, Epoch: 3}, nil, 0, 0); err != nil {
		t.Fatal(err)
	}
	infos, err := s.Files(t.Context(), 1, 2)
	if err != nil || len(infos) != 3 {
		t.Errorf("%v, %v", infos, err)
	}
}

func FuzzManifest(f *testing.F) {
	snap := listed(3)
	for _, v := range []any{
		Manifest{Format: 1, Recent: []Segment{listed(0)}, Snapshot: &snap, Days: []DayRef{{FileRef: gridloom.FileRef{Path: "a"}}}},
		sealed{Format: 1, Segments: []Segment{listed(0)}},
		sealed{Format: 1, Days: []DayRef{{FileRef: gridloom.FileRef{Path: "a"}}}},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeManifest(data); err == nil {
			again, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			n, err := decodeManifest(again)
			if err != nil {
				t.Fatalf("what was taken is refused when it is written again: %v", err)
			}
			for _, sel := range []Selector{{}, {Meters: []string{"a"}, Registers: []gridloom.RegisterID{1}, From: 5, To: 9, After: 3}} {
				for i := range n.Recent {
					n.Recent[i].MayHold(&sel)
				}
			}
		}
		for depth := range 3 {
			_, _ = decodeList(data, depth)
		}
	})
}

// TestNamesAreReadBack: a path that put made says where the file belongs; any other is
// nobody's.
func TestNamesAreReadBack(t *testing.T) {
	f := func(path string, want Name, wantOK bool) {
		t.Helper()
		if got, ok := ParseName(path); got != want || ok != wantOK {
			t.Errorf("ParseName(%q) = %+v, %v, want %+v, %v", path, got, ok, want, wantOK)
		}
	}
	s, _ := newStore(t, StoreOptions{})
	ref, err := s.put(t.Context(), Where{3, 12, 45}, "raw", 678, "parquet", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	f(ref.Path, Name{Where{3, 12, 45}, "raw", 678}, true)
	f("g1/p0/e3/manifest-9-abc.json", Name{Where{1, 0, 3}, "manifest", 9}, true)
	f("g1/p0/e3/manifest.json", Name{}, false)
	f("g1/p0/e3/raw-x-abc.parquet", Name{}, false)
	f("g1/p00/e3/raw-1-abc.parquet", Name{Where{1, 0, 3}, "raw", 1}, false)
	f("g1/p0/raw-1-abc.parquet", Name{}, false)
	f("g1/p0/e3/deeper/raw-1-abc.parquet", Name{}, false)
	f("g1/q0/e3/raw-1-abc.parquet", Name{}, false)
	f("g1/p0/e-3/raw-1-abc.parquet", Name{}, false)
}
