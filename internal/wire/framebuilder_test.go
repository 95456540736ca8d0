package wire

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// runsOf returns the rows of c from first, in steps, cut where the meter changes.
func runsOf(c *Columns, first, step int) (runs []Run) {
	for i := first; i < c.Len(); i += step {
		if n := len(runs); step == 1 && n > 0 && c.Meter[runs[n-1].From] == c.Meter[i] {
			runs[n-1].To++
			continue
		}
		runs = append(runs, Run{uint32(i), uint32(i + 1)})
	}
	return runs
}

// TestFrameBuilderEncodesWhatAppendFrameEncodes: whatever the pieces in which rows come.
func TestFrameBuilderEncodesWhatAppendFrameEncodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var b FrameBuilder // reused: nothing of one frame may show in the next
	for range 200 {
		rows := anyRows(rng, 1+rng.IntN(60))
		src := columnsOf(rows)
		src.AddMeter("nobody's")
		info := FrameInfo{Kind: KindReadings, Generation: 1, Partition: 3}
		var want []gridloom.Reading
		step := 1 + rng.IntN(2)
		for i := 0; i < len(rows); i += step {
			want = append(want, rows[i])
		}
		last := rng.Uint32N(5) // any number will do
		for runs := runsOf(src, 0, step); len(runs) > 0; {
			n := 1 + rng.IntN(len(runs))
			b.Append(src, runs[:n], &last)
			runs = runs[n:]
		}
		if b.Len() != len(want) {
			t.Fatalf("Len() = %d of %d rows", b.Len(), len(want))
		}
		size := b.Bytes()
		got := b.Seal(nil, info)
		// Objects that come in pieces stay in pieces: else the bytes are the same.
		if whole := AppendFrame(nil, info, columnsOf(want)); step == 1 && string(got) != string(whole) {
			t.Fatalf("Seal() = % x, AppendFrame() = % x", got, whole)
		}
		if size < len(got) || b.Len() != 0 {
			t.Fatalf("Bytes() = %d for a frame of %d; %d rows left", size, len(got), b.Len())
		}
		var back Columns
		if _, err := DecodeFrame(got, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, readings(&back)); d != "" {
			t.Fatalf("rows (-want +got):\n%s", d)
		}
	}
	o, last := objects(3000, 1000), uint32(0)
	b.Append(o, runsOf(o, 0, 1), &last)
	if e, size := b.Bytes(), len(b.Seal(nil, FrameInfo{Kind: KindReadings})); e < size || e > size*21/20 {
		t.Errorf("Bytes() = %d for a frame of %d", e, size)
	}
}

// TestAMeterIsFoundWhateverCameBefore: the guess from the meter before changes nothing.
func TestAMeterIsFoundWhateverCameBefore(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	var c Columns
	for range 50 {
		c.Reset()
		places := map[string]uint32{}
		for range 100 {
			id := fmt.Sprint("m", rng.IntN(20))
			c.lastMeter = rng.Uint32N(25)
			got := c.AddMeter(id)
			if rng.IntN(2) == 0 {
				var err error
				if got, err = c.AddMeterBytes([]byte(id)); err != nil {
					t.Fatal(err)
				}
			}
			if want, ok := places[id]; ok && got != want || c.Meters[got] != id {
				t.Fatalf("%s is at %d, %s; it was at %d", id, got, c.Meters[got], want)
			}
			places[id] = got
		}
		if len(places) != len(c.Meters) {
			t.Fatalf("%d meters in a table of %d", len(places), len(c.Meters))
		}
	}
}

// messages returns the rows of n messages of 100 objects, each from one of 10 agents
// with 300 meters of its own, that take their turns.
func messages(n int) []*Columns {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := []gridloom.RegisterID{register("energy_import"), register("power_import"), register("voltage_l1")}
	var all []*Columns
	for k := range n {
		c := new(Columns)
		c.Reset()
		for i := range 100 {
			m := k/10*100%300 + i
			r := gridloom.Reading{
				Meter: fmt.Sprintf("m-%d-%06d", k%10, m*37), Start: 1_795_383_300_000 + gridloom.Millis(k)*10_000 + gridloom.Millis(rng.IntN(10_000)),
				Agent: fmt.Sprintf("gw-%d", k%10), Order: gridloom.NewOrder(gridloom.ClassDevice, 217_000_000, uint32(k/10)),
			}
			for j, v := range []int64{int64(m)*7_000_000_000 + int64(k)*1_234, rng.Int64N(3_000_000), 225_000 + rng.Int64N(10_000)} {
				r.Register, r.Value = ids[j], v
				c.AppendReading(&r)
			}
		}
		all = append(all, c)
	}
	return all
}

// BenchmarkMessages encodes a frame from the rows of messages, as ingest does.
func BenchmarkMessages(b *testing.B) {
	all := messages(30)
	var runs [][]Run
	for _, c := range all {
		runs = append(runs, runsOf(c, 0, 1))
	}
	var w FrameBuilder
	var buf []byte
	begin := cpu()
	var last uint32
	for b.Loop() {
		for i, c := range all {
			w.Append(c, runs[i], &last)
		}
		buf = w.Seal(buf[:0], FrameInfo{Kind: KindReadings})
	}
	perReading(b, begin, 9000, len(buf))
}

// BenchmarkAddMeter finds 10,000 meters that come in the order in which they came
// before, and the same when nothing is known of the order.
func BenchmarkAddMeter(b *testing.B) {
	var ids [][]byte
	for i := range 10_000 {
		ids = append(ids, fmt.Appendf(nil, "NL-%04d-%06d", i%100, i))
	}
	f := func(name string, inOrder bool) {
		b.Run(name, func(b *testing.B) {
			var c Columns
			begin := cpu()
			for b.Loop() {
				c.Reset()
				for _, id := range ids {
					if !inOrder {
						c.lastMeter = 1 << 31
					}
					if _, err := c.AddMeterBytes(id); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64((cpu()-begin).Nanoseconds())/float64(b.N)/float64(len(ids)), "cpu-ns/meter")
			b.ReportAllocs()
		})
	}
	f("in order", true)
	f("any order", false)
}
