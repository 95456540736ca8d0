package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// inspect runs `gridloom inspect` in this process, once for a person and once for
// programs, and returns both. Every line of --json is an object.
func inspect(t *testing.T, args ...string) (text string, rows []map[string]any) {
	t.Helper()
	var stdout, stderr logFile
	args = append([]string{"inspect"}, args...)
	if status := run(t.Context(), args, &stdout, &stderr); status != 0 || stderr.String() != "" {
		t.Fatalf("%v ends with %d: %s", args, status, stderr.String())
	}
	var lines logFile
	args = append(args, "--json")
	if status := run(t.Context(), args, &lines, &stderr); status != 0 || stderr.String() != "" {
		t.Fatalf("%v ends with %d: %s", args, status, stderr.String())
	}
	for line := range strings.Lines(lines.String()) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v prints %q: %v", args, line, err)
		}
		rows = append(rows, row)
	}
	return stdout.String(), rows
}

func mustMatch(t *testing.T, what, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("%s has nothing like %q:\n%s", what, p, text)
		}
	}
}

// TestInspect prints everything that gridloom stores, beside the process that runs
// on the directory and without one: it is the same.
func TestInspect(t *testing.T) {
	s := newServer(t)
	s.start()
	p := dialPublisher(t, s.mqtt, "inspect")
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
	const readings = 24
	for i := range readings {
		p.publish(t, "gridloom/v1/test/gw-1/readings", readingJSON(fmt.Sprintf("m%d", i%6), "energy_import", at.Add(time.Duration(i/6)*10*time.Minute), float64(i)))
	}
	s.awaitRows("/api/v1/readings?format=ndjson", readings)

	var sequences []uint64
	look := func(when string) (heads []map[string]any) {
		t.Helper()
		text, heads := inspect(t, "head", "--data", s.data)
		mustMatch(t, "inspect head "+when, text, `partition 0  generation 1  revision \d+\n`, `epoch     \d+  owner \w+`, `position  next sequence \d+, last frame`, `manifest  `)
		if len(heads) != 4 || strings.Count(text, "revision") != 4 {
			t.Errorf("%s %d heads, want 4", when, len(heads))
		}
		text, one := inspect(t, "head", "--data", s.data, "--partition", "2")
		if len(one) != 1 || one[0]["partition"] != 2.0 || strings.Count(text, "partition") != 1 {
			t.Errorf("%s inspect head --partition 2 prints %s", when, text)
		}

		text, frames := inspect(t, "log", "--data", s.data, "--count", "1000")
		n, last := 0.0, 0.0
		sequences = sequences[:0]
		for _, f := range frames {
			if f["sequence"].(float64) <= last {
				t.Errorf("%s frame %v after %v", when, f["sequence"], last)
			}
			last = f["sequence"].(float64)
			if f["kind"] == "readings" {
				n += f["readings"].(float64)
				sequences = append(sequences, uint64(last))
			}
		}
		if n != readings || strings.Count(text, "\n") != len(frames) {
			t.Errorf("%s inspect log shows %v readings in %d frames: %s", when, n, len(frames), text)
		}
		if _, few := inspect(t, "log", "--data", s.data, "--from", fmt.Sprint(sequences[1]), "--count", "2"); len(few) != 2 || few[0]["sequence"] != float64(sequences[1]) {
			t.Errorf("%s inspect log --from %d --count 2: %v", when, sequences[1], few)
		}

		text, frame := inspect(t, "frame", "--data", s.data, "--from", fmt.Sprint(sequences[0]))
		mustMatch(t, "inspect frame "+when, text, `^frame \d+  20\S+  readings  generation 1  partition \d  \d+ readings of \d meters  \d+ bytes  crc [0-9a-f]{8}\n`, `  m\d  energy_import  20\S+Z \+0s  \d+ mWh  .*agent gw-1\n`)
		if len(frame) != 1 || len(frame[0]["rows"].([]any)) == 0 || frame[0]["rows"].([]any)[0].(map[string]any)["agent"] != "gw-1" {
			t.Errorf("%s inspect frame --json: %v", when, frame)
		}
		return heads
	}
	look("beside the server")
	if status, _ := s.stop(); status != 0 {
		t.Fatalf("exit status %d", status)
	}
	heads := look("without a server")
	again := look("without a server, again")
	for i := range heads {
		if fmt.Sprint(heads[i]) != fmt.Sprint(again[i]) {
			t.Errorf("inspect changed a head from %v to %v", heads[i], again[i])
		}
	}

	text, manifests := inspect(t, "manifest", "--data", s.data)
	mustMatch(t, "inspect manifest", text, `manifest-\S+\.json\n`, `partition +\d of generation 1`, `readings +\d+`, `raw .*\.parquet`)
	if len(manifests) < 1 {
		t.Errorf("no manifests")
	}
	files, _ := filepath.Glob(filepath.Join(s.data, "store", "g1", "p*", "e*", "*"))
	kinds := map[string]int{}
	for _, name := range files {
		kind, _, _ := strings.Cut(filepath.Base(name), "-")
		kinds[kind]++
		if kind == "manifest" {
			inspect(t, "manifest", name)
			continue
		}
		text, rows := inspect(t, "segment", name, "--count", "3")
		mustMatch(t, "inspect segment "+name, text, `kind +`+kind, `rows +[1-9]`, `1-0:1\.8\.0`)
		if len(rows) != 1 || rows[0]["rows"] == 0.0 {
			t.Errorf("inspect segment %s --json prints %v", name, rows)
		}
	}
	if kinds["raw"] == 0 || kinds["pane"] == 0 || kinds["snapshot"] == 0 || kinds["manifest"] == 0 {
		t.Errorf("the store holds %v", kinds)
	}
}

// TestInspectFrameFile prints a frame that somebody cut out of a log.
func TestInspectFrameFile(t *testing.T) {
	register, _ := gridloom.RegisterByName("energy_import_interval")
	var b wire.Builder
	var c wire.Columns
	c.AppendReading(&gridloom.Reading{Meter: "m1", Register: register, Start: 1_763_800_000_000, Length: 30 * gridloom.Minute, Value: 42_000})
	b.AppendRow(&c, 0)
	name := filepath.Join(t.TempDir(), "frame")
	frame := wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1, Partition: 3}, b.Columns())
	if err := os.WriteFile(name, frame, 0o644); err != nil {
		t.Fatal(err)
	}
	text, rows := inspect(t, "frame", name)
	mustMatch(t, "inspect frame", text, `partition 3  1 readings of 1 meters`, `m1  energy_import_interval  2025-11-22T08:26:40Z \+30m0s  42000 mWh`)
	if len(rows) != 1 || rows[0]["partition"] != 3.0 {
		t.Errorf("inspect frame --json: %v", rows)
	}
}

// TestInspectSpool prints what an agent holds for a server that is away.
func TestInspectSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	a, said, stop := startAgent(t, "mqtt://127.0.0.1:1", dir)
	for said.count() < 200 || a.Stats().Spooled == 0 {
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // polls an agent in this process, with the test's own limit
	}
	stop()
	text, rows := inspect(t, "spool", dir)
	mustMatch(t, "inspect spool", text, `sealed`, `\.spool`)
	n := 0.0
	for _, r := range rows {
		if r["kind"] == "sealed" {
			n += r["readings"].(float64)
		}
	}
	if n != float64(said.count()) {
		t.Errorf("inspect spool shows %v readings, %d were said:\n%s", n, said.count(), text)
	}
}

// TestInspectMistakes are one line with what is wrong.
func TestInspectMistakes(t *testing.T) {
	f := func(status int, pattern string, args ...string) {
		t.Helper()
		got, said := runLine(t, args...)
		if got != status || !regexp.MustCompile(`^gridloom: `+pattern+`\n$`).MatchString(said) {
			t.Errorf("%v ends with %d and %q, want %d and a line like %q", args, got, said, status, pattern)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("PAR1 of a kind"), 0o644); err != nil {
		t.Fatal(err)
	}
	f(2, `inspect what\? log, head, .*`, "inspect")
	f(2, `inspect "meters": want log, head, manifest, segment, frame, spool or store`, "inspect", "meters")
	f(2, `inspect segment needs a file`, "inspect", "segment")
	f(2, `inspect spool needs a directory`, "inspect", "spool")
	f(2, `--count wants 1 to 1000000`, "inspect", "log", "--count", "0")
	f(2, `flag provided but not defined: -rows: gridloom inspect -h lists the flags`, "inspect", "log", "--rows", "0")
	for _, kind := range []string{"log", "head", "frame", "manifest"} {
		f(1, none+` is no data directory of gridloom: name it with --data`, "inspect", kind, "--data", none)
	}
	f(1, none+`: no such file or directory`, "inspect", "segment", none)
	f(1, none+`: no such file or directory`, "inspect", "spool", none)
	for _, kind := range []string{"segment", "manifest", "frame"} {
		f(1, `.*`+bad+`.*: corrupt: .*`, "inspect", kind, bad)
	}
	f(2, `repair what\? gridloom repair head .*`, "repair")
	f(1, none+` is no data directory of gridloom: name it with --data`, "repair", "head", "--data", none)
}

// TestInspectStore: what takes the space is told beside the process that runs and without
// one, with the files that a crash and a manifest of before have left.
func TestInspectStore(t *testing.T) {
	s := newServer(t)
	s.env = append(s.env, "GRIDLOOM_HASTE=1")
	s.start()
	p := dialPublisher(t, s.mqtt, "store")
	at := time.Now().Add(-3 * time.Hour).Truncate(time.Hour)
	const readings = 48
	for i := range readings {
		p.publish(t, "gridloom/v1/test/gw-1/readings", readingJSON(fmt.Sprintf("m%d", i%6), "energy_import", at.Add(time.Duration(i/6)*10*time.Minute), float64(i)))
	}
	s.awaitRows("/api/v1/readings?format=ndjson", readings)
	look := func(when string) {
		t.Helper()
		text, lines := inspect(t, "store", s.data)
		mustMatch(t, "inspect store "+when, text, `partition 3  epoch \d+  next sequence \d+  manifest g1/p3/`,
			`raw level \d +\d+ files +\d+ B +\d+ rows +\d+\.\d\d bytes each +20\d\d-\S+Z to 20`, `pane level \d`, `manifest +1 files`, `all partitions\n`)
		rows, files := 0.0, 0.0
		for _, l := range lines {
			if _, one := l["partition"]; one {
				files += l["files"].(float64)
				if l["kind"] == "raw" && l["in_use"] == true {
					rows += l["rows"].(float64)
				}
			}
		}
		if rows != readings {
			t.Errorf("%s %v rows are in raw segments, want %d", when, rows, readings)
		}
		_, one := inspect(t, "store", s.data, "--partition", "2")
		for _, l := range one {
			if p, told := l["partition"]; told && p != 2.0 {
				t.Errorf("%s --partition 2 tells of %v", when, l)
			}
		}
	}
	committed := func() bool {
		text, _ := inspect(t, "store", s.data)
		return strings.Contains(text, fmt.Sprintf("%d rows", readings))
	}
	for deadline := time.Now().Add(time.Minute); !committed(); {
		if time.Now().After(deadline) {
			t.Fatal("not all is committed after a minute")
		}
	}
	look("beside the process")
	s.stop()
	lost := filepath.Join(s.data, "store/g1/p0/e1/raw-77-lost.parquet")
	if err := os.WriteFile(lost, make([]byte, 20<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.data, "store/g1/p0/e1/notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look("alone")
	text, _ := inspect(t, "store", s.data)
	mustMatch(t, "inspect store", text, `raw +1 files +20\.0 KiB .*(of this owner|left by an earlier owner): `, `not in use`, `\? +1 files +0 B .*not written by gridloom`)
}
