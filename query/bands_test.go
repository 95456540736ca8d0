package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

func TestEasterOf(t *testing.T) {
	// Dates as they were, and the earliest and latest that there can be.
	for _, want := range []string{"1818-03-22", "1943-04-25", "1961-04-02", "2000-04-23", "2019-04-21", "2024-03-31", "2025-04-20", "2026-04-05", "2027-03-28", "2038-04-25", "2285-03-22"} {
		at, err := time.Parse(time.DateOnly, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := easterOf(at.Year()).date().Format(time.DateOnly); got != want {
			t.Errorf("easterOf(%d) = %s, want %s", at.Year(), got, want)
		}
	}
}

// dualSpec is a calendar with everything that there is: a high and a low band by season,
// type of day, holidays and hours, over midnight and New Year.
func dualSpec() *CalendarSpec {
	return &CalendarSpec{
		Name: "dual", Line: 1, Zone: "Europe/Amsterdam",
		Holidays: []HolidaySpec{{"12-25", 2}, {"2026-10-26", 3}, {"easter+1", 4}, {"easter", 5}},
		Seasons:  []SeasonSpec{{"summer", "04-01", "10-01", 6}, {"winter", "10-01", "04-01", 7}},
		Days:     []DayTypeSpec{{"week", []string{"mon", "tue", "wed", "thu", "fri"}, 8}, {"weekend", []string{"sat", "sun", "holiday"}, 9}},
		Bands: []BandSpec{
			{"high", []string{"winter"}, []string{"week"}, []string{"07:00-11:00", "16:30-23:00"}, 10},
			{"mid", []string{"winter"}, []string{"week"}, []string{"11:00-16:30"}, 11},
			{"mid", []string{"summer"}, []string{"week"}, []string{"07:00-23:00"}, 12},
			{"low", nil, []string{"week"}, []string{"23:00-07:00"}, 13},
			{"low", nil, []string{"weekend"}, nil, 14},
		},
	}
}

// bandsAt reads the rules of dualSpec as a person would.
func bandsAt(at time.Time) (bands []string) {
	clock, date := at.Format("15:04"), at.Format("01-02")
	summer := date >= "04-01" && date < "10-01"
	easter := map[int]string{2024: "03-31", 2025: "04-20", 2026: "04-05", 2027: "03-28"}[at.Year()]
	monday := map[int]string{2024: "04-01", 2025: "04-21", 2026: "04-06", 2027: "03-29"}[at.Year()]
	week := at.Weekday() != time.Saturday && at.Weekday() != time.Sunday && date != "12-25" && date != easter && date != monday && at.Format(time.DateOnly) != "2026-10-26"
	add := func(ok bool, band string) {
		if ok {
			bands = append(bands, band)
		}
	}
	add(!summer && week && (clock >= "07:00" && clock < "11:00" || clock >= "16:30" && clock < "23:00"), "high")
	add(!summer && week && clock >= "11:00" && clock < "16:30", "mid")
	add(summer && week && clock >= "07:00" && clock < "23:00", "mid")
	add(week && (clock >= "23:00" || clock < "07:00"), "low")
	add(!week, "low")
	return bands
}

func dualCalendar(t testing.TB) *Calendar {
	t.Helper()
	c, faults := NewCalendar(dualSpec(), gridloom.DefaultWidth)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

func TestEveryInstantHasOneBand(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	clock := newBandClock(dualCalendar(t))
	from, to := time.Date(2024, 1, 1, 0, 0, 0, 0, clock.zone), time.Date(2028, 1, 1, 0, 0, 0, 0, clock.zone)
	for at := from; at.Before(to); at = at.Add(time.Duration(1+rng.IntN(7200)) * time.Second) {
		want := bandsAt(at)
		if len(want) != 1 {
			t.Fatalf("the rules as they are read here give %s %v", at, want)
		}
		if got := clock.bands[clock.at(gridloom.MillisOf(at))]; got != want[0] {
			t.Fatalf("%s is in %s, want %s", at, got, want[0])
		}
	}
}

// TestBandsAddUpToTheWhole asks by band and without, by any step, over the day that has 25
// hours: energy, readings and coverage add up, and each row is of the hours of its band.
func TestBandsAddUpToTheWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 10))
	cal := dualCalendar(t)
	from := startOf(civilOf(2026, 10, 19), cal.zone)
	use := make([]int64, 16*96)
	for i := range use {
		use[i] = rng.Int64N(1_000_000)
	}
	m1 := newGapMeter(t, "m1", from, use, [][2]int{{96*8 + 1, 96*8 + 40}})
	m2 := newGapMeter(t, "m2", from, use, nil)
	w := newWorld(t)
	w.cfg.Calendars = []*Calendar{cal}
	rows := slices.Concat(m1.readings, m2.readings)
	now := from + 30*gridloom.Day
	w.cfg.Now, w.logged = func() gridloom.Millis { return now }, now
	w.commit(foldAll(w.cfg.Window, rows, now-gridloom.DefaultLateness), rows)
	address := w.serve()
	end := from + 16*gridloom.Day + gridloom.Hour
	ask := func(rest string) []row {
		return rowsOf(t, fmt.Sprintf("%s/api/v1/windows?register=energy_import&tz=Europe/Amsterdam&from=%d&to=%d&%s", address, from, end, rest))
	}
	type whole struct{ energy, n, covered int64 }
	for _, rest := range []string{"step=15m", "step=1d", "step=1mo", "step=1y", "step=6h", "step=1d&fill=linear", "step=1d&as_of=now", "step=1d&group_by=register", "step=1d&group_by=meter"} {
		sums := map[string]whole{}
		key := func(r row) string { return r["meter"] + r["register"] + r["start"] + r["end"] }
		number := func(r row, name string) (v int64) {
			if _, err := fmt.Sscan(r[name], &v); err != nil && r[name] != "" {
				t.Fatalf("%s: %v", r[name], err)
			}
			return v
		}
		of := func(r row) whole { return whole{energyOf(t, r), number(r, "n"), number(r, "coverage_ms")} }
		banded := ask(rest + "&calendar=dual")
		seen := map[string]int{}
		for _, r := range banded {
			s, a := sums[key(r)], of(r)
			sums[key(r)] = whole{s.energy + a.energy, s.n + a.n, s.covered + a.covered}
			seen[r["band"]]++
			if rest == "step=15m" {
				if at := startOfRow(t, r).Time().In(cal.zone); bandsAt(at)[0] != r["band"] {
					t.Fatalf("the window at %s is in %s, want %s", at, r["band"], bandsAt(at)[0])
				}
			}
			if r["meter"] == "m2" && (r["coverage"] != "1" || strings.Contains(r["quality"], "MISSING")) && r["closed"] == "true" {
				if startOfRow(t, r) > from && startOfRow(t, r) < from+15*gridloom.Day {
					t.Errorf("%s: %s %s of a meter without gaps is covered by %s, %s", rest, r["band"], r["local_start"], r["coverage"], r["quality"])
				}
			}
		}
		if len(seen) != 3 {
			t.Errorf("%s has bands %v", rest, seen)
		}
		plain := ask(rest)
		if len(plain) == 0 || len(plain) != len(sums) {
			t.Errorf("%s: %d rows, by band of %d steps", rest, len(plain), len(sums))
		}
		for _, r := range plain {
			if of(r) != sums[key(r)] {
				t.Errorf("%s: %s at %s has %v, its bands %v", rest, r["meter"], r["start"], of(r), sums[key(r)])
			}
		}
	}
	// The Sunday of 25 hours, and the Monday that is a holiday, are low all day; Tuesday has 8 hours of it.
	hours := map[string]string{}
	for _, r := range ask("step=1d&calendar=dual&meter=m2") {
		hours[r["local_start"]+" "+r["band"]] = r["coverage_ms"]
	}
	for name, want := range map[string]gridloom.Millis{
		"2026-10-25 low": 25 * gridloom.Hour, "2026-10-26 low": 24 * gridloom.Hour, "2026-10-27 low": 8 * gridloom.Hour, "2026-10-27 high": 630 * gridloom.Minute, "2026-10-27 mid": 330 * gridloom.Minute,
	} {
		if hours[name] != fmt.Sprint(int64(want)) {
			t.Errorf("%s is covered for %s ms, want %d", name, hours[name], want)
		}
	}
	// Without tz the days are those of the calendar.
	a := get(t, fmt.Sprintf("%s/api/v1/windows?meter=m2&step=1d&calendar=dual&from=2026-10-25&to=2026-10-26", address))
	if a.code != 200 || !strings.Contains(a.body, `"tz":"Europe/Amsterdam"`) || !strings.Contains(a.body, `"calendar":"dual"`) || !strings.Contains(a.body, `"local_start":"2026-10-25","utc_offset":"+02:00","band":"low"`) {
		t.Errorf("without tz: %d %s", a.code, a.body)
	}
	if a := get(t, address+"/api/v1/windows?calendar=triple"); a.code != 400 || !strings.Contains(a.body, "want dual") {
		t.Errorf("an unknown calendar = %d %s", a.code, a.body)
	}
	if a := get(t, newWorld(t).serve()+"/api/v1/windows?calendar=dual"); a.code != 400 || !strings.Contains(a.body, "--calendars FILE") {
		t.Errorf("no calendars = %d %s", a.code, a.body)
	}
}

// TestBandsThatCutWindowsAreRefused: the clock of Kathmandu is 05:45 ahead, and windows are hours.
func TestBandsThatCutWindowsAreRefused(t *testing.T) {
	spec := dualSpec()
	spec.Zone = "Asia/Kathmandu"
	for i := range spec.Bands {
		for j, h := range spec.Bands[i].Hours {
			spec.Bands[i].Hours[j] = strings.ReplaceAll(h, "16:30", "17:00")
		}
	}
	cal, faults := NewCalendar(spec, gridloom.Hour)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	w := newWorld(t)
	w.cfg.Window.Width = gridloom.Hour
	w.cfg.Calendars = []*Calendar{cal}
	w.hold(foldAll(w.cfg.Window, newGapMeter(t, "m1", t0+gridloom.Day, make([]int64, 96), nil).readings, t0+3*gridloom.Day), nil)
	a := get(t, fmt.Sprintf("%s/api/v1/windows?meter=m1&calendar=dual&tz=UTC&from=%d&to=%d", w.serve(), t0+gridloom.Day, t0+2*gridloom.Day))
	if a.code != 422 || !strings.Contains(a.body, "urn:gridloom:problem:grid") || !strings.Contains(a.body, "a band begins in the midst of the stored window of 1h") {
		t.Errorf("= %d %s, want 422", a.code, a.body)
	}
}

func TestFaultsOfCalendars(t *testing.T) {
	f := func(change func(s *CalendarSpec), want ...string) {
		t.Helper()
		spec := dualSpec()
		change(spec)
		c, faults := NewCalendar(spec, gridloom.DefaultWidth)
		var got []string
		for _, err := range faults {
			got = append(got, mendOf(err))
		}
		if c != nil || !slices.Equal(got, want) {
			t.Errorf("faults\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f(func(s *CalendarSpec) { s.Name = "a b" }, "line 1: calendar a b: want letters and digits in its name, with single dots, dashes or underscores between, at most 64")
	f(func(s *CalendarSpec) { s.Zone = "Mars" }, `line 1: calendar dual: zone "Mars": want a name of the IANA time zone database, such as Europe/Amsterdam or UTC`)
	f(func(s *CalendarSpec) { s.Holidays[1].Day = "26 October" }, `line 3: calendar dual: holiday "26 October": want a date 2026-12-25, a day of every year 12-25, or easter, easter-2, easter+39`)
	f(func(s *CalendarSpec) { s.Holidays[2].Day = "easter+1 day" }, `line 4: calendar dual: holiday "easter+1 day": want a date 2026-12-25, a day of every year 12-25, or easter, easter-2, easter+39`)
	f(func(s *CalendarSpec) { s.Seasons[0].To = "09-30" }, "line 1: calendar dual: 09-30 belongs to no season")
	f(func(s *CalendarSpec) { s.Seasons[0].From = "03-30" }, "line 7: calendar dual: 03-30 belongs to two seasons, summer and winter")
	f(func(s *CalendarSpec) { s.Seasons[0].From = "02-30" }, `line 6: calendar dual: season summer from "02-30" to "10-01": want two days of the year such as 04-01, the second not in it`)
	f(func(s *CalendarSpec) { s.Days[0].Days = s.Days[0].Days[1:] }, "line 1: calendar dual: mon belongs to no type of day")
	f(func(s *CalendarSpec) { s.Days[1].Days[0] = "fri" }, "line 9: calendar dual: fri belongs to two types of day, week and weekend", "line 1: calendar dual: sat belongs to no type of day")
	f(func(s *CalendarSpec) { s.Days[1].Days[2] = "Easter" }, `line 9: calendar dual: type of day weekend: "Easter": want mon, tue, wed, thu, fri, sat, sun or holiday`, "line 2: calendar dual: there are holidays, and no type of day lists holiday")
	f(func(s *CalendarSpec) { s.Bands[1].Hours[0] = "11:00-16:00" }, "line 1: calendar dual: winter, week: no band from 16:00 to 16:30")
	f(func(s *CalendarSpec) { s.Bands[1].Hours[0] = "10:00-16:30" }, "line 11: calendar dual: winter, week: at 10:00 there are two bands, high (line 10) and mid")
	f(func(s *CalendarSpec) { s.Bands[1].Hours[0] = "11:00-16.30" }, `line 11: calendar dual: hours "11:00-16.30": want 07:00-23:00, from 00:00 to 24:00`, "line 1: calendar dual: winter, week: no band from 11:00 to 16:30")
	f(func(s *CalendarSpec) { s.Bands[0].Hours[1], s.Bands[1].Hours[0] = "16:40-23:00", "11:00-16:40" },
		"line 10: calendar dual: hours 16:40-23:00 begin or end within a window of 15m, whose energy is not known by parts", "line 11: calendar dual: hours 11:00-16:40 begin or end within a window of 15m, whose energy is not known by parts")
	f(func(s *CalendarSpec) { s.Bands[2].Seasons[0] = "spring" }, `line 12: calendar dual: there is no season "spring": there are summer, winter`, "line 1: calendar dual: summer, week: no band from 07:00 to 23:00")
	f(func(s *CalendarSpec) { s.Bands = s.Bands[:4] }, "line 1: calendar dual: summer, weekend: no band from 00:00 to 24:00", "line 1: calendar dual: winter, weekend: no band from 00:00 to 24:00")
	f(func(s *CalendarSpec) { s.Bands = nil }, "line 1: calendar dual: 0 lines of bands: want 1 to 200")
}
