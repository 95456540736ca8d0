package query

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

var update = flag.Bool("update", false, "write the answers into docs/api.md; read the diff")

// docsWorld is what the examples of docs/api.md are asked of.
func docsWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	now := t0 + 12*gridloom.Hour
	w.cfg.Now, w.logged = func() gridloom.Millis { return now }, now
	cal, faults := NewCalendar(&CalendarSpec{Name: "day-night", Zone: "Europe/Brussels", Days: []DayTypeSpec{{Name: "working", Days: weekdays[1:6]}, {Name: "weekend", Days: []string{"sat", "sun"}}}, Bands: []BandSpec{
		{Band: "day", Days: []string{"working"}, Hours: []string{"07:00-22:00"}}, {Band: "night", Days: []string{"working"}, Hours: []string{"22:00-07:00"}}, {Band: "night", Days: []string{"weekend"}},
	}}, gridloom.DefaultWidth)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	w.cfg.Calendars = []*Calendar{cal}
	ten := t0 + 10*gridloom.Hour
	var rows []gridloom.Reading
	add := func(meter, name string, start, length gridloom.Millis, value int64, logged gridloom.Millis) *gridloom.Reading {
		rows = append(rows, gridloom.Reading{
			Meter: meter, Register: register(t, name), Start: start, Length: length, Value: value, Serial: "LG-4711", Agent: "gw-17",
			Order: gridloom.NewOrder(gridloom.ClassDevice, 217_468_800, uint32(len(rows)+1)), Sequence: uint64(981 + len(rows)), LoggedAt: logged,
		})
		return &rows[len(rows)-1]
	}
	for i, v := range []int64{5_415_414_190, 5_415_523_690, 5_415_610_000} { // the reading at 10:15 did not come
		at := ten + gridloom.Millis([]int{0, 10, 30}[i])*gridloom.Minute
		add("m1", "energy_import", at, 0, v, at+2*gridloom.Second)
	}
	for i := range gridloom.Millis(4) {
		add("m1", "power_import", ten+i*30*gridloom.Minute, 0, 432_100+10_000*int64(i), ten+i*30*gridloom.Minute+2*gridloom.Second)
		add("m2", "power_import", ten+i*30*gridloom.Minute, 0, 1_250_500, ten+i*30*gridloom.Minute+3*gridloom.Second).Serial = "LG-4712"
	}
	half := 30 * gridloom.Minute
	add("m1", "energy_import_interval", ten, half, 195_000, ten+half+gridloom.Second)
	add("m1", "energy_import_interval", ten+half, half, 201_500, ten+2*half+gridloom.Second)
	*add("m1", "energy_import_interval", ten, half, 195_810, ten+2*half+gridloom.Minute) = func(r gridloom.Reading) gridloom.Reading {
		r.Order = gridloom.NewOrder(gridloom.ClassEdit, r.Order.Epoch(), 1)
		r.Quality, r.Agent = gridloom.Edited, ""
		return r
	}(rows[len(rows)-1])
	for i, hours := range []gridloom.Millis{-6, 0} { // a gap of six hours
		add("m3", "energy_import", ten+hours*gridloom.Hour, 0, 71_000_000+7_000_000*int64(i), ten+hours*gridloom.Hour+2*gridloom.Second).Serial = "LG-4713"
	}
	panes := foldAll(window.Defaults(), rows, now-gridloom.DefaultLateness)
	for i := range panes {
		panes[i].Revision, panes[i].ComputedAt = 996, ten+45*gridloom.Minute
	}
	w.commit(panes, rows[:5])
	w.hold(nil, rows[5:])
	w.hold(nil, rows[:3]) // so that the fake owner knows the counter; readings merge by identity
	w.rejects = []gridloom.Reject{{
		Sequence: 3, At: ten, Reason: "TIME", Detail: "at is 1795341600: Unix milliseconds are wanted; seconds?", Place: "readings[0].at",
		Topic: "gridloom/v1/home/gw-17/readings", Client: "gw-17", Payload: []byte(`{"meter":"m1","register":"power_import","at":1795341600,"value":432.1}`),
	}}
	return w
}

// example is a request of docs/api.md and the answer that stands below it.
var example = regexp.MustCompile("(?s)```sh\ncurl -s 'http://localhost:8080([^']*)'\n```\n```(?:json|csv)\n(.*?)```")

func TestExamplesOfTheAPIPage(t *testing.T) {
	const path = "../docs/api.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	address := docsWorld(t).serve()
	found := 0
	fresh := example.ReplaceAllFunc(page, func(b []byte) []byte {
		found++
		m := example.FindSubmatchIndex(b)
		got := strings.ReplaceAll(get(t, address+string(b[m[2]:m[3]])).body, "\r\n", "\n")
		return append(append(slices.Clone(b[:m[4]]), got...), "```"...)
	})
	if found < 11 {
		t.Errorf("%d examples were found, want at least 11", found)
	}
	if *update {
		if err := os.WriteFile(path, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(page), string(fresh)); diff != "" {
		t.Errorf("docs/api.md differs from what is answered (-page +answer); go test ./query -run APIPage -update\n%s", diff)
	}
}

// editExample is a request of docs/editing.md, with a body if it makes an edit, and the answer that stands below it.
var editExample = regexp.MustCompile("(?s)```sh\ncurl -s 'http://localhost:8080([^']*)'(?: --json '([^']*)')?\n```\n```json\n(.*?)```")

// TestExamplesOfTheEditingPage plays them one after the other.
func TestExamplesOfTheEditingPage(t *testing.T) {
	const path = "../docs/editing.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w := docsWorld(t)
	w.cfg.Generation, w.cfg.Log, w.sequence = 1, w, 1000
	address := w.serve()
	found := 0
	fresh := editExample.ReplaceAllFunc(page, func(b []byte) []byte {
		found++
		m := editExample.FindSubmatchIndex(b)
		var got string
		if m[4] >= 0 {
			w.logged += 5 * gridloom.Minute
			got = post(t, address+string(b[m[2]:m[3]]), string(b[m[4]:m[5]])).body
		} else {
			got = get(t, address+string(b[m[2]:m[3]])).body
		}
		return append(append(slices.Clone(b[:m[6]]), got...), "```"...)
	})
	if found < 4 {
		t.Errorf("%d examples were found, want at least 4", found)
	}
	if *update {
		if err := os.WriteFile(path, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(page), string(fresh)); diff != "" {
		t.Errorf("docs/editing.md differs from what is answered (-page +answer); go test ./query -run EditingPage -update\n%s", diff)
	}
}

// openAPIDocument is what the tests read of openapi.yaml.
type openAPIDocument struct {
	OpenAPI string `yaml:"openapi"`
	Paths   map[string]struct {
		Get struct {
			Parameters []struct {
				Ref  string `yaml:"$ref"`
				Name string `yaml:"name"`
				In   string `yaml:"in"`
			} `yaml:"parameters"`
			Responses map[string]any `yaml:"responses"`
		} `yaml:"get"`
	} `yaml:"paths"`
	Components struct {
		Parameters map[string]struct {
			Name string `yaml:"name"`
			In   string `yaml:"in"`
		} `yaml:"parameters"`
		Schemas map[string]struct {
			Properties map[string]any `yaml:"properties"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

// TestOpenAPIDocumentTellsWhatIsServed compares paths, parameters and fields of the
// document with the server's own.
func TestOpenAPIDocumentTellsWhatIsServed(t *testing.T) {
	w := newWorld(t)
	a := get(t, w.serve()+"/api/v1/openapi.yaml")
	var doc openAPIDocument
	if err := yaml.Unmarshal([]byte(a.body), &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Fatalf("openapi.yaml: %q, %v", doc.OpenAPI, err)
	}
	s, err := New(w.cfg, w.store, w, w, w)
	if err != nil {
		t.Fatal(err)
	}
	var served, told []string
	for _, r := range s.Routes().(*chi.Mux).Routes() {
		if r.SubRoutes == nil {
			served = append(served, r.Pattern)
			continue
		}
		for _, sub := range r.SubRoutes.Routes() {
			served = append(served, strings.TrimSuffix(r.Pattern, "/*")+sub.Pattern)
		}
	}
	for p := range doc.Paths {
		told = append(told, p)
	}
	slices.Sort(served)
	slices.Sort(told)
	if diff := cmp.Diff(served, told); diff != "" {
		t.Errorf("paths (-served +told)\n%s", diff)
	}

	q := newParams("", t0, testLimits())
	if _, err := q.windowsParams(gridloom.DefaultWidth); err != nil {
		t.Fatal(err)
	}
	r := newParams("", t0, testLimits())
	if _, err := r.readingsParams(); err != nil {
		t.Fatal(err)
	}
	l := newParams("", t0, testLimits())
	if _, err := l.editsParams(); err != nil {
		t.Fatal(err)
	}
	d := newParams("", t0, testLimits())
	if _, err := d.demandParams(gridloom.DefaultWidth); err != nil {
		t.Fatal(err)
	}
	for path, known := range map[string][]string{
		"/api/v1/edits": l.known, "/api/v1/edits/{edit}": {"edit", "as_of"},
		"/api/v1/windows": q.known, "/api/v1/demand": d.known, "/api/v1/readings": r.known, "/api/v1/status": {"format"}, "/api/v1/rejects": {"limit", "before", "reason", "format"},
		"/api/v1/meters": {"register", "registers", "prefix", "after", "limit", "partial", "label", "node", "at", "format"}, "/api/v1/meters/{meter}": {"meter", "format"},
	} {
		var names []string
		for _, p := range doc.Paths[path].Get.Parameters {
			name := p.Name
			if p.Ref != "" {
				name = doc.Components.Parameters[p.Ref[strings.LastIndex(p.Ref, "/")+1:]].Name
			}
			names = append(names, name)
		}
		known = slices.Clone(known)
		slices.Sort(known)
		slices.Sort(names)
		if diff := cmp.Diff(known, names); diff != "" {
			t.Errorf("parameters of %s (-served +told)\n%s", path, diff)
		}
	}

	zoned := selection{zone: time.UTC}
	for schema, tb := range map[string]*table{
		"Window": windowTable(&windowsQuery{selection: zoned, bands: &Calendar{}}, nil), "Reading": readingTable(&readingsQuery{selection: zoned, history: true}, nil),
		"Edit":   editTable(false),
		"Demand": demandTable(&demandQuery{windowsQuery: windowsQuery{selection: zoned}}, nil),
		"Group":  groupTable(&windowsQuery{selection: zoned, bands: &Calendar{}, group: byRegister}, nil),
	} {
		var have, want []string
		for name := range doc.Components.Schemas[schema].Properties {
			have = append(have, name)
		}
		for _, c := range tb.columns {
			want = append(want, c.name)
		}
		if schema == "Group" { // of group_by=meter
			want = append(want, "meter", "registers")
		}
		slices.Sort(have)
		slices.Sort(want)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("fields of %s (-served +told)\n%s", schema, diff)
		}
	}
}

// TestGrafanaDataSource reads the provisioned data source as Grafana does.
func TestGrafanaDataSource(t *testing.T) {
	b, err := os.ReadFile("../deploy/grafana/provisioning/datasources/gridloom.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name      string         `yaml:"name"`
			UID       string         `yaml:"uid"`
			Type      string         `yaml:"type"`
			Access    string         `yaml:"access"`
			URL       string         `yaml:"url"`
			IsDefault bool           `yaml:"isDefault"`
			Editable  bool           `yaml:"editable"`
			JSONData  map[string]any `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if file.APIVersion != 1 || len(file.Datasources) != 1 {
		t.Fatalf("apiVersion %d with %d data sources, want 1 with 1", file.APIVersion, len(file.Datasources))
	}
	d := file.Datasources[0]
	if d.Name != "gridloom" || d.UID != "gridloom" || d.Type != "yesoreyeram-infinity-datasource" || d.Access != "proxy" || d.URL != "http://localhost:8080/api/v1" {
		t.Errorf("data source = %+v", d)
	}
}
