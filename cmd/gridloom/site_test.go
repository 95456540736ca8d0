package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// site is roles that run apart: a NATS server, a data directory and processes on both.
type site struct {
	t     *testing.T
	dir   string
	data  string
	url   string
	check string // URL of its monitor
	nats  *exec.Cmd
	procs map[string]*server // by name

	sent int // readings that were acknowledged
	at   time.Time
}

// newSite returns a site whose NATS server runs, by the configuration that is shipped.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), procs: map[string]*server{}, at: time.Now().Add(-5 * time.Hour).Truncate(time.Hour)}
	s.data = filepath.Join(s.dir, "data")
	s.startNATS("127.0.0.1:-1")
	t.Cleanup(func() { s.killNATS() })
	return s
}

// startNATS starts the NATS server; port -1 takes a free one.
func (s *site) startNATS(listen string) {
	s.t.Helper()
	text, err := os.ReadFile("../../deploy/nats/nats-server.conf")
	if err != nil {
		s.t.Fatal(err)
	}
	conf := strings.NewReplacer(`"0.0.0.0:4222"`, fmt.Sprintf("%q", listen), `"127.0.0.1:8222"`, `"127.0.0.1:-1"`, `"/var/lib/nats"`, fmt.Sprintf("%q", filepath.Join(s.dir, "nats"))).Replace(string(text))
	ports, err := os.MkdirTemp(s.dir, "ports")
	if err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(s.dir, "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "ports_file_dir: %q\n%s", ports, conf), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.nats = exec.Command(builtBinary(s.t, "nats-server"), "-c", file)
	out := &logFile{}
	s.nats.Stdout, s.nats.Stderr = out, out
	if err := s.nats.Start(); err != nil {
		s.t.Fatal(err)
	}
	awaitTrue(s.t, "the NATS server listens", func() bool {
		files, err := filepath.Glob(filepath.Join(ports, "*.ports"))
		if err != nil || len(files) == 0 {
			return false
		}
		var p struct{ NATS, Monitoring []string }
		text, err := os.ReadFile(files[0])
		if err != nil || json.Unmarshal(text, &p) != nil || len(p.NATS) == 0 || len(p.Monitoring) == 0 {
			return false
		}
		s.url, s.check = p.NATS[0], p.Monitoring[0]
		return true
	})
}

// killNATS ends the NATS server as a crash would.
func (s *site) killNATS() {
	_ = s.nats.Process.Kill() // gone already is as good
	_ = s.nats.Wait()
}

// restartNATS starts it again where it was.
func (s *site) restartNATS() {
	s.t.Helper()
	s.startNATS(strings.TrimPrefix(s.url, "nats://"))
}

// awaitTrue polls until cond holds; it fails the test after 30 s.
func awaitTrue(t *testing.T, what string, cond func() bool) {
	t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited 30 s in vain until %s", what)
		}
	}
}

// line is how a process of the site is started.
func (s *site) line(r role, name string) []string {
	args := []string{string(r), "--nats", s.url, "--nats-fsync-always", "--data", s.data, "--name", name, "--partitions", "8", "--http", "127.0.0.1:0"}
	if r == roleIngest {
		args = append(args, "--mqtt", "127.0.0.1:0")
	}
	return args
}

// launch starts a process and returns at once.
func (s *site) launch(r role, name string) *server {
	s.t.Helper()
	p := s.proc(r, name)
	p.launchLine(s.line(r, name))
	return p
}

// proc returns a process of the site, which need not run.
func (s *site) proc(r role, name string) *server {
	p := s.procs[name]
	if p == nil {
		p = serverOn(s.t, s.data)
		p.run = filepath.Join("run", string(r)+"-"+name+".json")
		s.procs[name] = p
	}
	return p
}

// start launches a process and waits until it is ready.
func (s *site) start(r role, name string) *server {
	s.t.Helper()
	p := s.launch(r, name)
	p.awaitReady()
	return p
}

// publish sends n readings for each of 24 meters through a process and waits for the PUBACKs.
func (s *site) publish(ingest string, n int) {
	s.t.Helper()
	p := dialPublisher(s.t, s.procs[ingest].mqtt, fmt.Sprintf("client-%d", s.sent))
	defer p.close()
	p.publishAll(s.t, "gridloom/v1/site/gw/readings", s.messages(n))
}

// publishAll sends messages, at most 1000, and waits for the PUBACK of each.
func (p *publisher) publishAll(t *testing.T, topic string, messages [][]byte) {
	t.Helper()
	waiting := map[uint16]bool{}
	for _, m := range messages {
		id, err := p.send(topic, m)
		if err != nil {
			t.Fatalf("publish: %v", err)
		}
		waiting[id] = true
	}
	for len(waiting) > 0 {
		id, err := p.ack()
		if err != nil || !waiting[id] {
			t.Fatalf("PUBACK of %d, %v; %d are missing", id, err, len(waiting))
		}
		delete(waiting, id)
	}
}

// messages returns the next payloads: one reading each, and counts them as sent.
func (s *site) messages(n int) (list [][]byte) {
	for range n {
		s.at = s.at.Add(97 * time.Second)
		for m := range 24 {
			list = append(list, readingJSON(fmt.Sprintf("m%02d", m), "energy_import", s.at, float64(s.sent+m)))
		}
		s.sent += 24
	}
	return list
}

// rows asks for a CSV answer and returns its lines without the columns that tell when
// things were stored, and not what.
func rows(t *testing.T, p *server, path string) []string {
	t.Helper()
	status, body := p.get(path + "&format=csv")
	if status != 200 {
		t.Fatalf("%s answers %d: %s", path, status, body)
	}
	records, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	names := slices.Clone(records[0])
	for _, r := range records {
		for i, name := range names {
			if name == "revision" || name == "computed_at" {
				r[i] = ""
			}
		}
		lines = append(lines, strings.Join(r, ","))
	}
	return lines[1:]
}

const allReadings, allWindows = "/api/v1/readings?from=-6h", "/api/v1/windows?from=-6h&to=-1h"

// checkAll compares what a query process answers with what was acknowledged.
func (s *site) checkAll(query, when string) {
	s.t.Helper()
	if got := len(rows(s.t, s.procs[query], allReadings)); got != s.sent {
		s.t.Errorf("%s: %d readings of %d that were acknowledged", when, got, s.sent)
	}
}

// owners returns how many running partitions each node has.
func (s *site) owners(query string) map[string]int {
	status, body := s.procs[query].get("/api/v1/status")
	var answer struct {
		Partitions []struct {
			State string `json:"state"`
			Node  string `json:"node"`
		} `json:"partitions"`
	}
	loads := map[string]int{}
	if status == 200 && json.Unmarshal([]byte(body), &answer) == nil {
		for _, p := range answer.Partitions {
			if p.State == "running" {
				loads[p.Node]++
			}
		}
	}
	return loads
}

// awaitOwners waits until the nodes have so many running partitions each, and returns how long it took.
func (s *site) awaitOwners(query string, want map[string]int) time.Duration {
	s.t.Helper()
	began := time.Now()
	last := map[string]int{}
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the partitions were at %v", last)
		}
	}()
	awaitTrue(s.t, fmt.Sprintf("the partitions are at %v", want), func() bool {
		last = s.owners(query)
		return maps.Equal(last, want)
	})
	return time.Since(began)
}

// asking asks for the readings of one meter after the other until it is stopped, and
// tells how long the slowest answer took and what was answered instead of one.
type asking struct {
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	slowest time.Duration
	count   int
	failed  []string
}

func (s *site) ask(query string) *asking {
	ctx, cancel := context.WithCancel(s.t.Context())
	a := &asking{cancel: cancel}
	p := s.procs[query]
	for i := range 4 {
		a.wg.Go(func() {
			for m := i; ctx.Err() == nil; m = (m + 4) % 24 {
				began := time.Now()
				status, body := p.get(fmt.Sprintf("/api/v1/readings?meter=m%02d&from=-6h", m))
				took := time.Since(began)
				a.mu.Lock()
				a.count++
				a.slowest = max(a.slowest, took)
				if status != 200 && len(a.failed) < 5 && ctx.Err() == nil {
					a.failed = append(a.failed, fmt.Sprintf("%d after %s: %s", status, took, body))
				}
				a.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
	return a
}

// stop ends the asking.
func (a *asking) stop() (slowest time.Duration, count int, failed []string) {
	a.cancel()
	a.wg.Wait()
	return a.slowest, a.count, a.failed
}

// freeAddress is an address of which a test knows that nobody listens there.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
