package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCompareRunsStacksInTurns lets gridloom and mosquitto take a short load and holds
// the figures against what each of them must show.
func TestCompareRunsStacksInTurns(t *testing.T) {
	if _, err := exec.LookPath("/usr/sbin/mosquitto"); err != nil {
		if os.Getenv("GRIDLOOM_REQUIRE") == "1" {
			t.Fatal("mosquitto is not installed: apt-get install mosquitto")
		}
		t.Skip("mosquitto is not installed: apt-get install mosquitto")
	}
	var out, progress strings.Builder
	dir := t.TempDir()
	err := run(t.Context(), []string{
		"compare", "ingest", "--duration", "2s", "--rounds", "1", "--objects", "10", "--connections", "4", "--window", "20", "--meters", "400",
		"--only", stackGridloom + "," + stackBare, "--dir", dir, "--json",
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var r compareReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Figures) != 2 {
		t.Fatalf("%d figures: %s", len(r.Figures), out.String())
	}
	for _, f := range r.Figures {
		if f.ObjectsPerSecond < 100 || f.CPUSPerM <= 0 || f.PeakRSS < 1<<20 || f.NotShown != 0 || f.Rounds != 1 || f.ObjectsPerMsg != 10 {
			t.Errorf("the figure shows too little: %+v", f)
		}
		if f.PubackP50Ms <= 0 || f.PubackP99Ms < f.PubackP50Ms || len(f.CPUByPart) != 1 || len(f.RSSByPart) != 1 {
			t.Errorf("the figure shows too little: %+v", f)
		}
		if f.Stack == stackGridloom && (f.RateRatio != 1 || f.CPURatio != 1) || f.RateRatio <= 0 {
			t.Errorf("ratios to gridloom: %+v", f)
		}
	}
	if !strings.Contains(r.Versions["mosquitto"], "mosquitto version") {
		t.Errorf("versions are %q", r.Versions)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var text strings.Builder
	if err := r.print(&text); err != nil || !strings.Contains(text.String(), "without Telegraf") {
		t.Errorf("the text (%v) does not say what it was compared with:\n%s", err, text.String())
	}
}

// scriptedBroker accepts one client, takes its CONNECT and SUBSCRIBE, sends what it is
// told in small pieces and returns what the client sends after that.
func scriptedBroker(t *testing.T, answers []byte, want int) (addr string, got <-chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	sent := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r := bufio.NewReader(c)
		if _, _, err := readPacket(r, nil); err != nil {
			return
		}
		if _, err := c.Write([]byte{packetConnack << 4, 2, 0, 0}); err != nil {
			return
		}
		if _, _, err := readPacket(r, nil); err != nil {
			return
		}
		for len(answers) > 0 {
			n := min(7, len(answers))
			if _, err := c.Write(answers[:n]); err != nil {
				return
			}
			answers = answers[n:]
		}
		buf := make([]byte, want)
		_, _ = io.ReadFull(r, buf)
		sent <- buf
	}()
	return l.Addr().String(), sent
}

func TestSubscriberCountsAndAcknowledges(t *testing.T) {
	answers := []byte{packetSuback << 4, 3, 0, 1, 1}
	var want []byte
	for id := range uint16(30) {
		answers = appendPublish(answers, "gridloom/v1/bench/a/readings", id+1, make([]byte, id))
		want = append(want, packetPuback<<4, 2, 0, byte(id+1))
	}
	addr, got := scriptedBroker(t, answers, len(want))
	s, err := subscribe(t.Context(), addr, loadTopics)
	if err != nil {
		t.Fatal(err)
	}
	if acks := <-got; !bytes.Equal(acks, want) {
		t.Errorf("acknowledged % x, want % x", acks, want)
	}
	s.reader.Wait() // the broker has gone
	if n := s.messages.Load(); n != 30 {
		t.Errorf("%d messages were counted, want 30", n)
	}
	if err := s.err(); err == nil {
		t.Error("a lost broker is no error")
	}
	s.close()
}

func TestSubscriberIsRefused(t *testing.T) {
	addr, _ := scriptedBroker(t, []byte{packetSuback << 4, 3, 0, 1, 0x80}, 0)
	if _, err := subscribe(t.Context(), addr, loadTopics); err == nil || !strings.Contains(err.Error(), "SUBACK") {
		t.Errorf("a refused subscription: %v", err)
	}
}

func TestMissingPeersAreNamedWithTheirPackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	c := &contest{cfg: &compareConfig{server: "/nonexistent/gridloom"}, dir: t.TempDir()}
	stacks, err := c.stacks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"apt-get install victoria-metrics", "apt-get install influxdb", "--telegraf"} {
		if !slices.ContainsFunc(c.missing, func(m string) bool { return strings.Contains(m, want) }) {
			t.Errorf("missing are %q, nothing says %q", c.missing, want)
		}
	}
	if len(stacks) == 0 || stacks[0].name != stackGridloom {
		t.Errorf("gridloom is not among the %d stacks", len(stacks))
	}
	c.cfg.only = stackVM
	if _, err := c.stacks(t.Context()); err == nil || !strings.Contains(err.Error(), "victoria-metrics is not installed") {
		t.Errorf("--only a stack that is not there: %v", err)
	}
}

func TestFiguresAreMediansAndRatios(t *testing.T) {
	one := func(rate, cpu, p99 float64, shown int64) stackRun {
		return stackRun{objectsPerSecond: rate, cpu: map[string]float64{"a": cpu, "b": 1}, rss: map[string]int64{"a": 10, "b": 5}, p99: p99, sent: 100, shown: shown}
	}
	r := compareReport{Figures: []stackFigure{
		figureOf(stackGridloom, 1, []stackRun{one(100, 1, 5, 100), one(300, 3, 7, 100), one(200, 2, 6, 100)}),
		figureOf("peer", 1, []stackRun{one(10, 29, 5, 90), one(30, 29, 5, 100)}),
		figureOf("peer", 100, []stackRun{one(10, 29, 5, 100)}),
	}}
	r.compare()
	if f := r.Figures[0]; f.ObjectsPerSecond != 200 || f.CPUSPerM != 3 || f.PubackP99Ms != 6 || f.PeakRSS != 15 || f.CPUByPart["a"] != 2 {
		t.Errorf("medians: %+v", f)
	}
	if f := r.Figures[1]; f.ObjectsPerSecond != 20 || f.RateRatio != 10 || f.CPURatio != 10 || f.NotShown != 10 {
		t.Errorf("ratios: %+v", f)
	}
	if f := r.Figures[2]; f.RateRatio != 0 {
		t.Errorf("a ratio to another shape: %+v", f)
	}
}

func TestCompareSaysWhatIsWrong(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		err := run(t.Context(), append([]string{"compare"}, args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("compare %q: %v, want something about %q", args, err, want)
		}
	}
	f("compare ingest")
	f("compare ingest", "queries")
	f("--objects", "ingest", "--objects", "1,x")
	f("--max-objects", "ingest", "--max-objects", "0")
	f("--rounds", "ingest", "--rounds", "0")
	f("--meters", "ingest", "--meters", "1")
}

// TestTrialEndsWhatItStarted: a part that dies is named, and finish leaves no process.
func TestTrialEndsWhatItStarted(t *testing.T) {
	dir := t.TempDir()
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{dir: dir, log: log}
	if err := tr.launch("lasting", "/bin/sleep", "1000"); err != nil {
		t.Fatal(err)
	}
	if err := tr.launch("short", "/bin/sh", "-c", "echo out of paper; exit 4"); err != nil {
		t.Fatal(err)
	}
	tr.parts[1].process.await(t.Context(), time.Minute)
	if err := tr.alive(); err == nil || !strings.Contains(err.Error(), "short") || !strings.Contains(err.Error(), "out of paper") {
		t.Errorf("a part that ended: %v", err)
	}
	if err := tr.finish(); err != nil {
		t.Error(err)
	}
	if !tr.parts[0].process.ended() {
		t.Error("a part goes on after the trial")
	}
}

// TestShownIsAwaited: until all is shown, or nothing more comes; an answer that fails in
// between does not matter.
func TestShownIsAwaited(t *testing.T) {
	answers := []int64{0, 30, -1, 70, 100}
	tr := &trial{shown: func(context.Context) (int64, error) {
		n := answers[0]
		answers = answers[1:]
		if n < 0 {
			return 0, io.ErrUnexpectedEOF
		}
		return n, nil
	}}
	seconds, shown, err := tr.awaitShown(t.Context(), 100)
	if err != nil || shown != 100 || len(answers) > 0 || seconds < 4*shownEvery.Seconds() {
		t.Errorf("%d shown after %v s (%v), %d answers are left", shown, seconds, err, len(answers))
	}
}
