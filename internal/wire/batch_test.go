package wire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// refusal is one call of bad.
type refusal struct{ Place, Reason string }

// decodeBatch decodes data at the clock now.
func decodeBatch(data []byte, now gridloom.Millis) (b Batch, rows []gridloom.Reading, bads []refusal, err error) {
	var c Columns
	c.Reset()
	b = Batch{Columns: &c, Now: now}
	err = DecodeBatch(data, &b, func(place, reason, detail string) {
		if detail == "" || strings.Contains(detail, "\n") {
			panic("detail " + detail)
		}
		bads = append(bads, refusal{place, reason})
	})
	return b, readings(&c), bads, err
}

// bySeries sorts rows by meter, register, start: a batch groups them by series.
func bySeries(rows []gridloom.Reading) []gridloom.Reading {
	rows = slices.Clone(rows)
	sort.SliceStable(rows, func(i, k int) bool {
		a, b := &rows[i], &rows[k]
		if a.Meter != b.Meter {
			return a.Meter < b.Meter
		}
		return a.Register < b.Register
	})
	return rows
}

func TestBatchReturnsItsRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for range 300 {
		rows := anyRows(rng, 1+rng.IntN(40))
		for i := range rows {
			r := &rows[i]
			r.Agent, r.Order = "gw-17", gridloom.NewOrder(gridloom.ClassDevice, 42, 981)
			r.Value = min(max(r.Value, -gridloom.MaxValue), gridloom.MaxValue)
			if id, err := Settle(r.Register, r.Length); err != nil {
				r.Register, r.Length = register("power"), 0
			} else {
				r.Register = id
			}
		}
		data := AppendBatch(nil, &Batch{Agent: "gw-17", Epoch: 42, Seq: 981, HasOrder: true, Columns: columnsOf(rows)})
		b, got, bads, err := decodeBatch(data, 0)
		if err != nil || len(bads) > 0 || b.Agent != "gw-17" || b.Epoch != 42 || b.Seq != 981 || !b.HasOrder {
			t.Fatalf("%+v, %v, %v", b, bads, err)
		}
		// Readings of one series keep their order, whatever else they differ in.
		if d := cmp.Diff(bySeries(rows), bySeries(got)); d != "" {
			t.Fatalf("rows (-want +got):\n%s", d)
		}
	}
}

func TestBatchSampleIsFrozen(t *testing.T) {
	rows := sampleRows()
	data := frozen(t, "batch-v1.hex", AppendBatch(nil, &Batch{Agent: "gw-17", Epoch: 42, Seq: 981, HasOrder: true, Columns: columnsOf(rows)}))
	b, got, bads, err := decodeBatch(data, 0)
	if err != nil || len(bads) > 0 {
		t.Fatal(bads, err)
	}
	if d := cmp.Diff(bySeries(rows), bySeries(got)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if b.Objects != 5 {
		t.Errorf("Objects = %d, want 5", b.Objects)
	}
}

// series returns the bytes of a Series of which each part is one field.
func series(parts ...[]byte) []byte {
	return appendString(nil, batchSeries, slices.Concat(parts...))
}

func text(field int, s string) []byte { return appendString(nil, field, s) }
func num(field int, v uint64) []byte  { return appendUint(nil, field, v) }
func list(field int, vs ...int64) []byte {
	dst, at := openBytes(nil, field)
	for _, v := range vs {
		dst = append(dst, make([]byte, maxVarint)...)
		dst = dst[:len(dst)-maxVarint+putUvarint(dst[len(dst)-maxVarint:], zigzag(v))]
	}
	return closeBytes(dst, at)
}

func TestBadReadingsNeverTakeTheirNeighboursWithThem(t *testing.T) {
	const at = 1_795_378_500_000
	now := gridloom.Millis(at + 60_000)
	good := series(text(seriesMeter, "m9"), text(seriesRegister, "power"), num(seriesBase, zigzag(at)), list(seriesValue, 1))
	f := func(name string, bad []byte, rows int, want ...refusal) {
		t.Helper()
		data := slices.Concat(good, bad, good)
		_, got, bads, err := decodeBatch(data, now)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, bads); d != "" {
			t.Errorf("%s: refused (-want +got):\n%s", name, d)
		}
		if len(got) != 2+rows || got[0] != got[len(got)-1] {
			t.Errorf("%s: %d rows, want %d: %v", name, len(got), 2+rows, got)
		}
	}
	m, r, b, v := text(seriesMeter, "m1"), text(seriesRegister, "power"), num(seriesBase, zigzag(at)), list(seriesValue, 5)
	f("good", series(m, r, b, v), 1)
	f("meter", series(text(seriesMeter, ""), r, b, v), 0, refusal{"series[1].meter", Meter})
	f("meter of the wrong kind", series(text(seriesMeter, "a\x00"), r, b, v), 0, refusal{"series[1].meter", Meter})
	f("meter inherited from a bad one", slices.Concat(series(text(seriesMeter, ""), r, b, v), series(r, v)), 0,
		refusal{"series[1].meter", Meter}, refusal{"series[2].meter", Meter})
	f("register", series(m, text(seriesRegister, "energy"), b, v), 0, refusal{"series[1].register", Register})
	f("length", series(m, r, b, v, num(seriesLength, 900_000)), 0, refusal{"series[1].length", Length})
	f("no length", series(m, text(seriesRegister, "energy_import_interval"), b, v), 0, refusal{"series[1].length", Length})
	f("endless length", series(m, r, b, v, num(seriesLength, 1<<63)), 0, refusal{"series[1].length", Length})
	f("unit", series(m, r, b, v, text(seriesUnit, "kWh")), 0, refusal{"series[1].unit", Unit})
	f("serial", series(m, r, b, v, text(seriesSerial, "\x01")), 0, refusal{"series[1].serial", Serial})
	f("quality", series(m, r, b, v, num(seriesQuality, 1<<20), num(seriesQualityRun, 1)), 0, refusal{"series[1].quality[0]", Quality})
	f("quality run", series(m, r, b, v, num(seriesQuality, 1), num(seriesQualityRun, 2)), 0, refusal{"series[1].quality_run", Syntax})
	f("void", series(m, r, b, v, num(seriesVoid, 1)), 0, refusal{"series[1].void[0]", Syntax})
	f("too many values", series(m, r, b, list(seriesValue, 1, 2)), 0, refusal{"series[1].value", Syntax})
	f("too few values", series(m, r, b, list(seriesAt, 1000)), 0, refusal{"series[1].value", Syntax})
	f("past", series(m, r, num(seriesBase, zigzag(1000)), v), 0, refusal{"series[1].at[0]", Past})
	f("future", series(m, r, b, list(seriesAt, 400_000, -400_000), list(seriesValue, 1, 1, 1)), 2, refusal{"series[1].at[1]", Future})
	f("value", series(m, r, b, list(seriesAt, 1, 1), list(seriesValue, 1, gridloom.MaxValue, -gridloom.MaxValue)), 2, refusal{"series[1].value[1]", Value})
	f("scaled value", series(m, r, b, list(seriesValue, gridloom.MaxValue), text(seriesUnit, "kW")), 0, refusal{"series[1].value[0]", Value})
	f("unknown field", series(m, r, b, v, text(99, "later")), 1)

	_, got, bads, err := decodeBatch(series(r, b, v), now)
	if d := cmp.Diff([]refusal{{"series[0].meter", Meter}}, bads); err != nil || len(got) > 0 || d != "" {
		t.Errorf("no meter at all: %v, %v, %s", got, err, d)
	}
	_, got, bads, err = decodeBatch(series(m, r, v), now)
	if d := cmp.Diff([]refusal{{"series[0].base", Time}}, bads); err != nil || len(got) > 0 || d != "" {
		t.Errorf("no instant at all: %v, %v, %s", got, err, d)
	}
}

func TestWholeMessagesAreRefusedWithTheirReason(t *testing.T) {
	f := func(name string, data []byte, want string) {
		t.Helper()
		_, got, _, err := decodeBatch(data, 0)
		r := (*Refusal)(nil)
		if !errors.As(err, &r) || !errors.Is(err, gridloom.ErrInvalid) || r.Reason != want || len(got) > 0 {
			t.Errorf("%s: %d rows, %v, want %s", name, len(got), err, want)
		}
	}
	many := make([]int64, MaxObjects)
	m, r, b := text(seriesMeter, "m1"), text(seriesRegister, "power"), num(seriesBase, zigzag(1_795_378_500_000))
	f("objects", series(m, r, b, list(seriesAt, many...), list(seriesValue, make([]int64, MaxObjects+1)...)), Count)
	f("readings", slices.Concat(series(m, r, b, list(seriesAt, many[1:]...), list(seriesValue, many...)),
		slices.Repeat(series(r, list(seriesValue, many...)), MaxReadings/MaxObjects)), Count)
	f("text", []byte("hello"), Syntax)
	f("cut", series(m, r, b)[:9], Syntax)
	f("a number for a series", num(batchSeries, 1), Syntax)
	f("a number for a meter", series(num(seriesMeter, 1)), Syntax)
	f("a broken number", series(m, r, []byte{seriesValue<<3 | typeBytes, 1, 0x80}), Syntax)
	f("seq", slices.Concat(text(batchAgent, "a"), num(batchEpoch, 1), num(batchSeq, 1<<28)), Epoch)
	f("epoch", num(batchEpoch, 1<<32), Epoch)
}

func TestOrderNeedsAgentEpochAndSeq(t *testing.T) {
	body := series(text(seriesMeter, "m1"), text(seriesRegister, "power"), num(seriesBase, zigzag(1_795_378_500_000)), list(seriesValue, 1))
	f := func(head []byte, want gridloom.Order) {
		t.Helper()
		// Fields come in any order.
		for _, data := range [][]byte{slices.Concat(head, body), slices.Concat(body, head)} {
			_, got, _, err := decodeBatch(data, 0)
			if err != nil || len(got) != 1 || got[0].Order != want {
				t.Errorf("% x: %v, %v, want order %v", data, got, err, want)
			}
		}
	}
	a, e, s := text(batchAgent, "gw"), num(batchEpoch, 7), num(batchSeq, 0)
	f(slices.Concat(a, e, s), gridloom.NewOrder(gridloom.ClassDevice, 7, 0))
	f(slices.Concat(e, s), 0)
	f(slices.Concat(a, s), 0)
	f(slices.Concat(a, e), 0)
}

func TestBatchesAllocateNothingPerReading(t *testing.T) {
	c := objects(100, 100)
	src, got := Batch{Agent: "gw-1", HasOrder: true, Columns: c}, Batch{Columns: new(Columns)}
	var dst []byte
	bad := func(place, reason, detail string) { t.Fatal(place, reason, detail) }
	if n := testing.AllocsPerRun(20, func() {
		dst = AppendBatch(dst[:0], &src)
		got.Columns.Reset()
		if err := DecodeBatch(dst, &got, bad); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations for a batch of %d readings", n, c.Len())
	}
}

// protoc runs protoc on a schema of this package, or skips.
func protoc(t *testing.T, schema, mode string, in []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), foreign(t, "protoc", "protobuf-compiler"), mode, schema)
	cmd.Stdin = strings.NewReader(string(in))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("protoc %s: %v: %s", mode, err, &stderr)
	}
	return out
}

// TestProtocReadsABatch: what AppendBatch writes is what reading.proto says.
func TestProtocReadsABatch(t *testing.T) {
	data := AppendBatch(nil, &Batch{Agent: "gw-17", Epoch: 42, Seq: 981, HasOrder: true, Columns: columnsOf(sampleRows())})
	got := string(protoc(t, "reading.proto", "--decode=gridloom.v1.Batch", data))
	want, err := os.ReadFile("testdata/batch-v1.txt")
	if os.IsNotExist(err) && *update {
		want, err = []byte(got), os.WriteFile("testdata/batch-v1.txt", []byte(got), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("protoc --decode (-want +got):\n%s", d)
	}
	// And what protoc writes of it decodes to the same rows.
	_, rows, bads, err := decodeBatch(protoc(t, "reading.proto", "--encode=gridloom.v1.Batch", want), 0)
	if err != nil || len(bads) > 0 {
		t.Fatal(bads, err)
	}
	if d := cmp.Diff(bySeries(sampleRows()), bySeries(rows)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}

// TestRepeatedFieldsMayComeUnpacked: readers of Protocol Buffers take both.
func TestRepeatedFieldsMayComeUnpacked(t *testing.T) {
	const at = 1_795_378_500_000
	m, r, b := text(seriesMeter, "m1"), text(seriesRegister, "power"), num(seriesBase, zigzag(at))
	_, want, _, err1 := decodeBatch(series(m, r, b, list(seriesAt, 5, 6), list(seriesValue, 7, 8, 9)), 0)
	_, got, bads, err2 := decodeBatch(series(num(seriesValue, zigzag(7)), num(seriesAt, zigzag(5)), m, list(seriesValue, 8), r, b, num(seriesAt, zigzag(6)), num(seriesValue, zigzag(9))), 0)
	if d := cmp.Diff(want, got); len(want) != 3 || err1 != nil || err2 != nil || len(bads) > 0 || d != "" {
		t.Errorf("%v, %v, %v (-packed +unpacked):\n%s", err1, err2, bads, d)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(AppendBatch(nil, &Batch{Agent: "gw-17", Epoch: 42, Seq: 981, HasOrder: true, Columns: columnsOf(sampleRows())}))
	f.Add(AppendBatch(nil, &Batch{Columns: objects(10, 3)}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		const now = 1_795_378_500_000
		b, rows, _, err := decodeBatch(data, now)
		if err != nil {
			if !errors.Is(err, gridloom.ErrInvalid) || len(rows) > 0 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			return
		}
		if len(rows) > len(data) {
			t.Fatalf("%d rows of %d bytes", len(rows), len(data))
		}
		for _, r := range rows {
			_, settle := Settle(r.Register, r.Length)
			if CheckMeter(r.Meter) != nil || settle != nil || CheckTime(r.Start, r.Length, now) != "" || CheckSerial(r.Serial) != nil ||
				r.Value > gridloom.MaxValue || r.Value < -gridloom.MaxValue || r.Quality&^gridloom.DeviceQuality != 0 || r.Void && r.Value != 0 {
				t.Fatalf("row %+v", r)
			}
		}
		// What was taken, written anew, is taken again.
		again := AppendBatch(nil, &Batch{Agent: b.Agent, Epoch: b.Epoch, Seq: b.Seq, HasOrder: b.HasOrder, Columns: columnsOf(rows)})
		_, rows2, bads, err := decodeBatch(again, now)
		if len(rows) <= MaxObjects && (err != nil || len(bads) > 0) {
			t.Fatalf("%v, %v", bads, err)
		}
		if d := cmp.Diff(fmt.Sprint(bySeries(rows)), fmt.Sprint(bySeries(rows2))); err == nil && d != "" {
			t.Errorf("rows (-first +second):\n%s", d)
		}
	})
}
