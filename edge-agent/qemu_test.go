package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/internal/wire"
)

// build builds the agent for a platform as it is shipped: stripped, without cgo.
func build(t *testing.T, env ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edge-agent")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", env, err, out)
	}
	return path
}

// process is a running agent whose log can be waited on.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	mu   sync.Mutex
	log  strings.Builder
	news chan struct{} // capacity 1
	eof  chan struct{}
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(args[0], args[1:]...), news: make(chan struct{}, 1), eof: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = io.Discard
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		defer close(p.eof)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.log, lines.Text())
			p.mu.Unlock()
			select {
			case p.news <- struct{}{}:
			default:
			}
		}
	}()
	return p
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// await waits for a text in the log.
func (p *process) await(want string) {
	p.t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !strings.Contains(p.text(), want) {
		select {
		case <-p.news:
		case <-p.eof:
			if !strings.Contains(p.text(), want) {
				p.t.Fatalf("the agent ended without %q:\n%s", want, p.text())
			}
		case <-limit.C:
			p.t.Fatalf("waited in vain for %q:\n%s", want, p.text())
		}
	}
}

// wait waits for the end and returns the exit status.
func (p *process) wait() int {
	<-p.eof
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// TestAgentsOfOtherMachinesSurviveKill runs the agents for arm and arm64, and for
// this machine: sim → spool without a broker → kill -9 → start again with one:
// everything that was sealed arrives. With GRIDLOOM_BROKER=host:port (and
// GRIDLOOM_QUERY=http://host:port) they publish to a running gridloom instead, and
// the readings are asked for there.
func TestAgentsOfOtherMachinesSurviveKill(t *testing.T) {
	for _, m := range []struct {
		name, runner string
		env          []string
	}{
		{name: "this machine"},
		{"arm v6", "qemu-arm", []string{"GOOS=linux", "GOARCH=arm", "GOARM=6"}},
		{"arm64", "qemu-aarch64", []string{"GOOS=linux", "GOARCH=arm64"}},
	} {
		t.Run(m.name, func(t *testing.T) {
			var command []string
			if m.runner != "" {
				path, err := exec.LookPath(m.runner)
				if err != nil {
					skip(t, "needs "+m.runner+" of the Debian package qemu-user")
				}
				command = []string{path}
			}
			command = append(command, build(t, m.env...))
			survivesKill(t, command, "qemu-"+strings.ReplaceAll(m.name, " ", "-"))
		})
	}
}

func survivesKill(t *testing.T, command []string, name string) {
	t.Helper()
	dir := t.TempDir()
	// 25 objects of 20 meters in 1,500 readings at least, 15 min ago: not in the future of a real server.
	from := time.Now().UTC().Truncate(time.Minute).Add(-15 * time.Minute).Format(time.RFC3339)
	const meters = 20
	sim := func(connect, during string) []string {
		return append(append([]string(nil), command...), "sim", "--connect", "mqtt://"+connect, "--agent", name, "--spool", dir,
			"--meters", fmt.Sprint(meters), "--meter-prefix", name+"-", "--from", from, "--for", during, "--batch-readings", "50",
			"--status-every", "100ms", "--backoff-max", "1s")
	}
	first := startProcess(t, sim(deadAddress(t), "250s")...)
	first.await("source has ended")
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if status := first.wait(); status != -1 {
		t.Fatalf("exit status %d of a killed agent", status)
	}
	if address := os.Getenv("GRIDLOOM_BROKER"); address != "" {
		second := startProcess(t, sim(address, "10s")...)
		if status := second.wait(); status != 0 {
			t.Fatalf("exit status %d:\n%s", status, second.text())
		}
		queryable(t, name, from, meters*25)
		return
	}
	b := brokertest.New()
	address, err := b.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	second := startProcess(t, sim(address, "10s")...)
	if status := second.wait(); status != 0 {
		t.Fatalf("exit status %d:\n%s", status, second.text())
	}
	var c wire.Columns
	epochs, seen := map[uint32]int{}, map[string]int{}
	for _, m := range b.Messages() {
		if !strings.HasSuffix(m.Topic, "/readings") {
			continue
		}
		c.Reset()
		batch := wire.Batch{Columns: &c}
		if err := wire.DecodeBatch(m.Payload, &batch, func(place, reason, detail string) { t.Error(place, reason, detail) }); err != nil {
			t.Fatal(err)
		}
		epochs[batch.Epoch]++
		for i := range c.Len() {
			r := c.Reading(i)
			if r.Register.String() == "voltage_l1" {
				seen[fmt.Sprint(r.Meter, r.Start)]++
			}
		}
	}
	if len(seen) != meters*25 || len(epochs) != 2 {
		t.Errorf("%d objects arrived, want %d; batches by epoch %v\n%s", len(seen), meters*25, epochs, second.text())
	}
}

// deadAddress returns an address where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// queryable asks a running gridloom for what was published.
func queryable(t *testing.T, name, from string, want int) {
	t.Helper()
	base := os.Getenv("GRIDLOOM_QUERY")
	if base == "" {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for got := -1; got != want; {
		if ctx.Err() != nil {
			t.Fatalf("%d objects can be queried, want %d", got, want)
		}
		got = 0
		for n := 1; n <= 20; n++ {
			q := url.Values{"meters": {fmt.Sprintf("%s-%05d", name, n)}, "registers": {"voltage_l1"}, "from": {from}, "format": {"ndjson"}}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/readings?"+q.Encode(), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			for d := json.NewDecoder(res.Body); ; got++ {
				var row json.RawMessage
				if d.Decode(&row) != nil {
					break
				}
			}
			_ = res.Body.Close()
		}
	}
}
