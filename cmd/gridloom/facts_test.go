package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/client"
)

// fact is a line of testdata/facts.tsv: what rows of /api/v1/windows add up to.
type fact struct {
	line                    int
	set, tz, step, from, to string
	registers               []string
	want                    map[string]string // of h, n, duplicates, and each register or sum of registers
}

// readFacts returns the lines of the given sets.
func readFacts(t *testing.T, sets ...string) []fact {
	t.Helper()
	text, err := os.ReadFile("testdata/facts.tsv")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	var all []fact
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 6 {
			t.Fatalf("testdata/facts.tsv:%d has %d cells, want 6", i+1, len(cells))
		}
		f := fact{line: i + 1, set: cells[0], tz: cells[1], step: cells[2], from: cells[3], to: cells[4], want: map[string]string{}}
		for one := range strings.FieldsSeq(cells[5]) {
			name, value, _ := strings.Cut(one, "=")
			f.want[name] = value
			if name != "h" && name != "n" && name != "duplicates" {
				f.registers = append(f.registers, strings.Split(name, "+")...)
			}
		}
		found[f.set]++
		all = append(all, f)
	}
	var chosen []fact
	for _, set := range sets {
		if found[set] == 0 {
			t.Fatalf("testdata/facts.tsv says nothing of %s", set)
		}
		for _, f := range all {
			if f.set == set {
				chosen = append(chosen, f)
			}
		}
	}
	return chosen
}

// checkFacts asks the server for what each line tells. Of duplicates it was counted before, by set.
func (s *server) checkFacts(duplicates map[string]int, sets ...string) {
	s.t.Helper()
	facts := readFacts(s.t, sets...)
	for i := range facts {
		s.checkFact(&facts[i], duplicates, "none")
		if id, ok := gridloom.RegisterByName(facts[i].registers[0]); ok && id.Info().Kind == gridloom.Counter {
			s.checkFact(&facts[i], duplicates, "like_day") // wherever in a gap it flowed, the register counted as much
		}
	}
	s.t.Logf("%d lines of testdata/facts.tsv were checked", len(facts))
}

func (s *server) checkFact(f *fact, duplicates map[string]int, fill string) {
	s.t.Helper()
	q := url.Values{"register": f.registers, "tz": {f.tz}, "step": {f.step}, "from": {f.from}, "to": {f.to}, "fill": {fill}}
	if f.set == "lcl" {
		q.Set("group_by", "register")
	} else {
		q.Set("meter", f.set)
	}
	var answer struct {
		From    time.Time       `json:"from"`
		To      time.Time       `json:"to"`
		Windows []client.Window `json:"windows"`
	}
	if err := json.Unmarshal([]byte(s.answer("/api/v1/windows?"+q.Encode())), &answer); err != nil {
		s.t.Fatal(err)
	}
	energy, n, end := map[string]int64{}, int64(0), gridloom.MillisOf(answer.From)
	for _, w := range answer.Windows {
		energy[w.Register] += w.Energy.Thousandths
		if fill != "none" && w.Quality&gridloom.CatchUp != 0 {
			s.t.Errorf("testdata/facts.tsv:%d: fill=%s: %s at %s still holds the amount of a gap", f.line, fill, w.Register, w.Start)
		}
		if w.Register != f.registers[0] {
			continue
		}
		if n += w.N; w.Start < end || w.End > gridloom.MillisOf(answer.To) {
			s.t.Errorf("testdata/facts.tsv:%d: fill=%s: a row from %s to %s comes after %s", f.line, fill, w.Start, w.End, end)
		}
		end = w.End
	}
	for name, want := range f.want {
		var got string
		switch name {
		case "h":
			got = strconv.FormatFloat(answer.To.Sub(answer.From).Hours(), 'f', -1, 64)
		case "n":
			got = strconv.FormatInt(n, 10)
		case "duplicates":
			got = strconv.Itoa(duplicates[f.set])
		default:
			sum := int64(0)
			for register := range strings.SplitSeq(name, "+") {
				sum += energy[register]
			}
			got = kilowattHours(sum, want)
		}
		if got != want {
			s.t.Errorf("testdata/facts.tsv:%d: fill=%s: %s by %s from %s to %s in %s: %s = %s, want %s", f.line, fill, f.set, f.step, f.from, f.to, f.tz, name, got, want)
		}
	}
}

// kilowattHours writes an energy in kWh with as many decimals as like has, rounded half up.
func kilowattHours(milliwattHours int64, like string) string {
	_, fraction, _ := strings.Cut(like, ".")
	unit := int64(1_000_000)
	for range fraction {
		unit /= 10
	}
	rounded := (milliwattHours + unit/2) / unit
	s := fmt.Sprintf("%0*d", len(fraction)+1, rounded)
	if fraction == "" {
		return s
	}
	return s[:len(s)-len(fraction)] + "." + s[len(s)-len(fraction):]
}

// households are exports of single homes, each with the flags that replay it.
var households = []struct {
	set  string
	args []string // of edge-agent replay; the last is a file below intervals/household-exports
}{
	{"p1mon", registerFile("energy_import_t1", "p1mon_elec_feed_in_tariff_1_hourly_register.csv.gz")},
	{"p1mon", registerFile("energy_import_t2", "p1mon_elec_feed_in_tariff_2_hourly_register.csv.gz")},
	{"p1mon", registerFile("energy_export_t1", "p1mon_elec_feed_out_tariff_1_hourly_register.csv.gz")},
	{"p1mon", registerFile("energy_export_t2", "p1mon_elec_feed_out_tariff_2_hourly_register.csv.gz")},
	{"dsmr-reader", []string{
		"--map", "meter==dsmr-reader,at=Hour Start,energy_import_t1=Electricity 1 (Dutch Users: Low Tariff),energy_import_t2=Electricity 2 (Dutch Users: Normal Tariff)," +
			"energy_export_t1=Electricity 1 Returned (Dutch Users: Low Tariff),energy_export_t2=Electricity 2 Returned (Dutch Users: Normal Tariff)",
		"--length", "1h", "--unit", "kWh", "dsmrreader_hourly_2024.csv.gz",
	}},
	{"slimmemeterportal", registerFile("energy_import_t1", "slimmemeterportal_elec_feed_in_tariff_1_15min_register.csv.gz")},
	{"slimmemeterportal", registerFile("energy_import_t2", "slimmemeterportal_elec_feed_in_tariff_2_15min_register.csv.gz")},
	{"slimmemeterportal", registerFile("energy_export_t1", "slimmemeterportal_elec_feed_out_tariff_1_15min_register.csv.gz")},
	{"slimmemeterportal", registerFile("energy_export_t2", "slimmemeterportal_elec_feed_out_tariff_2_15min_register.csv.gz")},
	{"homewizard", []string{
		"--map", "meter==homewizard,at=time,energy_import_t1=Import T1 kWh,energy_import_t2=Import T2 kWh,energy_export_t1=Export T1 kWh,energy_export_t2=Export T2 kWh",
		"--unit", "kWh", "--zone", "Europe/Amsterdam", "homewizard_2022-09_15min_registers.csv.gz",
	}},
	{"fluvius", []string{
		"--map", "meter==fluvius,date=From (date),time=From (time),register=Register,value=Volume,quality=Validation status",
		"--qualities", "Read=",
		"--registers", "Offtake Day=energy_import_t1,Offtake Night=energy_import_t2,Injection Day=energy_export_t1,Injection Night=energy_export_t2",
		"--separator", ";", "--decimal", ",", "--time-layout", "02/01/2006 15:04:05", "--zone", "Europe/Brussels", "--length", "15m", "--unit", "kWh",
		"fluvius_elec_15min_2023-10-22_2023-12-31.csv.gz",
	}},
	{"shelly-a", []string{"--map", "meter==shelly-a,at=Date/time UTC,energy_import=Active energy Wh (A)", "--length", "next", "shelly3em_phaseA_10min.csv.gz"}},
	{"shelly-b", []string{"--map", "meter==shelly-b,at=Date/time UTC,energy_import=Active energy Wh (B)", "--length", "next", "shelly3em_phaseB_10min.csv.gz"}},
	{"shelly-c", []string{"--map", "meter==shelly-c,at=Date/time UTC,energy_import=Active energy Wh (C)", "--length", "next", "shelly3em_phaseC_10min.csv.gz"}},
}

// registerFile replays a file of Unix seconds and kWh, without a header.
func registerFile(register, file string) []string {
	return []string{"--no-header", "--time-layout", "unix", "--unit", "kWh", "--map", "at=#1," + register + "=#2", file}
}

// TestHouseholdsThroughTheWholePath replays real exports by a real agent into a new
// server. Its days, months and years are those that the files hold.
func TestHouseholdsThroughTheWholePath(t *testing.T) {
	if testing.Short() {
		t.Skip("replays half a million readings")
	}
	dir := filepath.Join(os.Getenv("GRIDLOOM_DATA"), "intervals/household-exports")
	if _, err := os.Stat(dir); os.Getenv("GRIDLOOM_DATA") == "" || err != nil {
		skipWithout(t, "GRIDLOOM_DATA with intervals/household-exports")
	}
	s := newServer(t)
	s.start("--calendars", calendarsOfDocs(t))
	began := time.Now()
	var sets []string
	duplicates := map[string]int{}
	spool := filepath.Join(t.TempDir(), "spool")
	for _, h := range households {
		before := s.alreadyKnown()
		s.replayHousehold(h.set, spool, dir, h.args)
		s.awaitFolded()
		s.answer("/api/v1/windows?from=2001&to=2002&meter=" + h.set) // its owner has read all that was acknowledged
		duplicates[h.set] += int(s.alreadyKnown() - before)
		if len(sets) == 0 || sets[len(sets)-1] != h.set {
			sets = append(sets, h.set)
		}
	}
	t.Logf("queryable after %.1f s", time.Since(began).Seconds())
	s.checkFacts(duplicates, sets...)
	for _, f := range readFacts(t, "fluvius-bands") {
		s.checkBands(&f, "fluvius")
	}
}

// replayHousehold runs an agent over one file until all of it is acknowledged.
func (s *server) replayHousehold(meter, spool, dir string, args []string) {
	s.t.Helper()
	last := len(args) - 1
	all := append([]string{"replay", "--connect", "mqtt://" + s.mqtt, "--agent", "household", "--spool", spool}, args[:last]...)
	for i, a := range all {
		if strings.HasPrefix(a, "at=#1") {
			all[i] = "meter==" + meter + "," + a
		}
	}
	all = append(all, filepath.Join(dir, args[last]))
	if out, err := exec.CommandContext(s.t.Context(), builtBinary(s.t, "edge-agent"), all...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", args[last], err, out)
	}
}
