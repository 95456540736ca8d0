package device

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replay reads texts as files and returns readings as "meter register start length value quality", and the log.
func replay(t *testing.T, cfg ReplayConfig, texts ...string) (rows []string, log string, bad uint64) {
	t.Helper()
	for i, text := range texts {
		cfg.Files = append(cfg.Files, write(t, fmt.Sprintf("f%d.csv", i), text))
	}
	var out bytes.Buffer
	r, err := NewReplay(cfg, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range everything(t, r, 3) {
		row := fmt.Sprintf("%s %s %s %d %d", r.Meter, r.Register, r.Start, r.Length, r.Value)
		if r.Serial != "" {
			row += " serial " + r.Serial
		}
		if r.Quality != 0 {
			row += " " + r.Quality.String()
		}
		rows = append(rows, row)
	}
	return rows, out.String(), r.Counts().Bad
}

func TestReplayReadsWhatTheMapSays(t *testing.T) {
	f := func(name string, cfg ReplayConfig, text string, want ...string) {
		t.Helper()
		got, log, bad := replay(t, cfg, text)
		if d := cmp.Diff(want, got); d != "" || bad != 0 {
			t.Errorf("%s: (-want +got)\n%s%s", name, d, log)
		}
	}
	london := ReplayConfig{Map: "meter=LCLid,at=tstp,value=energy(kWh/hh)", Length: 30 * time.Minute, Unit: "kWh"}
	f("London", london, "LCLid,tstp,energy(kWh/hh)\nMAC2,2013-01-01 00:00:00, 0.219 \r\n\nMAC2,2013-01-01 00:30:00, 1.9220001 \n",
		"MAC2 energy_import_interval 2013-01-01T00:00:00Z 1800000 219000",
		"MAC2 energy_import_interval 2013-01-01T00:30:00Z 1800000 1922000")
	london.LabelEnd = true
	f("labels are ends", london, "LCLid,tstp,energy(kWh/hh)\nMAC2,2013-01-01 00:30:00,1",
		"MAC2 energy_import_interval 2013-01-01T00:00:00Z 1800000 1000000")
	f("no header, a constant meter, Unix seconds", ReplayConfig{NoHeader: true, Map: "meter==house 1,at=#1,value=#2", Unit: "kWh"}, "1614780000,5415.414\n1614783600.5,5416",
		"house 1 energy_import 2021-03-03T14:00:00Z 0 5415414000",
		"house 1 energy_import 2021-03-03T15:00:00.500Z 0 5416000000")
	f("several registers, semicolons, decimal commas, a byte order mark, quotes",
		ReplayConfig{Map: "meter=EAN,at=time,serial=Zähler,energy_import=in,1-0:2.8.0=out", Separator: ";", Decimal: ",", Unit: "kWh"},
		"\xef\xbb\xbfZähler;EAN;time;in;out\n\"S;1\";\"5\"\"41\";2026-03-01T12:00:00+01:00;1,5;\nS2;541;2026-03-01T12:15:00+01:00;-2e-3;0,25\n",
		"5\"41 energy_import 2026-03-01T11:00:00Z 0 1500000 serial S;1",
		"541 energy_import 2026-03-01T11:15:00Z 0 -2000 serial S2",
		"541 energy_export 2026-03-01T11:15:00Z 0 250000 serial S2")
	f("a zone and its two odd hours", ReplayConfig{Zone: "Europe/Amsterdam", Register: "power", Map: "meter=m,at=t,value=v"},
		"m,t,v\na,2026-07-01 12:00,1\na,2026-10-25 01:45,1\na,2026-10-25 02:15,1\na,2026-10-25 02:45,1\na,2026-10-25 02:15,1\na,2026-10-25 02:45,1\na,2026-10-25 03:00,1",
		"a power 2026-07-01T10:00:00Z 0 1000",
		"a power 2026-10-24T23:45:00Z 0 1000",
		"a power 2026-10-25T00:15:00Z 0 1000 TIME_AMBIGUOUS",
		"a power 2026-10-25T00:45:00Z 0 1000 TIME_AMBIGUOUS",
		"a power 2026-10-25T01:15:00Z 0 1000 TIME_AMBIGUOUS",
		"a power 2026-10-25T01:45:00Z 0 1000 TIME_AMBIGUOUS",
		"a power 2026-10-25T02:00:00Z 0 1000")
	f("date and time in columns, the register in a row, both passes of a label together",
		ReplayConfig{
			Map: "meter==h,date=Date,time=Time,register=What,value=V", Registers: "Day=energy_import_t1,In=energy_export_t1", Separator: ";", Decimal: ",", Unit: "kWh",
			Layout: "02/01/2006 15:04:05", Zone: "Europe/Amsterdam", Length: 30 * time.Minute,
		},
		"Date;Time;What;V\n29/10/2023;01:30:00;Day;1,5\n29/10/2023;02:00:00;Day;2\n29/10/2023;02:00:00;In;0,1\n29/10/2023;02:00:00;Day;3\n29/10/2023;02:00:00;In;0,2\n"+
			"29/10/2023;02:30:00;Day;4\n29/10/2023;02:30:00;Day;5\n29/10/2023;03:00:00;Day;6\n29/10/2023;03:00:00;energy_import;7\n",
		"h energy_import_t1_interval 2023-10-28T23:30:00Z 1800000 1500000",
		"h energy_import_t1_interval 2023-10-29T00:00:00Z 1800000 2000000 TIME_AMBIGUOUS",
		"h energy_export_t1_interval 2023-10-29T00:00:00Z 1800000 100000 TIME_AMBIGUOUS",
		"h energy_import_t1_interval 2023-10-29T01:00:00Z 1800000 3000000 TIME_AMBIGUOUS",
		"h energy_export_t1_interval 2023-10-29T01:00:00Z 1800000 200000 TIME_AMBIGUOUS",
		"h energy_import_t1_interval 2023-10-29T00:30:00Z 1800000 4000000 TIME_AMBIGUOUS",
		"h energy_import_t1_interval 2023-10-29T01:30:00Z 1800000 5000000 TIME_AMBIGUOUS",
		"h energy_import_t1_interval 2023-10-29T02:00:00Z 1800000 6000000",
		"h energy_import_interval 2023-10-29T02:00:00Z 1800000 7000000")
	f("qualities in words and by name", ReplayConfig{Map: "meter=m,at=t,value=v,quality=q", Qualities: "Read=, Guessed =ESTIMATED_LINEAR|CLOCK_SUSPECT"},
		"m,t,v,q\na,2026-03-01 00:00,1,Read\na,2026-03-01 00:15,1,Guessed\na,2026-03-01 00:30,1,TEST\na,2026-03-01 00:45,1,\n",
		"a energy_import 2026-03-01T00:00:00Z 0 1000",
		"a energy_import 2026-03-01T00:15:00Z 0 1000 ESTIMATED_LINEAR|CLOCK_SUSPECT",
		"a energy_import 2026-03-01T00:30:00Z 0 1000 TEST",
		"a energy_import 2026-03-01T00:45:00Z 0 1000")
	f("lengths by the next row, within an hour, over a gap and a jump back", ReplayConfig{NextLength: true, Register: "energy_import", Map: "meter=m,at=t,value=a,energy_export=b"},
		"m,t,a,b\na,2026-03-01 00:00,1,\na,2026-03-01 00:10,2,3\na,2026-03-01 02:00,4,\na,2026-03-01 02:01,5,\na,2026-03-01 00:00,6,\nb,2026-03-01 00:00,7,\nb,2026-03-01 01:00,8,\n",
		"a energy_import_interval 2026-03-01T00:00:00Z 600000 1000",
		"a energy_import_interval 2026-03-01T00:10:00Z 600000 2000",
		"a energy_export_interval 2026-03-01T00:10:00Z 600000 3000",
		"a energy_import_interval 2026-03-01T02:00:00Z 60000 4000",
		"a energy_import_interval 2026-03-01T02:01:00Z 60000 5000",
		"a energy_import_interval 2026-03-01T00:00:00Z 60000 6000",
		"b energy_import_interval 2026-03-01T00:00:00Z 3600000 7000",
		"b energy_import_interval 2026-03-01T01:00:00Z 3600000 8000")
	f("a layout", ReplayConfig{Layout: "02/01/2006 15:04", Map: "meter=m,at=t,value=v"}, "m,t,v\na,16/12/2006 17:24,1", "a energy_import 2006-12-16T17:24:00Z 0 1000")
}

func TestReplayNamesBadRowsAndGoesOn(t *testing.T) {
	good := "m,2026-03-01 00:00:00,1\n"
	text := "meter,at,value\n" + good +
		",2026-03-01 00:00:00,1\n" +
		"m,yesterday,1\n" +
		"m,2026-02-30 00:00:00,1\n" +
		"m,1999-03-01 00:00:00,1\n" +
		"m,2026-03-01 00:00:00,one\n" +
		"m,2026-03-01 00:00:00,1e30\n" +
		"m,2026-03-01 00:00:00\n" +
		"m,\"2026-03-01 00:00:00,1\n" +
		"m," + strings.Repeat("x", 70_000) + ",1\n" + good
	rows, log, bad := replay(t, ReplayConfig{}, text)
	if len(rows) != 2 || bad != 9 {
		t.Errorf("%d good rows and %d bad ones, want 2 and 9", len(rows), bad)
	}
	for line := 3; line <= 11; line++ {
		if !strings.Contains(log, fmt.Sprintf("f0.csv line=%d err=", line)) {
			t.Errorf("the log does not name line %d:\n%s", line, log)
		}
	}
	if n := strings.Count(log, "\n"); n != 9 {
		t.Errorf("%d log lines, want one a row:\n%s", n, log)
	}
}

func TestReplayNamesARowWhoseWordsItDoesNotKnow(t *testing.T) {
	rows, log, bad := replay(t, ReplayConfig{Map: "meter=m,at=t,value=v,quality=q,register=r", Registers: "Day=energy_import_t1"},
		"m,t,v,q,r\na,2026-03-01 00:00,1,,Day\na,2026-03-01 00:15,1,Read,Day\na,2026-03-01 00:30,1,MISSING,Day\na,2026-03-01 00:45,1,,Night\n")
	if len(rows) != 1 || bad != 3 {
		t.Errorf("%d good rows and %d bad ones, want 1 and 3:\n%s", len(rows), bad, log)
	}
	for _, want := range []string{`line=3 err="quality \"Read\" is no word of --qualities`, "line=4 err=", "MISSING is decided by gridloom", `line=5 err="invalid: register \"Night\": want one that --registers names`} {
		if !strings.Contains(strings.ReplaceAll(log, `\\`, ``), want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

func TestReplayNamesARowWhoseLengthIsNotKnown(t *testing.T) {
	rows, log, bad := replay(t, ReplayConfig{NextLength: true, Longest: 10 * time.Minute}, "meter,at,value\na,2026-03-01 00:00,1\nb,2026-03-01 00:00,1\nb,2026-03-01 00:05,1\na,2026-03-01 02:00,1\n")
	if len(rows) != 2 || bad != 2 || !strings.Contains(log, "line=2 err=") || !strings.Contains(log, "line=5 err=") || !strings.Contains(log, "no row of its meter follows within 10m0s") {
		t.Errorf("%d good rows and %d bad ones, want 2 and 2, in lines 2 and 5:\n%s", len(rows), bad, log)
	}
}

// TestLabelsThatComeTwiceAreToldApartByTheirOrder writes autumn nights as a clock shows
// them, in both orders that exports have, of two series that alternate. Each time it gets the instants back.
func TestLabelsThatComeTwiceAreToldApartByTheirOrder(t *testing.T) {
	f := func(zone, night string, step time.Duration) {
		t.Helper()
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		from, err := time.ParseInLocation(time.DateOnly, night, loc)
		if err != nil {
			t.Fatal(err)
		}
		var passes, pairs []time.Time
		for at := from.Add(-12 * time.Hour); at.Before(from.Add(48 * time.Hour)); at = at.Add(step) {
			passes = append(passes, at)
		}
		pairs = slices.Clone(passes)
		label := func(at time.Time) string { return at.Format("2006-01-02 15:04") }
		slices.SortStableFunc(pairs, func(a, b time.Time) int { return strings.Compare(label(a), label(b)) })
		for name, order := range map[string][]time.Time{"hour after hour": passes, "label by label": pairs} {
			in := newInstants("2006-01-02 15:04", loc)
			twice := 0
			for _, at := range order {
				for _, series := range []string{"a", "b"} {
					got, q, err := in.read([]byte(label(at)), []byte(series))
					if err != nil || got != gridloom.MillisOf(at) {
						t.Fatalf("%s, %s: %s is read as %s, %v, want %s", zone, name, label(at), got, err, gridloom.MillisOf(at))
					}
					if q == gridloom.TimeAmbiguous {
						twice++
					}
				}
			}
			if twice == 0 {
				t.Errorf("%s: no label came twice", zone)
			}
		}
	}
	f("Europe/Amsterdam", "2023-10-29", 15*time.Minute)
	f("Europe/Amsterdam", "2023-10-29", 30*time.Minute)
	f("Europe/Amsterdam", "2023-10-29", time.Hour)
	f("Australia/Lord_Howe", "2023-04-02", 15*time.Minute) // by half an hour
	f("America/St_Johns", "2010-11-07", 15*time.Minute)    // at 00:01
	f("Antarctica/Troll", "2023-10-29", 30*time.Minute)    // by two hours
	f("Asia/Pyongyang", "2015-08-14", 10*time.Minute)      // not summer time, but a new zone
}

func TestReplayOfASpringNightNamesHoursThatDoNotExist(t *testing.T) {
	_, log, bad := replay(t, ReplayConfig{Zone: "Europe/Amsterdam"}, "meter,at,value\nm,2026-03-29 02:30:00,1\n")
	if bad != 1 || !strings.Contains(log, "does not exist in Europe/Amsterdam") {
		t.Errorf("%d bad rows, log %s", bad, log)
	}
}

func TestReplayLimitsWhatItNames(t *testing.T) {
	_, log, bad := replay(t, ReplayConfig{MaxNamedRows: 3}, "meter,at,value\n"+strings.Repeat("x\n", 50))
	if bad != 50 || strings.Count(log, "\n") != 4 || !strings.Contains(log, "count=47") {
		t.Errorf("%d bad rows, log:\n%s", bad, log)
	}
}

// TestReplayLeavesBadFilesOut: a file that is missing, has other columns, is empty
// or ends in the middle of its compression costs its own rows only.
func TestReplayLeavesBadFilesOut(t *testing.T) {
	var zip bytes.Buffer
	w := gzip.NewWriter(&zip)
	for i := range 2000 {
		fmt.Fprintf(w, "m%d,2026-03-01 00:00:00,1\n", i*i)
	}
	_ = w.Close()
	files := []string{
		"/nonexistent/f.csv",
		write(t, "other.csv", "a,b,c\n1,2,3\n"),
		write(t, "empty.csv", ""),
		write(t, "cut.csv.gz", zip.String()[:zip.Len()/2]),
		write(t, "good.csv", "m,2026-03-01 00:00:00,1\n"),
	}
	var out bytes.Buffer
	r, err := NewReplay(ReplayConfig{Files: files, NoHeader: true, Map: "meter=#1,at=#2,value=#3"}, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	all := everything(t, r, 100)
	if last := all[len(all)-1]; last.Meter != "m" || len(all) < 100 {
		t.Errorf("%d readings, the last %v", len(all), last)
	}
	for _, f := range []string{files[0], files[3], files[1]} {
		if !strings.Contains(out.String(), f) {
			t.Errorf("%s is not named:\n%s", f, out.String())
		}
	}
}

func TestReplayInTimeMergesFilesAndShifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := write(t, "a.csv", "meter,at,value\na,2013-01-01 00:00:00,1\na,2013-01-01 00:30:00,2\na,2013-01-01 01:00:00,3\n")
		b := write(t, "b.csv", "meter,at,value\nb,2013-01-01 00:15:00,1\nb,2013-01-01 00:30:00,2\n")
		r, err := NewReplay(ReplayConfig{Files: []string{a, b}, Speed: 1, ShiftToNow: true}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var got []string
		c := Chunk{Limit: 10}
		for {
			c.Reset()
			err := r.Next(t.Context(), &c)
			for i := range c.Len() {
				row := c.Reading(i)
				if late := time.Since(row.Start.Time()); late < 0 || late > time.Second {
					t.Errorf("%v came %s after its time", row, late)
				}
				got = append(got, fmt.Sprintf("%s%d after %s", row.Meter, row.Value/1000, time.Since(began)))
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"a1 after 0s", "b1 after 15m0s", "a2 after 30m0s", "b2 after 30m0s", "a3 after 1h0m0s"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestReplayShiftsTheEndToNow(t *testing.T) {
	rows, _, _ := replay(t, ReplayConfig{ShiftToNow: true, Length: 30 * time.Minute, Unit: "kWh"},
		"meter,at,value\na,2013-01-01 00:00:00,1\na,2013-01-01 00:30:00,2\n")
	last, err := gridloom.ParseInstant(strings.Fields(rows[1])[2])
	if err != nil {
		t.Fatal(err)
	}
	end := last + 30*gridloom.Minute
	if ago := gridloom.MillisOf(time.Now()) - end; ago < 0 || ago >= 30*gridloom.Minute || last%(30*gridloom.Minute) != 0 {
		t.Errorf("the last interval ends %d ms ago, at %s", ago, end)
	}
}

func TestReplayTellsWhatIsWrong(t *testing.T) {
	f := func(cfg ReplayConfig, want string) {
		t.Helper()
		cfg.Files = []string{"x"}
		if _, err := NewReplay(cfg, nil); !errors.Is(err, gridloom.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("NewReplay(%+v) = %v, want ErrInvalid with %q", cfg, err, want)
		}
	}
	f(ReplayConfig{Map: "meter=a,value=b"}, "at=")
	f(ReplayConfig{Map: "meter=a,at=b,valeu=c"}, "valeu")
	f(ReplayConfig{Map: "meter"}, "key=column")
	f(ReplayConfig{Map: "meter= ,at=b,value=c"}, "key=column")
	f(ReplayConfig{Register: "energy_import_interval"}, "length")
	f(ReplayConfig{Register: "power", Length: time.Minute}, "length")
	f(ReplayConfig{Unit: "V"}, "unit")
	f(ReplayConfig{Zone: "Europe/Atlantis"}, "Atlantis")
	f(ReplayConfig{NoHeader: true}, "#1")
	f(ReplayConfig{Speed: 2, ShiftToNow: true}, "future")
	f(ReplayConfig{Separator: ";;"}, "separator")
	f(ReplayConfig{Map: "meter=m,at=t,date=d,time=c,value=v"}, "at= (or date= and time=)")
	f(ReplayConfig{Map: "meter=m,date=d,value=v"}, "at= (or date= and time=)")
	f(ReplayConfig{NextLength: true, LabelEnd: true}, "want labels that are starts")
	f(ReplayConfig{NextLength: true, Longest: time.Millisecond}, "longest 1ms: want 1s to")
	f(ReplayConfig{NextLength: true, Map: "meter=m,at=t,value=v,register=r"}, "want registers in columns of their own")
	f(ReplayConfig{Map: "meter=m,at=t,value=v,power=p,register=r"}, "with register= want one column value=")
	f(ReplayConfig{Registers: "Day=energy_import_t1"}, "want a column register= in the map")
	f(ReplayConfig{Map: "meter=m,at=t,value=v,register=r", Registers: "Day"}, `"Day" is not word=meaning`)
	f(ReplayConfig{Map: "meter=m,at=t,value=v,register=r", Registers: "Day=energy"}, `"energy" is neither`)
	f(ReplayConfig{Qualities: "Read="}, "want a column quality= in the map")
	f(ReplayConfig{Map: "meter=m,at=t,value=v,quality=q", Qualities: "None=MISSING"}, "MISSING is decided by gridloom")
	f(ReplayConfig{Map: "meter=m,at=t,value=v,quality=q", Qualities: "None=GOOD"}, "GOOD")
	if _, err := ExpandFiles([]string{filepath.Join(t.TempDir(), "*.csv")}); !errors.Is(err, gridloom.ErrInvalid) {
		t.Errorf("a pattern without a file: %v", err)
	}
}

func FuzzReplayCSV(f *testing.F) {
	f.Add("meter,at,value\nm,2026-03-01 00:00:00,1.5\n", ",", ".")
	f.Add("\xef\xbb\xbfmeter;at;value\n\"a;\"\"b\";1614780000;-1,5e-3\n\n;;\n", ";", ",")
	f.Add("meter\tat\tvalue\nm\t2026-03-01T00:00:00Z\t1e999\n", "tab", ".")
	f.Add("\x1f\x8b\x08\x00", ",", ".")
	f.Fuzz(func(t *testing.T, text, separator, mark string) {
		cfg := ReplayConfig{Files: []string{write(t, "f", text)}, Separator: separator, Decimal: mark, MaxNamedRows: 1}
		r, err := NewReplay(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			return
		}
		for _, r := range everything(t, r, 10) {
			if r.Start < gridloom.MinInstant || r.Value > gridloom.MaxValue || r.Value < -gridloom.MaxValue || r.Meter == "" {
				t.Errorf("reading %+v", r)
			}
		}
		if c := r.Counts(); c.Readings+c.Bad > uint64(strings.Count(text, "\n")+2) && text[:1] != "\x1f" {
			t.Errorf("%+v of %q", c, text)
		}
	})
}

// FuzzReplayOfExports reads any rows by any map, in a zone whose clock is put back: each
// row gives readings or is counted as bad, and intervals are as long as they may be.
func FuzzReplayOfExports(f *testing.F) {
	f.Add("2023-10-29,02:30,Day,1\n2023-10-29,02:30,Day,2\n2023-10-29,02:15,Night,2\n", "meter==m,date=#1,time=#2,register=#3,value=#4", "Day=energy_import_t1,Night=1-0:1.8.2", false)
	f.Add("a,2023-10-29 02:30,1,2\na,2023-10-29 02:45,1,\nb,2023-10-29 03:00,1,1\n", "meter=#1,at=#2,energy_import=#3,energy_export=#4", "", true)
	f.Add("a,2023-10-29 02:30,1\n", "meter=#1,at=#2,date=#2,value=#3", "=", true)
	f.Fuzz(func(t *testing.T, text, columns, registers string, next bool) {
		cfg := ReplayConfig{
			Files: []string{write(t, "f", text)}, Map: columns, Registers: registers, NoHeader: true, Zone: "Europe/Amsterdam", MaxNamedRows: 1,
			Length: 15 * time.Minute, NextLength: next,
		}
		r, err := NewReplay(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			if !errors.Is(err, gridloom.ErrInvalid) {
				t.Errorf("%q, %q: %v", columns, registers, err)
			}
			return
		}
		for _, r := range everything(t, r, 10) {
			longest := time.Hour
			if !next {
				longest = 15 * time.Minute
			}
			if r.Register.Info().Kind != gridloom.Interval || r.Length < gridloom.Second || r.Length > gridloom.SpanOf(longest) || r.Meter == "" {
				t.Errorf("reading %+v", r)
			}
		}
		if c := r.Counts(); c.Bad > uint64(strings.Count(text, "\n")+2) && !strings.HasPrefix(text, "\x1f") {
			t.Errorf("%+v of %q", c, text)
		}
	})
}

// FuzzDecimal compares parseDecimal with math/big.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"0", "-1.50", "000123456789012345678.5", "1e5", "1.E-3", ".5", "1.9220001", "+7e+2", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mantissa, exp, err := parseDecimal([]byte(s), '.')
		if err != nil || exp > 300 || exp < -300 {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("parseDecimal(%q) = %de%d, but it is no number", s, mantissa, exp)
		}
		got, _ := new(big.Rat).SetString(fmt.Sprintf("%de%d", mantissa, exp))
		// 18 significant digits are kept.
		diff := new(big.Rat).Sub(want, got)
		limit := new(big.Rat).Mul(new(big.Rat).Abs(want), big.NewRat(1, 100_000_000_000_000_000))
		if diff.Abs(diff).Cmp(limit) > 0 {
			t.Errorf("parseDecimal(%q) = %de%d", s, mantissa, exp)
		}
	})
}

func BenchmarkReplay(b *testing.B) {
	var text strings.Builder
	text.WriteString("LCLid,tstp,energy(kWh/hh)\n")
	at := time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC)
	const rows = 17_520
	for i := range rows {
		fmt.Fprintf(&text, "MAC000002,%s, %d.%03d \n", at.Format("2006-01-02 15:04:05"), i%3, i%1000)
		at = at.Add(30 * time.Minute)
	}
	path := write(b, "f.csv", text.String())
	c := Chunk{Limit: 1000}
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReplay(ReplayConfig{
			Files: []string{path}, Map: "meter=LCLid,at=tstp,value=energy(kWh/hh)", Length: 30 * time.Minute, Unit: "kWh",
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			c.Reset()
			err = r.Next(context.Background(), &c)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/reading")
}
