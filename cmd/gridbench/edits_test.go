package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gridloom/gridloom"
)

// TestCheckerKnowsEdits: what edits say is what must be served, and the audit trail must have each
// edit that was answered, once.
func TestCheckerKnowsEdits(t *testing.T) {
	srv := newFakeServer(t)
	s := sendSome(t, srv, 20)
	var all []entry
	if err := readLedger(s.ledger.file.Name(), map[string]string{}, func(e entry) { all = append(all, e) }); err != nil {
		t.Fatal(err)
	}
	var known []entry // of one meter and register: gauges, of which an edit concerns few windows
	seen := map[gridloom.Millis]bool{}
	for _, e := range all {
		if e.register == s.traffic.reg.power && e.meter == all[0].meter && !seen[e.start] {
			seen[e.start] = true
			known = append(known, e)
		}
	}
	row := func(e entry, value int64, void bool) editedRow {
		return editedRow{Register: e.register.Info().Alias, Start: e.start, Length: e.length, Value: value, Void: void}
	}
	meter := known[0].meter
	answered := []edit{
		{ID: 100, Why: "a", Meter: meter, Rows: []editedRow{row(known[0], 7_000, false), row(known[1], 0, true)}},
		{ID: 101, Why: "b", Meter: meter, Rows: []editedRow{row(known[0], 8_000, false)}},
		{ID: 102, Why: "c", Meter: meter, Undoes: 101},
	}
	unanswered := []edit{
		{Why: "d", Meter: meter, Rows: []editedRow{row(known[2], 9_000, false)}}, // made
		{Why: "e", Meter: meter, Rows: []editedRow{row(known[3], 9_000, false)}}, // not made
	}
	good := []servedEdit{
		{Edit: 100, Why: "a", Meter: meter, Readings: 2},
		{Edit: 101, Why: "b", Meter: meter, Readings: 1, UndoneBy: 102},
		{Edit: 102, Why: "c", Meter: meter, Readings: 1, Undoes: 101},
		{Edit: 103, Why: "d", Meter: meter, Readings: 1},
	}
	k := seriesKey{meter, s.traffic.reg.power}
	serve := func(value0 int64, voided bool, value2 int64) {
		at := func(e entry) spot { return spot{e.start, e.length} }
		e0, e1, e2 := known[0], known[1], known[2]
		e0.value, e2.value = value0, value2
		srv.readings[k][at(e0)], srv.readings[k][at(e1)], srv.readings[k][at(e2)] = e0, e1, e2
		if voided {
			delete(srv.readings[k], at(e1))
		}
	}
	f := func(what string, trail []servedEdit, want findings, wantEdits editFindings) {
		t.Helper()
		srv.trail = trail
		var notes strings.Builder
		c := checker{api: newAPI(srv.httpAddr()), width: 15 * 60_000, bridge: 120 * 60_000, notes: &notes, acked: all}
		defer c.api.close()
		if err := c.settleEdits(t.Context(), answered, unanswered); err != nil {
			t.Fatal(err)
		}
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, edits := c.found, c.trail
		got.Readings, got.Panes, got.WrongPanes, edits.Edits = 0, 0, 0, 0
		if got != want || edits != wantEdits {
			t.Errorf("%s: %+v %+v, want %+v %+v\n%s", what, got, edits, want, wantEdits, notes.String())
		}
	}
	serve(7_000, true, 9_000)
	f("all is as it was said", good, findings{}, editFindings{EditsUnanswered: 1})
	f("an answered edit is lost", good[1:], findings{Altered: 1, Lost: 1}, editFindings{EditsUnanswered: 1, EditsLost: 1})
	f("an edit is there twice", append(good[:4:4], servedEdit{Edit: 104, Why: "a", Meter: meter, Readings: 2}), findings{}, editFindings{EditsUnanswered: 1, EditsDuplicated: 1})
	f("an edit that nobody made", append(good[:4:4], servedEdit{Edit: 104, Why: "x", Meter: meter}), findings{}, editFindings{EditsUnanswered: 2, EditsAltered: 1})
	f("an undo that is not told", []servedEdit{good[0], {Edit: 101, Why: "b", Meter: meter, Readings: 1}, good[2], good[3]}, findings{}, editFindings{EditsUnanswered: 1, EditsAltered: 1})
	serve(8_000, true, 9_000)
	f("an undone edit counts", good, findings{Altered: 1}, editFindings{EditsUnanswered: 1})
	serve(7_000, false, 9_000)
	f("a voided reading is served", good, findings{Altered: 1}, editFindings{EditsUnanswered: 1})
	serve(7_000, true, known[2].value)
	f("the trail has an edit, and its reading is not there", good, findings{Altered: 1}, editFindings{EditsUnanswered: 1})
}

// TestEditLedger: what was answered is what is read back.
func TestEditLedger(t *testing.T) {
	e, err := newEditor(filepath.Join(t.TempDir(), "edits"), nil, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	one := edit{Why: "edit 1", Meter: "m", Rows: []editedRow{{Register: "power_import", Start: 5, Value: -1}}}
	for id, status := range map[uint64]int{7: 201, 0: 503, 1: 400} {
		if _, err := e.note(one, id, status, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.note(one, 0, 500, nil); err == nil {
		t.Error("status 500 is no finding")
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	got, err := readEdits(e.file.Name())
	if err != nil || len(got) != 1 || got[0].ID != 7 || got[0].Rows[0] != one.Rows[0] || len(e.unanswered) != 1 || e.refused != 1 || e.answered != 1 {
		t.Errorf("ledger %+v, %v; %d unanswered, %d refused", got, err, len(e.unanswered), e.refused)
	}
}
