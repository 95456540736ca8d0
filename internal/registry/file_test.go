package registry

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodYAML = `# a street
nodes:
  T1: {kind: transformer, parents: [{node: F1, from: 2026-01-01T00:00:00+01:00}]}
  F1:
    kind: feeder
    parents: [{node: S}]
meters:
  "0017":
    zone: Europe/Amsterdam
    cadence: 15m
    registers:
      1-0:1.8.0: {dials: 9, rating: 17250.5}
    parents:
      - {node: T1, to: 2026-06-01T00:00:00Z}
    labels: {street: "12"}
  m2: {}
`

const goodCSV = `id,zone,cadence,parent,parent_from,1-0:1.8.0.dials,energy_import.rating,label.street
0017,Europe/Amsterdam,15m,T1,,9,17250.5,12
m2,,,,,,,
"m ""3""",,,T1,2026-01-01T00:00:00Z,,,
`

func texts(list []FileEntry) (out []string) {
	for _, e := range list {
		out = append(out, e.ID+" "+string(e.Text))
	}
	return out
}

func TestFilesAreRead(t *testing.T) {
	f, faults := ReadYAML([]byte(goodYAML))
	want := []string{
		`0017 {"zone":"Europe/Amsterdam","registers":{"energy_import":{"dials":9,"rating":17250.5}},"parents":[{"node":"T1","to":"2026-06-01T00:00:00Z"}],"labels":{"street":"12"},"cadence":"15m"}`,
		`m2 {}`,
	}
	if d := cmp.Diff(want, texts(f.Meters)); d != "" || faults != nil {
		t.Errorf("%v %s", faults, d)
	}
	if f.Meters[0].Line != 8 || f.Meters[0].Column != 3 {
		t.Errorf("the first meter stands at %d:%d", f.Meters[0].Line, f.Meters[0].Column)
	}
	if faults := f.CheckNetwork(Topology{"S": {Kind: "substation"}}); faults != nil || f.Nodes[0].ID != "F1" || f.Nodes[1].ID != "T1" {
		t.Errorf("%v, nodes %v: want F1 before T1, which hangs on it", faults, texts(f.Nodes))
	}
	f, _ = ReadYAML([]byte(goodYAML))
	if faults := f.CheckNetwork(Topology{}); len(faults) != 1 || faults[0] != (FileFault{4, 3, `node "F1": node "S" is not in the registry: write it first`}) {
		t.Errorf("without S: %v", faults)
	}
	f, faults = ReadCSV([]byte(goodCSV))
	want = []string{
		`0017 {"zone":"Europe/Amsterdam","registers":{"energy_import":{"dials":9,"rating":17250.5}},"parents":[{"node":"T1"}],"labels":{"street":"12"},"cadence":"15m"}`,
		`m2 {}`,
		`m "3" {"parents":[{"node":"T1","from":"2026-01-01T00:00:00Z"}]}`,
	}
	if d := cmp.Diff(want, texts(f.Meters)); d != "" || faults != nil {
		t.Errorf("%v %s", faults, d)
	}
	f, faults = ReadCSV([]byte("\ufeffid,kind,rating,parent\nT1,transformer,400000,\n"))
	if d := cmp.Diff([]string{`T1 {"kind":"transformer","rating":400000}`}, texts(f.Nodes)); d != "" || faults != nil {
		t.Errorf("%v %s", faults, d)
	}
}

func TestFaultsOfFilesHaveTheirPlace(t *testing.T) {
	f := func(read func([]byte) (File, []FileFault), text string, want ...string) {
		t.Helper()
		_, faults := read([]byte(text))
		var got []string
		for _, x := range faults {
			got = append(got, fmt.Sprintf("%d:%d: %s", x.Line, x.Column, x.Text))
		}
		if !slices.EqualFunc(want, got, func(w, g string) bool { return strings.HasPrefix(g, w) }) {
			t.Errorf("faults of\n%s\n%q\nwant %q", text, got, want)
		}
	}
	y := ReadYAML
	f(y, "meters:\n  m1:\n    zone: Mars/X\n    labels:\n      a b: x\n", `3:5: meter "m1": zone: "Mars/X" is no zone`, `5:7: meter "m1": labels.a b: is no key`)
	f(y, "meters:\n  m1: {zone: UTC, zoned: 3}\n", `2:19: meter "m1": zoned: is not known`)
	f(y, "meters:\n  m1:\n    parents:\n      - {node: A}\n      - {node: B}\n", `5:9: meter "m1": parents.1: overlaps parents.0`)
	f(y, "meters:\n  m1: {}\n  m1: {}\n", `3:3: meter "m1" stands twice`)
	f(y, "meters:\n  m1: {zone: UTC, zone: UTC}\n", `2:19: key "zone" stands twice`)
	f(y, "meter: {}\n", `1:1: "meter" is not known here`)
	f(y, "- m1\n", `1:1: want a mapping`)
	f(y, "meters: [m1]\n", `1:9: want a mapping of meters by id`)
	f(y, "meters:\n  m1: &a {}\n  m2: *a\n", `3:7: aliases are not read`)
	f(y, "meters:\n\tm1: {}\n", `2:1: `)
	f(y, "nodes:\n  T: {}\n", `2:6: node "T": kind: is missing`)
	f(y, "")
	c := ReadCSV
	f(c, "id,moon\nm1,x\n", `1:4: column "moon" is not known here; known are id`)
	f(c, "zone\nUTC\n", `1:1: there is no column id`)
	f(c, "id,zone\nm1,UTC\nm2,Mars/X\n", `3:4: meter "m2": zone: "Mars/X" is no zone`)
	f(c, "id,energy_import.dials\nm1,many\nm2,9\nm3,13\n", `2:4: meter "m1": registers.energy_import.dials: want a whole number`, `4:4: meter "m3": registers.energy_import.dials: want`)
	f(c, "id,energy_import.dials,1-0:1.8.0.dials\n", `1:24: column "1-0:1.8.0.dials" stands twice`)
	f(c, "id,voltage_l1.dials\nm1,3\n", `2:4: meter "m1": registers.voltage_l1: is no counter`)
	f(c, "id,parent,parent_from\nm1,,2026-01-01T00:00:00Z\n", `2:5: meter "m1": parents.0.node: is missing`)
	f(c, "id,zone\nm1\n", `2:1: wrong number of fields`)
	f(c, "id\nm1\nm1\n", `3:1: meter "m1" stands twice`)
	f(c, "id,zone\n,UTC\n", `2:1: an id has 1 to 128`)
	f(c, "")
}

// TestExportIsImported: what AppendYAML writes, ReadYAML reads as the same entries.
// TestTheFilesOfThePage: the two files of docs/registry.md say the same of m1.
func TestTheFilesOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/registry.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) []byte {
		m := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(page)
		if m == nil {
			t.Fatalf("docs/registry.md has no block %q", kind)
		}
		return m[1]
	}
	a, faultsA := ReadYAML(block("yaml"))
	b, faultsB := ReadCSV(block("csv"))
	if d := cmp.Diff(texts(a.Meters), texts(b.Meters)); d != "" || len(a.Meters) != 1 || faultsA != nil || faultsB != nil || a.CheckNetwork(Topology{}) != nil {
		t.Errorf("%v %v %s", faultsA, faultsB, d)
	}
}

func TestExportIsImported(t *testing.T) {
	nodes := map[string]json.RawMessage{"T1": json.RawMessage(`{"kind":"transformer","rating":400000.5}`), "true": json.RawMessage(`{"kind":"site"}`)}
	meters := map[string]json.RawMessage{
		"0017": json.RawMessage(`{"zone":"UTC","registers":{"energy_import":{"dials":9,"rating":17250}},"parents":[{"node":"T1","from":"2026-01-01T00:00:00Z"}],"labels":{"a":"12","b":"é: \u003c#\u003e","c":"null"},"cadence":"15m"}`),
		"":     json.RawMessage(`{}`), "- x": json.RawMessage(`{}`), "a: b #c": json.RawMessage(`{}`), "é\"'": json.RawMessage(`{}`),
	}
	delete(meters, "") // no id
	text, err := AppendYAML(nil, nodes, meters)
	if err != nil {
		t.Fatal(err)
	}
	f, faults := ReadYAML(text)
	if faults != nil {
		t.Fatalf("%v in\n%s", faults, text)
	}
	back := func(list []FileEntry) map[string]json.RawMessage {
		m := map[string]json.RawMessage{}
		for _, e := range list {
			m[e.ID] = e.Text
		}
		return m
	}
	if d := cmp.Diff(nodes, back(f.Nodes)) + cmp.Diff(meters, back(f.Meters)); d != "" {
		t.Errorf("%s\n%s", text, d)
	}
}

func FuzzReadYAML(f *testing.F) {
	f.Add([]byte(goodYAML))
	f.Add([]byte("meters: {m1: &a {parents: [*a]}}"))
	f.Fuzz(func(t *testing.T, data []byte) { checkFile(t, data, ReadYAML) })
}

func FuzzReadCSV(f *testing.F) {
	f.Add([]byte(goodCSV))
	f.Add([]byte("id,kind\n\"a\n"))
	f.Fuzz(func(t *testing.T, data []byte) { checkFile(t, data, ReadCSV) })
}

// checkFile: faults have a place and are one line each, and entries that are read are stored entries.
func checkFile(t *testing.T, data []byte, read func([]byte) (File, []FileFault)) {
	t.Helper()
	file, faults := read(data)
	for _, x := range faults {
		if x.Line < 1 || x.Column < 1 || x.Text == "" {
			t.Errorf("fault %+v of %q", x, data)
		}
	}
	for _, e := range file.Meters {
		m, err := ParseMeter(e.Text)
		again, _ := json.Marshal(m)
		if err != nil || string(again) != string(e.Text) {
			t.Errorf("%s of %q: %v", e.Text, data, err)
		}
	}
}
