package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/client"
)

// calendarsOfDocs writes the example of docs/calendars.md to a file.
func calendarsOfDocs(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/calendars.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/calendars.md has no example")
	}
	path := filepath.Join(t.TempDir(), "calendars.yaml")
	if err := os.WriteFile(path, m[1], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCalendarsOfTheDocs(t *testing.T) {
	path := calendarsOfDocs(t)
	calendars, err := loadCalendars(path, gridloom.DefaultWidth)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range calendars {
		names = append(names, c.Name())
	}
	if want := []string{"day-night", "three-bands"}; !slices.Equal(names, want) {
		t.Errorf("calendars %v, want %v", names, want)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The fault that the page shows.
	late := strings.Replace(string(text), `"22:00-07:00"`, `"22:00-06:00"`, 1)
	if err := os.WriteFile(path, []byte(late), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = loadCalendars(path, gridloom.DefaultWidth)
	page, readErr := os.ReadFile("../../docs/calendars.md")
	if readErr != nil {
		t.Fatal(readErr)
	}
	if err == nil || !strings.Contains(string(page), "gridloom: "+strings.NewReplacer(path, "calendars.yaml", "usage: ", "").Replace(err.Error())+"\n") {
		t.Errorf("a band that ends too early: %v, which docs/calendars.md does not show", err)
	}
}

func TestFaultsOfACalendarFile(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		calendars, faults := parseCalendars([]byte(text), gridloom.DefaultWidth)
		var got []string
		for _, err := range faults {
			got = append(got, strings.TrimPrefix(err.Error(), gridloom.ErrInvalid.Error()+": "))
		}
		if len(calendars) > 0 || !slices.Equal(got, want) {
			t.Errorf("faults of\n%s\n%s\nwant\n%s", text, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f("", "it is empty: want calendars: with a name and what is said of it below")
	f("calendars:\n  a: {zone: Mars}", `line 2: calendar a: zone "Mars": want a name of the IANA time zone database, such as Europe/Amsterdam or UTC`)
	f("calendars: [", "it is no YAML: yaml: line 1: did not find expected node content")
	f("calendars: {}", "there is no calendar: want calendars: with a name and what is said of it below")
	f("7", "line 1: the file: want keys with values")
	f("calendar: {}", `line 1: the file: "calendar" is not known: want calendars`)
	f("calendars:\n  a: {zone: UTC, band: []}", `line 2: calendar a: "band" is not known: want zone, holidays, seasons, days, bands`)
	f("calendars:\n  a: {zone: UTC, zone: UTC}", "line 2: calendar a: zone is there twice")
	f("calendars:\n  a:\n    zone: UTC\n    bands: &b [{band: x}]\n  c:\n    zone: UTC\n    bands: *b\n",
		"line 4: calendar a: bands: anchors and aliases are not read: write it out", "line 7: calendar c: bands: anchors and aliases are not read: write it out")
	f("calendars:\n  a: {zone: UTC, bands: [{band: [x]}]}", "line 2: band: want one value")
	f("calendars:\n  a:\n    zone: UTC\n    bands: [{band: x, hours: 01:00-02:00}]\n", "line 2: calendar a: working: no band from 00:00 to 01:00", "line 2: calendar a: working: no band from 02:00 to 24:00",
		"line 2: calendar a: saturday: no band from 00:00 to 01:00", "line 2: calendar a: saturday: no band from 02:00 to 24:00", "line 2: calendar a: sunday: no band from 00:00 to 01:00", "line 2: calendar a: sunday: no band from 02:00 to 24:00")
	f("calendars: {a: {zone: UTC, bands: {band: x}}}\n---\n{}", "it has more than one document")
	if c, faults := parseCalendars([]byte(`{"calendars": {"a": {"zone": "UTC", "bands": [{"band": "x"}]}}}`), gridloom.Hour); len(c) != 1 || len(faults) > 0 {
		t.Errorf("JSON: %v", faults)
	}
}

// FuzzCalendars: any file gives calendars or faults that name it, and no end but these.
func FuzzCalendars(f *testing.F) {
	f.Add([]byte("calendars:\n  a:\n    zone: UTC\n    seasons: {s: {from: 04-01, to: 10-01}, w: [{from: 10-01, to: 04-01}]}\n    holidays: [easter+1, 12-25, 2026-01-02]\n    bands: [{band: x, hours: ['22:00-06:00', '06:00-22:00']}]\n"))
	f.Add([]byte(`{"calendars": {"a": {"zone": "UTC", "days": {"all": ["mon","tue","wed","thu","fri","sat","sun","holiday"]}, "bands": {"band": "x"}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		calendars, faults := parseCalendars(text, gridloom.DefaultWidth)
		if (len(calendars) > 0) == (len(faults) > 0) {
			t.Errorf("%d calendars and %d faults", len(calendars), len(faults))
		}
		for _, c := range calendars {
			if c == nil {
				t.Error("no calendar and no fault")
			}
		}
	})
}

// checkBands asks for the energy of the bands of day-night, the calendar by which a meter
// switched its registers, and compares each with what the meter counted in them.
func (s *server) checkBands(f *fact, meter string) {
	s.t.Helper()
	for _, name := range []string{"energy_import", "energy_export"} {
		q := url.Values{
			"meter": {meter}, "register": {name + "_t1_interval", name + "_t2_interval"}, "group_by": {"meter"}, "calendar": {"day-night"},
			"tz": {f.tz}, "step": {f.step}, "from": {f.from}, "to": {f.to},
		}
		body := s.answer("/api/v1/windows?" + q.Encode())
		var bands struct {
			Windows []struct {
				Band string `json:"band"`
			} `json:"windows"`
		}
		var windows struct {
			Windows []client.Window `json:"windows"`
		}
		if err := json.Unmarshal([]byte(body), &bands); err != nil {
			s.t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(body), &windows); err != nil {
			s.t.Fatal(err)
		}
		sums := map[string]int64{}
		for i, w := range windows.Windows {
			sums[bands.Windows[i].Band] += w.Energy.Thousandths
		}
		for _, band := range []string{"day", "night"} {
			word := name + "-" + band
			if got := kilowattHours(sums[band], f.want[word]); got != f.want[word] {
				s.t.Errorf("testdata/facts.tsv:%d: %s = %s, want %s", f.line, word, got, f.want[word])
			}
		}
	}
}

// TestUpRefusesAFileOfCalendars: every fault is a line, and nothing is served.
func TestUpRefusesAFileOfCalendars(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "calendars.yaml")
	text := "calendars:\n  a: {zone: UTC, bands: [{band: x, hours: '01:00-24:00'}]}\n  b: {zone: Mars}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(path string, want ...string) {
		t.Helper()
		var out, errs strings.Builder
		code := run(t.Context(), []string{"up", "--data", filepath.Join(dir, "data"), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--calendars", path}, &out, &errs)
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if code != exitUsage || len(lines) != len(want) {
			t.Fatalf("exit %d, %q", code, errs.String())
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("line %d is %q, want %q in it", i+1, lines[i], want[i])
			}
		}
	}
	f(path, "calendars.yaml: line 2: calendar a: working: no band from 00:00 to 01:00", "line 2: calendar a: saturday: no band", "line 2: calendar a: sunday: no band", `line 3: calendar b: zone "Mars"`)
	f(filepath.Join(dir, "none.yaml"), "none.yaml: no such file or directory")
}
