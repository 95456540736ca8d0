package pane

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// objectsOf makes n objects of three readings, each in a frame of its own, of so many meters in turn.
func objectsOf(n, meters int) []gridloom.Reading {
	rng := rand.New(rand.NewPCG(21, uint64(n)))
	var rows []gridloom.Reading
	for i := range n {
		at := noon + gridloom.Millis(i)*gridloom.Second
		logged := at + gridloom.Millis(rng.IntN(900))
		for k, id := range registerIDs(fleetRegisters[:]) {
			rows = append(rows, gridloom.Reading{
				Meter: "m" + string(rune('a'+i%meters)), Register: id, Start: at, Value: rng.Int64N(1e6),
				Order: gridloom.NewOrder(gridloom.ClassDevice, 200_000_000, uint32(i)), Sequence: uint64(1 + i), Place: uint32(k), LoggedAt: logged,
			})
		}
	}
	return rows
}

// mergedObjects merges objects of two commits into one segment.
func mergedObjects(t testing.TB, s *Store, rows []gridloom.Reading) Segment {
	t.Helper()
	var inputs []Segment
	half := len(rows) / 2
	for _, part := range [][]gridloom.Reading{rows[:half], rows[half:]} {
		seg, err := s.WriteRaw(t.Context(), where, part)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, seg)
	}
	merged, err := s.Merge(t.Context(), where, KindRaw, inputs, 1)
	if err != nil || len(merged) != 1 {
		t.Fatal(len(merged), err)
	}
	return merged[0]
}

// foreignLogTimes reads sequence and logged_at with Arrow's reader, a log time of -1 where there is NULL.
func foreignLogTimes(t *testing.T, data []byte) (sequences, times []int64) {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.NewGoAllocator())
	if err != nil {
		t.Fatal(err)
	}
	table, err := fr.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	for _, c := range table.Column(rawSequence).Data().Chunks() {
		for _, v := range c.(*array.Uint64).Uint64Values() {
			sequences = append(sequences, int64(v))
		}
	}
	for _, c := range table.Column(rawLoggedAt).Data().Chunks() {
		for i, v := range c.(*array.Timestamp).TimestampValues() {
			if c.IsNull(i) {
				v = -1
			}
			times = append(times, int64(v))
		}
	}
	return sequences, times
}

// TestLogTimeIsToldOnce merges objects and finds each frame's log time in one row, as the
// page tells a stranger, and in every row as gridloom reads it.
func TestLogTimeIsToldOnce(t *testing.T) {
	const objects = 20_000 // 60,000 rows: two row groups, the second of which tells nothing of most
	s, _ := newStore(t, StoreOptions{})
	rows := objectsOf(objects, 7)
	seg := mergedObjects(t, s, rows)
	data, err := s.blobs.Get(t.Context(), seg.Path)
	if err != nil {
		t.Fatal(err)
	}
	sequences, times := foreignLogTimes(t, data)
	greatest, told := map[int64]int64{}, 0
	for i, at := range times {
		if at >= 0 {
			told++
		}
		greatest[sequences[i]] = max(greatest[sequences[i]], at)
	}
	if told != objects {
		t.Errorf("%d rows tell a log time, want %d, one of each frame", told, objects)
	}
	for i := range rows {
		if got := greatest[int64(rows[i].Sequence)]; got != int64(rows[i].LoggedAt) {
			t.Fatalf("log time of sequence %d is %d to a stranger, want %d", rows[i].Sequence, got, rows[i].LoggedAt)
		}
	}
	if diff := cmp.Diff(sortedReadings(rows), allReadings(t, s, []Segment{seg})); diff != "" {
		t.Error(diff)
	}
	registers := registerIDs(fleetRegisters[:])
	for _, sel := range []Selector{
		{Meters: []string{"md"}},
		{Registers: registers[2:]},
		{Registers: registers[1:2], Meters: []string{"ma", "mg"}, From: rows[9000].Start, To: rows[12_000].Start},
		{From: rows[30_000].Start, To: rows[30_020].Start},
		{After: rows[50_000].Sequence},
	} {
		var got []gridloom.Reading
		if err := s.ReadRaw(t.Context(), seg, sel, func(r *gridloom.Reading) error { got = append(got, *r); return nil }); err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(sortedReadings(rows), func(r gridloom.Reading) bool {
			return sel.Meters != nil && !slices.Contains(sel.Meters, r.Meter) || sel.Registers != nil && !slices.Contains(sel.Registers, r.Register) ||
				r.Start < sel.From || sel.To != 0 && r.Start >= sel.To || r.Sequence <= sel.After
		})
		if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
			t.Errorf("%+v: %d rows:\n%s", sel, len(got), diff)
		}
	}
}

// TestFramesBeyondTheTableTellTheirLogTimeAgain merges more frames than are remembered.
func TestFramesBeyondTheTableTellTheirLogTimeAgain(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	rows := objectsOf(maxTold+500, 3)
	seg := mergedObjects(t, s, rows)
	data, err := s.blobs.Get(t.Context(), seg.Path)
	if err != nil {
		t.Fatal(err)
	}
	_, times := foreignLogTimes(t, data)
	told := 0
	for _, at := range times {
		if at >= 0 {
			told++
		}
	}
	if want := maxTold + 3*500; told != want {
		t.Errorf("%d rows tell their log time, want %d", told, want)
	}
	if got := allReadings(t, s, []Segment{seg}); !slices.Equal(sortedReadings(rows), got) {
		t.Error("other rows are read than were written")
	}
	for _, meter := range []string{"ma", "mc"} {
		n := 0
		err := s.ReadRaw(t.Context(), seg, Selector{Meters: []string{meter}}, func(r *gridloom.Reading) error {
			if want := rows[3*(r.Sequence-1)].LoggedAt; r.LoggedAt != want {
				t.Errorf("log time of sequence %d is %s, want %s", r.Sequence, r.LoggedAt, want)
			}
			n++
			return nil
		})
		if err != nil || n < maxTold {
			t.Errorf("%d rows of %s: %v", n, meter, err)
		}
	}
}

// TestLogTimeThatNoRowTellsIsRefused reads a file in which a frame's log time is missing:
// an error that names the sequence, not a reading without it.
func TestLogTimeThatNoRowTellsIsRefused(t *testing.T) {
	rows := sortedReadings(objectsOf(4, 2))
	for _, props := range []parquet.WriterProperty{parquet.WithDictionaryDefault(false), parquet.WithMaxRowGroupLength(5)} {
		told := slices.Clone(rows)
		seen := map[uint64]bool{}
		for i := range told {
			if seen[told[i].Sequence] {
				told[i].LoggedAt = -1
			}
			seen[told[i].Sequence] = true
		}
		got, err := readForeign(foreignRawOf(t, ToldOnceVersion, told, props))
		if diff := cmp.Diff(rows, got); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
		for i := range told {
			if told[i].Sequence == 3 {
				told[i].LoggedAt = -1
			}
		}
		if got, err := readForeign(foreignRawOf(t, ToldOnceVersion, told, props)); err == nil || !strings.Contains(err.Error(), "sequence 3") {
			t.Errorf("%d rows, error %v, want one that names sequence 3", len(got), err)
		}
		only := Selector{Meters: []string{"ma"}} // sequences 1 and 3
		_, err = decodeRaw(t.Context(), memory.NewGoAllocator(), foreignRawOf(t, ToldOnceVersion, told, props), &only, func(*gridloom.Reading) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "sequence 3") {
			t.Errorf("error %v, want one that names sequence 3", err)
		}
	}
}
