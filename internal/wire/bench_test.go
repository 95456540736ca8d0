package wire

import (
	"syscall"
	"testing"
	"time"
)

func BenchmarkFrameEncode(b *testing.B) {
	c := objects(3000, 1000)
	var buf []byte
	begin := cpu()
	for b.Loop() {
		buf = AppendFrame(buf[:0], FrameInfo{Kind: KindReadings}, c)
	}
	perReading(b, begin, c.Len(), len(buf))
}

func BenchmarkFrameDecode(b *testing.B) {
	c := objects(3000, 1000)
	buf := AppendFrame(nil, FrameInfo{Kind: KindReadings}, c)
	var got Columns
	begin := cpu()
	for b.Loop() {
		if _, err := DecodeFrame(buf, &got); err != nil {
			b.Fatal(err)
		}
	}
	perReading(b, begin, c.Len(), len(buf))
}

// BenchmarkFrameDecodeOthers decodes frames of other meters by turns, so that no
// meter stands where it stood in the frame before.
func BenchmarkFrameDecodeOthers(b *testing.B) {
	c := objects(3000, 1000)
	buf := AppendFrame(nil, FrameInfo{Kind: KindReadings}, c)
	other := AppendFrame(nil, FrameInfo{Kind: KindReadings}, objects(2999, 999))
	var got Columns
	begin := cpu()
	for i := 0; b.Loop(); i++ {
		data := buf
		if i%2 == 0 {
			data = other
		}
		if _, err := DecodeFrame(data, &got); err != nil {
			b.Fatal(err)
		}
	}
	perReading(b, begin, c.Len(), len(buf))
}

func BenchmarkBuilder(b *testing.B) {
	c := objects(3000, 1000)
	var w Builder
	begin := cpu()
	for b.Loop() {
		w.Reset()
		for i := range c.Len() {
			w.AppendRow(c, i)
		}
	}
	perReading(b, begin, c.Len(), w.Bytes())
}

func BenchmarkBatchEncode(b *testing.B) {
	c := objects(100, 100)
	var buf []byte
	begin := cpu()
	for b.Loop() {
		buf = AppendBatch(buf[:0], &Batch{Agent: "gw-1", Epoch: 1, Seq: 2, HasOrder: true, Columns: c})
	}
	perReading(b, begin, c.Len(), len(buf))
}

func BenchmarkBatchDecode(b *testing.B) {
	f := func(name string, count, meters int) {
		b.Run(name, func(b *testing.B) {
			c := objects(count, meters)
			buf := AppendBatch(nil, &Batch{Agent: "gw-1", Epoch: 1, Seq: 2, HasOrder: true, Columns: c})
			var got Columns
			batch := Batch{Columns: &got}
			bad := func(place, reason, detail string) { b.Fatal(place, reason, detail) }
			begin := cpu()
			for b.Loop() {
				got.Reset()
				if err := DecodeBatch(buf, &batch, bad); err != nil {
					b.Fatal(err)
				}
			}
			perReading(b, begin, c.Len(), len(buf))
		})
	}
	f("100 meters", 100, 100)
	f("1 meter", 100, 1)
	f("1 object", 1, 1)
}

// perReading reports time and bytes a reading.
func perReading(b *testing.B, begin time.Duration, readings, bytes int) {
	b.ReportMetric(float64((cpu()-begin).Nanoseconds())/float64(b.N)/float64(readings), "cpu-ns/reading")
	b.ReportMetric(float64(bytes)/float64(readings), "B/reading")
	b.ReportAllocs()
}

// cpu returns the processor time of the process: what a benchmark costs on a
// machine that is shared.
func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
