package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// canned answers every request with one body, and notes what was asked.
func canned(t *testing.T, code int, body string) (c *Client, asked *string) {
	t.Helper()
	asked = new(string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = r.URL.RequestURI() + " " + r.Header.Get("Accept")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
		if strings.HasSuffix(body, "{cut") {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(srv.Close)
	c, err := New(srv.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, asked
}

func collect[T any](seq iter.Seq2[T, error]) (rows []T, err error) {
	for row, e := range seq {
		if e != nil {
			return rows, e
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func TestRowsAreRead(t *testing.T) {
	ten := gridloom.Millis(1_795_341_600_000)
	c, asked := canned(t, 200, `{"meter":"m1","register":"energy_import_interval","unit":"Wh","start":"2026-11-22T10:00:00Z","length":"1h30m","value":195.81,"quality":["EDITED","LATE"],"serial":null}`+"\n"+
		`{"meter":"m1","register":"power","unit":"W","start":"2026-11-22T10:00:00.001Z","length":null,"value":null,"quality":[],"serial":"s"}`+"\n")
	got, err := collect(c.Readings(t.Context(), Query{Meters: []string{"m1", "a,b"}, Registers: []string{"power"}, From: ten}))
	want := []Reading{
		{"m1", "energy_import_interval", ten, 90 * gridloom.Minute, Value{195_810, true}, gridloom.Edited | gridloom.Late, ""},
		{"m1", "power", ten + 1, 0, Value{}, 0, "s"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Readings: %v (-want +got)\n%s", err, diff)
	}
	if want := "/api/v1/readings?from=1795341600000&meter=m1&meter=a%2Cb&register=power application/x-ndjson"; *asked != want {
		t.Errorf("asked for %s, want %s", *asked, want)
	}

	c, asked = canned(t, 200, `{"register":"power","unit":"W","start":"2026-11-22T10:00:00Z","end":"2026-11-22T11:00:00Z","meters":2,"energy":null,"mean":-1687.6,"coverage":0.5,"n":4,"min":1,"max":2,"quality":[],"closed":true,"computed_at":"2026-11-22T10:45:00Z"}`+"\n")
	windows, err := collect(c.Windows(t.Context(), WindowsQuery{Step: gridloom.Hour, GroupBy: "register", Agg: "max", Closed: true}))
	wantWindows := []Window{{
		Register: "power", Unit: "W", Start: ten, End: ten + gridloom.Hour, Mean: Value{-1_687_600, true}, Coverage: 0.5, N: 4,
		Min: Value{1000, true}, Max: Value{2000, true}, Closed: true, ComputedAt: ten + 45*gridloom.Minute, Series: 2,
	}}
	if diff := cmp.Diff(wantWindows, windows); diff != "" || err != nil {
		t.Errorf("Windows: %v (-want +got)\n%s", err, diff)
	}
	if want := "/api/v1/windows?agg=max&closed=true&group_by=register&step=3600000ms application/x-ndjson"; *asked != want {
		t.Errorf("asked for %s, want %s", *asked, want)
	}

	c, _ = canned(t, 200, `{"meter":"m1","serial":null,"registers":["power"],"last_at":"2026-11-22T10:00:00Z"}`)
	meters, err := collect(c.Meters(t.Context(), "m"))
	if diff := cmp.Diff([]Meter{{"m1", "", []string{"power"}, ten}}, meters); diff != "" || err != nil {
		t.Errorf("Meters: %v (-want +got)\n%s", err, diff)
	}
}

func TestAnswerThatIsCutOffIsAnError(t *testing.T) {
	for _, body := range []string{`{"meter":"m1"}` + "\n{cut", `{"meter":"m1"}` + "\n" + `{"meter":"m2"}` + "\n" + `{"meter":{cut`} {
		c, _ := canned(t, 200, body)
		rows, err := collect(c.Meters(t.Context(), ""))
		if !errors.Is(err, gridloom.ErrUnavailable) || len(rows) == 0 {
			t.Errorf("%q = %d rows, %v, want some and ErrUnavailable", body, len(rows), err)
		}
	}
}

func TestProblemsAreErrorsOfTheirKind(t *testing.T) {
	f := func(code int, body string, want error, text string) {
		t.Helper()
		c, _ := canned(t, code, body)
		_, err := collect(c.Readings(t.Context(), Query{}))
		var p *Problem
		if !errors.Is(err, want) || !errors.As(err, &p) || p.Status != code || !strings.Contains(err.Error(), text) {
			t.Errorf("%d %s = %v, want %v with %q", code, body, err, want, text)
		}
	}
	f(400, `{"type":"urn:gridloom:problem:parameter","title":"t","status":400,"detail":"step=\"1s\" cannot be used","mend":"want 15m"}`, gridloom.ErrInvalid, "cannot be used: want 15m")
	f(404, `{"title":"Not found"}`, gridloom.ErrNotFound, "Not found")
	f(503, `{"title":"Not available now","detail":"partition 1"}`, gridloom.ErrUnavailable, "partition 1")
	f(500, `{"type":"urn:gridloom:problem:corrupt","detail":"g1/p0/x"}`, gridloom.ErrCorrupt, "g1/p0/x")
	f(502, `<html>`, gridloom.ErrUnavailable, "502")
}

func TestServerThatIsNotThere(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	c, err := New(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(c.Meters(context.Background(), "")); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("no server = %v, want ErrUnavailable", err)
	}
	for _, bad := range []string{"", "localhost:8080", "ftp://x", "http://", ":"} {
		if _, err := New(bad, nil); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("New(%q) = %v, want ErrInvalid", bad, err)
		}
	}
}

func TestValues(t *testing.T) {
	f := func(s string, want int64, ok bool) {
		t.Helper()
		var v Value
		err := json.Unmarshal([]byte(s), &v)
		if (err == nil) != ok || ok && (v.Thousandths != want || !v.Valid) {
			t.Errorf("Value of %s = %+v, %v, want %d, %v", s, v, err, want, ok)
		}
	}
	f("0", 0, true)
	f("1922", 1_922_000, true)
	f("-0.005", -5, true)
	f("0.05", 50, true)
	f("9223372036854775.807", math.MaxInt64, true)
	f("-9223372036854775.808", math.MinInt64, true)
	f("9223372036854775.808", 0, false)
	f("99999999999999999999", 0, false)
	f("0.0005", 0, false)
	f("1e3", 0, false)
	f(`"1"`, 0, false)
}

func FuzzValue(f *testing.F) {
	for _, s := range []string{"0", "-1.5", "9223372036854775.807", "1e9", ".5", "-", "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v Value
		if err := v.UnmarshalJSON(b); err == nil && v.Valid {
			var again Value
			s := fmt.Sprintf("%d.%03d", v.Thousandths/1000, max(v.Thousandths%1000, -(v.Thousandths%1000)))
			if v.Thousandths < 0 && v.Thousandths > -1000 {
				s = "-" + s
			}
			if err := again.UnmarshalJSON([]byte(s)); err != nil || again != v {
				t.Errorf("%s is read as %d, which is written %s and read as %+v, %v", b, v.Thousandths, s, again, err)
			}
		}
	})
}
