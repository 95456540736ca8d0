package aggregate

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// newFleet gives a partition the series of meters that each say one thing per register.
func newFleet(tb testing.TB, meters int) *partition {
	tb.Helper()
	w := New(Config{Generation: 1, Partitions: 1, Window: testWindow, AwakeSeries: -1}, nil, nil, nil)
	p := w.owned(0)
	for m := range meters {
		id := p.table.meter(fmt.Sprintf("DE00056%09d", m))
		for _, name := range []string{"energy_import", "power_import", "voltage_l1"} {
			reg, _ := gridloom.RegisterByName(name)
			p.add1(p.table.find(id, reg), testStart, int64(1000*m))
		}
	}
	return p
}

// add1 folds a reading in and drops its row.
func (p *partition) add1(series uint32, at gridloom.Millis, value int64) {
	r := window.Reading{Start: at, Value: value, LoggedAt: at, Order: gridloom.NewOrder(gridloom.ClassDevice, 1, 1)}
	row, shared := pane.RawRow{Start: at, Value: value, Series: series}, pane.RawShared{LoggedAt: at, Order: r.Order}
	p.add(&r, &row, &shared)
	p.current.rows.Reset()
}

// TestRestingSeriesTellTheSame puts series to rest and finds the same newest reading,
// the same panes and the same snapshot as before, and wakes them by a reading.
func TestRestingSeriesTellTheSame(t *testing.T) {
	p := newFleet(t, 50)
	tell := func() (told []any) {
		for i := range uint32(p.table.len()) {
			last, ok := p.table.last(i)
			told = append(told, last, ok)
			p.cfg.Window.Open(p.table.at(i).kind, p.table.peek(i), math.MinInt64, func(pn *gridloom.Pane) { told = append(told, *pn) })
		}
		for _, r := range p.snapshotRows() {
			told = append(told, r)
		}
		return told
	}
	awake := tell()
	now := time.Unix(0, 0)
	round := func() {
		now = now.Add(p.cfg.RestEvery)
		p.table.rest(now)
	}
	round()
	if n := len(p.table.states.awake); n != p.table.len() {
		t.Fatalf("%d of %d series are awake in the round of their reading", n, p.table.len())
	}
	p.add1(7, testStart+1, 7001)
	p.add1(7, testStart, 7000) // out of order: waits for its refold
	p.add1(8, testStart+1, 8001)
	round()
	if got := p.table.states.awake; !cmp.Equal(got, []uint32{7, 8}) {
		t.Fatalf("series %v are awake, want 7 and 8", got)
	}
	round()
	if got := p.table.states.awake; !cmp.Equal(got, []uint32{7}) {
		t.Fatalf("series %v are awake, want 7, which waits", got)
	}
	resting := tell()
	i := 3 * 7 // what series 0 to 6 told: last, ok and a pane each
	if diff := cmp.Diff(awake[:i], resting[:i]); diff != "" {
		t.Error(diff)
	}
	p.add1(0, testStart+2, 5)
	if last, ok := p.table.last(0); !ok || last.Start != testStart+2 || p.table.at(0).rest != nil {
		t.Errorf("series 0 does not wake: %+v", last)
	}
}

// TestARestingSeriesIsSmall bounds what a series takes at rest, by the heap's profile.
func TestARestingSeriesIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("counts the heap of 30,000 series")
	}
	awake, resting := bytesPerSeries(t, 10_000)
	t.Logf("a series takes %d bytes awake, %d at rest", awake, resting)
	if resting > 250 || awake > 600 {
		t.Errorf("a series takes %d bytes awake and %d at rest, want at most 600 and 250", awake, resting)
	}
}

// bytesPerSeries returns what the live heap grows by for each series of a fleet.
func bytesPerSeries(tb testing.TB, meters int) (awake, resting uint64) {
	tb.Helper()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	p := newFleet(tb, meters)
	n := uint64(p.table.len())
	awake = (heap() - before) / n
	for round := range 2 {
		p.table.rest(time.Unix(0, 0).Add(time.Duration(round+1) * p.cfg.RestEvery))
	}
	resting = (heap() - before) / n
	runtime.KeepAlive(p)
	return awake, resting
}

// BenchmarkSeriesAtRest prints what a series of a million takes, names and tables included.
func BenchmarkSeriesAtRest(b *testing.B) {
	for b.Loop() {
		awake, resting := bytesPerSeries(b, 333_334)
		b.ReportMetric(float64(awake), "B/series-awake")
		b.ReportMetric(float64(resting), "B/series-at-rest")
	}
}

// BenchmarkWake folds readings of a fleet of which each series rests between two of them.
func BenchmarkWake(b *testing.B) {
	p := newFleet(b, 10_000)
	now, at := time.Unix(0, 0), testStart
	i := p.table.len()
	b.ReportAllocs()
	for b.Loop() {
		if i == p.table.len() {
			i, at = 0, at+gridloom.Second
			for range 2 {
				now = now.Add(p.cfg.RestEvery)
				p.table.rest(now)
			}
		}
		p.add1(uint32(i), at, int64(at))
		i++
	}
}
