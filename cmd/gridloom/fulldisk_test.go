package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/client"
	"github.com/gridloom/gridloom/edge-agent/agent"
	"github.com/gridloom/gridloom/edge-agent/device"
)

// recorder is a source that remembers what it handed over. A copy of it may be
// taken at any time.
type recorder struct {
	device.Source
	mu   sync.Mutex
	said map[gridloom.Identity]int64
}

// Next implements device.Source.
func (r *recorder) Next(ctx context.Context, c *device.Chunk) error {
	from := c.Len()
	err := r.Source.Next(ctx, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := from; i < c.Len(); i++ {
		rd := c.Reading(i)
		r.said[rd.Identity()] = rd.Value
	}
	return err
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.said)
}

// startAgent runs an edge agent with simulated meters until stop is called, which
// waits until all that it said is acknowledged.
func startAgent(t *testing.T, connect, spool string) (a *agent.Agent, said *recorder, stop func()) {
	t.Helper()
	clock := device.NewClock(device.ClockTrust)
	sim, err := device.NewSim(device.SimConfig{Seed: 7, Meters: 40, Every: 200 * time.Millisecond, Prefix: "disk-"}, clock)
	if err != nil {
		t.Fatal(err)
	}
	said = &recorder{Source: sim, said: map[gridloom.Identity]int64{}}
	a, err = agent.New(agent.Config{
		Agent: "disk", Connect: connect, Dir: spool, Sync: time.Second, Clock: clock,
		BatchAge: 200 * time.Millisecond, BackoffMax: time.Second,
	}, said)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }() // waited for by stop or the cleanup
	ended := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended: %v", err)
		}
	})
	t.Cleanup(ended)
	return a, said, ended
}

// TestFullDiskWhileRunning: while somebody's file fills the disk nothing is
// acknowledged, the agent keeps what it reads, queries go on and /readyz names the
// disk; when the file is gone all goes on by itself, and nothing is lost.
func TestFullDiskWhileRunning(t *testing.T) {
	disk := mountTmpfs(t, "512m")
	s := serverOn(t, filepath.Join(disk, "data"))
	s.start()
	a, said, stop := startAgent(t, "mqtt://"+s.mqtt, filepath.Join(t.TempDir(), "spool"))
	acknowledged := func() uint64 { return a.Stats().Acknowledged }
	s.await("a thousand readings are acknowledged", func() bool { return acknowledged() > 1000 })
	foreign := filepath.Join(disk, "foreign")

	var held uint64                                         // acknowledged when the disk was full
	for _, left := range []uint64{100 << 20, 20 << 20, 0} { // within the reserve; beyond commits; nothing
		fillDisk(t, foreign, left)
		s.await("/readyz names the disk", func() bool {
			status, body := s.get("/readyz")
			return status == 503 && strings.Contains(body, "the log takes nothing") && strings.Contains(body, "the disk of "+s.data) &&
				strings.Contains(body, "delete files or enlarge the disk; it goes on by itself at")
		})
		read := said.count()
		held = acknowledged()
		s.await("the agent has spooled 1500 more readings", func() bool { return said.count() > read+1500 })
		if now := acknowledged(); now != held {
			t.Errorf("%d readings were acknowledged while the disk had %d MiB left", now-held, left>>20)
		}
		if st := a.Stats(); st.Spooled < 1000 || st.Refused > 0 || st.Dropped > 0 {
			t.Errorf("the agent does not spool: %+v", st)
		}
		if status, body := s.get("/api/v1/windows?meter=disk-00001&format=ndjson"); status != 200 || strings.Count(body, "\n") < 3 {
			t.Errorf("with %d MiB left a query answers %d %s", left>>20, status, body)
		}
		rows := strings.Count(s.answer("/api/v1/readings?format=ndjson"), "\n")
		if uint64(rows) < held {
			t.Errorf("with %d MiB left %d readings are shown, %d were acknowledged", left>>20, rows, held)
		}
		if left == 0 {
			break
		}
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	gone, backlog := time.Now(), uint64(said.count())
	s.await("what was spooled is acknowledged", func() bool { return acknowledged() >= backlog })
	t.Logf("the backlog of %d readings was gone %v after there was room", backlog-held, time.Since(gone))
	s.await("/readyz answers 200", func() bool { status, _ := s.get("/readyz"); return status == 200 })
	stop()
	if st := a.Stats(); st.Spooled != 0 || st.Refused != 0 || st.Dropped != 0 || st.Acknowledged != uint64(said.count()) {
		t.Errorf("%d readings were said; the agent ended with %+v", said.count(), st)
	}
	checkSaid := func(when string) {
		t.Helper()
		s.awaitFolded()
		compareSaid(t, s, said.said, when)
	}
	checkSaid("after the outage")
	if status, took := s.stop(); status != 0 || took > stopLimit {
		t.Errorf("SIGINT: exit status %d after %v", status, took)
	}
	s.start()
	checkSaid("after a restart")
}

// compareSaid compares what /readings answers with what was said.
func compareSaid(t *testing.T, s *server, said map[gridloom.Identity]int64, when string) {
	t.Helper()
	got := map[gridloom.Identity]int64{}
	for r, err := range s.client().Readings(t.Context(), client.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		register, ok := gridloom.RegisterByName(r.Register)
		if !ok {
			t.Fatalf("register %q", r.Register)
		}
		id := gridloom.Identity{Series: gridloom.Series{Meter: r.Meter, Register: register}, Start: r.Start, Length: r.Length}
		if _, twice := got[id]; twice {
			t.Errorf("%s %v is there twice", when, id)
		}
		got[id] = r.Value.Thousandths
	}
	lost, wrong := 0, 0
	for id, v := range said {
		g, ok := got[id]
		if !ok {
			lost++
		} else if g != v {
			wrong++
		}
	}
	if lost > 0 || wrong > 0 || len(got) != len(said) {
		t.Errorf("%s: %d readings were said and %d are shown: %d lost, %d with another value", when, len(said), len(got), lost, wrong)
	}
}
