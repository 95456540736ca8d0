package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

const wholeDay = "from=2026-11-22T00:00:00Z&to=2026-11-24T00:00:00Z"

// TestAnyPlaceOfAPaneGivesTheSameAnswer spreads panes over segments and tails, with
// older revisions of them anywhere, and always reads the same.
func TestAnyPlaceOfAPaneGivesTheSameAnswer(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	truth := foldAll(window.Defaults(), neighbourhood(rng, 6), t0+10*gridloom.Day)
	plain := newWorld(t)
	plain.hold(truth, nil)
	paths := []string{
		"/api/v1/windows?" + wholeDay, "/api/v1/windows?" + wholeDay + "&step=1h&meter=m03&meter=m01",
		"/api/v1/windows?" + wholeDay + "&group_by=register&step=30m", "/api/v1/windows?from=2026-11-22T03:00:00Z&to=2026-11-22T09:00:00Z&register=power_import",
	}
	var want [][]row
	for _, p := range paths {
		want = append(want, rowsOf(t, plain.serve()+p))
	}
	if len(want[0]) < 500 || len(want[1]) == 0 || len(want[2]) == 0 || len(want[3]) == 0 {
		t.Fatalf("the neighbourhood gives %d, %d, %d and %d rows", len(want[0]), len(want[1]), len(want[2]), len(want[3]))
	}
	for round := range 8 {
		w := newWorld(t)
		segments := 1 + rng.IntN(6)
		if round == 0 {
			segments = 2*openAtOnce/testPartitions + 5 // more than are opened side by side
		}
		if round == 1 {
			segments, w.cfg.Limits.Buffered = 2*openAtOnce/testPartitions+5, 1000 // all of them are
		}
		w.scatter(rng, truth, segments)
		address := w.serve()
		for i, p := range paths {
			if diff := cmp.Diff(want[i], rowsOf(t, address+p)); diff != "" {
				t.Fatalf("round %d, %d segments: %s: (-want +got)\n%s", round, segments, p, diff)
			}
		}
		if round == 1 {
			w.cfg.Limits = Limits{Buffered: 10, Open: 1}
			if a := get(t, w.serve()+paths[0]); a.code != 422 || !strings.Contains(a.body, "more than 10 of them would be held in memory") {
				t.Errorf("many segments and no room = %d %s, want 422", a.code, a.body)
			}
		}
	}
}

// scatter puts each pane into some segment or a tail, and wrong older versions of it elsewhere.
func (w *world) scatter(rng *rand.Rand, truth []gridloom.Pane, segments int) {
	in := make([][]gridloom.Pane, segments)
	var held []gridloom.Pane
	wrong := func(p gridloom.Pane) gridloom.Pane {
		if rng.IntN(4) == 0 {
			e := window.EmptyPane(p.Start, p.Length)
			e.Meter, e.Register, e.Revision = p.Meter, p.Register, p.Revision
			return e
		}
		p.Energy, p.N, p.Min, p.TimeWeighted = 1, 99, -5, gridloom.Int128{Lo: 7}
		return p
	}
	for _, p := range truth {
		at := rng.IntN(segments + 1)
		for range rng.IntN(3) { // older revisions, in any segment
			old := wrong(p)
			old.Revision -= 1 + rng.Uint64N(10)
			i := rng.IntN(segments)
			in[i] = append(in[i], old)
		}
		if at == segments {
			i := rng.IntN(segments)
			stored := wrong(p)
			stored.Revision += rng.Uint64N(3) // the tail replaces what is stored, whatever the revisions say
			in[i] = append(in[i], stored)
			held = append(held, p)
			continue
		}
		if at > 0 && rng.IntN(3) == 0 { // of equal revision the later segment counts
			i := rng.IntN(at)
			in[i] = append(in[i], wrong(p))
		}
		in[at] = append(in[at], p)
	}
	// A pane that came to hold nothing is left out, in a segment and in a tail.
	gone := truth[0]
	gone.Start = t0 + 40*gridloom.Hour
	e := window.EmptyPane(gone.Start, gone.Length)
	e.Meter, e.Register, e.Revision = gone.Meter, gone.Register, gone.Revision+1
	in[0] = append(in[0], gone)
	if rng.IntN(2) == 0 {
		held = append(held, e)
	} else {
		in[segments-1] = append(in[segments-1], e)
	}
	for _, panes := range in {
		w.commit(panes, nil)
	}
	w.hold(held, nil)
}

// TestReadingsAreWinners compares /readings with a plain resolution of the same rows,
// stored wherever, some both in a segment and in the tail.
func TestReadingsAreWinners(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	rows := withEdits(rng, neighbourhood(rng, 5))
	w := newWorld(t)
	var parts [4][]gridloom.Reading
	for _, r := range rows {
		i := rng.IntN(4)
		parts[i] = append(parts[i], r)
		if rng.IntN(10) == 0 {
			parts[3] = append(parts[3], r)
		}
	}
	for _, p := range parts[:3] {
		w.commit(nil, p)
	}
	w.hold(nil, parts[3])
	address := w.serve()

	check := func(name string, got []row, asOf gridloom.Millis) {
		t.Helper()
		win := map[gridloom.Identity]gridloom.Reading{}
		known := slices.DeleteFunc(slices.Clone(rows), func(r gridloom.Reading) bool { return asOf != 0 && r.LoggedAt > asOf })
		for _, r := range standing(known) {
			if old, ok := win[r.Identity()]; !ok || r.Outranks(&old) {
				win[r.Identity()] = r
			}
		}
		want := map[string]string{}
		for _, r := range win {
			if !r.Void {
				want[r.Meter+r.Register.String()+r.Start.String()] = string(appendDecimal(nil, r.Value, 3))
			}
		}
		have := map[string]string{}
		for _, r := range got {
			k := r["meter"] + r["register"] + r["start"]
			if _, twice := have[k]; twice {
				t.Errorf("%s: %s is there twice", name, k)
			}
			have[k] = r["value"]
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if !slices.IsSortedFunc(got, func(a, b row) int {
			ka, _ := gridloom.RegisterByName(a["register"])
			kb, _ := gridloom.RegisterByName(b["register"])
			return strings.Compare(ka.Info().Code+a["meter"]+a["start"], kb.Info().Code+b["meter"]+b["start"])
		}) {
			t.Errorf("%s: rows are not in the order (register code, meter, start)", name)
		}
	}
	check("now", rowsOf(t, address+"/api/v1/readings?"+wholeDay), 0)
	for _, hours := range []gridloom.Millis{1, 9, 25} {
		at := t0 + hours*gridloom.Hour
		check("as of "+at.String(), rowsOf(t, address+"/api/v1/readings?"+wholeDay+"&as_of="+at.String()), at)
	}
	if got := rowsOf(t, address+"/api/v1/readings?"+wholeDay+"&history=true"); len(got) != len(rows) {
		t.Errorf("history has %d rows, want %d: each row of the log once", len(got), len(rows))
	}
}

func TestReadingsFollowOneAnotherWithoutGapOrRepetition(t *testing.T) {
	rows := neighbourhood(rand.New(rand.NewPCG(3, 3)), 3)
	w := newWorld(t)
	w.commit(nil, rows)
	address := w.serve()
	all := rowsOf(t, address+"/api/v1/readings?"+wholeDay+"&register=energy_import_interval")
	var parts []row
	for h := range gridloom.Millis(48) {
		from, to := t0+h*gridloom.Hour-1, t0+(h+1)*gridloom.Hour-1
		parts = append(parts, rowsOf(t, fmt.Sprintf("%s/api/v1/readings?from=%d&to=%d&register=energy_import_interval", address, from, to))...)
	}
	key := func(r row) string { return r["meter"] + r["start"] }
	slices.SortFunc(parts, func(a, b row) int { return strings.Compare(key(a), key(b)) })
	if diff := cmp.Diff(all, parts); diff != "" {
		t.Errorf("48 hours one by one differ from all at once (-all +parts)\n%s", diff)
	}
}

// TestAsOfIsTheFoldOfWhatWasLoggedThen compares with the panes of the rows logged by then.
func TestAsOfIsTheFoldOfWhatWasLoggedThen(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	rows := withEdits(rng, neighbourhood(rng, 4))
	w := newWorld(t)
	w.commit(nil, rows[:len(rows)/3])
	w.commit([]gridloom.Pane{{Meter: "m00", Register: 0, Start: t0, Length: gridloom.DefaultWidth, N: 99, Revision: 1}}, rows[len(rows)/3:len(rows)/2])
	w.hold(nil, rows[len(rows)/2:])
	address := w.serve()
	for _, step := range []string{"15m", "2h", "1d&tz=Asia/Kathmandu"} {
		for _, hours := range []gridloom.Millis{2, 11, 30} {
			at := t0 + hours*gridloom.Hour
			known := slices.DeleteFunc(slices.Clone(rows), func(r gridloom.Reading) bool { return r.LoggedAt > at })
			then := newWorld(t)
			then.logged = at
			then.hold(foldAll(window.Defaults(), standing(known), at-gridloom.DefaultLateness), nil)
			want := rowsOf(t, then.serve()+"/api/v1/windows?"+wholeDay+"&step="+step)
			got := rowsOf(t, address+"/api/v1/windows?"+wholeDay+"&step="+step+"&as_of="+at.String())
			for _, r := range want {
				r["revision"], r["computed_at"] = "null", "null"
			}
			if len(want) == 0 {
				t.Fatal("nothing to compare")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("step %s as of %s: (-want +got)\n%s", step, at, diff)
			}
		}
	}
}

func TestGroupsJoinWhatTheirSeriesSay(t *testing.T) {
	energy, power, failures := register(t, "energy_import_interval"), register(t, "power_import"), register(t, "power_failures")
	at := func(meter string, id gridloom.RegisterID, p gridloom.Pane) gridloom.Pane {
		p.Meter, p.Register, p.Start, p.Length, p.Closed = meter, id, t0, gridloom.DefaultWidth, true
		return p
	}
	const full = gridloom.DefaultWidth
	w := newWorld(t)
	w.hold([]gridloom.Pane{
		at("a", energy, gridloom.Pane{N: 1, Coverage: full, Energy: 1_500, HasEnergy: true, Min: 1_500, Max: 1_500}),
		at("b", energy, gridloom.Pane{N: 1, Coverage: full, Energy: 2_000, HasEnergy: true, Min: 2_000, Max: 2_000}),
		at("c", energy, gridloom.Pane{N: 1, Coverage: full / 2, Energy: 3_001, HasEnergy: true, Min: 3_001, Max: 3_001, Quality: gridloom.Derived}),
		at("a", power, gridloom.Pane{N: 2, Coverage: full, TimeWeighted: gridloom.MulInt64(100_000, int64(full)), Min: 90_000, Max: 110_000}),
		at("b", power, gridloom.Pane{N: 3, Coverage: full / 3, TimeWeighted: gridloom.MulInt64(50_000, int64(full/3)), Min: -10_000, Max: 60_000}),
		at("c", power, gridloom.Pane{N: 1, Coverage: 0, Min: 5, Max: 5, Quality: gridloom.Missing}),
		at("a", failures, gridloom.Pane{N: 2, Sum: 3_000, Min: 1_000, Max: 2_000}),
		at("b", failures, gridloom.Pane{N: 1, Sum: 4_000, Min: 4_000, Max: 4_000}),
	}, nil)
	address := w.serve() + "/api/v1/windows?from=2026-11-22T00:00:00Z&to=2026-11-22T00:15:00Z"
	f := func(query, want string) {
		t.Helper()
		var got []string
		for _, r := range rowsOf(t, address+query) {
			name := r["register"]
			count := r["meters"]
			if name == "" || r["meter"] != "" {
				name, count = r["meter"], r["registers"]
			}
			got = append(got, fmt.Sprintf("%s n=%s of=%s energy=%s mean=%s sum=%s min=%s max=%s cov=%s q=%s %s", name, r["n"], count,
				r["energy"], r["mean"], r["sum"], r["min"], r["max"], r["coverage"], r["quality"], r["unit"]))
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", query, diff)
		}
	}
	f("&group_by=register", "power_failures n=3 of=2 energy=null mean=null sum=7 min=1 max=4 cov=null q= 1\n"+
		"energy_import_interval n=3 of=3 energy=6.501 mean=null sum=null min=1.5 max=3.001 cov=0.833333 q=DERIVED Wh\n"+
		"power_import n=6 of=3 energy=null mean=150 sum=null min=-10 max=110 cov=0.444444 q=MISSING W")
	f("&group_by=register&agg=avg&register=energy_import_interval,power_import",
		"energy_import_interval n=3 of=3 energy=2.167 mean=null sum=null min=1.5 max=3.001 cov=0.833333 q=DERIVED Wh\n"+
			"power_import n=6 of=3 energy=null mean=75 sum=null min=-10 max=110 cov=0.444444 q=MISSING W")
	f("&group_by=register&agg=min&register=energy_import_interval", "energy_import_interval n=3 of=3 energy=1.5 mean=null sum=null min=1.5 max=3.001 cov=0.833333 q=DERIVED Wh")
	f("&group_by=register&agg=max&register=power_import&unit=kW", "power_import n=6 of=3 energy=null mean=0.1 sum=null min=-0.01 max=0.11 cov=0.444444 q=MISSING kW")
	f("&group_by=meter&register=energy_import_interval&unit=kWh",
		"a n=1 of=1 energy=0.0015 mean=null sum=null min=0.0015 max=0.0015 cov=1 q= kWh\n"+
			"b n=1 of=1 energy=0.002 mean=null sum=null min=0.002 max=0.002 cov=1 q= kWh\n"+
			"c n=1 of=1 energy=0.003001 mean=null sum=null min=0.003001 max=0.003001 cov=0.5 q=DERIVED kWh")
}

func TestGroupOverflowIsToldAsRange(t *testing.T) {
	var s groupSum
	p := gridloom.Pane{Register: register(t, "energy_import"), HasEnergy: true, Energy: 1 << 62}
	for range 3 {
		s.add(&p, aggSum)
	}
	if v, ok := s.result(aggSum); !ok || v != 1<<63-1 || s.quality != gridloom.Range {
		t.Errorf("result = %d, %v, %s, want the greatest value and RANGE", v, ok, s.quality)
	}
	if v, ok := s.result(aggAvg); !ok || v != 1<<62 {
		t.Errorf("avg = %d, %v, want %d", v, ok, 1<<62)
	}
}

func TestOnlyTouchedPartitionsAreAsked(t *testing.T) {
	w := newWorld(t)
	address := w.serve()
	rowsOf(t, address+"/api/v1/windows?meter=m1")
	if w.tailCalls != 1 {
		t.Errorf("%d owners were asked for one meter, want 1", w.tailCalls)
	}
	rowsOf(t, address+"/api/v1/readings")
	if w.tailCalls != 1+testPartitions {
		t.Errorf("%d owners were asked for all meters, want %d", w.tailCalls-1, testPartitions)
	}
}

func TestOwnerThatChangedMeanwhileIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	w.hold(nil, neighbourhood(rand.New(rand.NewPCG(5, 5)), 3))
	calls := 0
	w.onHead = func(p int, h *gridloom.Head) error {
		if calls++; calls <= 2 {
			h.Epoch++ // somebody else has claimed it since the tail was answered
		}
		return nil
	}
	if got := rowsOf(t, w.serve()+"/api/v1/readings?"+wholeDay); len(got) == 0 || calls != testPartitions+2 {
		t.Errorf("%d rows after %d looks at heads, want some after %d", len(got), calls, testPartitions+2)
	}
	w.onHead = func(_ int, h *gridloom.Head) error { h.Epoch++; return nil }
	a := get(t, w.serve()+"/api/v1/readings")
	if a.code != http.StatusServiceUnavailable || !strings.Contains(a.body, "changed its owner 4 times") || a.header.Get("Retry-After") == "" {
		t.Errorf("an owner that changes for ever = %d %s", a.code, a.body)
	}
}

func TestFencedOwnerIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	calls := 0
	w.onTail = func(context.Context, int) error {
		if calls++; calls == 1 {
			return fmt.Errorf("%w: another owner", gridloom.ErrFenced)
		}
		return nil
	}
	rowsOf(t, w.serve()+"/api/v1/readings?meter=m1")
	if calls != 2 {
		t.Errorf("the owner was asked %d times, want 2", calls)
	}
}

func TestSilentOwner(t *testing.T) {
	w := newWorld(t)
	rows := neighbourhood(rand.New(rand.NewPCG(6, 6)), 6)
	w.commit(nil, rows)
	w.hold(nil, []gridloom.Reading{{Meter: "m00", Register: 0, Start: t0 + 25*gridloom.Hour, Value: 5}})
	w.cfg.OwnerWait = 1 // nanosecond
	w.onTail = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
	address := w.serve()
	a := get(t, address+"/api/v1/readings?"+wholeDay)
	if a.code != http.StatusServiceUnavailable || !strings.Contains(a.body, "did not answer within") || !strings.Contains(a.body, "partial=true") {
		t.Errorf("a silent owner = %d %s", a.code, a.body)
	}
	a = get(t, address+"/api/v1/readings?"+wholeDay+"&partial=true")
	if a.code != http.StatusOK || a.header.Get("X-Gridloom-Partial") != "true" || !strings.Contains(a.body, `"partial":true`) {
		t.Errorf("a silent owner with partial=true = %d, header %q", a.code, a.header.Get("X-Gridloom-Partial"))
	}
	got := jsonRows(t, a.body, "readings")
	w.onTail = nil
	if whole := rowsOf(t, address+"/api/v1/readings?"+wholeDay); len(got) != len(whole)-1 {
		t.Errorf("the committed part has %d readings, want all %d but the one in the tail", len(got), len(whole))
	}
	if a := get(t, address+"/api/v1/readings?"+wholeDay+"&partial=true"); a.header.Get("X-Gridloom-Partial") != "" || !strings.Contains(a.body, `"partial":false`) {
		t.Errorf("a whole answer is marked partial")
	}
}

func TestLostHeadsNameTheirRepair(t *testing.T) {
	w := newWorld(t)
	w.onHead = func(int, *gridloom.Head) error {
		return fmt.Errorf("%w: head of partition 0 although the store has its files; stop all roles and run: gridloom repair head", gridloom.ErrNotFound)
	}
	for _, path := range []string{"/api/v1/windows", "/api/v1/readings?partial=true"} {
		a := get(t, w.serve()+path)
		if a.code != http.StatusServiceUnavailable || strings.Count(a.body, "gridloom repair head") != 1 {
			t.Errorf("GET %s = %d %s, want 503 that names gridloom repair head once", path, a.code, a.body)
		}
	}
	w.onHead = func(int, *gridloom.Head) error { return gridloom.ErrNotFound }
	if a := get(t, w.serve()+"/api/v1/windows"); a.code != http.StatusServiceUnavailable || !strings.Contains(a.body, "gridloom repair head") {
		t.Errorf("no heads = %d %s, want 503 that names gridloom repair head", a.code, a.body)
	}
}

func TestDamagedFilesAreNamed(t *testing.T) {
	rows := neighbourhood(rand.New(rand.NewPCG(7, 7)), 6)
	for _, kind := range []string{"raw", "manifest"} {
		for _, how := range []string{"flip", "remove"} {
			w := newWorld(t)
			w.commit(nil, rows)
			var path string
			files, err := w.dir.List(context.Background(), "g1/p1/")
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if strings.Contains(f.Path, "/"+kind+"-") {
					path = f.Path
				}
			}
			data, err := w.dir.Get(context.Background(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.dir.Delete(context.Background(), path); err != nil {
				t.Fatal(err)
			}
			if how == "flip" {
				data[len(data)/2] ^= 1
				if err := w.dir.Put(context.Background(), path, data); err != nil {
					t.Fatal(err)
				}
			}
			w.forget()
			a := get(t, w.serve()+"/api/v1/readings?"+wholeDay)
			if a.code != http.StatusInternalServerError || !strings.Contains(a.body, path) || !strings.Contains(a.body, "urn:gridloom:problem:corrupt") {
				t.Errorf("%s of %s = %d %s, want 500 that names %s", how, kind, a.code, a.body, path)
			}
		}
	}
}

func TestUnsortedSourceIsCorrupt(t *testing.T) {
	rows := []gridloom.Reading{{Meter: "b"}, {Meter: "a"}}
	err := merge(t.Context(), []*source[gridloom.Reading]{inMemory("g1/p0/x.parquet", 0, rows)}, newCodeOrder().ofReading,
		func(*gridloom.Reading, int32) error { return nil })
	if !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), "g1/p0/x.parquet") {
		t.Errorf("merge of unsorted rows = %v, want ErrCorrupt that names the source", err)
	}
}

func TestManySegmentsAreReadSideBySideWhereTheirRowsAreTooMany(t *testing.T) {
	segments := make([]scanSegment, 120)
	for i := range segments {
		segments[i].Rows, segments[i].Bytes = 250_000, 1_500_000
	}
	f := func(meters []string, buffered, open int64, want int) {
		t.Helper()
		if got := sideBySide(segments, &pane.Selector{Meters: meters}, buffered, open); got != want {
			t.Errorf("sideBySide(%v, %d rows, %d bytes) = %d, want %d", meters, buffered, open, got, want)
		}
	}
	f(nil, 18_000_000, 0, 48)          // the 72 others fit into memory
	f(nil, 2_000_000, 1<<30, 120)      // they do not
	f(nil, 1_000, 500_000_000, 58)     // each takes 1.5 MB and 7.1 MB
	f(nil, 1_000, 1, 48)               // as many whatever they take
	f([]string{"m"}, 1_000, 1<<30, 48) // few rows of each are read
}
