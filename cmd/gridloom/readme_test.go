package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// block is a fenced part of a page.
type block struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// blocks returns the fenced parts of a page in their order.
func blocks(t *testing.T, path string) (all []block) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		all = append(all, block{m[1], m[2]})
	}
	return all
}

// TestReadme runs what the README tells to run, on its demo, and compares the
// shape of the answers with the page.
func TestReadme(t *testing.T) {
	all := blocks(t, "../../README.md")
	s := newServer(t)
	started, asked, sent, made := false, 0, false, false
	answer := ""
	for _, b := range all {
		switch b.language {
		case "sh":
			for line := range strings.SplitSeq(strings.ReplaceAll(b.text, "\\\n", " "), "\n") {
				command, _, _ := strings.Cut(line, "   #")
				words := strings.Fields(command)
				switch {
				case len(words) == 0:
				case strings.HasPrefix(command, "go run ./cmd/gridloom up "):
					cfg, err := parseUp(words[4:], &logFile{})
					if err != nil || !cfg.demo || cfg.mqtt != "127.0.0.1:1883" || cfg.http != "127.0.0.1:8080" || cfg.data != "./gridloom-data" || cfg.meters != 200 || cfg.agents != 10 {
						t.Errorf("%q starts %+v, %v: not what stands behind it", command, cfg, err)
					}
					s.start(words[4:]...)
					started = true
				case slices.Equal(words, []string{"make", "test"}):
					text, err := os.ReadFile("../../Makefile")
					if err != nil || !regexp.MustCompile(`(?m)^test:.*\n.* test -race `).Match(text) {
						t.Errorf("make test does not run the tests with the race detector: %v", err)
					}
					made = true
				case words[0] == "curl":
					path, ok := strings.CutPrefix(strings.Trim(words[1], "'"), "http://127.0.0.1:8080")
					if !ok || !started || len(words) != 2 {
						t.Fatalf("%q asks another server", command)
					}
					answer = s.answerWithRows(path)
					asked++
				case words[0] == "mosquitto_pub":
					needPrograms(t, "mosquitto-clients", "mosquitto_pub")
					runBash(t, strings.Replace(command, "-p 1883", "-p "+s.mqtt[strings.LastIndex(s.mqtt, ":")+1:], 1))
					sent = true
				default:
					t.Errorf("README: nobody tries %q", command)
				}
			}
		case "json":
			if answer == "" {
				t.Fatalf("an answer without a question: %s", b.text)
			}
			if want, got := shapeOf(t, b.text), shapeOf(t, answer); want != got {
				t.Errorf("README shows an answer of the form\n%s\nand gridloom gives\n%s", want, got)
			}
			answer = ""
		}
	}
	if !started || !sent || !made || asked < 2 {
		t.Errorf("of the README's commands up was tried: %t, mosquitto_pub: %t, make test: %t, queries: %d", started, sent, made, asked)
	}
}

// answerWithRows repeats a query until the answer has rows.
func (s *server) answerWithRows(path string) (body string) {
	s.t.Helper()
	s.await(path+" has rows", func() bool {
		body = s.answer(path)
		return !strings.Contains(body, `"rows":0`)
	})
	return body
}

func runBash(t *testing.T, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "bash", "-c", command).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// shapeOf tells the keys and kinds of values of a JSON text, the elements of an
// array by the first of them.
func shapeOf(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return shape(v)
}

func shape(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case []any:
		if len(v) == 0 || shape(v[0]) == "string" { // a list of words may be empty
			return "[]"
		}
		return "[" + shape(v[0]) + "]"
	case map[string]any:
		var parts []string
		for key, value := range v {
			parts = append(parts, key+":"+shape(value))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	case float64:
		return "number"
	}
	return fmt.Sprintf("%T", v)
}

// metricName is a metric of gridloom as a page or /metrics has it.
var metricName = regexp.MustCompile(`\bgridloom_[a-z_]+\b`)

// TestOperationsPageListsTheMetrics: the table of docs/operations.md and what
// /metrics serves are the same.
func TestOperationsPageListsTheMetrics(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `gridloom_") {
			name := metricName.FindString(line)
			if told[name] {
				t.Errorf("docs/operations.md lists %s twice", name)
			}
			told[name] = true
		}
	}
	for _, name := range metricName.FindAllString(string(page), -1) {
		if !told[name] && !strings.HasSuffix(name, "_") {
			t.Errorf("docs/operations.md speaks of %s and does not list it", name)
		}
	}

	s := newServer(t)
	s.start()
	// What is counted by labels shows when it has happened once.
	p := dialPublisher(t, s.mqtt, "metrics")
	p.publish(t, "gridloom/v1/test/a/readings", readingJSON("m1", "power_import", time.Now(), 1))
	p.publish(t, "gridloom/v1/test/a/readings", []byte("{"))
	s.awaitRows("/api/v1/readings?format=ndjson", 1)
	for _, first := range [][]byte{{0x10, 0x00}, {0xc0, 0x00}} { // a CONNECT of nothing, and no CONNECT at all
		_, _ = newRawConn(t, s.mqtt).Write(first)
	}
	_, _ = p.conn.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}) // a packet of 256 MiB
	served := map[string]bool{}
	s.await("refused and closed connections are counted", func() bool {
		for line := range strings.Lines(s.answer("/metrics")) {
			if rest, ok := strings.CutPrefix(line, "# TYPE gridloom_"); ok {
				served["gridloom_"+strings.Fields(rest)[0]] = true
			}
		}
		return served["gridloom_ingest_refused_connections_total"] && served["gridloom_ingest_closed_connections_total"]
	})
	for name := range served {
		if !told[name] {
			t.Errorf("/metrics serves %s, and docs/operations.md does not list it", name)
		}
	}
	for name := range told {
		if !served[name] {
			t.Errorf("docs/operations.md lists %s, and /metrics does not serve it", name)
		}
	}
}

func newRawConn(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
