package query

import (
	"archive/zip"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// zones returns the names of the tz database that comes with Go.
func zones(t *testing.T) []string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	for _, f := range r.File {
		if !strings.HasSuffix(f.Name, "/") {
			names = append(names, f.Name)
		}
	}
	if len(names) < 500 {
		t.Fatalf("%d zones were found, want the whole database", len(names))
	}
	return names
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := loadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// TestDaysTileEveryZone walks all transitions of all zones from 2000 to 2037. Around
// each it looks at the zone's clock every quarter of an hour: a day begins when the
// clock first shows its date or a later one. All days together fill the years.
func TestDaysTileEveryZone(t *testing.T) {
	from, to := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2038, 1, 1, 0, 0, 0, 0, time.UTC)
	const quarter = 15 * time.Minute
	lengths := map[string]int{}
	transitions := 0
	for _, name := range zones(t) {
		zone := location(t, name)
		bounds := calendarStep{calendarDays, 1}.bounds(gridloom.MillisOf(from), gridloom.MillisOf(to), zone)
		if first, last := bounds[0], bounds[len(bounds)-1]; first > gridloom.MillisOf(from) || last < gridloom.MillisOf(to) {
			t.Errorf("%s: days from %s to %s", name, first, last)
		}
		begins := map[gridloom.Millis]bool{}
		for i, b := range bounds {
			begins[b] = true
			if i > 0 {
				if b <= bounds[i-1] {
					t.Fatalf("%s: a day begins at %s, not after the one before it", name, b)
				}
				if b-bounds[i-1] != gridloom.Day {
					lengths[(b-bounds[i-1]).Duration().String()]++
				}
			}
		}
		at := from.In(zone)
		for {
			_, end := at.ZoneBounds()
			if end.IsZero() || !end.Before(to) {
				break
			}
			at = end
			transitions++
			look := end.Truncate(quarter).Add(-50 * time.Hour)
			greatest := civilOf(look.In(zone).Date())
			for range 4 * 100 {
				look = look.Add(quarter)
				date := civilOf(look.In(zone).Date())
				if date > greatest != begins[gridloom.MillisOf(look)] && look.After(from) && look.Before(to) {
					t.Errorf("%s: the clock shows %s; a new date: %v, a day begins: %v", name, look.In(zone), date > greatest, date <= greatest)
				}
				greatest = max(greatest, date)
			}
		}
	}
	if transitions < 10_000 {
		t.Errorf("%d transitions were walked, want all of 38 years", transitions)
	}
	t.Logf("%d transitions; days that have not 24 h: %v", transitions, lengths)
	for _, want := range []string{"23h0m0s", "23h30m0s", "24h30m0s", "25h0m0s"} {
		if lengths[want] == 0 {
			t.Errorf("no day of %s was seen", want)
		}
	}
}

// TestLengthsOfDays checks days whose length is known from elsewhere.
func TestLengthsOfDays(t *testing.T) {
	f := func(zone, date, from string, hours float64) {
		t.Helper()
		loc := location(t, zone)
		start, ok := parseLocalDate(date, loc)
		bounds := calendarStep{calendarDays, 1}.bounds(start, start+1, loc)
		if !ok || bounds[0].String() != from || (bounds[1]-bounds[0]).Duration().Hours() != hours {
			t.Errorf("%s %s = from %s, %v h, want from %s, %v h", zone, date, bounds[0], (bounds[1] - bounds[0]).Duration().Hours(), from, hours)
		}
	}
	f("UTC", "2023-10-29", "2023-10-29T00:00:00Z", 24)
	f("Europe/Amsterdam", "2023-10-28", "2023-10-27T22:00:00Z", 24)
	f("Europe/Amsterdam", "2023-10-29", "2023-10-28T22:00:00Z", 25)
	f("Europe/Amsterdam", "2023-03-26", "2023-03-25T23:00:00Z", 23)
	f("Australia/Lord_Howe", "2023-04-02", "2023-04-01T13:00:00Z", 24.5)
	f("Australia/Lord_Howe", "2023-10-01", "2023-09-30T13:30:00Z", 23.5)
	f("Asia/Kathmandu", "2023-10-29", "2023-10-28T18:15:00Z", 24)
	f("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z", 23) // 00:00 does not exist
	f("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00:00Z", 25) // midnight is put back to 23:00
	f("Asia/Beirut", "2023-03-26", "2023-03-25T22:00:00Z", 23)       // nor here
	f("Africa/Cairo", "2023-04-28", "2023-04-27T22:00:00Z", 23)
	f("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00Z", 25) // 00:01 is put back to 23:01 of the day before
	f("Pacific/Apia", "2011-12-29", "2011-12-29T10:00:00Z", 24)
	f("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z", 24) // skipped: the 31st
	f("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z", 24)
	f("Europe/Istanbul", "2016-03-27", "2016-03-26T22:00:00Z", 23)
	f("Europe/Istanbul", "2016-10-30", "2016-10-29T21:00:00Z", 24)  // the rules had changed: summer time stayed
	f("Asia/Pyongyang", "2015-08-14", "2015-08-13T15:00:00Z", 24.5) // midnight became 23:30
	f("Asia/Pyongyang", "2018-05-04", "2018-05-03T15:30:00Z", 23.5) // 23:30 became midnight
}

// TestStepsOfTheCalendar tells where weeks, months, quarters and years begin.
func TestStepsOfTheCalendar(t *testing.T) {
	f := func(step, zone, from, to string, want ...string) {
		t.Helper()
		s, _, err := parseCalendarStep(step)
		if err != nil {
			t.Fatal(err)
		}
		loc := location(t, zone)
		start, _ := parseLocalDate(from, loc)
		end, _ := parseLocalDate(to, loc)
		g := calendarSteps(step, s, start, end, loc)
		labels := newLocal(loc, g.layout)
		var got []string
		for i := range g.len() {
			w := g.step(i)
			got = append(got, labels.append(nil, w.Start)[0].text+" "+w.Length().Duration().String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s in %s from %s to %s (-want +got)\n%s", step, zone, from, to, diff)
		}
	}
	f("1w", "Europe/London", "2013-10-22", "2013-10-29", "2013-10-21 169h0m0s", "2013-10-28 168h0m0s")
	f("1mo", "Europe/Amsterdam", "2023-02", "2023-04-02", "2023-02 672h0m0s", "2023-03 743h0m0s", "2023-04 720h0m0s")
	f("3mo", "Europe/Amsterdam", "2023-02", "2023-03", "2023-01 2159h0m0s")
	f("1y", "Europe/Amsterdam", "2023", "2025", "2023 8760h0m0s", "2024 8784h0m0s")
	f("12mo", "America/New_York", "2023-07", "2023-08", "2023 8760h0m0s")
	f("2d", "UTC", "1970-01-02", "1970-01-04", "1970-01-01 48h0m0s", "1970-01-03 48h0m0s")
	f("1d", "Pacific/Apia", "2011-12-29", "2012-01-01", "2011-12-29 24h0m0s", "2011-12-31 24h0m0s")
	f("1mo", "Pacific/Apia", "2011-12", "2012-01", "2011-12 720h0m0s")
}

// thousandthsOf reads an exact decimal; null and what is not there are 0.
func thousandthsOf(t *testing.T, s string) int64 {
	t.Helper()
	if s == "" || s == "null" {
		return 0
	}
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
	if err != nil || len(fraction) > 3 {
		t.Fatalf("%q is no decimal of thousandths: %v", s, err)
	}
	return n
}

// calendarZones have one of every kind of day.
var calendarZones = []string{
	"UTC", "Europe/Amsterdam", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Asia/Beirut", "America/St_Johns", "Asia/Kolkata",
}

// TestCalendarStepsSumToTheWhole: what local days, weeks and months say adds up to
// what the windows say, for energy, n and coverage, with and without groups.
func TestCalendarStepsSumToTheWhole(t *testing.T) {
	rows := neighbourhood(rand.New(rand.NewPCG(8, 8)), 5)
	w := newWorld(t)
	w.commit(foldAll(w.cfg.Window, rows, t0+10*gridloom.Day), nil)
	address := w.serve() + "/api/v1/windows?from=2026-11-20&to=2026-11-27&register=energy_import,energy_import_interval,power_import"
	sums := func(query string) map[string]string {
		t.Helper()
		n, ms, energy := map[string]int64{}, map[string]int64{}, map[string]int64{}
		var last row
		for _, r := range rowsOf(t, address+query) {
			k := r["meter"] + " " + r["register"]
			n[k] += thousandthsOf(t, r["n"])
			energy[k] += thousandthsOf(t, r["energy"])
			ms[k] += thousandthsOf(t, r["coverage_ms"])
			if last != nil && last["meter"] == r["meter"] && last["register"] == r["register"] && last["end"] > r["start"] {
				t.Errorf("%s: %s to %s is followed by %s", query, last["start"], last["end"], r["start"])
			}
			last = r
		}
		out := map[string]string{}
		for k := range n {
			out[k] = fmt.Sprintf("n=%d energy=%d ms=%d", n[k], energy[k], ms[k])
		}
		if len(out) == 0 {
			t.Fatalf("%s: nothing to compare", query)
		}
		return out
	}
	for _, group := range []string{"", "&group_by=register", "&group_by=meter&register=energy_import"} {
		if strings.Contains(group, "meter&") {
			address = strings.Replace(address, "energy_import,energy_import_interval,power_import", "energy_import_interval", 1)
		}
		want := sums(group)
		for _, zone := range calendarZones {
			for _, step := range []string{"1d", "1w", "1mo", "1y"} {
				if diff := cmp.Diff(want, sums(group+"&tz="+zone+"&step="+step)); diff != "" {
					t.Errorf("%s %s %s (-windows +steps)\n%s", group, zone, step, diff)
				}
			}
		}
	}
}

// TestDaysOfUTCAreStepsOf24Hours: the calendar of UTC and the grid of UTC are the same.
func TestDaysOfUTCAreStepsOf24Hours(t *testing.T) {
	w := newWorld(t)
	w.hold(foldAll(w.cfg.Window, neighbourhood(rand.New(rand.NewPCG(9, 9)), 3), w.logged), nil)
	address := w.serve() + "/api/v1/windows?" + wholeDay
	if diff := cmp.Diff(rowsOf(t, address+"&step=24h"), rowsOf(t, address+"&step=1d")); diff != "" {
		t.Errorf("(-24h +1d)\n%s", diff)
	}
}

// TestLocalTimesOfRows reads both ways in which an answer tells them.
func TestLocalTimesOfRows(t *testing.T) {
	w := newWorld(t)
	start := gridloom.MillisOf(time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC))
	var panes []gridloom.Pane
	for i := range gridloom.Millis(4) {
		panes = append(panes, gridloom.Pane{
			Meter: "m1", Register: register(t, "energy_import"), Start: start + i*15*gridloom.Minute, Length: 15 * gridloom.Minute, Closed: true,
			N: 1, Coverage: 15 * gridloom.Minute, Energy: 1000, HasEnergy: true,
		})
	}
	w.hold(panes, []gridloom.Reading{{Meter: "m1", Register: register(t, "energy_import"), Start: start, Value: 5000}})
	f := func(query, want string) {
		t.Helper()
		a := get(t, w.serve()+"/api/v1/"+query)
		if got := strings.ReplaceAll(a.body, "\r\n", "\n"); got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
	f("windows?from=2026-10-25&to=2026-10-26&tz=Europe/Amsterdam&step=1d&format=csv",
		"meter,register,unit,start,end,local_start,utc_offset,energy,coverage,coverage_ms,n,sum,min,max,mean,first,last,quality,closed,revision,computed_at\n"+
			"m1,energy_import,Wh,2026-10-24T22:00:00Z,2026-10-25T23:00:00Z,2026-10-25,+02:00,4,0.04,3600000,4,,0,0,,0,0,MISSING,true,0,1970-01-01T00:00:00Z\n")
	f("windows?from=2026-10-25&to=2026-10-26&tz=Europe/Amsterdam&group_by=register&format=csv", "register,unit,start,end,local_start,utc_offset,meters,energy,mean,sum,coverage,n,min,max,quality,closed,computed_at\n"+
		"energy_import,Wh,2026-10-25T00:30:00Z,2026-10-25T00:45:00Z,2026-10-25 02:30:00,+02:00,1,1,,,1,1,0,0,,true,1970-01-01T00:00:00Z\n"+
		"energy_import,Wh,2026-10-25T00:45:00Z,2026-10-25T01:00:00Z,2026-10-25 02:45:00,+02:00,1,1,,,1,1,0,0,,true,1970-01-01T00:00:00Z\n"+
		"energy_import,Wh,2026-10-25T01:00:00Z,2026-10-25T01:15:00Z,2026-10-25 02:00:00,+01:00,1,1,,,1,1,0,0,,true,1970-01-01T00:00:00Z\n"+
		"energy_import,Wh,2026-10-25T01:15:00Z,2026-10-25T01:30:00Z,2026-10-25 02:15:00,+01:00,1,1,,,1,1,0,0,,true,1970-01-01T00:00:00Z\n")
	f("readings?from=2026-10-25&to=2026-10-26&tz=Europe/Amsterdam&format=csv", "meter,register,unit,start,length,local_start,utc_offset,value,quality,serial\n"+
		"m1,energy_import,Wh,2026-10-25T00:30:00Z,,2026-10-25 02:30:00,+02:00,5,,\n")
}

// TestStepThatWouldCutAWindowIsRefused: nothing is invented for a part of a window.
func TestStepThatWouldCutAWindowIsRefused(t *testing.T) {
	f := func(width gridloom.Millis, query, wantParam, wantText string) {
		t.Helper()
		_, err := newParams(query, t0+gridloom.Day, testLimits()).windowsParams(width)
		checkProblem(t, query, err, wantParam, wantText)
		if p := asProblem(err); p != nil && (p.status != 422 || p.kind != problemGrid) {
			t.Errorf("%s = %d %s, want 422 %s", query, p.status, p.kind, problemGrid)
		}
	}
	quarter, half := 15*gridloom.Minute, 30*gridloom.Minute
	f(quarter, "step=1d&tz=Asia/Kathmandu", "", "")
	f(half, "step=1d&tz=Asia/Kolkata", "", "")
	f(half, "step=1d&tz=Asia/Kathmandu", "tz", "begins at 2026-11-21T18:15:00Z, in the midst of a stored window of 30m")
	f(half, "step=1h&tz=Asia/Kathmandu", "", "") // on the grid of UTC
	f(gridloom.Hour, "step=1mo&tz=Asia/Kolkata", "tz", "in the midst of a stored window of 1h")
	f(gridloom.Hour, "step=1d&tz=Australia/Lord_Howe&from=2026-10-03&to=2026-10-04", "tz", "2026-10-02T13:30:00Z")
	f(gridloom.Hour, "step=1d&tz=Australia/Lord_Howe&from=2026-10-05&to=2026-10-06", "", "")
	f(quarter, "step=1y&tz=Africa/Monrovia&from=1970&to=1971", "tz", "1970-01-01T00:44:30Z")
	f(7*gridloom.Hour, "step=1d", "step", "in the midst of a stored window of 7h")
}

func FuzzCalendarStep(f *testing.F) {
	for _, s := range []string{"1d", "1w", "52w", "1mo", "12mo", "1y", "366d", "0d", "99999999999999999999y", "7mo", "d"} {
		f.Add(s, int64(t0), "Europe/Amsterdam")
	}
	f.Add("1d", int64(1325239200000), "Pacific/Apia")
	f.Add("1w", int64(1289097060000), "America/St_Johns")
	f.Fuzz(func(t *testing.T, s string, at int64, zone string) {
		step, ok, err := parseCalendarStep(s)
		loc, zoneErr := loadZone(zone)
		if !ok || err != nil || zoneErr != nil || at < 0 || at > int64(maxInstant) {
			return
		}
		from := gridloom.Millis(at)
		bounds := step.bounds(from, from+30*gridloom.Day, loc)
		if !slices.IsSorted(bounds) || len(slices.Compact(slices.Clone(bounds))) != len(bounds) || len(bounds) < 2 || bounds[0] > from || bounds[1] <= from ||
			bounds[len(bounds)-1] < from+30*gridloom.Day || bounds[len(bounds)-2] >= from+30*gridloom.Day {
			t.Errorf("%s from %s in %s: %v", s, from, zone, bounds)
		}
	})
}

func FuzzLocalDate(f *testing.F) {
	for _, s := range []string{"2026", "2026-11", "2026-11-22", "2026-11-2", "0000-00-00", "20261122", "9999-12-31"} {
		f.Add(s)
	}
	zone, err := loadZone("Pacific/Apia")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, ok := parseLocalDate(s, zone)
		if !ok {
			return
		}
		if got := at.Time().In(zone).Format(time.DateOnly); !strings.HasPrefix(got, s) && s != "2011-12-30" {
			t.Errorf("parseLocalDate(%q) = %s, whose date is %s", s, at, got)
		}
	})
}
