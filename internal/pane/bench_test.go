package pane

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// benchReadings makes what one commit of a partition holds: meters that each send
// objects of three readings, in order of arrival.
func benchReadings(meters, objects int) []gridloom.Reading {
	regs := []string{"energy_import", "power_import", "voltage_l1"}
	rows := make([]gridloom.Reading, 0, 3*meters*objects)
	names, agents := make([]string, meters), make([]string, meters)
	for m := range names {
		names[m], agents[m] = fmt.Sprintf("MAC%06d", m), fmt.Sprintf("gw-%d", m/100)
	}
	for o := range objects {
		for m := range meters {
			for i, name := range regs {
				id, _ := gridloom.RegisterByName(name)
				rows = append(rows, gridloom.Reading{
					Meter: names[m], Register: id, Start: noon + gridloom.Millis(o)*gridloom.Second, Value: int64(1e9 + m*1000 + o*7919 + i),
					Order: gridloom.NewOrder(gridloom.ClassDevice, 5, uint32(o*10+m/100)), Agent: agents[m],
					Sequence: uint64(1000 + (o*meters+m)/1000), Place: uint32((m % 1000) * 3), LoggedAt: noon + gridloom.Millis(o*100),
				})
			}
		}
	}
	return rows
}

func benchPanes(meters, windows int) []gridloom.Pane {
	regs := []string{"energy_import", "power_import", "voltage_l1"}
	rows := make([]gridloom.Pane, 0, 3*meters*windows)
	for w := range windows {
		for m := range meters {
			for i, name := range regs {
				id, _ := gridloom.RegisterByName(name)
				start := noon + gridloom.Millis(w)*gridloom.DefaultWidth
				v := int64(1e9 + m*1000 + w*7919 + i)
				p := gridloom.Pane{
					Meter: fmt.Sprintf("MAC%06d", m), Register: id, Start: start, Length: gridloom.DefaultWidth, Revision: uint64(1000 + w),
					ComputedAt: start, Closed: true, N: 15, Coverage: gridloom.DefaultWidth, Sum: 15 * v, Min: v - 5, Max: v + 5, First: v - 3, Last: v + 3,
					FirstAt: start, LastAt: start + 14*gridloom.Minute,
				}
				if i == 0 {
					p.Energy, p.HasEnergy = v, true
				} else {
					p.TimeWeighted = gridloom.MulInt64(v, 900_000)
				}
				rows = append(rows, p)
			}
		}
	}
	return rows
}

// perRow reports what the rows of one turn took since before, a cpuTime.
func perRow(b *testing.B, rows int, before time.Duration) {
	b.Helper()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/float64(rows), "cpu-ns/row")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
}

// discard is a blob.Store that keeps the last file.
type discard struct {
	blob.Store
	data []byte
}

func (d *discard) Put(_ context.Context, _ string, data []byte) error {
	d.data = append(d.data[:0], data...)
	return nil
}

func (d *discard) Get(context.Context, string) ([]byte, error) { return d.data, nil }

// benchLoad is one commit of gridbench load.
func benchLoad() (rows []gridloom.Reading) {
	loadFleet(func(commit int, r gridloom.Reading) {
		if commit == 1 {
			rows = append(rows, r)
		}
	})
	return rows
}

func BenchmarkWriteRaw(b *testing.B) {
	load := benchLoad()
	for name, rows := range map[string][]gridloom.Reading{"meters=2500/objects=33": load, "meters=1000/objects=100": benchReadings(1000, 100), "meters=50000/objects=2": benchReadings(50_000, 2)} {
		b.Run(name, func(b *testing.B) {
			d := &discard{}
			s := NewStore(d, StoreOptions{CacheBytes: -1})
			columns, rank := columnsOf(rows), &Ranking{}
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				if _, err := s.WriteRawColumns(b.Context(), where, columns, rank); err != nil {
					b.Fatal(err)
				}
			}
			perRow(b, len(rows), before)
			b.ReportMetric(float64(len(d.data))/float64(len(rows)), "B/row")
		})
	}
}

func BenchmarkWritePanes(b *testing.B) {
	rows := benchPanes(50_000, 2)
	d := &discard{}
	s := NewStore(d, StoreOptions{CacheBytes: -1})
	var t SeriesTable
	number := t.numberer()
	series := make([]uint32, len(rows))
	for i := range rows {
		series[i] = number(gridloom.Series{Meter: rows[i].Meter, Register: rows[i].Register})
	}
	var rank Ranking
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		if _, err := s.WriteSeriesPanes(b.Context(), where, &t, series, rows, &rank); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b, len(rows), before)
	b.ReportMetric(float64(len(d.data))/float64(len(rows)), "B/row")
}

func BenchmarkReadRaw(b *testing.B) {
	s := NewStore(&discard{}, StoreOptions{CacheBytes: 1 << 30})
	rows := benchReadings(1000, 100)
	seg, err := s.WriteRaw(b.Context(), where, rows)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		n := 0
		if err := s.ReadRaw(b.Context(), seg, Selector{}, func(*gridloom.Reading) error { n++; return nil }); err != nil || n != len(rows) {
			b.Fatal(n, err)
		}
	}
	perRow(b, len(rows), before)
}

func BenchmarkReadRawOneMeter(b *testing.B) {
	s := NewStore(&discard{}, StoreOptions{CacheBytes: 1 << 30})
	rows := benchReadings(1000, 96)
	seg, err := s.WriteRaw(b.Context(), where, rows)
	if err != nil {
		b.Fatal(err)
	}
	sel := Selector{Meters: []string{"MAC000500"}}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := s.ReadRaw(b.Context(), seg, sel, func(*gridloom.Reading) error { n++; return nil }); err != nil || n != 288 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkReadPanes(b *testing.B) {
	s := NewStore(&discard{}, StoreOptions{CacheBytes: 1 << 30})
	rows := benchPanes(50_000, 2)
	seg, err := s.WritePanes(b.Context(), where, rows)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cols PaneColumns
	}{{"energy", ColEnergy | ColCoverage | ColQuality | ColClosed}, {"all", AllColumns}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				n := 0
				if err := s.ReadPanes(b.Context(), seg, Selector{}, c.cols, func(*gridloom.Pane) error { n++; return nil }); err != nil || n != len(rows) {
					b.Fatal(n, err)
				}
			}
			perRow(b, len(rows), before)
		})
	}
}
