package pane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

func TestCacheHoldsItsBound(t *testing.T) {
	c := cache{max: 1000}
	for i := range 50 {
		path := fmt.Sprint(i)
		c.put(path, 1, make([]byte, 100))
		if _, ok := c.get(path, 1); !ok {
			t.Fatalf("file %d is not kept", i)
		}
		if _, ok := c.get(path, 2); ok {
			t.Fatal("a file is given for another crc")
		}
		c.get("0", 1) // stays because it is used
		if c.size() > 1000 {
			t.Fatalf("%d bytes", c.size())
		}
	}
	if _, ok := c.get("0", 1); !ok {
		t.Error("the file that is used most was dropped")
	}
	if _, ok := c.get("1", 1); ok {
		t.Error("an old file is kept")
	}
	if c.put("big", 1, make([]byte, 251)); c.wants(251) || c.size() != 1000 {
		t.Error("a file of a quarter of the cache is kept")
	}
}

// TestStoreIsUsedByMany runs writers and readers at once; the race detector looks on.
func TestStoreIsUsedByMany(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: 64 << 10})
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for range 5 {
				rows := randomReadings(rng, 100+rng.IntN(200))
				seg, err := s.WriteRaw(context.Background(), where, rows)
				if err != nil {
					t.Error(err)
					return
				}
				panes := randomPanes(rng, 50)
				paneSeg, err := s.WritePanes(context.Background(), where, panes)
				if err != nil {
					t.Error(err)
					return
				}
				if got := readRaw(t, s, seg, Selector{}); len(got) != len(rows) || got[0] != sortedReadings(rows)[0] {
					t.Error("readings differ")
				}
				if got := readPanes(t, s, paneSeg, Selector{}, AllColumns); len(got) != len(panes) {
					t.Error("panes differ")
				}
			}
		})
	}
	wg.Wait()
}

func TestFullDiskIsUnavailable(t *testing.T) {
	s, fsys := newStore(t, StoreOptions{})
	fsys.Inject(faultfs.FailFrom(1, syscall.ENOSPC))
	_, err := s.WriteRaw(t.Context(), where, frozenReadings())
	if !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "g1/p2/e3/raw-5-") {
		t.Errorf("got %v", err)
	}
	fsys.Inject(nil)
	if _, err := s.WriteRaw(t.Context(), where, nil); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("no rows: %v", err)
	}
}

func TestMetricsCountWhatIsRead(t *testing.T) {
	reg := prometheus.NewRegistry()
	s, _ := newStore(t, StoreOptions{CacheBytes: -1, Registerer: reg})
	seg, err := s.WriteRaw(t.Context(), where, frozenReadings())
	if err != nil {
		t.Fatal(err)
	}
	readRaw(t, s, seg, Selector{})
	seg.CRC++
	if err := drain(s, seg); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Error(err)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP gridloom_pane_read_rows_total Rows of raw, pane and snapshot segments decoded for a reader.
# TYPE gridloom_pane_read_rows_total counter
gridloom_pane_read_rows_total 3
# HELP gridloom_pane_refused_files_total Files that were not what was written, or are gone.
# TYPE gridloom_pane_refused_files_total counter
gridloom_pane_refused_files_total 1
`), "gridloom_pane_read_rows_total", "gridloom_pane_refused_files_total"); err != nil {
		t.Error(err)
	}
}

// TestAnotherReaderReadsTheSame reads a segment with Arrow's own reader, which
// shares no decoding with this package.
func TestAnotherReaderReadsTheSame(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	rows := randomReadings(rand.New(rand.NewPCG(4, 4)), 3000)
	seg, err := s.WriteRaw(t.Context(), where, rows)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.fetch(t.Context(), "raw", gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
	if err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	arrowReader, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.NewGoAllocator())
	if err != nil {
		t.Fatal(err)
	}
	table, err := arrowReader.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	records := array.NewTableReader(table, 0)
	defer records.Release()
	var got []gridloom.Reading
	for records.Next() {
		rec := records.Record()
		for i := range int(rec.NumRows()) {
			id, _ := gridloom.RegisterByName(rec.Column(0).(*array.String).Value(i))
			got = append(got, gridloom.Reading{
				Register: id, Meter: rec.Column(1).(*array.String).Value(i), Start: gridloom.Millis(rec.Column(2).(*array.Timestamp).Value(i)),
				Length: gridloom.Millis(rec.Column(3).(*array.Int64).Value(i)), Value: rec.Column(4).(*array.Int64).Value(i), Void: rec.Column(4).IsNull(i),
				Quality: gridloom.Quality(rec.Column(5).(*array.Uint32).Value(i)), Order: gridloom.Order(rec.Column(6).(*array.Uint64).Value(i)),
				Sequence: rec.Column(7).(*array.Uint64).Value(i), Place: rec.Column(8).(*array.Uint32).Value(i),
				LoggedAt: gridloom.Millis(rec.Column(9).(*array.Timestamp).Value(i)), Serial: rec.Column(10).(*array.String).Value(i), Agent: rec.Column(11).(*array.String).Value(i),
			})
		}
	}
	want := readRaw(t, s, seg, Selector{})
	if len(got) != len(want) {
		t.Fatalf("%d readings, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Void {
			got[i].Value = 0
		}
		if got[i] != want[i] {
			t.Fatalf("row %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if zone := table.Schema().Field(2).Type.(*arrow.TimestampType).TimeZone; zone != "UTC" {
		t.Errorf("instants are of zone %q", zone)
	}
}

// TestNobodyAsksForWhatIsWritten: written files fill a quarter of the cache until somebody
// asks for one.
func TestNobodyAsksForWhatIsWritten(t *testing.T) {
	c := cache{max: 1000}
	write := func(name string) bool {
		ok := c.wantsWritten(100)
		if ok {
			c.put(name, 1, make([]byte, 100))
		}
		return ok
	}
	for i, want := range []bool{true, true, false, false} {
		if got := write(string(rune('a' + i))); got != want {
			t.Errorf("file %d is kept: %t, want %t", i, got, want)
		}
	}
	if _, ok := c.get("b", 1); !ok || !write("e") {
		t.Error("after a question nothing more is kept")
	}
}
