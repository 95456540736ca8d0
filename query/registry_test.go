package query

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// send makes a request with a body and headers, as "If-Match: x".
func send(t testing.TB, method, address, body string, headers ...string) answerOf {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answerOf{resp.StatusCode, resp.Header, string(b)}
}

// registryWorld is a world that can be written to, and its address.
func registryWorld(t testing.TB) (*world, string) {
	w := newWorld(t)
	w.cfg.Log, w.cfg.Generation, w.sequence = w, 1, 40
	return w, w.serve() + "/api/v1/registry"
}

func TestRegistryIsWrittenReadAndConditional(t *testing.T) {
	w, at := registryWorld(t)
	f := func(method, path, body string, headers []string, code int, want ...string) answerOf {
		t.Helper()
		a := send(t, method, at+path, body, headers...)
		for _, text := range want {
			if !strings.Contains(a.body, text) {
				t.Errorf("%s %s %v answers %s, want %q in it", method, path, headers, a.body, text)
			}
		}
		if a.code != code {
			t.Errorf("%s %s %v = %d %s, want %d", method, path, headers, a.code, a.body, code)
		}
		return a
	}
	is := func(h string) []string { return []string{h} }
	f("GET", "/meters/m1", "", nil, 404, `the registry has no meter`)
	f("DELETE", "/meters/m1", "", nil, 404)
	f("PUT", "/meters/m1", `{"zone":"Europe/Paris"}`, is(`If-Match: "41"`), 412, "there is no entry")
	if a := f("PUT", "/meters/m1", `{"zone":"Europe/Paris"}`, is("If-None-Match: *"), 201, `"version":41`, `"entry":{"zone":"Europe/Paris"}`); a.header.Get("ETag") != `"41"` {
		t.Errorf("ETag %s", a.header.Get("ETag"))
	}
	f("PUT", "/meters/m1", `{"zone":"Europe/Paris"}`, is("If-None-Match: *"), 412, "version 41 holds")
	f("PUT", "/meters/m1", ` {"zone": "Europe/Paris"}`, nil, 200, `"version":41`) // it is there as it is
	w.logged += gridloom.Hour
	f("PUT", "/meters/m1", `{"zone":"Europe/Berlin"}`, is(`If-Match: "41"`), 200, `"version":42`)
	f("PUT", "/meters/m1", `{"zone":"Europe/Rome"}`, is(`If-Match: "41"`), 412, "version 42 holds", "send its ETag")
	f("PUT", "/meters/m1", `{"zone":"Europe/Rome"}`, is(`If-Match: 42`), 400, `want the ETag`)
	f("GET", "/meters/m1", "", nil, 200, "Europe/Berlin")
	f("GET", "/meters/m1?as_of="+(t0+10*gridloom.Day).String(), "", nil, 200, "Europe/Paris")
	f("GET", "/meters/m1?as_of="+(t0+9*gridloom.Day).String(), "", nil, 404)
	w.commitRecords(pane.KindRegistry)
	f("GET", "/meters/m1/versions", "", nil, 200, `"rows":2`, `"version":42`, "Europe/Paris")
	f("DELETE", "/meters/m1", "", is(`If-Match: "41"`), 412)
	f("DELETE", "/meters/m1", "", is(`If-Match: "42"`), 204)
	f("GET", "/meters/m1", "", nil, 404)
	f("GET", "/meters/m1/versions", "", nil, 200, `"rows":3`, `"deleted":true`)
	f("PUT", "/meters/a%2Fb%20c", `{}`, nil, 201, `"id":"a/b c"`)
	f("GET", "/meters/a%2Fb%20c", ``, nil, 200)

	f("PUT", "/meters/m2", `{"zone":"Mars/X","cadence":"1y"}`, nil, 422, "Mars/X", "cadence: want a span", "nothing was written")
	f("PUT", "/meters/m2", `{"parents":[{"node":"T1"}]}`, nil, 422, `node \"T1\" is not in the registry`)
	f("PUT", "/nodes/S", `{"kind":"substation"}`, nil, 201)
	f("PUT", "/nodes/T1", `{"kind":"transformer","parents":[{"node":"S"}]}`, nil, 201)
	f("PUT", "/nodes/S", `{"kind":"substation","parents":[{"node":"T1"}]}`, nil, 422, "hangs on itself")
	f("PUT", "/meters/m2", `{"parents":[{"node":"T1"}]}`, nil, 201)
	f("GET", "/nodes", "", nil, 200, `"rows":2`, `"kind":"transformer"`)
	f("GET", "/meters?limit=1", "", nil, 200, `"next":"a/b c"`)
	f("GET", "/meters?limit=1&after=a/b%20c", "", nil, 200, `"id":"m2"`)
	f("GET", "/meters?moon=1", "", nil, 400, "is not a parameter here")
	w.hold(nil, []gridloom.Reading{{Meter: "m2", Start: t0}, {Meter: "m9", Start: t0}, {Meter: "m8", Start: t0}})
	f("GET", "/meters?unknown=true", "", nil, 200, `"rows":2`, `{"id":"m8"},{"id":"m9"}`)
	if a := f("POST", "/meters/m1", "", nil, 405, "use GET, HEAD, PUT, DELETE"); a.header.Get("Allow") != "GET, HEAD, PUT, DELETE" {
		t.Errorf("Allow: %s", a.header.Get("Allow"))
	}
	f("PUT", "/meters/m2", strings.Repeat("x", 1<<20), nil, 422, "longer than")
	w.onAppend = func(int) error { return fmt.Errorf("%w: the log is full", gridloom.ErrUnavailable) }
	if a := f("PUT", "/meters/m3", `{}`, nil, 503, "the log is full"); a.header.Get("Retry-After") == "" {
		t.Error("a full log does not say when to come back")
	}
}

// TestManyEntriesAtOnce: all are checked before any is written, nodes come first, and what is there stays.
func TestManyEntriesAtOnce(t *testing.T) {
	w, at := registryWorld(t)
	doc := map[string]map[string]any{"nodes": {}, "meters": {}}
	doc["nodes"]["S"] = map[string]any{"kind": "substation"}
	for i := range 1500 {
		doc["meters"][fmt.Sprintf("m%04d", i)] = map[string]any{"parents": []any{map[string]any{"node": "T"}}, "labels": map[string]string{"pad": strings.Repeat("x", 200), "pad2": strings.Repeat("y", 200), "pad3": strings.Repeat("z", 250), "pad4": strings.Repeat("a", 250), "pad5": strings.Repeat("b", 250), "pad6": strings.Repeat("c", 250)}}
	}
	want := func(query string, code int, text string) {
		t.Helper()
		body, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if a := post(t, at+query, string(body)); a.code != code || !strings.Contains(a.body, text) {
			t.Errorf("POST %s = %d %s, want %d %s", query, a.code, a.body, code, text)
		}
	}
	want("", 422, "and 1480 more")
	if w.sequence != 40 {
		t.Fatal("something was written although there are faults")
	}
	doc["nodes"]["T"] = map[string]any{"kind": "transformer", "parents": []any{map[string]any{"node": "S"}}}
	want("?check=true", 200, `"written":1502`)
	if w.sequence != 40 {
		t.Fatal("something was written although it was to be checked only")
	}
	want("", 200, `{"check":false,"unchanged":0,"written":1502}`)
	frames := w.sequence - 40
	if frames < 6 || frames > 10 {
		t.Errorf("%d frames for 2.2 MB in three partitions and two nodes", frames)
	}
	want("", 200, `"unchanged":1502,"written":0`)
	if w.sequence-40 != frames {
		t.Error("the same again was written again")
	}
	doc["meters"]["m0007"].(map[string]any)["zone"] = "UTC"
	want("", 200, `"unchanged":1501,"written":1`)
	if a := get(t, at+"/meters?limit=10000"); strings.Count(a.body, `"id"`) != 1500 {
		t.Errorf("%d meters are listed", strings.Count(a.body, `"id"`))
	}
	if a := send(t, "POST", at, `{"meters":{"m1":{}}}`, "Content-Type: text/plain"); a.code != 415 {
		t.Errorf("a form of another site = %d %s", a.code, a.body)
	}
	if a := post(t, at, `{"moon":{}}`); a.code != 422 {
		t.Errorf("%d %s", a.code, a.body)
	}
}

// TestTwoWritersDoNotOverwriteEachOtherUnseen: of many who have seen the same version and write at once, one is told that it counts,
// and that is the one that is read.
func TestTwoWritersDoNotOverwriteEachOtherUnseen(t *testing.T) {
	w, at := registryWorld(t)
	const writers = 8
	arrived := make(chan struct{}, writers)
	all := make(chan struct{})
	held := true
	w.onAppend = nil
	w.beforeAppend = func() { // all have looked before the first one writes
		if held {
			arrived <- struct{}{}
			<-all
		}
	}
	codes := make([]answerOf, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			codes[i] = send(t, "PUT", at+"/meters/m1", fmt.Sprintf(`{"labels":{"writer":"%d"}}`, i), "If-None-Match: *")
		})
	}
	timer := time.NewTimer(20 * time.Second)
	for range writers {
		select {
		case <-arrived:
		case <-timer.C:
			t.Fatal("not all writers have come to the log")
		}
	}
	held = false
	close(all)
	wg.Wait()
	won := -1
	for i, a := range codes {
		switch {
		case a.code == 201 && won < 0:
			won = i
		case a.code != 412:
			t.Errorf("writer %d is told %d %s, and writer %d that it has won", i, a.code, a.body, won)
		}
	}
	if a := get(t, at+"/meters/m1"); won < 0 || !strings.Contains(a.body, fmt.Sprintf(`"writer":"%d"`, won)) {
		t.Errorf("writer %d has won, and there is %s", won, a.body)
	}
}

// command is a request of docs/registry.md and the answer that stands below it.
var command = regexp.MustCompile("(?s)```sh\ncurl -s((?: -(?:[XHd]|-json) (?:'[^']*'|[A-Z]+))*) 'http://localhost:8080([^']*)'\n```\n```json\n(.*?)```")

var option = regexp.MustCompile(`-([XHd]|-json) (?:'([^']*)'|([A-Z]+))`)

// TestExamplesOfTheRegistryPage makes the requests of docs/registry.md in their order.
func TestExamplesOfTheRegistryPage(t *testing.T) {
	const path = "../docs/registry.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, at := registryWorld(t)
	at = strings.TrimSuffix(at, "/api/v1/registry")
	found := 0
	fresh := command.ReplaceAllFunc(page, func(b []byte) []byte {
		found++
		m := command.FindSubmatchIndex(b)
		method, body := "GET", ""
		var headers []string
		for _, o := range option.FindAllStringSubmatch(string(b[m[2]:m[3]]), -1) {
			switch o[1] {
			case "X":
				method = o[3]
			case "H":
				headers = append(headers, o[2])
			case "d":
				body = o[2]
			case "-json":
				method, body, headers = "POST", o[2], append(headers, "Content-Type: application/json")
			}
		}
		return append(append(slices.Clone(b[:m[6]]), send(t, method, at+string(b[m[4]:m[5]]), body, headers...).body...), "```"...)
	})
	if found < 8 {
		t.Errorf("%d examples were found, want at least 8", found)
	}
	if *update {
		if err := os.WriteFile(path, fresh, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(page), string(fresh)); diff != "" {
		t.Errorf("docs/registry.md differs from what is answered (-page +answer); go test ./query -run RegistryPage -update\n%s", diff)
	}
}

// TestAsOfFoldsWithTheRegistryOfThatTime: before a rating was known no window is beyond it, afterwards each is, and after it was
// taken back none again, whichever of it is committed.
func TestAsOfFoldsWithTheRegistryOfThatTime(t *testing.T) {
	w := newWorld(t)
	var rows []gridloom.Reading
	for i := range gridloom.Millis(8) {
		for _, meter := range []string{"m1", "m2"} {
			at := t0 + i*15*gridloom.Minute
			rows = append(rows, gridloom.Reading{Meter: meter, Register: register(t, "energy_import"), Start: at, Value: int64(i) * 2_000_000, Sequence: uint64(i + 1), LoggedAt: at})
		}
	}
	w.commit(nil, rows)
	logged := t0 + 3*gridloom.Hour
	say := func(sequence uint64, at gridloom.Millis, body string) {
		w.holdRecords(pane.KindRegistry, pane.Record{Key: "meter/m1", Sequence: sequence, LoggedAt: at, Body: []byte(body)})
	}
	say(20, logged, `{"entry":{"registers":{"energy_import":{"rating":7000}}}}`)
	w.commitRecords(pane.KindRegistry)
	say(21, logged+gridloom.Hour, `{"if":1,"entry":{"registers":{"energy_import":{"rating":100000}}}}`) // does not count
	say(22, logged+2*gridloom.Hour, `{"deleted":true}`)
	at := w.serve()
	if a := get(t, at+"/api/v1/registry/meters/m1/versions"); !strings.Contains(a.body, `"rows":2`) {
		t.Errorf("two of the three records made a version: %s", a.body)
	}
	address := at + "/api/v1/windows?register=energy_import&from=" + t0.String() + "&to=" + (t0 + gridloom.Hour).String() + "&as_of="
	f := func(asOf gridloom.Millis, meters string, want int) {
		t.Helper()
		beyond := 0
		list := rowsOf(t, address+asOf.String()+meters)
		for _, r := range list {
			if strings.Contains(r["quality"], "RANGE") {
				if beyond++; r["meter"] != "m1" {
					t.Errorf("%s is beyond the rating of m1", r["meter"])
				}
			}
		}
		if beyond != want || len(list) < 4 {
			t.Errorf("as of %s: %d of %d windows beyond the rating, want %d", asOf, beyond, len(list), want)
		}
	}
	for _, meters := range []string{"", "&meter=m1", "&meters=m1,m2"} {
		f(logged-1, meters, 0)
		f(logged, meters, 4)
		f(logged+gridloom.Hour, meters, 4)
		f(logged+2*gridloom.Hour, meters, 0)
	}
}

// TestAsOfKnowsWhereARegisterWrapped: from when its dials were known on, a register of five digits that falls to near zero has wrapped.
func TestAsOfKnowsWhereARegisterWrapped(t *testing.T) {
	w := newWorld(t)
	var rows []gridloom.Reading
	for i, wh := range []int64{99_900, 50, 51, 52, 53} {
		at := t0 + gridloom.Millis(i)*15*gridloom.Minute
		rows = append(rows, gridloom.Reading{Meter: "m1", Register: register(t, "energy_import"), Start: at, Value: wh * 1000, Sequence: uint64(i + 1), LoggedAt: at})
	}
	w.commit(nil, rows)
	logged := t0 + 3*gridloom.Hour
	w.holdRecords(pane.KindRegistry, pane.Record{Key: "meter/m1", Sequence: 20, LoggedAt: logged, Body: []byte(`{"entry":{"registers":{"energy_import":{"dials":5}}}}`)})
	address := w.serve() + "/api/v1/windows?meter=m1&register=energy_import&from=" + t0.String() + "&to=" + (t0 + 15*gridloom.Minute).String() + "&as_of="
	for asOf, want := range map[gridloom.Millis]string{logged - 1: "0", logged: "150"} {
		if list := rowsOf(t, address+asOf.String()); len(list) != 1 || list[0]["energy"] != want {
			t.Errorf("as of %s: %v, want an energy of %s Wh", asOf, list, want)
		}
	}
}

// TestMetersAreChosenByLabelAndNode, as the network is at the time that is asked for.
func TestMetersAreChosenByLabelAndNode(t *testing.T) {
	w, at := registryWorld(t)
	moved := w.cfg.Now() - gridloom.Hour
	if a := post(t, at, fmt.Sprintf(`{"nodes":{"S":{"kind":"substation"},"F1":{"kind":"feeder","parents":[{"node":"S"}]},"F2":{"kind":"feeder","parents":[{"node":"S"}]}},
		"meters":{"m1":{"labels":{"street":"A","side":"left"},"parents":[{"node":"F1"}]},"m2":{"labels":{"street":"A"},"parents":[{"node":"F1","to":%q},{"node":"F2","from":%[1]q}]},"m3":{"labels":{"street":"B:1"}}}}`, moved)); a.code != 200 {
		t.Fatal(a)
	}
	for _, m := range []string{"m1", "m2", "m3", "m4"} {
		w.hold(nil, []gridloom.Reading{{Meter: m, Start: t0}})
	}
	address := strings.TrimSuffix(at, "/registry") + "/meters"
	f := func(query string, want ...string) {
		t.Helper()
		var got []string
		for _, r := range rowsOf(t, address+query) {
			got = append(got, r["meter"]+" "+r["labels"])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", query, diff)
		}
	}
	m1, m2, m3, m4 := "m1 side:left|street:A", "m2 street:A", "m3 street:B:1", "m4 "
	f("", m1, m2, m3, m4)
	f("?label=street:A", m1, m2)
	f("?label=street:A&label=side:left", m1)
	f("?label=street:B:1", m3)
	f("?label=street:C")
	f("?node=S", m1, m2)
	f("?node=F1", m1)
	f("?node=F2", m2)
	f("?node=F1&at="+(moved-1).String(), m1, m2)
	f("?node=F1&label=street:A&prefix=m2&at="+(moved-1).String(), m2)
	for query, want := range map[string]string{"?node=F9": "registry/nodes lists", "?label=street": "want a key and a value", "?at=now": "name that with node="} {
		if a := get(t, address+query); a.code != 400 || !strings.Contains(a.body, want) {
			t.Errorf("%s = %d %s", query, a.code, a.body)
		}
	}
}
