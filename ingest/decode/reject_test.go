package decode

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// reasons are all that a reject can have.
var reasons = []string{
	wire.Future, wire.Past, wire.Time, wire.Value, wire.Unit, wire.Meter, wire.Register, wire.Length, wire.Quality, wire.Serial,
	wire.Epoch, wire.Agent, wire.Topic, wire.Syntax, wire.Size, wire.Count,
}

// TestBadReadingsNeverTakeTheirNeighboursWithThem puts each fault between two good readings.
func TestBadReadingsNeverTakeTheirNeighboursWithThem(t *testing.T) {
	const good = `{"meter":"m9","at":1795378500000,"power":1}`
	const kept = "m9 power 2026-11-22T20:15:00Z 1000\n"
	var d Decoder
	f := func(fault, want string) {
		t.Helper()
		got := decode(&d, `{"readings":[`+good+`,`+fault+`,`+good+`]}`)
		if lines := got.lines(); lines != kept+kept+want+"\n" || got.Objects != 3 {
			t.Errorf("%s: %d objects\n%swant %s", fault, got.Objects, lines, want)
		}
	}
	const m, at, p = `"meter":"m1"`, `"at":1795378500000`, `"power":5`
	f(`{`+m+`,"at":1795379700001,`+p+`}`, "FUTURE readings[1].at")
	f(`{`+m+`,"ts":"2026-11-22T20:35:00.001Z",`+p+`}`, "FUTURE readings[1].ts")
	f(`{`+m+`,"at":"2026-11-22T20:15:00Z","length":"21m","energy_import":1}`, "FUTURE readings[1].at")
	f(`{`+m+`,"at":"1999-12-31T23:59:59Z",`+p+`}`, "PAST readings[1].at")
	f(`{`+m+`,"at":"2026-11-22T20:15:00",`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,"at":1795378500,`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,"at":1795378500000.5,`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,"at":1e300,`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,"at":true,`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,"at":null,`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,`+p+`}`, "TIME readings[1].at")
	f(`{`+m+`,`+at+`}`, "VALUE readings[1].value")
	f(`{`+m+`,`+at+`,"register":"power"}`, "VALUE readings[1].value")
	f(`{`+m+`,`+at+`,"power":"5"}`, "VALUE readings[1].power")
	f(`{`+m+`,`+at+`,"register":"power","value":[5]}`, "VALUE readings[1].value")
	f(`{`+m+`,`+at+`,"power":1000000000000.0006}`, "VALUE readings[1].power")
	f(`{`+m+`,`+at+`,"power":-1e400}`, "VALUE readings[1].power")
	f(`{`+m+`,`+at+`,`+p+`,"unit":"kWh"}`, "UNIT readings[1].power")
	f(`{`+m+`,`+at+`,`+p+`,"unit":7}`, "UNIT readings[1].unit")
	f(`{`+at+`,`+p+`}`, "METER readings[1].meter")
	f(`{"meter":"",`+at+`,`+p+`}`, "METER readings[1].meter")
	f(`{"meter":17,`+at+`,`+p+`}`, "METER readings[1].meter")
	f(`{"meter":"a\u0000",`+at+`,`+p+`}`, "METER readings[1].meter")
	f(`{"meter":"`+"\xff"+`",`+at+`,`+p+`}`, "METER readings[1].meter")
	f(`{"meter":"`+strings.Repeat("m", 129)+`",`+at+`,`+p+`}`, "METER readings[1].meter")
	f(`{`+m+`,`+at+`,"register":"energy","value":5}`, "REGISTER readings[1].register")
	f(`{`+m+`,`+at+`,"value":5}`, "REGISTER readings[1].register")
	f(`{`+m+`,`+at+`,"temperature":5}`, "REGISTER readings[1].temperature")
	f(`{`+m+`,`+at+`,"agent":"gw-17"}`, "REGISTER readings[1].agent")
	f(`{`+m+`,`+at+`,"energy_import_interval":5}`, "LENGTH readings[1].energy_import_interval")
	f(`{`+m+`,`+at+`,"length":"15m",`+p+`}`, "LENGTH readings[1].power")
	f(`{`+m+`,`+at+`,"length":"m","energy_import":1}`, "LENGTH readings[1].length")
	f(`{`+m+`,`+at+`,"length":999,"energy_import":1}`, "LENGTH readings[1].energy_import")
	f(`{`+m+`,`+at+`,`+p+`,"quality":["TEST","MISSING"]}`, "QUALITY readings[1].quality")
	f(`{`+m+`,`+at+`,`+p+`,"quality":4}`, "QUALITY readings[1].quality")
	f(`{`+m+`,`+at+`,`+p+`,"serial":"\n"}`, "SERIAL readings[1].serial")
	f(`{`+m+`,`+m+`,`+at+`,`+p+`}`, "SYNTAX readings[1].meter")
	f(`{`+m+`,`+at+`,"ts":1795378500000,`+p+`}`, "SYNTAX readings[1].ts")
	f(`{`+m+`,`+at+`,`+p+`,"1-0:16.7.0":6}`, "SYNTAX readings[1].power")
	f(`"m1"`, "SYNTAX readings[1]")
}

// TestOneBadValueLeavesTheOthersOfItsObject: of a flat object only the value is refused.
func TestOneBadValueLeavesTheOthersOfItsObject(t *testing.T) {
	var d Decoder
	got := decode(&d, `{"meter":"m1","foo":[{"bar":1}],"at":1795378500000,"power":5,"voltage_l1":"x","frequency":50.01}`).lines()
	want := "m1 power 2026-11-22T20:15:00Z 5000\nm1 frequency 2026-11-22T20:15:00Z 50010\nREGISTER foo\nVALUE voltage_l1\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWholeMessagesAreRefusedOnceAndLeaveNothing(t *testing.T) {
	const r = `{"meter":"m1","at":1795378500000,"power":5}`
	batch := func(agent string, epoch uint32) string {
		var c wire.Columns
		c.AppendReading(&gridloom.Reading{Meter: "m1", Register: register("power"), Start: now, Value: 5})
		return string(wire.AppendBatch(nil, &wire.Batch{Agent: agent, Epoch: epoch, Seq: 1, HasOrder: true, Columns: &c}))
	}
	tomorrow := gridloom.EpochAt(now) + 86_400
	var d Decoder
	f := func(payload, want string) {
		t.Helper()
		var c wire.Columns
		c.AppendReading(&gridloom.Reading{Meter: "before", Register: register("power"), Start: now})
		var bads []Bad
		n := d.Decode(source, []byte(payload), &c, func(b Bad) { bads = append(bads, b) })
		if n != 0 || c.Len() != 1 || len(bads) != 1 || strings.TrimSpace(bads[0].Reason+" "+bads[0].Place) != want {
			t.Errorf("%.80q: %d objects, %d rows, %v, want %s", payload, n, c.Len()-1, bads, want)
		}
	}
	f(`{"readings":[`+r+`],"agent":"gw-18"}`, "AGENT agent")
	f(`{"readings":[`+r+`],"agent":7}`, "AGENT agent")
	f(batch("gw-18", 1), "AGENT agent")
	f(fmt.Sprintf(`{"readings":[%s],"agent":"gw-17","epoch":%d,"seq":1}`, r, tomorrow+1), "EPOCH epoch")
	f(batch("gw-17", tomorrow+1), "EPOCH epoch")
	f(`{"readings":[`+r+`],"seq":268435456}`, "EPOCH epoch")
	f(`{"readings":[`+r+`],"epoch":-1}`, "EPOCH epoch")
	f(`{"readings":[`+r+`],"seq":1.5}`, "EPOCH seq")
	f(`{"readings":[`+r+`],"readings":[]}`, "SYNTAX readings")
	f(`{"readings":`+r+`}`, "SYNTAX readings")
	f(`[`+r+`,]`, "SYNTAX byte 45")
	f(`[`+r+`] []`, "SYNTAX byte 46")
	f(`[{"meter":"m1"},{"x":`+strings.Repeat("[", 70)+strings.Repeat("]", 70)+`}]`, "SYNTAX byte 85")
	f("", "SYNTAX byte 0")
	f("hello", "SYNTAX byte 2")
	f(strings.Repeat(" ", wire.MaxPacketBytes+1), "SIZE")
	f("["+strings.Repeat("0,", wire.MaxObjects)+"0]", "COUNT [10000]")
	f(`{"x":0`+strings.Repeat(`,"x":0`, maxFaults)+`}`, "COUNT")

	if got := decode(&d, fmt.Sprintf(`{"readings":[%s],"agent":"gw-17","epoch":%d,"seq":1}`, r, tomorrow)); len(got.Rows) != 1 || got.Rows[0].Order.Epoch() != tomorrow {
		t.Errorf("an epoch a day ahead: %+v", got)
	}
}

// TestBatchAndJSONSayTheSame decodes one message in both encodings.
func TestBatchAndJSONSayTheSame(t *testing.T) {
	var d Decoder
	want := decode(&d, `{"agent":"gw-17","epoch":42,"seq":981,"readings":[
		{"meter":"m1","at":1795378500000,"energy_import":5415414.19,"power":432.1,"serial":"S1"},
		{"meter":"m1","at":1795379400000,"energy_import":null,"power":-432.1,"quality":"TEST","serial":"S1"}]}`)
	var c wire.Columns
	for i := range want.Rows {
		c.AppendReading(&want.Rows[i])
	}
	got := decode(&d, string(wire.AppendBatch(nil, &wire.Batch{Agent: "gw-17", Epoch: 42, Seq: 981, HasOrder: true, Columns: &c})))
	want.Rows, got.Rows = sorted(want.Rows), sorted(got.Rows)
	if diff := cmp.Diff(want, got); len(want.Rows) != 4 || diff != "" {
		t.Errorf("(-JSON +protobuf):\n%s", diff)
	}
}

func TestKnownMetersCostNoAllocation(t *testing.T) {
	payload := flat(100, func(at gridloom.Millis) string { return `"` + at.String() + `"` })
	var d Decoder
	var c wire.Columns
	bad := func(b Bad) { t.Fatal(b) }
	if n := testing.AllocsPerRun(20, func() {
		c.Reset()
		d.Decode(source, payload, &c, bad)
	}); n > 0 {
		t.Errorf("%v allocations for 100 objects", n)
	}
}

// TestInstant compares the parser with the time package over all of its inputs' shapes.
func TestInstant(t *testing.T) {
	f := func(s string) {
		t.Helper()
		got, ok := instant([]byte(s))
		want, err := time.Parse(time.RFC3339Nano, s)
		if ok != (err == nil) || ok && got != gridloom.MillisOf(want) {
			t.Errorf("instant(%q) = %v, %t, want %v, %v", s, got, ok, want, err)
		}
	}
	for day := time.Date(1, 1, 1, 23, 59, 58, 0, time.UTC); day.Year() < 9999; day = day.AddDate(0, 0, 97) {
		f(day.Format(time.RFC3339))
	}
	for _, s := range []string{
		"2026-11-22T20:15:00Z", "2026-11-22T21:15:00.123456789+01:00", "2026-11-22T00:15:00.5-11:30", "2024-02-29T00:00:00Z", "2100-02-28T00:00:00Z",
		"2023-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-04-31T00:00:00Z", "2026-04-00T00:00:00Z",
		"2026-11-22T24:00:00Z", "2026-11-22T23:60:00Z", "2026-11-22T23:59:60Z", "2026-11-22T20:15:00", "2026-11-22T20:15:00.Z", "2026-11-22",
		"2026-11-22T20:15:00+0100", "2026-11-22T20:15:00+01", "2026-11-22T20:15:00 Z", "2026-11-22T20:15:00ZZ", "2O26-11-22T20:15:00Z", "", "Z",
		"2000-01-01T00:00:00Z", "1999-12-31T23:59:59.999Z", "0000-02-29T00:00:00Z", "0000-01-01T00:00:00Z",
	} {
		f(s)
	}
	if at, ok := instant([]byte("2026-11-22 20:15:00z")); !ok || at != 1_795_378_500_000 {
		t.Errorf("a blank for T and a small z: %v, %t", at, ok)
	}
}

func TestLength(t *testing.T) {
	var m lengthMemo
	f := func(s string, want gridloom.Millis) {
		t.Helper()
		if got, ok := m.parse([]byte(s)); ok != (want >= 0) || ok && got != want {
			t.Errorf("length %q = %d, %t, want %d", s, got, ok, want)
		}
	}
	f("30m", 30*gridloom.Minute)
	f("30m", 30*gridloom.Minute) // remembered
	f("1h30m", 90*gridloom.Minute)
	f("1d", gridloom.Day)
	f("15s500ms", 15_500)
	f("500ms", 500)
	for _, s := range []string{"", "m", "30", "1.5h", "30m1h", "30M", "-30m", "30m ", "PT30M", "99999999999h", "1h1h"} {
		f(s, -1)
	}
}
