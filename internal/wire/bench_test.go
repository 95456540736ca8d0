package wire

import "testing"

func BenchmarkFrameEncode(b *testing.B) {
	c := objects(3000, 1000)
	var buf []byte
	for b.Loop() {
		buf = AppendFrame(buf[:0], FrameInfo{Kind: KindReadings}, c)
	}
	perReading(b, c.Len(), len(buf))
}

func BenchmarkFrameDecode(b *testing.B) {
	c := objects(3000, 1000)
	buf := AppendFrame(nil, FrameInfo{Kind: KindReadings}, c)
	var got Columns
	for b.Loop() {
		if _, err := DecodeFrame(buf, &got); err != nil {
			b.Fatal(err)
		}
	}
	perReading(b, c.Len(), len(buf))
}

// BenchmarkFrameDecodeOthers decodes frames of other meters by turns, so that no
// meter stands where it stood in the frame before.
func BenchmarkFrameDecodeOthers(b *testing.B) {
	c := objects(3000, 1000)
	buf := AppendFrame(nil, FrameInfo{Kind: KindReadings}, c)
	other := AppendFrame(nil, FrameInfo{Kind: KindReadings}, objects(2999, 999))
	var got Columns
	for i := 0; b.Loop(); i++ {
		data := buf
		if i%2 == 0 {
			data = other
		}
		if _, err := DecodeFrame(data, &got); err != nil {
			b.Fatal(err)
		}
	}
	perReading(b, c.Len(), len(buf))
}

func BenchmarkBuilder(b *testing.B) {
	c := objects(3000, 1000)
	var w Builder
	for b.Loop() {
		w.Reset()
		for i := range c.Len() {
			w.AppendRow(c, i)
		}
	}
	perReading(b, c.Len(), w.Bytes())
}

func BenchmarkBatchEncode(b *testing.B) {
	c := objects(100, 100)
	var buf []byte
	for b.Loop() {
		buf = AppendBatch(buf[:0], &Batch{Agent: "gw-1", Epoch: 1, Seq: 2, HasOrder: true, Columns: c})
	}
	perReading(b, c.Len(), len(buf))
}

func BenchmarkBatchDecode(b *testing.B) {
	f := func(name string, count, meters int) {
		b.Run(name, func(b *testing.B) {
			c := objects(count, meters)
			buf := AppendBatch(nil, &Batch{Agent: "gw-1", Epoch: 1, Seq: 2, HasOrder: true, Columns: c})
			var got Columns
			batch := Batch{Columns: &got}
			bad := func(place, reason, detail string) { b.Fatal(place, reason, detail) }
			for b.Loop() {
				got.Reset()
				if err := DecodeBatch(buf, &batch, bad); err != nil {
					b.Fatal(err)
				}
			}
			perReading(b, c.Len(), len(buf))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/object")
		})
	}
	f("100 meters", 100, 100)
	f("1 meter", 100, 1)
	f("1 object", 1, 1)
}

// perReading reports time and bytes a reading.
func perReading(b *testing.B, readings, bytes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(readings), "ns/reading")
	b.ReportMetric(float64(bytes)/float64(readings), "B/reading")
	b.ReportAllocs()
}
