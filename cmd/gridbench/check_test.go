package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sendSome lets an agent send to a server that breaks off after every fifth
// message, until it has made some and all are acknowledged.
func sendSome(t *testing.T, srv *fakeServer, batches int) *sender {
	t.Helper()
	reg, err := lookUpRegisters()
	if err != nil {
		t.Fatal(err)
	}
	l, err := createLedger(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSender("crash-00", newTraffic("crash-00", 200_000_000, 4, 1, reg), l, time.Hour)
	for range batches {
		var queue []*message
		s.makeMore(&queue)
	}
	s.makeRest()
	srv.breakUp = 5
	for sessions := 0; s.left() > 0; sessions++ {
		if err := s.session(t.Context(), srv.addr(), true); err != nil {
			t.Fatal(err)
		}
		if sessions > 10*batches {
			t.Fatalf("%d batches are left after %d connections", s.left(), sessions)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// inspect reads the ledger back and checks the server against it.
func inspect(t *testing.T, srv *fakeServer, s *sender) (findings, string) {
	t.Helper()
	var notes strings.Builder
	c := checker{api: newAPI(srv.httpAddr()), width: 15 * 60_000, bridge: 120 * 60_000, notes: &notes}
	defer c.api.close()
	if err := readLedger(s.ledger.file.Name(), map[string]string{}, func(e entry) { c.acked = append(c.acked, e) }); err != nil {
		t.Fatal(err)
	}
	if int64(len(c.acked)) != s.acked || len(c.acked) == 0 {
		t.Fatalf("the ledger has %d readings, %d were acknowledged", len(c.acked), s.acked)
	}
	c.unacked = s.unacknowledged()
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.found, notes.String()
}

func TestCheckerPassesAServerThatKeepsItsPromise(t *testing.T) {
	srv := newFakeServer(t)
	s := sendSome(t, srv, 60)
	found, notes := inspect(t, srv, s)
	if !found.clean() || found.Readings == 0 || found.Panes == 0 {
		t.Errorf("findings %+v\n%s", found, notes)
	}
}

// TestCheckerFindsEachFault spoils one row of an otherwise right answer.
func TestCheckerFindsEachFault(t *testing.T) {
	srv := newFakeServer(t)
	s := sendSome(t, srv, 20)
	base, _ := inspect(t, srv, s)
	number := func(row map[string]any, key string) string { n, _ := row[key].(json.Number); return string(n) }
	// once does something to the first row that it can be done to.
	once := func(do func(row map[string]any) (copies int, done bool)) func(*map[string]any) int {
		var over bool
		return func(row *map[string]any) int {
			if over {
				return 1
			}
			copies, done := do(*row)
			over = done
			return copies
		}
	}
	f := func(name string, readings, windows func(*map[string]any) int, want findings) {
		t.Helper()
		srv.spoilReading, srv.spoilWindow = readings, windows
		got, notes := inspect(t, srv, s)
		want.Readings, want.Panes = base.Readings, base.Panes
		if diff := cmp.Diff(want, got); diff != "" || notes == "" {
			t.Errorf("%s: (-want +got)\n%s%s", name, diff, notes)
		}
	}
	f("a reading is lost", once(func(map[string]any) (int, bool) { return 0, true }), nil, findings{Lost: 1})
	f("a reading is served twice", once(func(map[string]any) (int, bool) { return 2, true }), nil, findings{Duplicated: 1})
	f("a reading has another value", once(func(row map[string]any) (int, bool) {
		row["value"] = json.Number("0.001")
		return 1, true
	}), nil, findings{Altered: 1})
	f("a reading was never sent", once(func(row map[string]any) (int, bool) {
		was := row["start"]
		row["start"] = "2001-01-01T00:00:00Z"
		return 1, was != nil
	}), nil, findings{Lost: 1, Unsent: 1})
	f("a window is missing", nil, once(func(map[string]any) (int, bool) { return 0, true }), findings{WrongPanes: 1})
	f("a window is served twice", nil, once(func(map[string]any) (int, bool) { return 2, true }), findings{WrongPanes: 1})
	f("energy is off by a thousandth", nil, once(func(row map[string]any) (int, bool) {
		v, err := parseThousandths(number(row, "energy"))
		row["energy"] = json.Number(thousandths(v + 1))
		if err != nil {
			row["energy"] = nil
		}
		return 1, err == nil
	}), findings{WrongPanes: 1})
	f("a window counts one reading twice", nil, once(func(row map[string]any) (int, bool) {
		row["n"] = row["n"].(int64) + 1
		return 1, true
	}), findings{WrongPanes: 1})
}

// TestUnacknowledgedMayBeThereOrNot: what was sent without a PUBACK is no fault
// either way, but windows must agree with what is served.
func TestUnacknowledgedMayBeThereOrNot(t *testing.T) {
	srv := newFakeServer(t)
	s := sendSome(t, srv, 20)
	stored := s.traffic.batch()
	srv.mu.Lock()
	for _, e := range stored.entries {
		srv.store(e)
	}
	srv.mu.Unlock()
	absent := s.traffic.batch()
	s.pending = append(s.pending, &stored, &absent)
	if found, notes := inspect(t, srv, s); !found.clean() {
		t.Errorf("findings %+v\n%s", found, notes)
	}
}

// TestSendersGoOnAfterBreaks lets a sender make new batches while its server
// breaks off again and again.
func TestSendersGoOnAfterBreaks(t *testing.T) {
	srv := newFakeServer(t)
	srv.breakUp = 40
	reg, err := lookUpRegisters()
	if err != nil {
		t.Fatal(err)
	}
	l, err := createLedger(filepath.Join(t.TempDir(), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSender("crash-00", newTraffic("crash-00", 200_000_000, 4, 7, reg), l, time.Millisecond)
	for s.acked < 3000 {
		if err := s.session(t.Context(), srv.addr(), false); err != nil {
			t.Fatal(err)
		}
	}
	s.makeRest()
	for s.left() > 0 {
		if err := s.session(t.Context(), srv.addr(), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if found, notes := inspect(t, srv, s); !found.clean() {
		t.Errorf("findings %+v\n%s", found, notes)
	}
}

// TestPatientQuestionsAreRepeated: 503 is asked again for a while, anything else is not.
func TestPatientQuestionsAreRepeated(t *testing.T) {
	var asked, refuse, status int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked <= refuse {
			w.WriteHeader(status)
		}
	}))
	defer srv.Close()
	f := func(patience time.Duration, code, times int, wantErr bool, wantAsked int) {
		t.Helper()
		a := newAPI(strings.TrimPrefix(srv.URL, "http://"))
		defer a.close()
		a.patience, asked, refuse, status = patience, 0, times, code
		body, err := a.get(t.Context(), "/x", nil)
		if err == nil {
			body.Close()
		}
		if (err != nil) != wantErr || asked != wantAsked || a.repeated != wantAsked-1 {
			t.Errorf("patience %s, %d times %d: asked %d times, want %d; %v", patience, times, code, asked, wantAsked, err)
		}
	}
	f(time.Minute, http.StatusServiceUnavailable, 1, false, 2)
	f(0, http.StatusServiceUnavailable, 1, true, 1)
	f(time.Minute, http.StatusInternalServerError, 1, true, 1)
}
