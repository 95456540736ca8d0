package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// TestPatchedMessagesSayWhatWasMeant reads patched messages back with the
// decoder of the format (protobuf) and of the standard library (JSON), at both
// ends of what the fixed widths allow.
func TestPatchedMessagesSayWhatWasMeant(t *testing.T) {
	for _, n := range []int{1, 100} {
		for name, build := range map[string]func(string, uint32, int) *payload{"json": newJSON, "protobuf": newProtobuf} {
			p := build("bench-0001", 200_000_000, n)
			for _, at := range []gridloom.Millis{1_795_000_000_000, 1_795_383_300_123, 2_190_000_000_000} {
				for _, seq := range []uint32{firstSeq, gridloom.MaxSeq} {
					p.setSeq(seq)
					var want []entry
					for i := range n {
						o := objectAt(uint32(9_999_999-i*1001), at+gridloom.Millis(i))
						p.set(i, o)
						order := gridloom.NewOrder(gridloom.ClassDevice, 200_000_000, seq)
						if name == "json" && n == 1 {
							order = 0
						}
						want = append(want, objectEntries(o, order)...)
					}
					if diff := cmp.Diff(index(want), index(decodeAny(t, p.bytes)), cmp.AllowUnexported(entry{})); diff != "" {
						t.Fatalf("%s of %d objects at %s: (-want +got)\n%s", name, n, at, diff)
					}
				}
			}
		}
	}
}

func objectEntries(o object, order gridloom.Order) []entry {
	var es []entry
	for alias, v := range map[string]int64{"energy_import": o.energy, "power_import": o.power, "voltage_l1": o.voltage} {
		id, _ := gridloom.RegisterByName(alias)
		es = append(es, entry{meter: meterID(o.meter), register: id, start: o.at, value: v, order: order})
	}
	return es
}

func index(es []entry) map[string]entry {
	m := map[string]entry{}
	for _, e := range es {
		m[e.meter+" "+e.register.String()+" "+e.start.String()] = e
	}
	return m
}

func decodeAny(t *testing.T, payload []byte) []entry {
	t.Helper()
	f := fakeServer{readings: map[seriesKey]map[spot]entry{}}
	var c wire.Columns
	if err := f.take(payload, &c); err != nil {
		t.Fatalf("take(%q): %v", payload, err)
	}
	var es []entry
	for _, spots := range f.readings {
		for _, e := range spots {
			es = append(es, e)
		}
	}
	return es
}

func TestLoadRegistersNeverFall(t *testing.T) {
	for m := range uint32(5) {
		a, b := objectAt(m, 1_795_000_000_000), objectAt(m, 1_795_000_000_001)
		if b.energy < a.energy {
			t.Errorf("meter %d: energy falls from %d to %d", m, a.energy, b.energy)
		}
	}
}

func BenchmarkFillJSON1(b *testing.B)       { benchmarkFill(b, newJSON, 1) }
func BenchmarkFillJSON100(b *testing.B)     { benchmarkFill(b, newJSON, 100) }
func BenchmarkFillProtobuf1(b *testing.B)   { benchmarkFill(b, newProtobuf, 1) }
func BenchmarkFillProtobuf100(b *testing.B) { benchmarkFill(b, newProtobuf, 100) }

func benchmarkFill(b *testing.B, build func(string, uint32, int) *payload, n int) {
	b.Helper()
	meters := make([]uint32, 1000)
	for i := range meters {
		meters[i] = uint32(i * 100)
	}
	p := publisher{payload: build("bench-0001", 1, n), meters: meters, last: make([]gridloom.Millis, len(meters)), seq: firstSeq}
	b.ReportAllocs()
	b.SetBytes(int64(len(p.payload.bytes)))
	for b.Loop() {
		p.fill(1_795_383_300_123)
	}
}
