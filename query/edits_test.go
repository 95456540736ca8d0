package query

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// post sends a body as a client does that edits.
func post(t testing.TB, address, body string) answerOf {
	t.Helper()
	return send(t, http.MethodPost, address, body, "Content-Type: application/json")
}

// made posts an edit and returns its id.
func made(t testing.TB, address, body string) uint64 {
	t.Helper()
	a := post(t, address+"/api/v1/edits", body)
	var got struct{ Edit uint64 }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != http.StatusCreated || a.header.Get("Location") != fmt.Sprintf("/api/v1/edits/%d", got.Edit) {
		t.Fatalf("POST %s = %d %s %s", body, a.code, a.header.Get("Location"), a.body)
	}
	return got.Edit
}

// editWorld is a world with a log, on which a meter has told a value every quarter of an hour.
func editWorld(t *testing.T) (*world, string) {
	t.Helper()
	w := newWorld(t)
	w.cfg.Generation, w.cfg.Log, w.sequence = 1, w, 100
	var rows []gridloom.Reading
	for i := range gridloom.Millis(8) {
		at := t0 + i*15*gridloom.Minute
		for n, name := range []string{"energy_import", "power_import", "energy_import_interval"} {
			r := gridloom.Reading{Meter: "m1", Register: register(t, name), Start: at, Value: 1000 * int64(i+1), Serial: "S1", Agent: "a", Sequence: uint64(i + 1), Place: uint32(n), LoggedAt: at, Order: gridloom.NewOrder(gridloom.ClassDevice, 9, uint32(i))}
			if n == 2 {
				r.Length = 15 * gridloom.Minute
			}
			rows = append(rows, r)
		}
	}
	w.commit(nil, rows[:9])
	w.hold(nil, rows[9:])
	return w, w.serve()
}

// TestRefusedEdits: every fault is one line that names the field, and nothing is written.
func TestRefusedEdits(t *testing.T) {
	w, address := editWorld(t)
	f := func(body string, code int, field, detail string) {
		t.Helper()
		a := post(t, address+"/api/v1/edits", body)
		var doc struct{ Parameter, Detail string }
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.code != code || doc.Parameter != field || !strings.Contains(doc.Detail, detail) || strings.Contains(doc.Detail, "\n") {
			t.Errorf("POST %s = %d %s, want %d for %q: %s", body, a.code, a.body, code, field, detail)
		}
	}
	set := func(fields string) string {
		return `{"who":"ada","why":"test","op":"set","meter":"m1",` + fields + `}`
	}
	one := func(fields string) string {
		return set(`"register":"power_import","readings":[{` + fields + `}]`)
	}
	f(``, 400, "", "not JSON")
	f(`[1]`, 400, "", "not a JSON object")
	f(`{"who":"a"} {}`, 400, "", "behind the object")
	f(`{"who":"a","who":"b"}`, 400, "who", "stands twice")
	f("{\"who\":\"\xff\"}", 400, "", "not UTF-8")
	f(`{"why":"w","op":"set","meter":"m1","register":"power_import","readings":[{"at":"2026-11-22T00:00:00Z","value":1}]}`, 400, "who", "is missing")
	f(`{"who":"a","why":" ","op":"set","meter":"m1"}`, 400, "why", "want text of 1 to 1000 bytes")
	f(`{"who":"a\u0007","why":"w","op":"set","meter":"m1"}`, 400, "who", "does not print")
	f(`{"who":"a","why":"w","op":"delete","meter":"m1"}`, 400, "op", `want one of ["set" "void" "estimate" "undo"]`)
	f(`{"who":"a","why":"w","op":"set","readings":[]}`, 400, "meter", "is missing")
	f(set(`"readings":[]`), 400, "readings", "want a list of 1 to 10000 objects")
	f(set(`"readings":[5]`), 400, "readings[0]", "want an object")
	f(set(`"readings":[{"at":"2026-11-22T00:00:00Z","value":1}]`), 400, "readings[0].register", "is missing")
	f(set(`"register":"power","readings":[{"at":"2026-11-22T00:00:00Z","value":1,"extra":2}]`), 400, "readings[0].extra", "known are")
	f(set(`"register":"watts","readings":[{"at":"2026-11-22T00:00:00Z","value":1}]`), 400, "register", "no register's alias or OBIS code")
	f(one(`"at":1795341600,"value":1`), 400, "readings[0].at", "seconds?")
	f(one(`"at":"yesterday","value":1`), 400, "readings[0].at", "RFC 3339")
	f(one(`"at":"2036-11-22T00:00:00Z","value":1`), 400, "readings[0].at", "ahead of ingest's clock")
	f(one(`"at":"2026-11-22T00:00:00Z"`), 400, "readings[0].value", "is missing")
	f(one(`"at":"2026-11-22T00:00:00Z","value":"1"`), 400, "readings[0].value", "want a number")
	f(one(`"at":"2026-11-22T00:00:00Z","value":1e30`), 400, "readings[0].value", "out of range")
	f(one(`"at":"2026-11-22T00:00:00Z","value":1,"length":"15m"`), 400, "readings[0].length", "have no length")
	f(one(`"at":"2026-11-22T00:00:00Z","value":1},{"at":1795305600000,"value":2`), 400, "readings[1].at", "is the same reading as readings[0]")
	f(one(`"at":"2026-11-22T00:00:00Z","value":1},{"at":"2020-01-01T00:00:00Z","value":2`), 400, "readings", "366 days apart")
	f(set(`"unit":"kWh","register":"power_import","readings":[{"at":"2026-11-22T00:00:00Z","value":1}]`), 400, "unit", "does not fit power_import")
	f(`{"who":"a","why":"w","op":"void","meter":"m1","register":"power_import","readings":[{"at":"2026-11-22T00:00:01Z"}]}`, 400, "readings[0]", "there is no reading of")
	f(`{"who":"a","why":"w","op":"void","meter":"m1","register":"power_import","from":"2026-11-22T09:00:00Z","to":"2026-11-22T10:00:00Z"}`, 400, "from", "no reading of these registers")
	f(`{"who":"a","why":"w","op":"void","meter":"m1","registers":["power_import",7],"from":"2026-11-22T09:00:00Z","to":"2026-11-22T10:00:00Z"}`, 400, "registers[1]", "want text")
	f(`{"who":"a","why":"w","op":"void","meter":"m1","register":"power_import","from":"2026-11-22T10:00:00Z","to":"2026-11-22T10:00:00Z"}`, 400, "from", "must lie before to")
	f(`{"who":"a","why":"w","op":"void","meter":"m1","register":"power_import","from":"2024-11-22T10:00:00Z","to":"2026-11-22T10:00:00Z"}`, 400, "from", "366 days")
	f(`{"who":"a","why":"w","op":"estimate","meter":"m1","register":"power_failures","from":"2026-11-22T00:20:00Z","to":"2026-11-22T00:50:00Z"}`, 400, "register", "cannot be estimated")
	f(`{"who":"a","why":"w","op":"estimate","meter":"m1","register":"power_import","from":"2026-11-22T00:00:00Z","to":"2026-11-22T00:50:00Z"}`, 400, "from", "no reading in the 7 days before")
	f(`{"who":"a","why":"w","op":"estimate","meter":"m1","register":"power_import","from":"2026-11-22T01:00:00Z","to":"2026-11-22T09:50:00Z"}`, 400, "to", "no reading in the 7 days")
	f(`{"who":"a","why":"w","op":"estimate","meter":"m1","register":"power_import","method":"guess","from":"2026-11-22T01:00:00Z","to":"2026-11-22T09:50:00Z"}`, 400, "method", "want")
	f(`{"who":"a","why":"w","op":"undo","edit":"5"}`, 400, "edit", "want the id of an edit")
	f(`{"who":"a","why":"w","op":"undo","edit":5}`, 404, "edit", "there is no edit 5")
	f(`{"who":"a","why":"w","op":"undo","edit":5,"readings":[]}`, 400, "readings", "is not known here")
	if a := send(t, http.MethodPost, address+"/api/v1/edits", `{}`, "Content-Type: text/plain"); a.code != http.StatusUnsupportedMediaType {
		t.Errorf("a form of another site = %d %s", a.code, a.body)
	}
	if w.sequence != 100 {
		t.Errorf("%d frames were written", w.sequence-100)
	}
	if got := rowsOf(t, address+"/api/v1/edits"); len(got) != 0 {
		t.Errorf("edits = %v", got)
	}
}

// TestNothingAltersTheAuditTrail: the paths of edits take no other method.
func TestNothingAltersTheAuditTrail(t *testing.T) {
	_, address := editWorld(t)
	id := made(t, address, `{"who":"ada","why":"test","op":"set","meter":"m1","register":"power_import","readings":[{"at":"2026-11-22T00:00:00Z","value":7}]}`)
	before := get(t, address+"/api/v1/edits").body
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodPost} {
		for _, path := range []string{"/api/v1/edits", fmt.Sprintf("/api/v1/edits/%d", id)} {
			if method == http.MethodPost && path == "/api/v1/edits" {
				continue
			}
			if a := send(t, method, address+path, `{"who":"eve"}`, "Content-Type: application/json"); a.code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s = %d %s", method, path, a.code, a.body)
			}
		}
	}
	if after := get(t, address+"/api/v1/edits").body; after != before {
		t.Errorf("the audit trail was %s and is %s", before, after)
	}
}

// modelEdit is an edit as the model of the test keeps it.
type modelEdit struct {
	id     uint64
	says   map[string]string // of each reading: a value, or "" for a void
	undone bool
	undo   bool
}

// TestEditsThroughTheAPI plays random edits, undos and devices against a model that knows nothing but the rules: what the
// last edit says that is not undone, else what the device said with the greatest seq. Everything is asked again, as of each
// time, in the end, when all is committed.
func TestEditsThroughTheAPI(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 77))
		w, _ := editWorld(t)
		w.logged = t0 + gridloom.Day
		w.cfg.Now = func() gridloom.Millis { return t0 + 20*gridloom.Day }
		address := w.serve()
		power := register(t, "power_import")
		device := map[string][2]int64{} // seq and value
		for i := range int64(8) {
			device[(t0 + gridloom.Millis(i)*15*gridloom.Minute).String()] = [2]int64{i, 1000 * (i + 1)}
		}
		var edits []modelEdit
		state := func() map[string]string {
			out := map[string]string{}
			for at, v := range device {
				out[at] = string(appendDecimal(nil, v[1], 3))
			}
			for _, e := range edits {
				if e.undone || e.undo {
					continue
				}
				maps.Copy(out, e.says)
			}
			for at, v := range out {
				if v == "" {
					delete(out, at)
				}
			}
			return out
		}
		asked := func(query string) map[string]string {
			out := map[string]string{}
			for _, r := range rowsOf(t, address+"/api/v1/readings?meter=m1&register=power_import&from=2026-11-21T00:00:00Z&to=2026-11-25T00:00:00Z"+query) {
				out[r["start"]] = r["value"]
			}
			return out
		}
		trail := func(query string) []row { return rowsOf(t, address+"/api/v1/edits?meter=m1"+query) }
		type then struct {
			at       gridloom.Millis
			readings map[string]string
			trail    []row
		}
		var seen []then
		spot := func() gridloom.Millis { return t0 + gridloom.Millis(rng.IntN(10))*15*gridloom.Minute }
		undos := 0
		for step := range 40 {
			w.logged += gridloom.Minute
			now := state()
			switch k := rng.IntN(6); {
			case k == 0: // the device speaks
				at, seq, v := spot(), int64(rng.IntN(60)), int64(rng.IntN(9)*1000)
				w.sequence++
				w.hold(nil, []gridloom.Reading{{
					Meter: "m1", Register: power, Start: at, Value: v, Agent: "a", Sequence: w.sequence, LoggedAt: w.logged, Order: gridloom.NewOrder(gridloom.ClassDevice, 9, uint32(seq)),
				}})
				if old, ok := device[at.String()]; !ok || seq >= old[0] {
					device[at.String()] = [2]int64{seq, v}
				}
			case k <= 2: // set
				e := modelEdit{says: map[string]string{}}
				var list []string
				for range 1 + rng.IntN(3) {
					at := spot()
					if _, twice := e.says[at.String()]; twice {
						continue
					}
					v := fmt.Sprintf("%d.%d", rng.IntN(9), 1+rng.IntN(9))
					e.says[at.String()] = v
					list = append(list, fmt.Sprintf(`{"at":%d,"value":%s}`, at, v))
				}
				e.id = made(t, address, fmt.Sprintf(`{"who":"ada","why":"step %d","op":"set","meter":"m1","register":"power_import","readings":[%s]}`, step, strings.Join(list, ",")))
				edits = append(edits, e)
			case k == 3: // void what lies in a span
				from := spot()
				to := from + gridloom.Millis(1+rng.IntN(3))*15*gridloom.Minute
				e := modelEdit{says: map[string]string{}}
				for at := from; at < to; at += 15 * gridloom.Minute {
					if _, ok := now[at.String()]; ok {
						e.says[at.String()] = ""
					}
				}
				body := fmt.Sprintf(`{"who":"desk","why":"step %d","op":"void","meter":"m1","registers":["power_import"],"from":%d,"to":%d}`, step, from, to)
				if len(e.says) == 0 {
					if a := post(t, address+"/api/v1/edits", body); a.code != 400 {
						t.Fatalf("nothing to void: %d %s", a.code, a.body)
					}
					continue
				}
				e.id = made(t, address, body)
				edits = append(edits, e)
			default: // undo
				if len(edits) == 0 {
					continue
				}
				e := &edits[rng.IntN(len(edits))]
				body := fmt.Sprintf(`{"who":"eve","why":"step %d","op":"undo","edit":%d}`, step, e.id)
				if e.undo || e.undone {
					if a := post(t, address+"/api/v1/edits", body); a.code != http.StatusConflict {
						t.Fatalf("undone twice: %d %s", a.code, a.body)
					}
					continue
				}
				e.undone = true
				edits = append(edits, modelEdit{id: made(t, address, body), undo: true})
				undos++
			}
			if diff := cmp.Diff(state(), asked("")); diff != "" {
				t.Fatalf("seed %d, step %d (-model +answer)\n%s", seed, step, diff)
			}
			seen = append(seen, then{w.logged, state(), trail("")})
			if rng.IntN(5) == 0 { // what the owners hold is committed
				w.commitRecords(pane.KindAudit)
				for p := range w.tails {
					rows := w.tails[p].Readings
					w.tails[p].Readings = nil
					w.commit(nil, rows)
				}
			}
		}
		if undos == 0 {
			t.Fatalf("seed %d: nothing was undone", seed)
		}
		for _, s := range seen {
			if diff := cmp.Diff(s.readings, asked("&as_of="+s.at.String())); diff != "" {
				t.Fatalf("seed %d, as of %s (-then +now)\n%s", seed, s.at, diff)
			}
			if diff := cmp.Diff(s.trail, trail("&as_of="+s.at.String())); diff != "" {
				t.Fatalf("seed %d, edits as of %s (-then +now)\n%s", seed, s.at, diff)
			}
		}
		got := trail("")
		slices.Reverse(got)
		if len(got) != len(edits) {
			t.Fatalf("seed %d: %d edits are listed, %d were made", seed, len(got), len(edits))
		}
		for i, e := range edits {
			if got[i]["edit"] != fmt.Sprint(e.id) || (got[i]["undone_by"] != "null") != e.undone {
				t.Errorf("seed %d: edit %d is told as %v, undone %v", seed, e.id, got[i], e.undone)
			}
		}
	}
}

// TestEstimates: values on the line between the neighbours, at the cadence of the readings before; flat intervals; and what
// does not fit the cadence is withdrawn. Numbers worked out by hand.
func TestEstimates(t *testing.T) {
	w, address := editWorld(t)
	hold := func(name string, minute gridloom.Millis, length gridloom.Millis, value int64) {
		w.sequence++
		at := t0 + minute*gridloom.Minute
		w.hold(nil, []gridloom.Reading{{Meter: "m1", Register: register(t, name), Start: at, Length: length, Value: value, Serial: "S1", Sequence: w.sequence, LoggedAt: at, Order: gridloom.NewOrder(gridloom.ClassDevice, 9, 99)}})
	}
	f := func(name, from, to, more string, want map[string]string) {
		t.Helper()
		made(t, address, fmt.Sprintf(`{"who":"ada","why":"gap","op":"estimate","meter":"m1","register":%q,"from":"2026-11-22T%s:00Z","to":"2026-11-22T%s:00Z"%s}`, name, from, to, more))
		got := map[string]string{}
		for _, r := range rowsOf(t, fmt.Sprintf("%s/api/v1/readings?meter=m1&register=%s&from=2026-11-22T%s:00Z&to=2026-11-22T%s:00Z", address, name, from, to)) {
			got[r["start"][11:16]] = r["value"]
			if r["quality"] != "ESTIMATED_LINEAR|EDITED" || r["serial"] != "S1" {
				t.Errorf("%s: %v", name, r)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	hold("energy_import", 185, 0, 16_000) // 8 at 01:45, 16 at 03:05: 0.1 a minute
	f("energy_import", "01:46", "03:00", "", map[string]string{"02:00": "9.5", "02:15": "11", "02:30": "12.5", "02:45": "14"})
	hold("power_import", 125, 0, 99_000) // does not fit the cadence
	hold("power_import", 135, 0, 99_000)
	hold("power_import", 165, 0, 2_001) // 8 at 01:45, 2.001 at 02:45
	f("power_import", "01:50", "02:45", "", map[string]string{"02:00": "6.5", "02:15": "5", "02:30": "3.5"})
	f("power_import", "02:00", "02:45", `,"cadence":"20m"`, map[string]string{"02:05": "6", "02:25": "4"})
	hold("energy_import_interval", 180, 15*gridloom.Minute, 4_000) // 8 from 01:45 to 02:00, 4 from 03:00
	f("energy_import_interval", "01:59", "03:00", "", map[string]string{"02:00": "6", "02:15": "6", "02:30": "6", "02:45": "6"})

	hold("energy_import", 600, 0, 1_000)
	if a := post(t, address+"/api/v1/edits", `{"who":"a","why":"w","op":"estimate","meter":"m1","register":"energy_import","from":"2026-11-22T03:06:00Z","to":"2026-11-22T09:00:00Z"}`); a.code != 400 || !strings.Contains(a.body, "the register falls from 16 at 2026-11-22T03:05:00Z to 1 at") {
		t.Errorf("a register that falls = %d %s", a.code, a.body)
	}
}

// FuzzEditRequest: whatever is posted is an edit within its bounds, or refused by a problem that names a place.
func FuzzEditRequest(f *testing.F) {
	f.Add(`{"who":"ada","why":"test","op":"set","meter":"m1","register":"power_import","unit":"kW","readings":[{"at":"2026-11-22T00:00:00Z","value":-7.25e-1,"serial":"S"}]}`)
	f.Add(`{"who":"ada","why":"test","op":"void","meter":"m1","registers":["power_import"],"from":1795305600000,"to":"2026-11-23T00:00:00+01:00"}`)
	f.Add(`{"who":"ada","why":"test","op":"estimate","meter":"m1","register":"energy_import","from":1795305600000,"to":1795305900000,"cadence":"15m"}`)
	f.Add(`{"who":"ada","why":"test","op":"undo","edit":12,"meter":"m1"}`)
	f.Add(`{"a":[[[[{}]]]],"a":null}`)
	f.Fuzz(func(t *testing.T, body string) {
		form, err := parseForm([]byte(body))
		var e *editForm
		if err == nil {
			e, err = editRequest(form, t0)
		}
		if err != nil {
			if p := asProblem(err); p == nil || strings.Contains(p.detail, "\n") && !strings.Contains(body, "\n") && !strings.Contains(body, `\n`) || p.status != http.StatusBadRequest {
				t.Fatalf("%q: %#v", body, err)
			}
			return
		}
		for i := range e.readings {
			r := &e.readings[i]
			if r.Value > gridloom.MaxValue || r.Value < -gridloom.MaxValue || r.Start < gridloom.MinInstant || r.Start > t0+gridloom.MaxAhead || r.Meter != e.meter {
				t.Fatalf("%q: %+v", body, r)
			}
		}
		if e.who == "" || e.why == "" || e.op != opUndo && e.meter == "" || len(e.readings) > maxEditReadings || e.to-e.from > maxEditSpan || (e.undoes != 0) != (e.op == opUndo) {
			t.Fatalf("%q: %+v", body, e)
		}
	})
}
