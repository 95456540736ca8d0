package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demoReady is how long `up --demo` may take to show its whole neighbourhood.
const demoReady = 30 * time.Second

// TestDemoShowsItsNeighbourhood: 200 meters behind 10 agents.
func TestDemoShowsItsNeighbourhood(t *testing.T) {
	s := newServer(t)
	began := time.Now()
	s.start("--demo")
	s.awaitRows("/api/v1/meters?format=ndjson&limit=1000", 200)
	t.Logf("200 meters after %v", time.Since(began))
	if took := time.Since(began); took > demoReady {
		t.Errorf("200 meters are there after %v, want within %v", took, demoReady)
	}
	agents := map[string]bool{}
	field := regexp.MustCompile(`"agent":"([^"]*)"`)
	s.await("10 agents have published", func() bool {
		for _, m := range field.FindAllStringSubmatch(s.answer("/api/v1/readings?format=ndjson&register=power_import&history=true&from=-1h"), -1) {
			agents[m[1]] = true
		}
		return len(agents) >= 10
	})
	if len(agents) != 10 || !agents["demo-gw-01"] || !agents["demo-gw-10"] {
		t.Errorf("agents %v", agents)
	}
	for _, line := range []string{
		`MQTT   mqtt://` + s.mqtt + ` `, `HTTP   http://` + s.http + ` `, `data   ` + s.data + "\n",
		`try    curl 'http://` + s.http + `/api/v1/windows?meters=demo-00001&registers=energy_import&from=-1h&unit=kWh'` + "\n",
	} {
		if !strings.Contains(s.out.String(), line) {
			t.Errorf("up --demo does not print %q", line)
		}
	}
	if strings.Contains(s.out.String(), "objects/s") {
		t.Error("a progress line without a terminal")
	}
	if status, body := s.get("/api/v1/rejects?format=ndjson"); status != 200 || body != "" {
		t.Errorf("rejects of the demo: %d %s", status, body)
	}
	if status, took := s.stop(); status != 0 || took > stopLimit {
		t.Errorf("SIGINT: exit status %d after %v", status, took)
	}

	// The same meters go on: their registers do not start anew, their readings do not repeat.
	s.start("--demo")
	s.awaitRows("/api/v1/meters?format=ndjson&limit=1000", 200)
	if n := s.metric("gridloom_ingest_rejects_total"); n != 0 {
		t.Errorf("%v rejects after a restart of the demo", n)
	}
}

// TestProgressOnATerminal: one line that is refreshed, with log lines above it.
func TestProgressOnATerminal(t *testing.T) {
	needPrograms(t, "bsdutils", "script")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := fmt.Sprintf("exec %s up --demo --data %s --mqtt 127.0.0.1:0 --http 127.0.0.1:0", builtBinary(t, "gridloom"), filepath.Join(t.TempDir(), "data"))
	cmd := exec.CommandContext(ctx, "script", "-qec", command, "/dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := cmd.StdinPipe() // keeps script from seeing the end of its input
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	var out logFile
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`\r\x1b\[K +\d+ objects/s   lag \d+ frames   [1-9][0-9]* series   panes: [1-9][0-9]* open, \d+ written`)
	shown := func() int { return len(line.FindAllString(out.String(), -1)) }
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	busy := regexp.MustCompile(` [1-9][0-9]* objects/s `) // the meters are read each 5 s
	for shown() < 3 || !busy.MatchString(out.String()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no three progress lines in a minute: %q", out.tail(2000))
		}
	}
	if _, err := input.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C on a terminal: %v", err)
	}
	if text := out.String(); !strings.Contains(text, "objects/s") || !regexp.MustCompile(`written(\^C)?\r\n[^\n]*msg=stopping`).MatchString(text) {
		t.Errorf("the last progress line is not left in place above what follows: %q", out.tail(2000))
	}
}

// TestProgressKeepsItsLineLast among log lines.
func TestProgressKeepsItsLineLast(t *testing.T) {
	var terminal logFile
	p := newProgress(&terminal, true)
	log := p.wrap(&terminal)
	fmt.Fprint(log, "first\n")
	p.show("1 objects/s")
	fmt.Fprint(log, "second\n")
	p.show("2 objects/s")
	p.end()
	p.end()
	want := "first\n" + clearLine + "1 objects/s" + clearLine + "second\n" + "1 objects/s" + clearLine + "2 objects/s\n"
	if got := terminal.String(); got != want {
		t.Errorf("the terminal got %q, want %q", got, want)
	}
	var file logFile
	quiet := newProgress(&file, false)
	quiet.show("1 objects/s")
	quiet.end()
	if fmt.Fprint(quiet.wrap(&file), "line\n"); file.String() != "line\n" {
		t.Errorf("without a terminal: %q", file.String())
	}
}

func TestRate(t *testing.T) {
	var r rate
	at := time.Unix(0, 0)
	f := func(count float64, after time.Duration, want float64) {
		t.Helper()
		at = at.Add(after)
		if got := r.look(count, at); got != want {
			t.Errorf("look(%v) after %v = %v, want %v", count, after, got, want)
		}
	}
	f(100, 0, 0)
	f(300, 2*time.Second, 100)
	f(300, time.Second, 0)
}
