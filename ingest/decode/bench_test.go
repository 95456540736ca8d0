package decode

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// flat returns an array of count flat objects of about 100 B, each of another meter.
func flat(count int, instant func(gridloom.Millis) string) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, `,{"meter":"m-%06d","at":%s,"energy_import":%.2f,"power_import":%.1f,"voltage_l1":%.1f}`,
			i*37, instant(now-gridloom.Millis(i)*10_000), rng.Float64()*40e6, rng.Float64()*3000, 225+rng.Float64()*10)
	}
	return []byte("[" + b.String()[1:] + "]")
}

// long returns an envelope of count objects in the long form.
func longForm(count int) []byte {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, `,{"meter":"m-%06d","register":"energy_import","at":"%s","value":%d.19}`, i*37, now-gridloom.Millis(i)*10_000, 5_000_000+i*17)
	}
	return []byte(`{"agent":"gw-17","epoch":42,"seq":981,"readings":[` + b.String()[1:] + "]}")
}

func BenchmarkJSON(b *testing.B) {
	millis := func(at gridloom.Millis) string { return fmt.Sprint(int64(at)) }
	quoted := func(at gridloom.Millis) string { return `"` + at.String() + `"` }
	f := func(name string, payload []byte, objects int) {
		b.Run(name, func(b *testing.B) {
			var d Decoder
			var c wire.Columns
			bad := func(x Bad) { b.Fatal(x) }
			b.SetBytes(int64(len(payload)))
			begin := cpu()
			for b.Loop() {
				c.Reset()
				if n := d.Decode(source, payload, &c, bad); n != objects {
					b.Fatal(n)
				}
			}
			b.ReportMetric(float64((cpu()-begin).Nanoseconds())/float64(b.N)/float64(objects), "cpu-ns/object")
			b.ReportAllocs()
		})
	}
	f("flat, 100 objects", flat(100, millis), 100)
	f("flat, 100 objects, RFC 3339", flat(100, quoted), 100)
	f("flat, 1 object", flat(1, quoted), 1)
	f("envelope, 100 readings", longForm(100), 100)
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
