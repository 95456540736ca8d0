package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	_ "time/tzdata" // zones do not depend on the machine

	"github.com/gridloom/gridloom"
)

func TestFaultsSayWhatWhereAndHow(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := ParseMeter([]byte(text))
		if len(want) == 0 {
			if err != nil {
				t.Errorf("ParseMeter(%s): %v", text, err)
			}
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || !errors.Is(err, gridloom.ErrInvalid) || len(faults) != len(want) {
			t.Errorf("ParseMeter(%s) = %v, want %d faults", text, err, len(want))
			return
		}
		for i := range want {
			if got := faults[i].Error(); !strings.HasPrefix(got, want[i]) || strings.Contains(got, "\n") {
				t.Errorf("ParseMeter(%s): fault %d is %q, want %q", text, i, got, want[i])
			}
		}
	}
	f(`{}`)
	f(`{"zone":"Europe/Amsterdam","cadence":"15m","registers":{"energy_import":{"dials":9,"rating":17250.5}},"labels":{"street":"Dorpsweg 1"}}`)
	f(`{"registers":{"1-0:1.8.0":{"dials":12}}}`)
	f(`{"parents":[{"node":"T1","to":"2026-01-01T00:00:00Z"},{"node":"T2","from":"2026-01-01T01:00:00+01:00"}]}`)
	f(`[]`, "want an object")
	f(`{`, "not JSON: ")
	f(`{} {}`, "not JSON: something follows")
	f(`null`, "want an object")
	f(`{"zoned":"UTC"}`, "zoned: is not known here; known are cadence, labels, parents, registers, zone")
	f(`{"multiplier":100}`, "multiplier: is not known here")
	f(`{"zone":"Mars/Olympus"}`, `zone: "Mars/Olympus" is no zone: want one of the IANA database`)
	f(`{"zone":"Local"}`, "zone: ")
	f(`{"zone":7}`, "zone: want a text")
	f(`{"cadence":"0s"}`, "cadence: want a span")
	f(`{"registers":{"energy_import":{"dials":13}}}`, "registers.energy_import.dials: want a whole number from 1 to 12")
	f(`{"registers":{"energy_import":{"dials":0}}}`, "registers.energy_import.dials: ")
	f(`{"registers":{"energy_import":{"dials":"9"}}}`, "registers.energy_import.dials: ")
	f(`{"registers":{"energy_import":{"rating":-1}}}`, "registers.energy_import.rating: want a number above 0")
	f(`{"registers":{"energy_import":{"rating":1.2345}}}`, "registers.energy_import.rating: ")
	f(`{"registers":{"energy_import":{"rating":1e3}}}`, "registers.energy_import.rating: ")
	f(`{"registers":{"moon":{}}}`, "registers.moon: is no register")
	f(`{"registers":{"voltage_l1":{"dials":3}}}`, "registers.voltage_l1: is no counter")
	f(`{"registers":{"1-0:1.8.0":{"dials":3},"energy_import":{"dials":3}}}`, "registers.energy_import: is told twice")
	f(`{"parents":[{"node":"T1"},{"node":"T2","from":"2026-01-01T00:00:00Z"}]}`, "parents.1: overlaps parents.0")
	f(`{"parents":[{"node":"T2","from":"2026-01-01T00:00:00Z"},{"node":"T1"}]}`, "parents.1: overlaps parents.0")
	f(`{"parents":[{"node":"T1","from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}]}`, "parents.0: from must lie before to")
	f(`{"parents":[{"node":"T1","from":"2026-01-02"}]}`, "parents.0.from: want RFC 3339")
	f(`{"parents":[{}]}`, "parents.0.node: is missing")
	f(`{"labels":{"a b":"x","c":""}}`, "labels.a b: is no key", "labels.c: want a text")
	f(`{"labels":{"k":"`+strings.Repeat("x", MaxLabel+1)+`"}}`, "labels.k: want a text of 1 to 256")
	many := map[string]string{}
	for i := range MaxLabels + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	text, _ := json.Marshal(map[string]any{"labels": many})
	f(string(text), "labels: want an object of at most 32 labels")
	f(`{"zone":"x`+strings.Repeat("x", MaxBody)+`"}`, "an entry has at most")
	if _, err := ParseNode([]byte(`{"zone":"UTC"}`)); err == nil || !strings.Contains(err.Error(), "kind: is missing: want one of substation") {
		t.Errorf("a node without a kind: %v", err)
	}
	if _, err := ParseNode([]byte(`{"kind":"moon"}`)); err == nil || !strings.Contains(err.Error(), `kind: "moon" is no kind`) {
		t.Errorf("a node of another kind: %v", err)
	}
}

// TestAnEntryComesBackAsItWasWritten: its stored form reads as the same entry, whose form is the same again.
func TestAnEntryComesBackAsItWasWritten(t *testing.T) {
	m, err := ParseMeter([]byte(`{"labels":{"b":"<&>","a":"é"},"cadence":"90s","registers":{"1-0:2.8.0":{},"energy_import":{"rating":0.001,"dials":1}},
		"parents":[{"node":"T2","from":"2026-06-01T00:00:00+02:00"},{"node":"T1","to":"2026-05-31T22:00:00Z"}],"zone":"Asia/Kathmandu"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"zone":"Asia/Kathmandu","registers":{"energy_export":{},"energy_import":{"dials":1,"rating":0.001}},` +
		`"parents":[{"node":"T1","to":"2026-05-31T22:00:00Z"},{"node":"T2","from":"2026-05-31T22:00:00Z"}],"labels":{"a":"é","b":"\u003c\u0026\u003e"},"cadence":"1m30s"}`
	if string(text) != want {
		t.Errorf("stored as\n%s\nwant\n%s", text, want)
	}
	again, err := ParseMeter(text)
	if d := cmp.Diff(m, again); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
}

func FuzzParseMeter(f *testing.F) {
	f.Add([]byte(`{"zone":"UTC","cadence":"15m","registers":{"energy_import":{"dials":9,"rating":17250.5}},"labels":{"a":"b"},"parents":[{"node":"T1","from":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"parents":[{"node":"T","from":"2026-01-01T00:00:00Z","to":"2027-01-01T00:00:00.5Z"},{"node":"U"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMeter(text)
		if err != nil {
			if !errors.Is(err, gridloom.ErrInvalid) || strings.Contains(err.Error(), gridloom.ErrInvalid.Error()+": "+gridloom.ErrInvalid.Error()) {
				t.Fatal(err)
			}
			return
		}
		stored, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseMeter(stored)
		if d := cmp.Diff(m, again); err != nil || d != "" {
			t.Errorf("%q stored as %s: %v %s", text, stored, err, d)
		}
	})
}

// TestNoCircleAtAnyInstant compares Check with a walk up from every node at every instant at which something changes.
func TestNoCircleAtAnyInstant(t *testing.T) {
	circles, refused := 0, 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		nodes := Topology{}
		n := 2 + rng.IntN(5)
		for i := range n {
			var parents []Parent
			at := gridloom.Millis(0)
			for rng.IntN(3) > 0 && len(parents) < 3 {
				p := Parent{Node: fmt.Sprint("n", rng.IntN(n)), From: at + gridloom.Millis(rng.IntN(3))}
				p.To = p.From + 1 + gridloom.Millis(rng.IntN(4))
				at = p.To
				parents = append(parents, p)
			}
			nodes[fmt.Sprint("n", i)] = Node{Kind: "site", Parents: parents}
		}
		circle := false
		for id := range nodes {
			for at := range gridloom.Millis(30) {
				up := id
				for range n + 1 {
					if up = ParentAt(nodes[up].Parents, at); up == id {
						circle = true
					}
				}
			}
		}
		bad := false
		for id := range nodes {
			bad = bad || nodes.Check(id) != nil
		}
		if circle {
			circles++
		}
		if bad {
			refused++
		}
		if circle != bad {
			t.Fatalf("seed %d: circle %t, refused %t: %+v", seed, circle, bad, nodes)
		}
	}
	if circles < 300 || circles > 2700 {
		t.Errorf("%d circles in 3000 networks show little", circles)
	}
	if err := (Topology{"a": {Parents: []Parent{{Node: "b"}}}}).Check("a"); err == nil || !strings.Contains(err.Error(), `node "b" is not in the registry`) {
		t.Errorf("a parent that is not there: %v", err)
	}
}

func TestBelowFollowsTheDates(t *testing.T) {
	nodes := Topology{"S": {}, "F1": {Parents: []Parent{{Node: "S"}}}, "F2": {Parents: []Parent{{Node: "S"}}}, "T": {Parents: []Parent{{Node: "F1", To: 100}, {Node: "F2", From: 100}}}}
	meter := []Parent{{Node: "T", From: 50}}
	f := func(node string, at gridloom.Millis, want bool) {
		t.Helper()
		if got := nodes.Below(meter, node, at); got != want {
			t.Errorf("below %s at %d: %t", node, int64(at), got)
		}
	}
	f("T", 49, false)
	f("T", 50, true)
	f("S", 50, true)
	f("F1", 99, true)
	f("F1", 100, false)
	f("F2", 100, true)
	f("none", 100, false)
}

// TestOfTwoWritersTheLogDecides: a change whose condition does not hold leaves no trace.
func TestOfTwoWritersTheLogDecides(t *testing.T) {
	var v Version
	next := func(seq uint64, body string, want uint64) {
		t.Helper()
		now, counts, err := v.Next(seq, 1, []byte(body))
		if v = now; err != nil || v.Number != want || counts != (want == seq) {
			t.Fatalf("after %s version %d, %v; want %d", body, v.Number, err, want)
		}
	}
	next(5, `{"if":1,"entry":{}}`, 0)
	next(6, `{"if":0,"entry":{}}`, 6)
	next(7, `{"if":0,"entry":{"zone":"UTC"}}`, 6)
	next(8, `{"if":6,"entry":{"zone":"UTC"}}`, 8)
	next(9, `{"if":6,"deleted":true}`, 8)
	next(10, `{"deleted":true}`, 10)
	if v.Exists() {
		t.Error("it exists after it was deleted")
	}
	next(11, `{"if":10,"entry":{}}`, 10)
	next(12, `{"if":0,"entry":{}}`, 12)
	for _, body := range []string{`{}`, `{"entry":{},"deleted":true}`, `{"entry":{},"moon":1}`, `x`} {
		if _, _, err := v.Next(13, 1, []byte(body)); !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
