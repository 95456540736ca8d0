package pane

import (
	stdcmp "cmp"
	"context"
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

const noon = gridloom.Millis(1_795_348_800_000)

func newStore(t testing.TB, opt StoreOptions) (*Store, *faultfs.FS) {
	t.Helper()
	fsys := faultfs.New()
	d, err := blob.OpenDir("/store", fsys)
	if err != nil {
		t.Fatal(err)
	}
	return NewStore(d, opt), fsys
}

var where = Where{Generation: 1, Partition: 2, Epoch: 3}

// randomReadings makes n readings with every combination of what may be absent.
func randomReadings(rng *rand.Rand, n int) []gridloom.Reading {
	rows := make([]gridloom.Reading, n)
	for i := range rows {
		r := &rows[i]
		*r = gridloom.Reading{
			Meter: fmt.Sprintf("meter-%d", rng.IntN(20)), Register: gridloom.RegisterID(rng.IntN(gridloom.Registers())),
			Start: noon + gridloom.Millis(rng.Int64N(1e9)), Quality: gridloom.Quality(rng.Uint32() >> rng.IntN(33)),
			Order: gridloom.Order(rng.Uint64()), Sequence: rng.Uint64() >> rng.IntN(64), Place: rng.Uint32() >> rng.IntN(32),
			LoggedAt: noon + gridloom.Millis(rng.Int64N(1e6)),
		}
		if rng.IntN(2) == 0 {
			r.Length = gridloom.Millis(rng.Int64N(int64(gridloom.MaxInterval)))
		}
		if r.Void = rng.IntN(4) == 0; !r.Void {
			r.Value = rng.Int64N(2*gridloom.MaxValue) - gridloom.MaxValue
		}
		if rng.IntN(2) == 0 {
			r.Serial = fmt.Sprint(rng.IntN(100))
		}
		if rng.IntN(2) == 0 {
			r.Agent = strings.Repeat("ä", rng.IntN(5))
		}
	}
	return rows
}

func randomPanes(rng *rand.Rand, n int) []gridloom.Pane {
	rows := make([]gridloom.Pane, n)
	v := func() int64 { return int64(rng.Uint64()) }
	for i := range rows {
		p := &rows[i]
		*p = gridloom.Pane{
			Meter: fmt.Sprintf("meter-%d", rng.IntN(20)), Register: gridloom.RegisterID(rng.IntN(gridloom.Registers())),
			Start: noon + gridloom.Millis(rng.Int64N(1e9)).Floor(gridloom.Minute), Length: gridloom.DefaultWidth,
			Revision: rng.Uint64N(1e6), ComputedAt: noon + gridloom.Millis(rng.Int64N(1e6)), Closed: rng.IntN(2) == 0,
			Coverage: gridloom.Millis(rng.Int64N(900_001)), Quality: gridloom.Quality(rng.Uint32() >> rng.IntN(33)),
		}
		if rng.IntN(3) > 0 {
			p.N = 1 + rng.Uint32()>>rng.IntN(32)/2
			p.Sum, p.Min, p.Max, p.First, p.Last = v(), v(), v(), v(), v()
			p.FirstAt, p.LastAt = p.Start, p.Start+1
		}
		if p.HasEnergy = rng.IntN(2) == 0; p.HasEnergy {
			p.Energy = v()
		}
		if rng.IntN(2) == 0 {
			p.TimeWeighted = gridloom.Int128{Hi: v() >> 2, Lo: rng.Uint64()}
		}
		switch rng.IntN(4) {
		case 0:
			p.Carry = []byte{}
		case 1:
			p.Carry = []byte(fmt.Sprint(rng.Uint64()))
		}
	}
	return rows
}

func readRaw(t testing.TB, s *Store, seg Segment, sel Selector) []gridloom.Reading {
	t.Helper()
	var got []gridloom.Reading
	if err := s.ReadRaw(context.Background(), seg, sel, func(r *gridloom.Reading) error {
		got = append(got, *r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func readPanes(t testing.TB, s *Store, seg Segment, sel Selector, cols PaneColumns) []gridloom.Pane {
	t.Helper()
	var got []gridloom.Pane
	if err := s.ReadPanes(context.Background(), seg, sel, cols, func(p *gridloom.Pane) error {
		q := *p
		q.Carry = slices.Clone(p.Carry)
		got = append(got, q)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func sortedReadings(rows []gridloom.Reading) []gridloom.Reading {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b gridloom.Reading) int {
		if c := strings.Compare(a.Register.Info().Code, b.Register.Info().Code); c != 0 {
			return c
		}
		if c := strings.Compare(a.Meter, b.Meter); c != 0 {
			return c
		}
		return compareReadings(&a, &b)
	})
	return rows
}

func TestRawRoundTrip(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 2, 7, 100, 5000, groupRows + 1, 2*groupRows + 77} {
		rows := randomReadings(rng, n)
		seg, err := s.WriteRaw(t.Context(), where, rows)
		if err != nil {
			t.Fatal(err)
		}
		got := readRaw(t, s, seg, Selector{})
		if want := sortedReadings(rows); !slices.Equal(want, got) { // cmp.Diff takes seconds
			t.Fatalf("%d rows: %s", n, cmp.Diff(want, got))
		}
	}
}

func TestPaneRoundTrip(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 2, 7, 100, 5000, groupRows + 1} {
		rows := randomPanes(rng, n)
		seg, err := s.WritePanes(t.Context(), where, rows)
		if err != nil {
			t.Fatal(err)
		}
		got := readPanes(t, s, seg, Selector{}, AllColumns)
		slices.SortStableFunc(rows, func(a, b gridloom.Pane) int {
			return stdcmp.Or(strings.Compare(a.Register.Info().Code, b.Register.Info().Code), strings.Compare(a.Meter, b.Meter),
				stdcmp.Compare(a.Start, b.Start), stdcmp.Compare(a.Revision, b.Revision))
		})
		if !slices.EqualFunc(rows, got, samePane) {
			t.Fatalf("%d rows: %s", n, cmp.Diff(rows, got))
		}
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{0, 1, 500, groupRows + 5} {
		want := map[string]string{}
		var rows []SnapshotRow
		for i := range n {
			r := SnapshotRow{Meter: fmt.Sprintf("m%d", i%10_000), Register: gridloom.RegisterID(i / 10_000), State: make([]byte, rng.IntN(30)), Dials: rng.IntN(13), Rating: rng.Int64N(1e9)}
			for j := range r.State {
				r.State[j] = byte(rng.Uint32())
			}
			want[fmt.Sprint(r.Meter, r.Register)] = fmt.Sprint(string(r.State), r.Dials, r.Rating)
			rows = append(rows, r)
		}
		seg, err := s.WriteSnapshot(t.Context(), where, rows, noon, 99)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if err := s.ReadSnapshot(t.Context(), seg, func(r *SnapshotRow) error {
			got[fmt.Sprint(r.Meter, r.Register)] = fmt.Sprint(string(r.State), r.Dials, r.Rating)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%d rows: %s", n, diff)
		}
		if seg.MinSeq != 99 || seg.MaxLogged != noon {
			t.Errorf("segment %+v", seg)
		}
	}
}

// compareReadings is the order of rows of one series in a file.
func compareReadings(a, b *gridloom.Reading) int {
	return stdcmp.Or(stdcmp.Compare(a.Start, b.Start), stdcmp.Compare(a.Length, b.Length), stdcmp.Compare(a.Order, b.Order),
		stdcmp.Compare(a.Sequence, b.Sequence), stdcmp.Compare(a.Place, b.Place))
}
