package pane

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/google/go-cmp/cmp"
)

// arrowInts reads an integer column with Arrow's reader: nulls are left out.
func arrowInts(t *testing.T, data []byte, column int) (values []int64, nulls int) {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for g := range r.NumRowGroups() {
		group := r.RowGroup(g)
		n := group.NumRows()
		c, err := group.Column(column)
		if err != nil {
			t.Fatal(err)
		}
		levels := make([]int16, n)
		got, have := 0, int64(0)
		switch c := c.(type) {
		case *file.Int64ColumnChunkReader:
			out := make([]int64, n)
			have, got, err = c.ReadBatch(n, out, levels, nil)
			values = append(values, out[:got]...)
		case *file.Int32ColumnChunkReader:
			out := make([]int32, n)
			have, got, err = c.ReadBatch(n, out, levels, nil)
			for _, v := range out[:got] {
				values = append(values, int64(uint32(v)))
			}
		}
		if err != nil || have != n {
			t.Fatalf("column %d: %d of %d rows, %v", column, have, n, err)
		}
		nulls += int(n) - got
	}
	return values, nulls
}

// TestArrowReadsTheSameRows reads raw segments with a reader that is not ours.
func TestArrowReadsTheSameRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, n := range []int{1, 9, 1000, groupRows + 5} {
		d := &discard{}
		s := NewStore(d, StoreOptions{CacheBytes: -1})
		rows := randomReadings(rng, n)
		if _, err := s.WriteRaw(t.Context(), where, rows); err != nil {
			t.Fatal(err)
		}
		want := map[int][]int64{}
		voids := 0
		for _, r := range sortedReadings(rows) {
			for column, v := range map[int]int64{
				colStart: int64(r.Start), colLength: int64(r.Length), rawQuality: int64(r.Quality), rawOrder: int64(r.Order),
				rawSequence: int64(r.Sequence), rawPlace: int64(r.Place), rawLoggedAt: int64(r.LoggedAt),
			} {
				want[column] = append(want[column], v)
			}
			if r.Void {
				voids++
			} else {
				want[rawValue] = append(want[rawValue], r.Value)
			}
		}
		for column, values := range want {
			got, nulls := arrowInts(t, d.data, column)
			if diff := cmp.Diff(values, got); diff != "" {
				t.Fatalf("%d rows, column %s (-want +got):\n%s", n, rawFields()[column].name, diff)
			}
			if column == rawValue && nulls != voids {
				t.Errorf("%d rows: Arrow finds %d nulls, want %d", n, nulls, voids)
			}
		}
	}
}

// TestDeltaIsParquets writes integers as differences, compressed or not, and reads
// them with Arrow and with our own decoder.
func TestDeltaIsParquets(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	shapes := map[string]func(i int) int64{
		"constant": func(int) int64 { return 42 },
		"rising":   func(i int) int64 { return 1_795_348_800_000 + int64(i)*10_000 },
		"noise":    func(int) int64 { return rng.Int64N(1 << 20) },
		"any":      func(int) int64 { return int64(rng.Uint64()) },
		"ends":     func(i int) int64 { return []int64{math.MinInt64, math.MaxInt64, 0}[i%3] },
		"one bit":  func(i int) int64 { return int64(i / 77 % 2) },
	}
	for name, shape := range shapes {
		for _, n := range []int{1, 2, 32, 33, 128, 129, 130, 1000, 5000} {
			for _, codec := range []compress.Compression{compress.Codecs.Uncompressed, compress.Codecs.Zstd} {
				values, narrow := make([]int64, n), make([]int64, n)
				for i := range values {
					values[i] = shape(i)
					narrow[i] = int64(uint32(values[i]))
				}
				wide := int64s("wide", delta)
				thin := uint32s("thin", delta)
				var e encoder
				if err := e.begin([]field{wide, thin}, nil, codec); err != nil {
					t.Fatal(err)
				}
				e.startGroup(n)
				e.ints(values)
				e.ints(narrow)
				data := e.finish()
				for column, want := range [][]int64{values, narrow} {
					if got, _ := arrowInts(t, data, column); !slices.Equal(got, want) {
						t.Fatalf("%s, %d values, %s, column %d: Arrow reads something else", name, n, codec, column)
					}
				}
				skip := rng.IntN(n)
				got := make([]int64, n-skip)
				if err := decodeDelta(got, skip, false, appendDelta(nil, values, false)); err != nil || !slices.Equal(got, values[skip:]) {
					t.Fatalf("%s, %d values after %d: %v", name, n-skip, skip, err)
				}
				if err := decodeDelta(got, skip, true, appendDelta(nil, narrow, true)); err != nil || !slices.Equal(got, narrow[skip:]) {
					t.Fatalf("%s, %d narrow values after %d: %v", name, n-skip, skip, err)
				}
			}
		}
	}
}

// TestHybridComesBack packs indexes of any width in any mixture of runs.
func TestHybridComesBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		count := 1 + rng.IntN(1<<rng.IntN(20))
		var index []int32
		for len(index) < 1+rng.IntN(400) {
			v, n := int32(rng.IntN(count)), 1
			if rng.IntN(3) == 0 {
				n += rng.IntN(40)
			}
			for range n {
				index = append(index, v)
			}
		}
		packed := appendHybrid(nil, index, widthOf(count))
		skip := rng.IntN(len(index))
		got := make([]int32, len(index)-skip)
		if err := decodeHybrid(got, skip, widthOf(count), uint32(count), packed); err != nil || !slices.Equal(got, index[skip:]) {
			t.Fatalf("%d indexes below %d after %d: %v", len(index), count, skip, err)
		}
	}
}

// TestLevelsComeBack packs presence.
func TestLevelsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 5))
	for range 500 {
		var present []bool
		for len(present) < 1+rng.IntN(300) {
			present = append(present, slices.Repeat([]bool{rng.IntN(2) == 0}, 1+rng.IntN(30))...)
		}
		packed := appendLevels(nil, present)
		got := make([]int32, len(present))
		if err := decodeHybrid(got, 0, 1, 2, packed[4:]); err != nil {
			t.Fatal(err)
		}
		for i, p := range present {
			if (got[i] == 1) != p {
				t.Fatalf("row %d of %d: %d, want %t", i, len(present), got[i], p)
			}
		}
	}
}

// FuzzDelta decodes what anybody wrote.
func FuzzDelta(f *testing.F) {
	f.Add(appendDelta(nil, []int64{1, 5, 2, 1 << 40}, false), 4, 0, false)
	f.Add(appendDelta(nil, []int64{1, 5, 2, 1 << 30}, true), 2, 1, true)
	f.Fuzz(func(t *testing.T, src []byte, n, skip int, narrow bool) {
		if n < 0 || n > 1<<12 || skip < 0 || skip > 1<<12 {
			return
		}
		dst := make([]int64, n)
		if err := decodeDelta(dst, skip, narrow, src); err != nil {
			return
		}
		again := make([]int64, n)
		if err := decodeDelta(again, 0, narrow, appendDelta(nil, dst, narrow)); err != nil || !slices.Equal(dst, again) {
			t.Fatal(fmt.Errorf("%d values come back as something else: %w", n, err))
		}
	})
}
