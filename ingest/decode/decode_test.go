package decode

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// now is ingest's clock in the tests: 2026-11-22T20:30:00Z.
const now gridloom.Millis = 1_795_379_400_000

// source is where the payloads of the tests come from.
var source = Source{Topic: "gridloom/v1/north/gw-17/readings", Site: "north", Agent: "gw-17", Client: "gw-17", Now: now}

// decoded is what Decode made of a payload.
type decoded struct {
	Rows    []gridloom.Reading
	Bads    []Bad
	Objects int
}

func decode(d *Decoder, payload string) decoded {
	var c wire.Columns
	c.Reset()
	var r decoded
	r.Objects = d.Decode(source, []byte(payload), &c, func(b Bad) { r.Bads = append(r.Bads, b) })
	for i := range c.Len() {
		r.Rows = append(r.Rows, c.Reading(i))
	}
	return r
}

func register(name string) gridloom.RegisterID {
	id, ok := gridloom.RegisterByName(name)
	if !ok {
		panic("no register " + name)
	}
	return id
}

func TestShapesSayTheSame(t *testing.T) {
	want := decoded{Objects: 1, Rows: []gridloom.Reading{{
		Meter: "m1", Register: register("energy_import"), Start: 1_795_378_500_000, Value: 5_415_414_190, Agent: "gw-17",
	}}}
	f := func(payload string) {
		t.Helper()
		var d Decoder
		if diff := cmp.Diff(want, decode(&d, payload)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", payload, diff)
		}
	}
	f(`{"meter":"m1","register":"energy_import","at":"2026-11-22T20:15:00Z","value":5415414.19}`)
	f(`[{"meter":"m1","register":"1-0:1.8.0","ts":1795378500000,"value":5415.41419,"unit":"kWh"}]`)
	f(` {"readings": [ {"energy_import": 5.41541419e6, "at": "2026-11-22T21:15:00.000+01:00", "meter": "m\u0031" } ] } `)
	f(`{"agent":"gw-17","seq":3,"meter":"m1","at":1.7953785e12,"1-0:1.8.0":5415414190e-3}`)
}

// TestBlanksMayDifferFromTheObjectBefore: keys are predicted from it.
func TestBlanksMayDifferFromTheObjectBefore(t *testing.T) {
	var d Decoder
	for _, colon := range []string{":", ": ", ":\t\n", " :", ":"} {
		payload := strings.ReplaceAll(`{"meter"@"m1","at"@1795378500000,"power"@5}`, "@", colon)
		if got := decode(&d, payload).lines(); got != "m1 power 2026-11-22T20:15:00Z 5000\n" {
			t.Errorf("%q after others: %s", payload, got)
		}
	}
}
