package wire

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

var update = flag.Bool("update", false, "write samples that do not exist yet; those that do are frozen")

// readings returns the rows of c.
func readings(c *Columns) []gridloom.Reading {
	var rs []gridloom.Reading
	for i := range c.Len() {
		rs = append(rs, c.Reading(i))
	}
	return rs
}

// columnsOf returns rows as columns.
func columnsOf(rows []gridloom.Reading) *Columns {
	var c Columns
	c.Reset()
	for i := range rows {
		c.AppendReading(&rows[i])
	}
	return &c
}

func register(name string) gridloom.RegisterID {
	id, ok := gridloom.RegisterByName(name)
	if !ok {
		panic("no register " + name)
	}
	return id
}

// objects returns count objects of energy, power and voltage from meters meters in
// turn, sent by 10 agents in batches of 100, as a Columns.
func objects(count, meters int) *Columns {
	rng := rand.New(rand.NewPCG(1, 2))
	var c Columns
	c.Reset()
	ids := []gridloom.RegisterID{register("energy_import"), register("power_import"), register("voltage_l1")}
	for k := range count {
		m := k % meters
		r := gridloom.Reading{
			Meter: fmt.Sprintf("m-%06d", m*37), Start: 1_795_383_300_000 + gridloom.Millis(k/meters)*10_000 + gridloom.Millis(rng.IntN(10_000)),
			Agent: fmt.Sprintf("gw-%d", m%10),
			Order: gridloom.NewOrder(gridloom.ClassDevice, 217_000_000, uint32(k/100)),
		}
		for i, v := range []int64{int64(m)*7_000_000_000 + int64(k)*1_234, rng.Int64N(3_000_000), 225_000 + rng.Int64N(10_000)} {
			r.Register, r.Value = ids[i], v
			c.AppendReading(&r)
		}
	}
	return &c
}

// anyRows returns readings that have everything readings can have, by chance.
func anyRows(rng *rand.Rand, n int) []gridloom.Reading {
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	rows := make([]gridloom.Reading, n)
	for i := range rows {
		r := &rows[i]
		*r = gridloom.Reading{
			Meter: pick("m1", "m2", "zähler-7", "DE0001"), Register: gridloom.RegisterID(rng.IntN(gridloom.Registers())),
			Start: gridloom.MinInstant + gridloom.Millis(rng.Int64N(1<<40)), Value: rng.Int64N(2*gridloom.MaxValue) - gridloom.MaxValue,
			Agent: pick("", "gw-1", "gw-2"), Serial: pick("", "", "S1", "S2"),
		}
		if i > 0 && rng.IntN(3) > 0 {
			r.Meter, r.Start = rows[i-1].Meter, rows[i-1].Start
		}
		switch rng.IntN(6) {
		case 0:
			r.Void, r.Value = true, 0
		case 1:
			r.Quality = gridloom.DeviceQuality & gridloom.Quality(rng.Uint32())
		case 2:
			r.Value = []int64{0, 1, -1, math.MaxInt64, math.MinInt64}[rng.IntN(5)] // frames keep any value
		case 3:
			r.Register, r.Length = register("energy_import_interval"), 900_000*gridloom.Millis(1+rng.IntN(2))
		case 4:
			r.Order = gridloom.Order(rng.Uint64())
		}
	}
	return rows
}

func TestFrameReturnsItsRows(t *testing.T) {
	var got, back Columns // reused: nothing of one frame may show in the next
	rng := rand.New(rand.NewPCG(3, 4))
	for k := range 300 {
		rows := anyRows(rng, rng.IntN(40))
		c := columnsOf(rows)
		if k == 0 {
			c = objects(1000, 100)
			rows = readings(c)
		}
		info := FrameInfo{Kind: Kind(1 + rng.IntN(2)), Generation: rng.Uint32(), Partition: rng.IntN(64)}
		data := AppendFrame([]byte("before"), info, c)
		gotInfo, err := DecodeFrame(data[len("before"):], &got)
		if err != nil {
			t.Fatal(err)
		}
		info.Readings = len(rows)
		if d := cmp.Diff(info, gotInfo); d != "" {
			t.Fatalf("info (-want +got):\n%s", d)
		}
		if d := cmp.Diff(rows, readings(&got), cmp.Transformer("empty", func(r []gridloom.Reading) []gridloom.Reading { return append([]gridloom.Reading{}, r...) })); k > 0 && len(rows) > 0 && d != "" {
			t.Fatalf("rows (-want +got):\n%s", d)
		}
		// What was decoded encodes to the same bytes.
		if again := AppendFrame(nil, info, &got); string(again) != string(data[len("before"):]) {
			t.Fatalf("a frame changes when it is decoded and encoded")
		}
		// A cut frame is refused, or is one whose trailing columns are all absent.
		cut := data[len("before"):][:rng.IntN(len(data)-len("before"))]
		if i, err := DecodeFrame(cut, &back); err == nil && i.Readings > len(rows) || err != nil && !errors.Is(err, gridloom.ErrCorrupt) {
			t.Fatalf("a frame cut to %d bytes has %d readings, %v", len(cut), i.Readings, err)
		}
	}
}

func TestBuilderKeepsRowsAndOnlyTheStringsTheyUse(t *testing.T) {
	rows := anyRows(rand.New(rand.NewPCG(5, 6)), 200)
	src := columnsOf(rows)
	src.AddMeter("nobody's")
	var b Builder
	for range 2 {
		b.Reset()
		var want []gridloom.Reading
		for i := 0; i < len(rows); i += 2 {
			b.AppendRow(src, i)
			want = append(want, rows[i])
		}
		if d := cmp.Diff(want, readings(b.Columns())); d != "" {
			t.Fatalf("rows (-want +got):\n%s", d)
		}
	}
	if got := b.Columns().Meters; len(got) > 4 {
		t.Errorf("Meters = %q, want those of the rows", got)
	}
	o := objects(3000, 1000)
	b.Reset()
	for i := range o.Len() {
		b.AppendRow(o, i)
	}
	size := len(AppendFrame(nil, FrameInfo{Kind: KindReadings}, b.Columns()))
	if e := b.Bytes(); e < size || e > size*3/2 {
		t.Errorf("Bytes() = %d for a frame of %d", e, size)
	}
}

func TestFrameWithoutRows(t *testing.T) {
	var c Columns
	for _, want := range []FrameInfo{
		{Kind: KindTick, Generation: 1, Partition: 3},
		{Kind: KindRegistry, Generation: 2, Opaque: []byte("{}")},
	} {
		got, err := DecodeFrame(AppendFrame(nil, want, nil), &c)
		if d := cmp.Diff(want, got); err != nil || d != "" || c.Len() != 0 {
			t.Errorf("%v, %d rows (-want +got):\n%s", err, c.Len(), d)
		}
	}
}

// TestWhatANewerGridloomWroteIsToldApart: a partition stops at it without taking it
// for damage.
func TestWhatANewerGridloomWroteIsToldApart(t *testing.T) {
	f := func(data []byte, want string, newer bool) {
		t.Helper()
		var c Columns
		info, err := DecodeFrame(data, &c)
		if !errors.Is(err, gridloom.ErrCorrupt) || errors.Is(err, ErrNewer) != newer || !strings.Contains(err.Error(), want) || c.Len() != 0 {
			t.Errorf("DecodeFrame(% x) = %+v, %v, %d rows, want %q", data, info, err, c.Len(), want)
		}
	}
	good := AppendFrame(nil, FrameInfo{Kind: KindReadings}, objects(1, 1))
	f(AppendFrame(nil, FrameInfo{Kind: 9}, objects(1, 1)), "kind 9", true)
	f(appendUint(append([]byte{}, good...), 26, 1), "field 26", true)
	f(append([]byte{1 << 3, 2}, good[2:]...), "version 2", true)
	f([]byte(strings.Replace(string(good), "1-0:1.8.0", "1-0:1.9.9", 1)), `register "1-0:1.9.9"`, true)
	f(good[2:], "no version", false)
	f(nil, "no version", false)
	f(appendUint(append([]byte{}, good...), frameReadings, 3), "field 5 twice", false)
	f(AppendFrame(nil, FrameInfo{Kind: KindTick}, objects(1, 1)), "3 readings in a tick", false)
	f([]byte{1 << 3, 1, 2 << 3, 1, 5 << 3, 0xff, 0xff, 0xff, 0xff, 0x7f}, "34359738367 readings with 0 values", false)
}

func TestFramesAllocateNothingPerReading(t *testing.T) {
	c := objects(3000, 1000)
	var dst []byte
	var got Columns
	if n := testing.AllocsPerRun(20, func() {
		dst = AppendFrame(dst[:0], FrameInfo{Kind: KindReadings}, c)
		if _, err := DecodeFrame(dst, &got); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations for a frame of %d readings", n, c.Len())
	}
}

// frozen compares got with a sample that never changes.
func frozen(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) && *update {
		var b strings.Builder
		for i := 0; i < len(got); i += 32 {
			fmt.Fprintf(&b, "%x\n", got[i:min(i+32, len(got))])
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s: got\n%x\nwant\n%x", name, got, want)
	}
	return want
}

// sampleRows are the rows of the frozen samples: every feature once.
func sampleRows() []gridloom.Reading {
	const at = 1_795_378_500_000
	dev := gridloom.NewOrder(gridloom.ClassDevice, 42, 981)
	interval := register("energy_import_interval")
	return []gridloom.Reading{
		{Meter: "m1", Register: register("energy_import"), Start: at, Value: 5_415_414_190, Agent: "gw-17", Order: dev, Serial: "S1"},
		{Meter: "m1", Register: register("power_import"), Start: at, Value: 432_100, Agent: "gw-17", Order: dev, Serial: "S1"},
		{Meter: "m1", Register: register("energy_import"), Start: at + 10_000, Value: 5_415_415_390, Agent: "gw-17", Order: dev, Serial: "S1"},
		{Meter: "m1", Register: register("power_import"), Start: at + 10_000, Void: true, Agent: "gw-17", Order: dev, Serial: "S1"},
		{Meter: "m2", Register: register("power_import"), Start: at, Value: -7, Quality: gridloom.ClockSuspect, Agent: "gw-17", Order: dev},
		{Meter: "m2", Register: interval, Start: at, Length: 900_000, Value: 125_000, Agent: "gw-17", Order: dev},
		{Meter: "m2", Register: interval, Start: at + 900_000, Length: 900_000, Value: 130_000, Quality: gridloom.ClockSuspect, Agent: "gw-17", Order: dev},
	}
}

func TestFrameSampleIsFrozen(t *testing.T) {
	rows := append(sampleRows(), gridloom.Reading{Meter: "m3", Register: register("voltage_l1"), Start: 1_795_378_501_234, Value: 229_900})
	data := frozen(t, "frame-v1.hex", AppendFrame(nil, FrameInfo{Kind: KindReadings, Generation: 1, Partition: 3}, columnsOf(rows)))
	var got Columns
	if _, err := DecodeFrame(data, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rows, readings(&got)); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}

func TestCRCIsCastagnoli(t *testing.T) {
	if got, want := CRC([]byte("123456789")), uint32(0xe3069283); got != want { // the check value of CRC-32C
		t.Errorf("CRC = %#x, want %#x", got, want)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5 {
		f.Add(AppendFrame(nil, FrameInfo{Kind: KindReadings, Generation: 1}, columnsOf(anyRows(rng, 12))))
	}
	f.Add(AppendFrame(nil, FrameInfo{Kind: KindTick}, nil))
	f.Add(AppendFrame(nil, FrameInfo{Kind: KindRegistry, Opaque: []byte("x")}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c, again Columns
		info, err := DecodeFrame(data, &c)
		if err != nil {
			if !errors.Is(err, gridloom.ErrCorrupt) || c.Len() != 0 {
				t.Fatalf("%d rows, %v", c.Len(), err)
			}
			return
		}
		if info.Readings != c.Len() || c.Len() > len(data) {
			t.Fatalf("%d readings in %d bytes, info says %d", c.Len(), len(data), info.Readings)
		}
		rows := readings(&c) // every index is within its table
		if _, err := DecodeFrame(AppendFrame(nil, info, &c), &again); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(rows, readings(&again)); d != "" {
			t.Errorf("rows (-first +second):\n%s", d)
		}
	})
}
