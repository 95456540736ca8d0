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

// BenchmarkMergedSize commits a day of 1,000 meters every 15 s, merges it by the hour
// (64 inputs at most) and by the day, and tells the bytes of an object of three readings
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
		for part := range slices.Chunk(hourly, 48) {
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
