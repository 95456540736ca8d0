package window_test

import (
	"bufio"
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// realData returns the path of a file of real readings.
func realData(t *testing.T, path string) string {
	t.Helper()
	dir := os.Getenv("GRIDLOOM_DATA")
	if dir == "" {
		if os.Getenv("GRIDLOOM_REQUIRE") == "1" {
			t.Fatal("GRIDLOOM_DATA names no directory with real readings")
		}
		t.Skip("GRIDLOOM_DATA names no directory with real readings")
	}
	return filepath.Join(dir, path)
}

// TestOneHouseForThreeYears folds the four registers of a house that a home-made reader recorded
// every hour. The figures are those that the data's description works out from its registers at local midnights.
func TestOneHouseForThreeYears(t *testing.T) {
	amsterdam, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	day := func(text string) gridloom.Millis {
		at, err := time.ParseInLocation(time.DateOnly, text, amsterdam)
		if err != nil {
			t.Fatal(err)
		}
		return gridloom.MillisOf(at)
	}
	at := func(text string) gridloom.Millis {
		m, err := gridloom.ParseInstant(text)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	wh := func(kWh string) int64 { return thousandths(t, kWh) * 1000 } // mWh
	for i, register := range []string{"feed_in_tariff_1", "feed_in_tariff_2", "feed_out_tariff_1", "feed_out_tariff_2"} {
		var panes []gridloom.Pane
		c := window.Defaults()
		rows := p1mon(t, register)
		c.Fold(gridloom.Counter, rows, math.MaxInt64/2, func(p *gridloom.Pane) { panes = append(panes, *p) })
		sum := func(from, to gridloom.Millis) (energy int64, q gridloom.Quality) {
			for _, p := range panes {
				if p.Start >= from && p.Start < to {
					energy, q = energy+p.Energy, q|p.Quality
				}
			}
			return energy, q
		}
		if got, _ := sum(0, math.MaxInt64); got != wh([]string{"3839.338", "11707.088", "7669.098", "3094.617"}[i]) {
			t.Errorf("%s: %d mWh in all, want the last value less the first", register, got)
		}
		for _, row := range p1monFacts {
			f := strings.Fields(row)
			if got, _ := sum(day(f[0]), day(f[1])); got != wh(f[2+i]) {
				t.Errorf("%s from %s to %s: %d mWh, want %s kWh", register, f[0], f[1], got, f[2+i])
			}
		}
		// One sample that shows what the register reached two months later.
		glitch, q := sum(at("2022-11-04T14:00:00Z"), at("2022-11-04T16:00:00Z"))
		if q&gridloom.Glitch == 0 || q&^(gridloom.Glitch|gridloom.EstimatedLinear) != 0 || glitch > wh("1") {
			t.Errorf("%s: %d mWh, %s around the wrong sample", register, glitch, q)
		}
		// Two outages whose energy the source shows one row after they ended.
		for _, end := range []string{"2021-06-09T21:00:00Z", "2023-01-09T09:00:00Z"} {
			_, before := sum(at(end)-15*gridloom.Minute, at(end))
			if before&gridloom.CatchUp == 0 || before&gridloom.Missing == 0 {
				t.Errorf("%s: %s where the outage until %s ends", register, before, end)
			}
			grew, q := sum(at(end), at(end)+gridloom.Hour)
			if tooMuch := grew > window.DefaultRating; tooMuch != (q&gridloom.Range != 0) {
				t.Errorf("%s: %d mWh and %s in the hour after the outage until %s", register, grew, q, end)
			}
		}
		// Where a register stepped back by up to 109 Wh.
		back := map[string][]string{"feed_out_tariff_2": {"2023-08-12T10:00:00Z", "2024-02-25T10:00:00Z"}, "feed_in_tariff_2": {"2024-02-25T10:00:00Z"}}[register]
		for _, p := range panes {
			suspect := p.Quality&gridloom.Suspect != 0
			first := len(back) > 0 && p.Start == at(back[0])
			if first {
				back = back[1:]
			}
			if first && !suspect {
				t.Errorf("%s: no SUSPECT at %s, where the register stepped back", register, p.Start)
			}
			if suspect && p.Start < at("2023-08-12T10:00:00Z") {
				t.Errorf("%s: SUSPECT at %s, where nothing stepped back", register, p.Start)
			}
			if p.Quality&(gridloom.Reset|gridloom.Rollover|gridloom.Exchange) != 0 {
				t.Errorf("%s: %s at %s", register, p.Quality, p.Start)
			}
		}
		if len(back) > 0 {
			t.Errorf("%s: no pane at %v, where the register stepped back", register, back)
		}
	}
}

// p1monFacts are local days [from, to) and kWh of import 1, import 2, export 1, export 2.
var p1monFacts = []string{
	"2021-04-01 2021-05-01 70.872 185.254 204.502 109.420",
	"2021-05-01 2021-07-01 112.297 334.780 365.621 158.893",
	"2021-10-01 2021-11-01 121.654 312.564 138.741 72.020",
	"2022-03-01 2022-04-01 88.932 231.583 421.039 125.333",
	"2022-10-01 2022-11-01 85.361 327.758 235.231 105.631",
	"2022-11-01 2023-02-01 505.991 1378.102 237.363 62.163",
	"2023-03-01 2023-04-01 135.844 419.867 207.783 51.335",
	"2023-10-01 2023-11-01 117.898 411.058 162.868 84.335",
	"2024-01-01 2024-02-01 234.985 526.663 100.609 31.367",
	"2024-02-01 2024-03-01 150.448 471.382 73.843 13.030",
	"2021-04-01 2024-03-01 3732.813 11477.551 7505.571 3003.350",
	"2022-11-04 2022-11-05 5.129 6.622 5.949 0.000",
	"2022-10-30 2022-10-31 0.000 9.921 0.000 10.854",
	"2023-03-26 2023-03-27 0.000 12.535 0.000 0.530",
}

// p1mon reads one register's file: Unix seconds, kWh.
func p1mon(t *testing.T, register string) (rows []window.Reading) {
	t.Helper()
	eachLine(t, "intervals/household-exports/p1mon_elec_"+register+"_hourly_register.csv.gz", func(line int, text string) {
		seconds, value, ok := strings.Cut(strings.TrimSpace(text), ",")
		s, err := strconv.ParseInt(seconds, 10, 64)
		if !ok || err != nil {
			t.Fatalf("line %d: %q", line, text)
		}
		at := gridloom.Millis(s) * gridloom.Second
		rows = append(rows, window.Reading{Start: at, Value: thousandths(t, value) * 1000, Sequence: uint64(line), LoggedAt: at})
	})
	if len(rows) != 24_822 {
		t.Fatalf("%d rows", len(rows))
	}
	return rows
}

// eachLine calls f for each line of a packed file of real readings.
func eachLine(t *testing.T, path string, each func(line int, text string)) {
	t.Helper()
	f, err := os.Open(realData(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	for line := 1; lines.Scan(); line++ {
		each(line, lines.Text())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// thousandths reads a decimal of at most three places.
func thousandths(t *testing.T, text string) int64 {
	t.Helper()
	whole, fraction, _ := strings.Cut(text, ".")
	v, err := strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
	if err != nil || len(fraction) > 3 {
		t.Fatalf("%q is no decimal of three places", text)
	}
	return v
}

// TestWaterThatFallsToZero folds a water meter whose reader shows zero nine times, for a quarter of an
// hour up to four hours. Eight times it is back where it was; the ninth lasts to the end of the file.
func TestWaterThatFallsToZero(t *testing.T) {
	amsterdam, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	var rows []window.Reading
	var falls []gridloom.Millis
	eachLine(t, "intervals/household-exports/homewizard_water_15min.csv.gz", func(line int, text string) {
		if line == 1 {
			return
		}
		label, decilitres, _ := strings.Cut(text, ",")
		at, err := time.ParseInLocation("2006-01-02 15:04", label, amsterdam)
		if err != nil {
			t.Fatal(err)
		}
		r := window.Reading{Start: gridloom.MillisOf(at), Value: thousandths(t, decilitres) / 10, Sequence: uint64(line), LoggedAt: gridloom.MillisOf(at)} // of a litre
		if n := len(rows); n > 0 && r.Value < rows[n-1].Value {
			falls = append(falls, r.Start)
		}
		rows = append(rows, r)
	})
	if len(rows) != 12_860 || len(falls) != 9 {
		t.Fatalf("%d rows that fall %d times", len(rows), len(falls))
	}
	c := window.Defaults()
	var litres int64
	c.Fold(gridloom.Counter, rows, math.MaxInt64/2, func(p *gridloom.Pane) {
		litres += p.Energy
		want := gridloom.Quality(0)
		switch {
		case len(falls) == 0 || p.Start != falls[0]:
		case len(falls) == 1:
			want, falls = gridloom.Reset, nil
		default:
			want, falls = gridloom.Glitch, falls[1:]
		}
		if want != 0 && p.Quality&(gridloom.Reset|gridloom.Glitch) != want || p.Quality&gridloom.Range != 0 {
			t.Errorf("%s: %s, want %s", p.Start, p.Quality, want)
		}
	})
	if litres != 40_341_000 || len(falls) > 0 {
		t.Errorf("%d thousandths of a litre, want 40,341 litres; no pane at %v", litres, falls)
	}
}
