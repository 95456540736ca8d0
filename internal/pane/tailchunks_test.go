package pane

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gridloom/gridloom"
)

func chunksOf(t testing.TB, encode func(emit func([]byte) error) error) (chunks [][]byte) {
	t.Helper()
	if err := encode(func(c []byte) error { chunks = append(chunks, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return chunks
}

func randomTail(rng *rand.Rand, readings, panes int) *Tail {
	t := &Tail{
		Head: gridloom.Head{
			Format: 1, Generation: 3, Partition: rng.IntN(64), Epoch: rng.Uint64(), Owner: "o\"1", Node: "ä", CommitID: "c", NextSeq: rng.Uint64(),
			LastRef: gridloom.FrameRef{Seq: rng.Uint64(), CRC: rng.Uint32()}, Manifest: gridloom.FileRef{Path: "g1/p0/e1/m.json", CRC: 7}, LogTime: noon,
		},
		LogTime: noon + 5, Watermark: noon - 5, NextSeq: rng.Uint64(),
		Readings: randomReadings(rng, readings), Panes: randomPanes(rng, panes), Records: randomRecords(rng, min(panes, 500)),
	}
	for i := range t.Panes {
		if t.Panes[i].Carry = nil; rng.IntN(3) == 0 {
			t.Panes[i].Carry = bytes.Repeat([]byte{byte(i)}, 1+rng.IntN(300))
		}
	}
	return t
}

// sameRows compares rows one by one: go-cmp takes seconds for a slice of many.
func sameRows[T any](t *testing.T, want, got []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d rows came back of %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(want[i], got[i]) {
			t.Fatalf("row %d came back changed:\n%s", i, cmp.Diff(want[i], got[i]))
		}
	}
}

// TestTailSurvivesItsChunks: any tail is the same after its way through chunks, none
// of which is too large.
func TestTailSurvivesItsChunks(t *testing.T) {
	t.Parallel()
	f := func(readings, panes, wantChunks int) {
		t.Helper()
		rng := rand.New(rand.NewPCG(uint64(readings), uint64(panes)))
		want := randomTail(rng, readings, panes)
		chunks := chunksOf(t, func(emit func([]byte) error) error { return EncodeTail(want, emit) })
		if len(chunks) < wantChunks {
			t.Errorf("%d readings and %d panes came in %d chunks, want at least %d", readings, panes, len(chunks), wantChunks)
		}
		var r TailReader
		for i, c := range chunks {
			if len(c) > ChunkBytes {
				t.Errorf("chunk %d has %d bytes", i, len(c))
			}
			if err := r.Add(c); err != nil {
				t.Fatal(err)
			}
			clear(c) // nothing of it is kept
		}
		got, err := r.Tail()
		if err != nil {
			t.Fatal(err)
		}
		sameRows(t, want.Readings, got.Readings)
		sameRows(t, want.Panes, got.Panes)
		sameRows(t, want.Records, got.Records)
		got.Readings, got.Panes, got.Records = want.Readings, want.Panes, want.Records
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what a tail says beside its rows came back changed (-want +got):\n%s", diff)
		}
		if _, err := r.Series(); !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("a tail gives a list of series: %v", err)
		}
	}
	f(0, 0, 1)
	f(1, 0, 1)
	f(0, 1, 3)
	f(30, 30, 2)
	f(30_000, 20_000, 12)
}

// TestLargeRowHasItsOwnChunk: a carry above the bound of a chunk still arrives.
func TestLargeRowHasItsOwnChunk(t *testing.T) {
	t.Parallel()
	want := randomTail(rand.New(rand.NewPCG(1, 1)), 0, 3)
	want.Panes[1].Carry = bytes.Repeat([]byte("x"), ChunkBytes+1)
	var r TailReader
	chunks := chunksOf(t, func(emit func([]byte) error) error { return EncodeTail(want, emit) })
	for _, c := range chunks {
		if err := r.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.Tail()
	if err != nil || len(chunks) != 5 {
		t.Fatalf("%d chunks, %v; want 5", len(chunks), err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestSeriesSurviveTheirChunks(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 20_000} {
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		want := make([]SeriesInfo, n)
		for i, r := range randomReadings(rng, n) {
			want[i] = SeriesInfo{r.Meter, r.Register, r.Serial, r.Start, r.Length, r.Value, r.Void, r.Quality}
		}
		var r TailReader
		for _, c := range chunksOf(t, func(emit func([]byte) error) error { return EncodeSeries(want, emit) }) {
			if err := r.Add(c); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.Series()
		if err != nil {
			t.Fatal(err)
		}
		sameRows(t, want, got)
		if _, err := r.Tail(); !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("a list of series gives a tail: %v", err)
		}
	}
}

// TestChunksThatDoNotBelongTogether: an answer is never put together from parts of another.
func TestChunksThatDoNotBelongTogether(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	tail := chunksOf(t, func(emit func([]byte) error) error { return EncodeTail(randomTail(rng, 3, 3), emit) })
	series := chunksOf(t, func(emit func([]byte) error) error { return EncodeSeries([]SeriesInfo{{Meter: "m"}}, emit) })
	f := func(want string, chunks ...[]byte) {
		t.Helper()
		var r TailReader
		var err error
		for _, c := range chunks {
			if err = r.Add(c); err != nil {
				break
			}
		}
		if !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one of ErrCorrupt with %q", err, want)
		}
	}
	f("do not belong here", tail[1])
	f("a second tail", tail[0], tail[0])
	f("do not belong here", series[0], tail[1])
	f("do not belong here", tail[0], series[0])
	f("EOF", nil)
	f("EOF", tail[0][:len(tail[0])-20])
	f("format", bytes.ReplaceAll(tail[0], []byte("gridloom.format"), []byte("gridloom.formaT")))
	f("not known here", bytes.ReplaceAll(series[0], []byte(gridloom.RegisterID(0).Info().Code), []byte(strings.Repeat("z", len(gridloom.RegisterID(0).Info().Code)))))
	f("instead of", bytes.ReplaceAll(series[0], []byte("last_void"), []byte("last_Void")))
}

// TestAnswerIsBounded: what an owner sends without end is refused.
func TestAnswerIsBounded(t *testing.T) {
	t.Parallel()
	r := TailReader{bytes: MaxAnswerBytes}
	if err := r.Add([]byte{1}); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("Add = %v, want ErrUnavailable", err)
	}
}

func FuzzTailChunk(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{0, 1, 5} {
		for _, c := range chunksOf(f, func(emit func([]byte) error) error { return EncodeTail(randomTail(rng, n, n), emit) }) {
			f.Add(c)
		}
	}
	for _, c := range chunksOf(f, func(emit func([]byte) error) error { return EncodeSeries([]SeriesInfo{{Meter: "m"}}, emit) }) {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, chunk []byte) {
		var r TailReader
		if err := r.Add(chunk); err != nil {
			if !errors.Is(err, gridloom.ErrCorrupt) {
				t.Errorf("error of no kind: %v", err)
			}
			return
		}
		// What is accepted says the same when it is sent on.
		if tail, err := r.Tail(); err == nil {
			var again TailReader
			if err := EncodeTail(tail, again.Add); err != nil {
				t.Fatal(err)
			}
			if got, err := again.Tail(); err != nil || !cmp.Equal(tail, got, cmpopts.EquateEmpty()) {
				t.Errorf("sent on, the tail is another: %v\n%s", err, cmp.Diff(tail, got, cmpopts.EquateEmpty()))
			}
		}
	})
}

func BenchmarkTailChunks(b *testing.B) {
	tail := randomTail(rand.New(rand.NewPCG(1, 1)), 20_000, 0)
	bytes := 0
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			bytes = 0
			if err := EncodeTail(tail, func(c []byte) error { bytes += len(c); return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(tail.Readings)), "ns/row")
		b.ReportMetric(float64(bytes)/float64(len(tail.Readings)), "B/row")
	})
	chunks := chunksOf(b, func(emit func([]byte) error) error { return EncodeTail(tail, emit) })
	b.Run("decode", func(b *testing.B) {
		for b.Loop() {
			var r TailReader
			for _, c := range chunks {
				if err := r.Add(c); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(tail.Readings)), "ns/row")
	})
}
