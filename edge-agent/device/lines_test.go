package device

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// lines reads text and returns readings as text, and the log.
func lines(t *testing.T, cfg LinesConfig, clock *Clock, text string) (rows []string, log string, bad uint64) {
	t.Helper()
	var out bytes.Buffer
	l := NewLines(cfg, strings.NewReader(text), clock, slog.New(slog.NewTextHandler(&out, nil)))
	for _, r := range everything(t, l, 100) {
		value := fmt.Sprint(r.Value)
		if r.Void {
			value = "void"
		}
		rows = append(rows, strings.TrimSpace(fmt.Sprintf("%s %s %d %d %s %s %s", r.Meter, r.Register, r.Start, r.Length, value, r.Serial, r.Quality)))
	}
	return rows, out.String(), l.Counts().Bad
}

func TestLinesReadEveryShapeOfThePayload(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		got, log, bad := lines(t, LinesConfig{}, nil, text)
		if d := cmp.Diff(want, got); d != "" || bad != 0 {
			t.Errorf("%s (-want +got)\n%s%s", text, d, log)
		}
	}
	f(`{"agent":"gw-17","epoch":42,"seq":981,"readings":[{"meter":"m1","register":"energy_import","at":"2026-11-22T20:15:00Z","value":5415414.19}]}`,
		"m1 energy_import 1795378500000 0 5415414190")
	f(`[{"meter":"m1","register":"1-0:1.8.0","at":1795383300000,"value":1,"unit":"kWh","serial":"s"},{"meter":"m1","register":"power","at":"2026-11-22T20:15:00+01:00","value":-1.5,"quality":["TEST","OUTAGE"]}]`,
		"m1 energy_import 1795383300000 0 1000000 s", "m1 power 1795374900000 0 -1500  OUTAGE|TEST")
	f(`{"meter":"m1","at":1795383300000,"energy_import":5415414.19,"power_import":432.1}`,
		"m1 energy_import 1795383300000 0 5415414190", "m1 power_import 1795383300000 0 432100")
	f(`{"meter":"m1","ts":1795383300000,"register":"energy_import","length":"30m","value":null}`, "m1 energy_import_interval 1795383300000 1800000 void")
	f("\n  \n{\"meter\":\"a\",\"at\":1795383300000,\"power\":1}\n{\"meter\":\"b\",\"at\":1795383300000,\"power\":2}",
		"a power 1795383300000 0 1000", "b power 1795383300000 0 2000")
}

func TestLinesNameWhatTheyLeaveOut(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		good := `{"meter":"a","at":1795383300000,"power":1}`
		rows, log, bad := lines(t, LinesConfig{}, nil, good+"\n"+text+"\n"+good)
		if len(rows) != 2 || bad != 1 || !strings.Contains(log, "line=2") || !strings.Contains(log, want) {
			t.Errorf("%s: %d good, %d bad, want 2, 1 and %q in\n%s", text, len(rows), bad, want, log)
		}
	}
	f(`{"meter":"a"`, "not one JSON value")
	f(`{"meter":"a","at":1795383300000,"power":1} x`, "not one JSON value")
	f(`17`, "an object or an array")
	f(`{"at":1795383300000,"power":1}`, "meter")
	f(`{"meter":"a","power":1}`, "--stamp arrival")
	f(`{"meter":"a","at":1795383300,"power":1}`, "seconds?")
	f(`{"meter":"a","at":"2026-11-22T20:15:00","power":1}`, "offset")
	f(`{"meter":"a","at":"1999-11-22T20:15:00Z","power":1}`, "never set")
	f(`{"meter":"a","at":1795383300000,"powr":1}`, "powr")
	f(`{"meter":"a","at":1795383300000,"power":"1"}`, "number or null")
	f(`{"meter":"a","at":1795383300000,"power":1e30}`, "out of range")
	f(`{"meter":"a","at":1795383300000}`, "no register and value")
	f(`{"meter":"a","at":1795383300000,"register":"power","value":1,"length":"5m"}`, "length")
	f(`{"meter":"a","at":1795383300000,"register":"power","value":1,"quality":"LATE"}`, "LATE")
	f(`{"readings":7}`, "array")
	f(`["x"]`, "[0]")
	f(strings.Repeat("x", maxLineBytes+1), "line of more than")
}

func TestArrivalStampsByTheClock(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	synced, up := true, time.Hour
	c := &Clock{Now: func() time.Time { return now }, Synced: func() bool { return synced }, Uptime: func() time.Duration { return up }, Boot: "b"}
	text := `[{"meter":"a","power":1},{"meter":"b","at":1795383300000,"power":2}]`
	at := gridloom.MillisOf(now)
	f := func(name string, want ...string) {
		t.Helper()
		got, log, _ := lines(t, LinesConfig{StampArrival: true}, c, text)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got)\n%s%s", name, d, log)
		}
	}
	f("good clock", fmt.Sprintf("a power %d 0 1000", at), "b power 1795383300000 0 2000")
	synced = false
	f("doubtful clock", fmt.Sprintf("a power %d 0 1000  CLOCK_SUSPECT", at), "b power 1795383300000 0 2000")
	up = time.Minute
	f("clock not set", fmt.Sprintf("a power %d 0 1000", BootBase+gridloom.Minute), "b power 1795383300000 0 2000")

	// What counts from boot never shares a chunk with what does not.
	l := NewLines(LinesConfig{StampArrival: true}, strings.NewReader(text+"\n"+text), c, slog.New(slog.DiscardHandler))
	chunk := Chunk{Limit: 100}
	for l.Next(t.Context(), &chunk) == nil {
		for _, start := range chunk.Start {
			if undated := start < ClockFloor; undated != (chunk.Stamp.Trust == Undated) {
				t.Errorf("chunk with stamp %+v has %s", chunk.Stamp, start)
			}
		}
		chunk.Reset()
	}
}

func FuzzLines(f *testing.F) {
	f.Add(`{"agent":"gw-17","epoch":42,"seq":981,"readings":[{"meter":"m1","register":"energy_import","at":"2026-11-22T20:15:00Z","value":5415414.19}]}`)
	f.Add(`[{"meter":"m1","register":"1-0:1.8.0","at":1795383300000,"value":1,"unit":"kWh","serial":"s","quality":["TEST"]}]`)
	f.Add(`{"meter":"m1","ts":1.7953833e12,"length":"30m","energy_import":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		l := NewLines(LinesConfig{}, strings.NewReader(text), nil, slog.New(slog.DiscardHandler))
		for _, r := range everything(t, l, 10) {
			if r.Start < gridloom.MinInstant || r.Value > gridloom.MaxValue || r.Value < -gridloom.MaxValue || r.Meter == "" || r.Void && r.Value != 0 {
				t.Errorf("reading %+v", r)
			}
		}
	})
}
