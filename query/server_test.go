package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// TestFormatsAgree reads every table in all four formats and finds the same rows.
func TestFormatsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	rows := neighbourhood(rng, 4)
	rows[3].Meter, rows[4].Serial = `o"dd, m<e>ter`+"\t|é\u2028", ""
	w := newWorld(t)
	w.commit(foldAll(window.Defaults(), rows, t0+gridloom.Day), rows[:200])
	w.hold(nil, rows[200:])
	w.rejects = []gridloom.Reject{
		{Sequence: 1, At: t0 + 1, Reason: "TIME", Detail: `a "quote", and` + "\na line", Place: "readings[1].at", Topic: "t", Client: "c", Payload: []byte(`{"a":1}`)},
		{Sequence: 2, At: t0, Reason: "SYNTAX", Topic: "t", Payload: []byte{0xff, 0}, Cut: true},
	}
	address := w.serve()
	for path, noun := range map[string]string{
		"/api/v1/windows?" + wholeDay: "windows",
		"/api/v1/windows?" + wholeDay + "&step=3h&register=energy_import&unit=kWh": "windows",
		"/api/v1/windows?" + wholeDay + "&group_by=register&agg=avg":               "windows",
		"/api/v1/windows?" + wholeDay + "&group_by=meter&register=energy_import":   "windows",
		"/api/v1/windows?" + wholeDay + "&meter=m01&as_of=2026-11-22T12:00:00Z":    "windows",
		"/api/v1/readings?" + wholeDay:                                             "readings",
		"/api/v1/readings?" + wholeDay + "&history=true":                           "readings",
		"/api/v1/readings?from=2026-11-24T00:00:00Z&to=2026-11-25T00:00:00Z":       "readings",
		"/api/v1/meters": "meters",
		"/api/v1/meters/" + url.PathEscape(rows[len(rows)-1].Meter): "registers",
		"/api/v1/status":  "partitions",
		"/api/v1/rejects": "rejects",
	} {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		read := func(format string) string {
			t.Helper()
			a := get(t, address+path+sep+"format="+format)
			if a.code != http.StatusOK {
				t.Fatalf("GET %s as %s = %d %s", path, format, a.code, a.body)
			}
			return a.body
		}
		want := jsonRows(t, read("json"), noun)
		if len(want) == 0 != strings.Contains(path, "from=2026-11-24") {
			t.Errorf("GET %s has %d rows", path, len(want))
		}
		if diff := cmp.Diff(want, ndjsonRows(t, read("ndjson"))); diff != "" {
			t.Errorf("%s: NDJSON differs from JSON (-json)\n%s", path, diff)
		}
		if diff := cmp.Diff(want, csvRows(t, read("csv"))); diff != "" {
			t.Errorf("%s: CSV differs from JSON (-json)\n%s", path, diff)
		}
		if diff := cmp.Diff(want, arrowRows(t, read("arrow"))); diff != "" {
			t.Errorf("%s: Arrow differs from JSON (-json)\n%s", path, diff)
		}
	}
}

func TestFormatIsChosenByAccept(t *testing.T) {
	address := newWorld(t).serve()
	f := func(accept, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address+"/api/v1/status", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, want) {
			t.Errorf("Accept: %s = %d %s, want %s", accept, resp.StatusCode, got, want)
		}
	}
	f("", "application/json")
	f("*/*", "application/json")
	f("text/csv", "text/csv; charset=utf-8")
	f("text/html,application/xhtml+xml,*/*;q=0.8", "application/json")
	f("application/json;q=0.5, application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream")
	f("application/x-ndjson;q=0.9, text/csv;q=0.1", "application/x-ndjson")
	f("application/xml", "application/problem+json")
	f("text/csv;q=0", "application/problem+json")
}

func TestProblemsFollowTheStandard(t *testing.T) {
	address := newWorld(t).serve()
	f := func(method, path string, want map[string]any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Fatalf("%s: %v, %s", path, err, resp.Header.Get("Content-Type"))
		}
		if got["status"] != float64(resp.StatusCode) || got["title"] == "" {
			t.Errorf("%s: status %d, document %v", path, resp.StatusCode, got)
		}
		delete(got, "title")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s: (-want +got)\n%s", method, path, diff)
		}
	}
	f("GET", "/api/v1/windows?step=7m", map[string]any{
		"type": "urn:gridloom:problem:parameter", "status": 400.0, "parameter": "step", "value": "7m", "detail": `step="7m" cannot be used`,
		"mend": "want a multiple of the window, which is 15m here, such as 1h", "instance": "/api/v1/windows?step=7m",
	})
	f("GET", "/api/v1/meters/nobody", map[string]any{
		"type": "urn:gridloom:problem:not-found", "status": 404.0, "parameter": "meter", "value": "nobody", "detail": `no reading of meter "nobody" has come in`,
		"mend": "GET /api/v1/meters lists those that have; ids are case-sensitive", "instance": "/api/v1/meters/nobody",
	})
	f("GET", "/api/v2/x", map[string]any{
		"type": "urn:gridloom:problem:not-found", "status": 404.0, "detail": "there is nothing at /api/v2/x", "mend": "GET / lists what there is", "instance": "/api/v2/x",
	})
	f("POST", "/api/v1/windows", map[string]any{
		"type": "urn:gridloom:problem:method", "status": 405.0, "detail": "/api/v1/windows has no POST", "mend": "use GET", "instance": "/api/v1/windows",
	})
	f("GET", "/api/v1/rejects?limit=0", map[string]any{
		"type": "urn:gridloom:problem:parameter", "status": 400.0, "parameter": "limit", "value": "0", "detail": `limit="0" cannot be used`,
		"mend": "want a whole number from 1 to 1000", "instance": "/api/v1/rejects?limit=0",
	})
	f("GET", "/api/v1/status?format=xml", map[string]any{
		"type": "urn:gridloom:problem:parameter", "status": 400.0, "parameter": "format", "value": "xml", "detail": `format="xml" cannot be used`,
		"mend": "want json, ndjson, csv or arrow", "instance": "/api/v1/status?format=xml",
	})
}

func TestMoreThanMayBeAskedForIsRefused(t *testing.T) {
	rows := neighbourhood(rand.New(rand.NewPCG(3, 9)), 5)
	f := func(set func(l *Limits), path string, wantCode int, wantText string) {
		t.Helper()
		w := newWorld(t)
		for i := range 3 {
			w.commit(foldAll(window.Defaults(), rows, t0+gridloom.Day)[i*100:(i+1)*100], rows)
		}
		set(&w.cfg.Limits)
		a := get(t, w.serve()+path)
		if a.code != wantCode || !strings.Contains(a.body, wantText) {
			t.Errorf("%s = %d %.300s, want %d with %q", path, a.code, a.body, wantCode, wantText)
		}
	}
	f(func(l *Limits) { l.Rows = 10 }, "/api/v1/windows?"+wholeDay, 422, "more than 10 rows")
	f(func(l *Limits) { l.Rows = 10 }, "/api/v1/readings?"+wholeDay, 422, "more than 10 rows")
	f(func(l *Limits) { l.Bytes = 1000 }, "/api/v1/readings?"+wholeDay, 422, "longer than 1000 bytes")
	f(func(l *Limits) { l.Series = 2 }, "/api/v1/windows?"+wholeDay, 422, "more than 2 series")
	f(func(l *Limits) { l.Series = 2 }, "/api/v1/readings?"+wholeDay, 422, "more than 2 series")
	f(func(l *Limits) { l.Steps = 1 }, "/api/v1/windows?group_by=meter&register=energy_import_interval,energy_import&"+wholeDay, 422, "more than 1 steps")
	f(func(l *Limits) { l.Span = gridloom.Hour }, "/api/v1/windows?from=-2h", 422, "longer than the limit of 1h")
	f(func(l *Limits) { l.Deadline = 1 }, "/api/v1/windows", 503, "timeout=5m")
}

// TestAnswerThatFailsMidwayIsCutOff reads an answer whose rows end in a failure after
// the status has gone out: the client must see an error, not a short answer.
func TestAnswerThatFailsMidwayIsCutOff(t *testing.T) {
	w := newWorld(t)
	var rows []gridloom.Reading
	for i := range 20_000 {
		rows = append(rows, gridloom.Reading{Meter: "m1", Register: 0, Start: t0 + gridloom.Millis(i)})
	}
	w.commit(nil, rows)
	w.cfg.Limits.Rows = 15_000
	address := w.serve()
	for _, format := range []string{"json", "ndjson", "csv"} {
		a, err := tryGet(t, address+"/api/v1/readings?"+wholeDay+"&format="+format)
		if err == nil || !errors.Is(err, io.ErrUnexpectedEOF) || a.code != http.StatusOK || len(a.body) < withheldBytes {
			t.Errorf("%s: %d with %d bytes, %v; want 200, many bytes and an unexpected end", format, a.code, len(a.body), err)
		}
	}
}

func TestHeavyQueriesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := *testLimits()
		g := newGate(&l)
		leave, err := g.enterHeavy(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.enterHeavy(t.Context())
		if p := asProblem(err); p == nil || p.kind != problemBusy || p.status != http.StatusServiceUnavailable || p.retry != 6 {
			t.Errorf("a second heavy query = %v, want busy and come back in 6 s", err)
		}
		light, err := g.enter(t.Context())
		if err != nil {
			t.Errorf("a light query beside a heavy one = %v", err)
		}
		light()
		go func() { time.Sleep(time.Second); leave() }() //nolint:forbidigo // the bubble's clock
		again, err := g.enterHeavy(t.Context())
		if err != nil {
			t.Errorf("a heavy query after the other one left = %v", err)
		}
		again()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		leave2, _ := g.enterHeavy(t.Context())
		if _, err := g.enterHeavy(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that went away = %v, want its context's error", err)
		}
		leave2()
	})
}

func TestOnlyHeavyQueriesTakeAHeavyPlace(t *testing.T) {
	w := newWorld(t)
	w.commit(nil, neighbourhood(rand.New(rand.NewPCG(3, 9)), 5))
	w.cfg.Limits.HeavyRows, w.cfg.Limits.Wait = 100, 1
	s, err := New(w.cfg, w.store, w, w, w)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Routes())
	defer srv.Close()
	leave, err := s.gate.enterHeavy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a := get(t, srv.URL+"/api/v1/readings?"+wholeDay); a.code != http.StatusServiceUnavailable || !strings.Contains(a.body, "1 heavy queries are running") {
		t.Errorf("a heavy query beside another = %d %s", a.code, a.body)
	}
	if a := get(t, srv.URL+"/api/v1/readings?from=2026-11-24T00:00:00Z&to=2026-11-25T00:00:00Z"); a.code != http.StatusOK {
		t.Errorf("a light query beside a heavy one = %d %s", a.code, a.body)
	}
	leave()
	if a := get(t, srv.URL+"/api/v1/readings?"+wholeDay); a.code != http.StatusOK {
		t.Errorf("a heavy query alone = %d %s", a.code, a.body)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t)
	var problems []string
	w.cfg.Problems = func(context.Context) []string { return problems }
	w.cfg.Notes = func(context.Context) []string { return []string{"relaxed durability"} }
	address := w.serve()
	f := func(path string, code int, want string) {
		t.Helper()
		if a := get(t, address+path); a.code != code || strings.TrimSpace(a.body) != want {
			t.Errorf("GET %s = %d %s, want %d %s", path, a.code, a.body, code, want)
		}
	}
	f("/readyz", 200, `{"ready":true,"problems":[]}`)
	problems = []string{"the disk of the log has 1 GiB free, 2 GiB are kept"}
	f("/readyz", 503, `{"ready":false,"problems":["the disk of the log has 1 GiB free, 2 GiB are kept"]}`)
	problems, w.state = nil, "restoring"
	f("/readyz", 503, `{"ready":false,"problems":["partition 0: restoring","partition 1: restoring","partition 2: restoring"]}`)
	f("/healthz", 200, `{"status":"ok","notes":["relaxed durability"]}`)
}

func TestProfilesAreForLoopbackOnly(t *testing.T) {
	f := func(listener net.Addr, want int) {
		t.Helper()
		w := newWorld(t)
		w.cfg.Listener = listener
		if a := get(t, w.serve()+"/debug/pprof/cmdline"); a.code != want {
			t.Errorf("profiles on %v = %d, want %d", listener, a.code, want)
		}
	}
	f(nil, 404)
	f(&net.TCPAddr{IP: net.IPv4zero, Port: 8080}, 404)
	f(&net.TCPAddr{IP: net.IPv4(192, 168, 1, 2)}, 404)
	f(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, 200)
	f(&net.TCPAddr{IP: net.IPv6loopback}, 200)
}

func TestMetersArePaged(t *testing.T) {
	w := newWorld(t)
	w.hold(nil, neighbourhood(rand.New(rand.NewPCG(8, 8)), 12))
	address := w.serve()
	var all []string
	after := ""
	for {
		rows := rowsOf(t, address+"/api/v1/meters?limit=5&after="+after)
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			all = append(all, r["meter"])
		}
		after = all[len(all)-1]
	}
	if want := "m00 m01 m02 m03 m04 m05 m06 m07 m08 m09 m10 m11"; strings.Join(all, " ") != want {
		t.Errorf("pages of 5 give %v, want %s", all, want)
	}
	if rows := rowsOf(t, address+"/api/v1/meters?prefix=m1"); len(rows) != 2 || rows[0]["registers"] != "power_failures|energy_import_interval|power_import|energy_import" &&
		rows[0]["registers"] != "power_failures|energy_import_interval|power_import" && !strings.Contains(rows[0]["registers"], "|") {
		t.Errorf("prefix=m1 gives %v", rows)
	}
	if rows := rowsOf(t, address+"/api/v1/meters?register=voltage_l1"); len(rows) != 0 {
		t.Errorf("register=voltage_l1 gives %v, want none", rows)
	}
}

func TestRejectsAreNewestFirst(t *testing.T) {
	w := newWorld(t)
	for i := range uint64(10) {
		w.rejects = append(w.rejects, gridloom.Reject{Sequence: i + 1, Reason: "TIME", Payload: []byte("{}")})
	}
	address := w.serve()
	f := func(query, want string) {
		t.Helper()
		var got []string
		for _, r := range rowsOf(t, address+"/api/v1/rejects"+query) {
			got = append(got, r["sequence"])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("/rejects%s = %v, want %s", query, got, want)
		}
	}
	f("?limit=3", "10 9 8")
	f("?limit=3&before=8", "7 6 5")
	f("?before=2", "1")
}

func TestMetersWithOddIdsAreFound(t *testing.T) {
	w := newWorld(t)
	for _, m := range []string{"100%", "a/b", "a b+c", "ü", "a%2Fb", "a,b"} {
		w.hold(nil, []gridloom.Reading{{Meter: m, Register: 0, Start: t0, Value: 1000}})
	}
	address := w.serve()
	for _, m := range []string{"100%", "a/b", "a b+c", "ü", "a%2Fb", "a,b"} {
		if a := get(t, address+"/api/v1/meters/"+url.PathEscape(m)); a.code != http.StatusOK || !strings.Contains(a.body, `"meter":"`+m+`"`) {
			t.Errorf("GET /meters/%s = %d %s", url.PathEscape(m), a.code, a.body)
		}
		if rows := rowsOf(t, address+"/api/v1/readings?"+wholeDay+"&meter="+url.QueryEscape(m)); len(rows) != 1 || rows[0]["meter"] != m {
			t.Errorf("readings of %q = %v", m, rows)
		}
	}
}

func TestRequestsAreCounted(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	w.cfg.Registerer = reg
	address := w.serve()
	get(t, address+"/api/v1/status")
	get(t, address+"/api/v1/windows?step=1s")
	want := "# HELP gridloom_query_requests_total Requests answered, by route and status.\n# TYPE gridloom_query_requests_total counter\n" +
		"gridloom_query_requests_total{code=\"200\",route=\"status\"} 1\ngridloom_query_requests_total{code=\"400\",route=\"windows\"} 1\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "gridloom_query_requests_total"); err != nil {
		t.Error(err)
	}
}

func TestConfigNamesWhatItLacks(t *testing.T) {
	for _, c := range []Config{{}, {Partitions: 1}} {
		if _, err := New(c, nil, nil, nil, nil); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("New(%+v) = %v, want ErrInvalid", c, err)
		}
	}
}

func TestJSONStringsAreWhatTheStandardLibraryReads(t *testing.T) {
	for _, s := range []string{"", "a", `"\`, "\x00\x1f\x7f", "é€😀", "\u2028\u2029", "a\xffb", "\ufffd", "<&>", strings.Repeat("x", 100)} {
		var got string
		b := appendJSONString(nil, s)
		if err := json.Unmarshal(b, &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("appendJSONString(%q) = %s, read as %q, %v", s, b, got, err)
		}
		if !bytes.Equal(b, bytes.ToValidUTF8(b, nil)) {
			t.Errorf("appendJSONString(%q) = %q is not UTF-8", s, b)
		}
	}
}

// TestHeadIsAnsweredLikeGet: load balancers ask for health in this way.
func TestHeadIsAnsweredLikeGet(t *testing.T) {
	address := newWorld(t).serve()
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/api/v1/status": http.StatusOK, "/api/v1/windows?from=-1h": http.StatusOK,
		"/api/v1/windows?step=7m": http.StatusBadRequest, "/api/v2/x": http.StatusNotFound,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, address+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("HEAD %s: %s, want %d", path, resp.Status, want)
		}
	}
}
