package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/internal/wire"
)

const manual = "../docs/edge-agent.md"

func readManual(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// row is the line of the manual's tables that tells of a flag.
func row(f *flag.Flag) string {
	name, text := flag.UnquoteUsage(f)
	def := f.DefValue
	switch {
	case f.Name == "agent":
		def = "the host's name"
	case def == "" || def == "false" && name == "":
		def = ""
	default:
		def = "`" + def + "`"
	}
	if name != "" {
		name = " *" + name + "*"
	}
	return fmt.Sprintf("| `--%s`%s | %s | %s |", f.Name, name, def, strings.ReplaceAll(text, "|", "\\|"))
}

// TestTheManualTellsEveryFlag as -h tells it; the failure shows the missing lines.
func TestTheManualTellsEveryFlag(t *testing.T) {
	text := readManual(t)
	for _, source := range []string{"", "sim", "replay", "stdin"} {
		var missing []string
		o := &options{source: source}
		o.flags().VisitAll(func(f *flag.Flag) {
			if line := row(f); !strings.Contains(text, line+"\n") {
				missing = append(missing, line)
			}
		})
		if len(missing) > 0 {
			t.Errorf("%s lacks, of source %q:\n%s", manual, source, strings.Join(missing, "\n"))
		}
	}
}

var (
	block = regexp.MustCompile("(?ms)^```(\\w+)(?: (\\w[\\w. ]*))?\n(.*?)^```$")
	piped = regexp.MustCompile(`^echo '(.*)' \| (.*)$`)
	words = regexp.MustCompile(`'[^']*'|\S+`)
)

// TestTheManualsExamplesWork runs every command of the manual that is marked run, against
// a broker, and has the agent check every one that is marked check.
func TestTheManualsExamplesWork(t *testing.T) {
	text := readManual(t)
	b := brokertest.New()
	address, err := b.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	t.Chdir(t.TempDir())
	commands := 0
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		if m[1] == "csv" || m[1] == "json" { // a file that examples read
			if err := os.WriteFile(m[2], []byte(m[3]), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if m[1] != "sh" || m[2] != "run" && m[2] != "check" {
			continue
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(m[3], "\\\n", " "), "\n") {
			input := ""
			if p := piped.FindStringSubmatch(line); p != nil {
				input, line = p[1], p[2]
			}
			args := words.FindAllString(line, -1)
			if len(args) == 0 || args[0] != "edge-agent" {
				continue
			}
			commands++
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
				if i > 0 && args[i-1] == "--connect" && m[2] == "run" {
					args[i] = "mqtt://" + address
				}
			}
			if m[2] == "check" {
				args = slices.Insert(args, 2, "--check")
			} else {
				args = slices.Insert(args, 2, "--spool", t.TempDir(), "--connect", "mqtt://"+address)
			}
			before := len(b.Messages())
			var out bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			status := run(ctx, args[1:], func(string) string { return "" }, strings.NewReader(input), &out, &out)
			cancel()
			if status != 0 {
				t.Errorf("%s: exit status %d\n%s", line, status, &out)
			}
			if m[2] == "run" && readingsIn(t, b.Messages()[before:]) == 0 {
				t.Errorf("%s: no reading arrived\n%s", line, &out)
			}
		}
	}
	if commands < 5 {
		t.Errorf("%s has %d examples that run", manual, commands)
	}
}

func readingsIn(t *testing.T, messages []brokertest.Message) (n int) {
	t.Helper()
	var c wire.Columns
	for _, m := range messages {
		if !strings.HasSuffix(m.Topic, "/readings") {
			continue
		}
		c.Reset()
		if err := wire.DecodeBatch(m.Payload, &wire.Batch{Columns: &c}, func(place, reason, detail string) { t.Error(place, reason, detail) }); err != nil {
			t.Error(err)
		}
		n += c.Len()
	}
	return n
}

// TestExitStatusAndTheLineThatExplainsIt covers what a person can get wrong.
func TestExitStatusAndTheLineThatExplainsIt(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	f := func(want int, says string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		status := run(t.Context(), args, func(k string) string { return env[k] }, strings.NewReader(""), &out, &errs)
		if status != want || !strings.Contains(errs.String()+out.String(), says) {
			t.Errorf("%q: exit status %d, want %d, and %q in\n%s%s", args, status, want, says, &out, &errs)
		}
		if want != 0 && strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: want one line, have\n%s", args, &errs)
		}
	}
	f(0, "usage: edge-agent", "-h")
	f(0, "-meters number", "sim", "-h")
	f(0, "gridloom edge-agent", "--version")
	f(0, "configuration is good", "sim", "--check")
	f(2, "no source")
	f(2, "sim, replay or stdin", "simulate")
	f(2, "-metres", "sim", "--metres", "5")
	f(2, "takes no arguments", "sim", "file.csv")
	f(2, "no files", "replay")
	f(2, "no file matches", "replay", dir+"/*.csv")
	f(2, "mqtt://host:1883", "sim", "--connect", "localhost", "--spool", dir)
	f(2, "want refuse or drop-oldest", "sim", "--when-full", "explode")
	f(2, "64MiB", "sim", "--spool-max", "much")
	f(2, "reading, 1s, 10s", "sim", "--sync", "never")
	f(2, "belong together", "sim", "--cert", file)
	f(2, "want one", "sim", "--password", "x", "--password-file", file)
	f(2, "Atlantis", "replay", "--zone", "Europe/Atlantis", file)
	f(1, file, "sim", "--spool", file)
	f(1, "no PEM certificate", "sim", "--ca", file, "--check")
	f(1, "--password-file", "sim", "--password-file", dir+"/none", "--check")
	f(1, "--input", "stdin", "--input", dir+"/none")

	env["GRIDLOOM_AGENT_SPOOL_MAX"] = "16MiB"
	f(0, "good", "sim", "--check")
	env["GRIDLOOM_AGENT_SPOOL_MAX"] = "lots"
	f(2, "GRIDLOOM_AGENT_SPOOL_MAX", "sim", "--check")
	f(0, "good", "sim", "--check", "--spool-max", "1MiB") // a flag that is given wins
}

// TestInterruptedAgentsStopCleanly: exit status 0, within five seconds, and what was not sent stays.
func TestInterruptedAgentsStopCleanly(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	log := make(chan string, 1000)
	go func() {
		done <- run(ctx, []string{"sim", "--every", "10ms", "--clock", "trust", "--connect", "mqtt://" + deadAddress(t), "--spool", dir, "--status-every", "50ms"},
			func(string) string { return "" }, nil, lineWriter(log), lineWriter(log))
	}()
	for line := range log {
		if strings.Contains(line, "msg=status") && !strings.Contains(line, "spooled=0 ") {
			break
		}
	}
	began := time.Now()
	cancel()
	if status := <-done; status != 0 || time.Since(began) > 5*time.Second {
		t.Errorf("exit status %d after %s", status, time.Since(began))
	}
	segments, err := filepath.Glob(dir + "/*.spool")
	if err != nil || len(segments) == 0 {
		t.Errorf("the spool holds %v (%v)", segments, err)
	}
}

// lineWriter sends what is written, as long as there is room.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	select {
	case w <- string(p):
	default:
	}
	return len(p), nil
}
