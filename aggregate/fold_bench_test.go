package aggregate

import (
	"fmt"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// BenchmarkApply folds frames of 100 objects of three readings, of as many meters as
// one partition of a small and of a large fleet has.
func BenchmarkApply(b *testing.B) {
	for _, meters := range []int{2500, 50_000} {
		b.Run(fmt.Sprintf("meters=%d", meters), func(b *testing.B) {
			w := New(Config{Generation: 1, Partitions: 1, Window: testWindow, Now: func() gridloom.Millis { return testStart + gridloom.Day }}, nil, nil, nil)
			p := w.owned(0)
			regs := make([]gridloom.RegisterID, 0, 3)
			for _, name := range []string{"energy_import", "power_import", "voltage_l1"} {
				id, _ := gridloom.RegisterByName(name)
				regs = append(regs, id)
			}
			const objects = 100
			var frames [][]byte
			for from := 0; from < meters; from += objects {
				var c wire.Columns
				c.Reset()
				for o := range objects {
					m := (from + o) * 7919 % meters
					for i, reg := range regs {
						c.AppendReading(&gridloom.Reading{Meter: fmt.Sprintf("MAC%06d", m), Register: reg, Start: testStart, Value: int64(1000*m + i), Agent: "gw-1"})
					}
				}
				frames = append(frames, wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c))
			}
			seq := uint64(0)
			at := testStart
			step := func() {
				k := int(seq) % len(frames)
				if k == 0 {
					at++
					p.current.rows.Reset()
				}
				if _, err := wire.DecodeFrame(frames[k], &p.columns); err != nil {
					b.Fatal(err)
				}
				for i := range p.columns.Start {
					p.columns.Start[i] = at
				}
				seq++
				p.applyReadings(&Frame{Sequence: seq, LoggedAt: at})
			}
			for range 2 * len(frames) {
				step()
			}
			for b.Loop() {
				step()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(3*objects), "ns/row")
		})
	}
}

// BenchmarkCloseAtRest looks for what is due among a million series of which nothing is.
func BenchmarkCloseAtRest(b *testing.B) {
	w := New(Config{Generation: 1, Partitions: 1, Window: testWindow}, nil, nil, nil)
	p := w.owned(0)
	power, _ := gridloom.RegisterByName("power_import")
	for i := range 1_000_000 {
		s := p.table.find(p.table.meter(fmt.Sprint("m", i)), power)
		r := window.Reading{Start: testStart, Value: int64(i), LoggedAt: testStart}
		row, shared := pane.RawRow{Start: r.Start, Value: r.Value, Series: s}, pane.RawShared{LoggedAt: testStart}
		p.add(&r, &row, &shared)
	}
	p.logTime = testStart
	for b.Loop() {
		if panes, _ := p.closePanes(); len(panes) > 0 {
			b.Fatal(len(panes))
		}
	}
}
