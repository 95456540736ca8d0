package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A contest runs stacks in turns.
type contest struct {
	cfg      *compareConfig
	dir      string
	versions map[string]string
	missing  []string // one line each, with the package that brings it
	server   string   // the gridloom binary
	programs map[string]string
}

// A stack is one way from MQTT messages to answered queries.
type stack struct {
	name  string
	start func(ctx context.Context, t *trial) error
}

// A trial is one run of a stack: its processes, and how to ask what it shows.
type trial struct {
	objects int // per message
	dir     string
	log     *os.File // what all its processes print
	parts   []trialPart
	mqtt    string
	// shown returns how many objects a query shows, without probes.
	shown func(ctx context.Context) (int64, error)
	// settled returns when what was shown is also stored, so that its cost is counted; nil if that is at once.
	settled func(ctx context.Context) error
	close   []func() error // beside the processes
}

type trialPart struct {
	name    string
	process *process
}

// partStop is how long a part of a stack may take to end.
const partStop = 10 * time.Second

// launch starts a program as a part of the stack.
func (t *trial) launch(name, program string, args ...string) error {
	//nolint:noctx // finish ends it
	p, err := startProcess(exec.Command(program, args...), t.log)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	t.parts = append(t.parts, trialPart{name, p})
	return nil
}

// finish ends the processes, the last to start first, and removes their files.
func (t *trial) finish() error {
	for _, p := range slices.Backward(t.parts) {
		p.process.end(partStop)
	}
	var errs []error
	for _, c := range t.close {
		errs = append(errs, c())
	}
	return errors.Join(append(errs, t.log.Close(), os.RemoveAll(t.dir))...)
}

// alive fails if a part has ended.
func (t *trial) alive() error {
	for _, p := range t.parts {
		if p.process.ended() {
			return fmt.Errorf("%s ended (%s); the log says: %s", p.name, p.process.cmd.ProcessState, lastWords(t.log, 0))
		}
	}
	return nil
}

// run gives a stack its turn.
func (c *contest) run(ctx context.Context, s *stack, objects int) (_ *stackRun, err error) {
	dir, err := os.MkdirTemp(c.dir, "stack-")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	t := &trial{objects: objects, dir: dir, log: log}
	defer func() { err = errors.Join(err, t.finish()) }()
	if err := s.start(ctx, t); err != nil {
		return nil, errors.Join(err, t.alive())
	}
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	cfg := c.cfg.load(objects)
	cfg.mqtt = t.mqtt
	load, err := load(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, t.alive())
	}
	seconds, shown, err := t.awaitShown(ctx, load.Objects)
	if err != nil {
		return nil, err
	}
	if t.settled != nil {
		if err := t.settled(ctx); err != nil {
			return nil, err
		}
	}
	r := &stackRun{
		objectsPerSecond: float64(shown) / (load.Seconds + seconds), p50: load.PubackP50Ms, p99: load.PubackP99Ms, sent: load.Objects, shown: shown,
		rss: map[string]int64{},
	}
	if r.cpu, err = t.cpu(); err != nil {
		return nil, err
	}
	for _, p := range t.parts {
		r.cpu[p.name] = (r.cpu[p.name] - before[p.name]) / float64(max(load.Objects, 1)) * 1e6
		if r.rss[p.name], err = peakRSS(p.process.pid()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// cpu returns the seconds that each part has used.
func (t *trial) cpu() (map[string]float64, error) {
	if err := t.alive(); err != nil {
		return nil, err
	}
	used := map[string]float64{}
	for _, p := range t.parts {
		d, err := cpuTime(p.process.pid())
		if err != nil {
			return nil, err
		}
		used[p.name] = d.Seconds()
	}
	return used, nil
}

// How often a stack is asked what it shows, and after how long without anything new
// the rest is given up.
const (
	shownEvery   = 100 * time.Millisecond
	shownGivesUp = 30 * time.Second
)

// awaitShown waits until all objects are shown and returns how long that took. It
// stops early when nothing more comes. A stack for which the question is dear is asked
// less often, so that answering takes a tenth of its time at most.
func (t *trial) awaitShown(ctx context.Context, objects int64) (seconds float64, shown int64, err error) {
	begun := time.Now()
	last := begun // when something new was shown
	for {
		asked := time.Now()
		n, err := t.shown(ctx)
		dear := time.Since(asked)
		if err := t.alive(); err != nil {
			return 0, 0, err
		}
		if n > shown {
			shown, last = n, time.Now()
		}
		switch {
		case shown >= objects:
			return last.Sub(begun).Seconds(), shown, nil
		case time.Since(last) > shownGivesUp && err != nil:
			return 0, 0, err
		case time.Since(last) > shownGivesUp:
			return last.Sub(begun).Seconds(), shown, nil
		}
		if err := rest(ctx, max(shownEvery, 9*min(dear, 2*time.Second))); err != nil {
			return 0, 0, err
		}
	}
}

const stackGridloom = "gridloom up"

// gridloom is this program with its defaults: fsync always.
func (c *contest) gridloom() stack {
	return stack{stackGridloom, func(ctx context.Context, t *trial) error {
		s := &server{binary: c.server, args: strings.Fields(c.cfg.serverArgs), data: filepath.Join(t.dir, "data"), log: t.log}
		l, err := s.start(ctx, "")
		if l != nil {
			t.parts = append(t.parts, trialPart{"gridloom", l.process})
		}
		if err != nil {
			return err
		}
		a := newAPI(l.http)
		t.mqtt = l.mqtt
		t.close = append(t.close, func() error { a.close(); return nil })
		t.shown = func(ctx context.Context) (int64, error) { return countShown(ctx, a) }
		t.settled = func(ctx context.Context) error {
			var r loadReport
			return r.waitUntilCommitted(ctx, &loadConfig{commitWait: 30 * time.Second}, a)
		}
		return nil
	}}
}

// countShown adds up the readings of power in the windows that are served.
func countShown(ctx context.Context, a *api) (int64, error) {
	q := url.Values{"register": {"power_import"}, "group_by": {"register"}, "from": {"-2h"}}
	var n int64
	err := rows(ctx, a, "/api/v1/windows", q, func(r *servedWindow) error {
		n += r.N
		return nil
	})
	return n, err
}

// freePort returns a loopback address that nobody listens on at the moment.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// awaitPort waits until somebody accepts connections at addr.
func (t *trial) awaitPort(ctx context.Context, addr string) error {
	return t.until(ctx, func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// until asks every 20 ms until ok says so, for at most startTimeout.
func (t *trial) until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if err := t.alive(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it was not ready within %s: %s: %w", startTimeout, lastWords(t.log, 0), ctx.Err())
		}
	}
	return nil
}

// getJSON asks a peer.
func getJSON(ctx context.Context, a *api, path string, q url.Values, answer any) error {
	body, err := a.get(ctx, path, q)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(answer)
}
