package pane

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

// dayOfMeters is what 1,000 meters of one partition say in a day, each every 15 minutes
// at a second of its own: energy in whole Wh, power in whole W, voltage in tenths of a
// volt, from 50 agents. Rows are in the order of the log, in frames of a second.
func dayOfMeters() []gridloom.Reading {
	rnd := rand.New(rand.NewPCG(1, 9))
	var regs []gridloom.RegisterID
	for _, n := range []string{"energy_import", "power_import", "voltage_l1"} {
		id, ok := gridloom.RegisterByName(n)
		if !ok {
			panic(n)
		}
		regs = append(regs, id)
	}
	const day0 = gridloom.Millis(1_795_305_600_000)
	type meter struct{ wh, base, phase float64 }
	meters := make([]meter, 1000)
	for i := range meters {
		meters[i] = meter{wh: float64(rnd.IntN(40_000_000)), base: 60 + rnd.ExpFloat64()*150, phase: rnd.Float64()}
	}
	var rows []gridloom.Reading
	sequence := uint64(0)
	for second := range 86_400 {
		place := uint32(0)
		for i := second % 900; i < len(meters); i += 900 {
			m := &meters[i]
			hour := float64(second) / 3600
			watts := m.base * (1 + 2*math.Pow(math.Max(0, math.Sin((hour-6+4*m.phase)/24*2*math.Pi)), 2)) * (0.7 + 0.6*rnd.Float64())
			if rnd.IntN(8) == 0 {
				watts += 500 + 2000*rnd.Float64()
			}
			m.wh += watts / 4
			at := day0 + gridloom.Millis(second)*1000
			if place == 0 {
				sequence++
			}
			for k, value := range []int64{int64(m.wh) * 1000, int64(watts) * 1000, int64(2300+rnd.IntN(80)-40) * 100} {
				rows = append(rows, gridloom.Reading{
					Meter: fmt.Sprintf("DE0001234%07d", 4_100_000+i*7), Register: regs[k], Start: at, Value: value, Serial: fmt.Sprintf("1EMH00%08d", 7_000_000+i*13),
					Agent: fmt.Sprintf("gw-%02d", i%50), Order: gridloom.NewOrder(gridloom.ClassDevice, 200_000_000, uint32(second/900+1)),
					Sequence: sequence, Place: place, LoggedAt: at + 200 + gridloom.Millis(rnd.IntN(300)),
				})
				place++
			}
		}
		for k := len(rows) - int(place); k < len(rows); k++ {
			rows[k].LoggedAt = rows[len(rows)-int(place)].LoggedAt
		}
	}
	return rows
}

// BenchmarkMergedSize commits a day of 1,000 meters every 15 s, merges it as compaction
// does, at most 64 commits into a segment of level 1 and those into the day, and tells the bytes of an object of three readings
// and what a merged row costs. Run it with -benchtime 1x.
func BenchmarkMergedSize(b *testing.B) {
	day := dayOfMeters()
	objects := float64(len(day)) / 3
	for b.Loop() {
		b.StopTimer()
		rows := day
		s, _ := newStore(b, StoreOptions{})
		var committed []Segment
		for len(rows) > 0 {
			end := rows[0].LoggedAt.Floor(15*gridloom.Second) + 15*gridloom.Second
			n, _ := slices.BinarySearchFunc(rows, end, func(r gridloom.Reading, at gridloom.Millis) int { return cmp.Compare(r.LoggedAt, at) })
			seg, err := s.WriteRaw(b.Context(), where, rows[:n])
			if err != nil {
				b.Fatal(err)
			}
			committed, rows = append(committed, seg), rows[n:]
		}
		report := func(name string, list []Segment) {
			bytes := int64(0)
			for i := range list {
				bytes += list[i].Bytes
			}
			b.ReportMetric(float64(bytes)/objects, name+"-B/object")
		}
		report("committed", committed)
		b.StartTimer()
		begun := time.Now()
		var hourly []Segment
		for part := range slices.Chunk(committed, 60) {
			out, err := s.Merge(b.Context(), where, KindRaw, part, 1)
			if err != nil {
				b.Fatal(err)
			}
			hourly = append(hourly, out...)
		}
		b.ReportMetric(float64(time.Since(begun).Nanoseconds())/3/objects, "hourly-ns/row")
		report("hourly", hourly)
		begun = time.Now()
		var daily []Segment
		for part := range slices.Chunk(hourly, 128) {
			out, err := s.Merge(b.Context(), where, KindRaw, part, 2)
			if err != nil {
				b.Fatal(err)
			}
			daily = append(daily, out...)
		}
		b.ReportMetric(float64(time.Since(begun).Nanoseconds())/3/objects, "daily-ns/row")
		report("daily", daily)
		data, err := s.blobs.Get(b.Context(), daily[0].Path)
		if err == nil {
			err = DescribeSegment(b.Output(), data, DescribeOptions{Rows: 1})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// panesOf are the panes of that day, one of each reading as there is one in a window: each
// is closed by the commit after its lateness, and changes no more.
func panesOf(day []gridloom.Reading) []gridloom.Pane {
	last := map[gridloom.Series]*gridloom.Reading{}
	var panes []gridloom.Pane
	for i := range day {
		r := &day[i]
		start := r.Start.Floor(gridloom.DefaultWidth)
		closed := (start + gridloom.DefaultWidth + gridloom.DefaultLateness).Floor(15*gridloom.Second) + 15*gridloom.Second
		s := gridloom.Series{Meter: r.Meter, Register: r.Register}
		p := gridloom.Pane{
			Meter: r.Meter, Register: r.Register, Start: start, Length: gridloom.DefaultWidth, Closed: true,
			Revision: uint64((closed - day[0].Start) / gridloom.Second), ComputedAt: closed,
			N: 1, Coverage: gridloom.DefaultWidth, Sum: r.Value, Min: r.Value, Max: r.Value, First: r.Value, Last: r.Value, FirstAt: r.Start, LastAt: r.Start,
		}
		p.ComputedAt += gridloom.Millis(p.Revision % 300) // one of each frame
		before := last[s]
		switch {
		case r.Register.Info().Code != "1-0:1.8.0":
			p.TimeWeighted = gridloom.MulInt64(r.Value, int64(p.Length))
		case before != nil:
			p.Energy, p.HasEnergy, p.Quality = r.Value-before.Value, true, gridloom.Derived
		}
		if before == nil {
			p.Carry = fmt.Appendf(nil, "%048x", r.Value)
		}
		last[s] = r
		panes = append(panes, p)
	}
	slices.SortStableFunc(panes, func(a, b gridloom.Pane) int { return cmp.Compare(a.Revision, b.Revision) })
	return panes
}

// BenchmarkMergedPaneSize does the same for the day's panes of 15 minutes. Run it with -benchtime 1x.
func BenchmarkMergedPaneSize(b *testing.B) {
	panes := panesOf(dayOfMeters())
	objects := float64(len(panes)) / 3
	for b.Loop() {
		s, _ := newStore(b, StoreOptions{})
		var levels [3][]Segment
		for rows := panes; len(rows) > 0; {
			n, _ := slices.BinarySearchFunc(rows, rows[0].Revision, func(p gridloom.Pane, revision uint64) int { return cmp.Compare(p.Revision, revision+1) })
			seg, err := s.WritePanes(b.Context(), where, rows[:n])
			if err != nil {
				b.Fatal(err)
			}
			levels[0], rows = append(levels[0], seg), rows[n:]
		}
		for level := 1; level <= 2; level++ {
			for part := range slices.Chunk(levels[level-1], 64*level) {
				out, err := s.Merge(b.Context(), where, KindPane, part, level)
				if err != nil {
					b.Fatal(err)
				}
				levels[level] = append(levels[level], out...)
			}
		}
		for level, name := range []string{"committed", "hourly", "daily"} {
			bytes := int64(0)
			for i := range levels[level] {
				bytes += levels[level][i].Bytes
			}
			b.ReportMetric(float64(bytes)/objects, name+"-B/object")
			b.ReportMetric(float64(len(levels[level])), name+"-segments")
		}
		data, err := s.blobs.Get(b.Context(), levels[2][0].Path)
		if err == nil {
			err = DescribeSegment(b.Output(), data, DescribeOptions{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
