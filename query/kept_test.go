package query

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// retained is a world whose partitions have come so far with retention, and whose meter has a
// reading and a pane every hour from t0 on.
func retained(t *testing.T, name string, days int, rawFrom, panesFrom gridloom.Millis) *world {
	t.Helper()
	w := newWorld(t)
	reg := register(t, name)
	var readings []gridloom.Reading
	for at := t0; at < t0+gridloom.Millis(days)*gridloom.Day; at += gridloom.Hour {
		readings = append(readings, gridloom.Reading{
			Meter: "m1", Register: reg, Start: at, Value: int64(at-t0) / 100, Sequence: uint64(at/gridloom.Hour) - 1, LoggedAt: at + gridloom.Second,
		})
	}
	var panes []gridloom.Pane
	rows := make([]window.Reading, len(readings))
	for i, r := range readings {
		rows[i] = window.Reading{Start: r.Start, Value: r.Value, Sequence: r.Sequence, LoggedAt: r.LoggedAt}
	}
	w.cfg.Window.Fold(reg.Info().Kind, rows, w.logged, func(p *gridloom.Pane) {
		p.Meter, p.Register = "m1", reg
		panes = append(panes, *p)
	})
	for p := range w.manifests {
		w.manifests[p].RawFrom, w.manifests[p].PanesFrom = rawFrom, panesFrom
		w.tails[p].Bounds = w.manifests[p].Bounds()
	}
	w.commit(panes, readings)
	return w
}

// TestWhatIsPastRetentionIsNotServed asks for more than is kept, although the files hold it
// still, and is told from when on there is something.
func TestWhatIsPastRetentionIsNotServed(t *testing.T) {
	rawFrom, panesFrom := t0.Floor(gridloom.Day)+4*gridloom.Day, t0.Floor(gridloom.Day)+2*gridloom.Day
	w := retained(t, "energy_import", 9, rawFrom, panesFrom)
	f := func(path string, from, kept gridloom.Millis) {
		t.Helper()
		res := get(t, w.serve()+path+"?meter=m1&register=energy_import&format=csv&from="+from.String()+"&to="+(t0+9*gridloom.Day).String())
		if res.code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, res.code, res.body)
		}
		lines := strings.Split(strings.TrimSpace(res.body), "\n")
		want := max(from, kept).String()
		if len(lines) < 2 || !strings.Contains(lines[1], want) {
			t.Errorf("%s from %s: the first row is %q, want one of %s", path, from, lines[min(1, len(lines)-1)], want)
		}
		told := ""
		if from < kept {
			told = kept.String()
		}
		if got := res.header.Get(keptHeader); got != told {
			t.Errorf("%s from %s: %s is %q, want %q", path, from, keptHeader, got, told)
		}
	}
	f("/api/v1/readings", t0, rawFrom)
	f("/api/v1/readings", rawFrom+gridloom.Day, rawFrom)
	f("/api/v1/windows", t0, panesFrom)
	f("/api/v1/windows", panesFrom+gridloom.Day, panesFrom)
}

// TestAsOfNeedsReadingsFromBefore: windows that would lack what was carried over the bound are
// refused, the others are what they were.
func TestAsOfNeedsReadingsFromBefore(t *testing.T) {
	rawFrom := t0.Floor(gridloom.Day) + 4*gridloom.Day
	f := func(name string, days int, from gridloom.Millis, ok bool) {
		t.Helper()
		ask := func(w *world) (int, string) {
			res := get(t, w.serve()+"/api/v1/windows?meter=m1&register="+name+"&format=csv&from="+from.String()+"&to="+(from+gridloom.Day).String()+"&as_of="+w.logged.String())
			return res.code, res.body
		}
		code, body := ask(retained(t, name, days, rawFrom, 0))
		if !ok {
			if code != http.StatusUnprocessableEntity || !strings.Contains(body, "no longer kept") {
				t.Errorf("%s from %s: %d %s, want it refused", name, from, code, body)
			}
			return
		}
		if _, want := ask(retained(t, name, days, 0, 0)); code != http.StatusOK || body != want {
			t.Errorf("%s from %s: %d\n%s\nwant\n%s", name, from, code, body, want)
		}
	}
	f("energy_import", 9, rawFrom, false)
	f("energy_import", 9, rawFrom+gridloom.Day+15*gridloom.Minute, true)
	f("power_import", 9, rawFrom, false)
	f("power_import", 9, rawFrom+3*gridloom.Hour, true)
	f("power_failures", 9, rawFrom, true)
	f("power_failures", 9, rawFrom-gridloom.Hour, false)
}

// TestAsOfRefusesACounterThatBeginsInTheSpan: nobody knows what its first reading is to be
// compared with.
func TestAsOfRefusesACounterThatBeginsInTheSpan(t *testing.T) {
	w := newWorld(t)
	reg := register(t, "energy_import")
	for p := range w.manifests {
		w.manifests[p].RawFrom = t0.Floor(gridloom.Day)
	}
	first := t0.Floor(gridloom.Day) + 3*gridloom.Day
	for i := range gridloom.Millis(4) {
		at := first + i*10*gridloom.Hour
		w.commit(nil, []gridloom.Reading{{Meter: "m1", Register: reg, Start: at, Value: 1000 * int64(i), Sequence: 1 + uint64(i), LoggedAt: at}})
	}
	f := func(from gridloom.Millis, code int) {
		t.Helper()
		res := get(t, w.serve()+"/api/v1/windows?meter=m1&register=energy_import&from="+from.String()+"&to="+(from+gridloom.Day).String()+"&as_of="+w.logged.String())
		if res.code != code {
			t.Errorf("from %s: %d %s, want %d", from, res.code, res.body, code)
		}
	}
	f(first, http.StatusUnprocessableEntity)
	f(first-gridloom.Hour, http.StatusUnprocessableEntity)
	f(first+24*gridloom.Hour, http.StatusUnprocessableEntity) // only three readings
	f(first+30*gridloom.Hour, http.StatusUnprocessableEntity) // the fourth is in it
	f(first+30*gridloom.Hour+15*gridloom.Minute, http.StatusOK)
	f(first-3*gridloom.Day, http.StatusUnprocessableEntity) // before the bound and a day
	f(first-2*gridloom.Day, http.StatusOK)                  // before there is anything
}

// TestExpiredReadingsAreListedAsRejects pages through readings that owners let expire.
func TestExpiredReadingsAreListedAsRejects(t *testing.T) {
	w := newWorld(t)
	reg := register(t, "energy_import")
	for i := range uint64(12) { // three to a segment, of several partitions
		if i%3 > 0 {
			continue
		}
		meter := fmt.Sprint("m", i)
		var rows []gridloom.Reading
		for k := range uint64(3) {
			rows = append(rows, gridloom.Reading{
				Meter: meter, Register: reg, Start: t0 - gridloom.Day, Value: 1500, Sequence: 50 + (i+k)/2, Place: uint32(i+k) % 2, LoggedAt: t0, Void: i+k == 4,
			})
		}
		p := gridloom.PartitionOf(meter, testPartitions)
		seg, err := w.store.WriteExpired(t.Context(), w.where(p), rows)
		if err != nil {
			t.Fatal(err)
		}
		w.manifests[p].Recent = append(w.manifests[p].Recent, seg)
		w.swap(p)
	}
	address := w.serve() + "/api/v1/rejects?reason=EXPIRED"
	for _, limit := range []int{1, 2, 5, 12, 100} {
		var got []string
		before := ""
		for range 13 {
			page := rowsOf(t, address+fmt.Sprint("&limit=", limit)+before)
			if len(page) > limit {
				t.Fatalf("%d rows, limit %d", len(page), limit)
			}
			for _, r := range page {
				got = append(got, r["place"])
				if r["reason"] != "EXPIRED" {
					t.Errorf("row %v", r)
				}
			}
			if len(page) == 0 {
				break
			}
			before = "&before=" + page[len(page)-1]["sequence"]
		}
		var want []string
		for i := 11; i >= 0; i-- {
			want = append(want, fmt.Sprintf("frame %d, reading %d", 50+i/2, i%2))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("pages of %d: %q, want %q", limit, got, want)
		}
	}
	row := rowsOf(t, address+"&limit=1")[0]
	if want := `{"meter":"m9","register":"energy_import","at":"2026-11-21T00:00:00Z","value":1.5}`; row["payload"] != want {
		t.Errorf("payload %s, want %s", row["payload"], want)
	}
	if a := get(t, w.serve()+"/api/v1/rejects?reason=LATE"); a.code != http.StatusBadRequest {
		t.Errorf("another reason: %d %s", a.code, a.body)
	}
}
