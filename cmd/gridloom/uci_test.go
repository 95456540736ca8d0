package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom/client"
)

// TestUCIHousehold replays 13 days of one French household by the minute: voltage in
// windows of ten minutes as EN 50160 judges them, and the maximum demand of fixed and of
// sliding intervals, with when it was.
func TestUCIHousehold(t *testing.T) {
	if testing.Short() {
		t.Skip("replays 39,000 readings")
	}
	dir := filepath.Join(os.Getenv("GRIDLOOM_DATA"), "intervals/uci-household-1min")
	if _, err := os.Stat(dir); os.Getenv("GRIDLOOM_DATA") == "" || err != nil {
		skipWithout(t, "GRIDLOOM_DATA with intervals/uci-household-1min")
	}
	s := newServer(t)
	s.start("--window", "5m") // divides both intervals
	spool := filepath.Join(t.TempDir(), "spool")
	for column, unit := range map[string]string{"power_import=Global_active_power": "kW", "voltage_l1=Voltage": "V"} {
		s.replayHousehold("uci", spool, dir, []string{
			"--map", "meter==uci,at=Datetime," + column, "--unit", unit, "--time-layout", "02/01/2006 15:04:05", "--zone", "Europe/Paris",
			"household_power_consumption_2006-12-16_13days.csv.gz",
		})
	}
	s.awaitFolded()
	for _, f := range readFacts(t, "uci-voltage", "uci-demand", "uci-energy") {
		var got map[string]string
		switch f.set {
		case "uci-voltage":
			got = s.uciVoltage(&f)
		case "uci-demand":
			got = s.uciDemand(&f)
		default:
			got = s.uciEnergy(&f)
		}
		for word, want := range f.want {
			if got[word] != want {
				t.Errorf("testdata/facts.tsv:%d: %s = %s, want %s", f.line, word, got[word], want)
			}
		}
	}
}

// uciWindows asks for the windows of a register in the span of a fact.
func (s *server) uciWindows(f *fact, register string) []client.Window {
	s.t.Helper()
	q := url.Values{"meter": {"uci"}, "register": {register}, "tz": {f.tz}, "step": {f.step}, "from": {f.from}, "to": {f.to}}
	var answer struct {
		Windows []client.Window `json:"windows"`
	}
	if err := json.Unmarshal([]byte(s.answer("/api/v1/windows?"+q.Encode())), &answer); err != nil {
		s.t.Fatal(err)
	}
	return answer.Windows
}

// uciVoltage judges windows by their mean voltage. One is complete that has all of its ten readings.
func (s *server) uciVoltage(f *fact) map[string]string {
	s.t.Helper()
	const nominal = 230_000 // mV
	windows := s.uciWindows(f, "voltage_l1")
	count := map[string]int{"windows": len(windows)}
	lowest, highest, sum := int64(math.MaxInt64), int64(0), int64(0)
	got := map[string]string{}
	for _, w := range windows {
		if w.N != 10 {
			continue
		}
		count["complete"]++
		v := w.Mean.Thousandths
		sum += v
		count["within10%"] += one(v >= nominal*90/100 && v <= nominal*110/100)
		count["within5%"] += one(v >= nominal*95/100 && v <= nominal*105/100)
		count["above5%"] += one(v > nominal*105/100)
		count["above250V"] += one(v > 250_000)
		at := strings.ReplaceAll(w.LocalStart, " ", "T")[:len("2006-12-29T21:20")]
		if v < lowest {
			lowest, got["lowest-at"] = v, at
		}
		if v > highest {
			highest, got["highest-at"] = v, at
		}
	}
	for word, n := range count {
		got[word] = fmt.Sprint(n)
	}
	got["lowest"], got["highest"] = fmt.Sprintf("%.3f", float64(lowest)/1000), fmt.Sprintf("%.3f", float64(highest)/1000)
	got["mean"] = fmt.Sprintf("%.4f", float64(sum)/float64(count["complete"])/1000)
	return got
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// uciDemand asks for the maximum demand in the span of a fact, whose step is the interval.
func (s *server) uciDemand(f *fact) map[string]string {
	s.t.Helper()
	got := map[string]string{}
	for word, sliding := range map[string]string{"fixed": "false", "sliding": "true"} {
		q := url.Values{
			"meter": {"uci"}, "register": {"power_import"}, "tz": {f.tz}, "step": {"1mo"}, "from": {f.from}, "to": {f.to},
			"interval": {f.step}, "sliding": {sliding}, "unit": {"kW"},
		}
		var answer struct {
			Demand []struct {
				Demand  json.Number `json:"demand"`
				LocalAt time.Time   `json:"local_at"`
			} `json:"demand"`
		}
		if err := json.Unmarshal([]byte(s.answer("/api/v1/demand?"+q.Encode())), &answer); err != nil || len(answer.Demand) != 1 {
			s.t.Fatalf("%d rows of demand, want 1: %v", len(answer.Demand), err)
		}
		got[word], got[word+"-at"] = answer.Demand[0].Demand.String(), answer.Demand[0].LocalAt.Format("2006-01-02T15:04")
	}
	return got
}

// uciEnergy is what a mean power comes to over what is known of the day.
func (s *server) uciEnergy(f *fact) map[string]string {
	s.t.Helper()
	kilowattHours := 0.0
	for _, w := range s.uciWindows(f, "power_import") {
		kilowattHours += float64(w.Mean.Thousandths) / 1e6 * w.Coverage * (w.End - w.Start).Duration().Hours()
	}
	return map[string]string{"kWh": fmt.Sprintf("%.4f", kilowattHours)}
}
