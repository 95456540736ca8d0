package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A server is the program under test and its data directory. One life of it runs at a time.
type server struct {
	binary string
	args   []string // beside those that start sets
	data   string
	haste  bool     // it merges and sweeps every moment, so that kills hit that
	log    *os.File // what all lives print
}

// hasteEnv makes a gridloom merge segments and delete files every moment.
const hasteEnv = "GRIDLOOM_HASTE=1"

// hasty reports whether a life with that fault is to hurry: one that is killed at a
// random moment, or in what it hurries with. Commits, say, are to be met as they are.
func hasty(fault string) bool {
	point, _, _ := strings.Cut(fault, ":")
	return point == "" || slices.Contains(upkeepPoints, point)
}

// serverBinary returns the path that was given, or builds the server of this module into dir.
func serverBinary(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		return given, nil
	}
	return goBuild(ctx, filepath.Join(dir, "gridloom"), "github.com/gridloom/gridloom/cmd/gridloom")
}

// natsBinary returns the path that was given, or builds the nats-server of this module's go.mod into dir.
func natsBinary(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		return given, nil
	}
	return goBuild(ctx, filepath.Join(dir, "nats-server"), "github.com/nats-io/nats-server/v2")
}

func goBuild(ctx context.Context, path, pkg string) (string, error) {
	if text, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, text)
	}
	return path, nil
}

// A life is one process of the server.
type life struct {
	*process
	mqtt  string
	http  string
	ready time.Duration // from exec to the first 200 of /readyz
}

// startTimeout is how long a life may take until it serves.
const startTimeout = 60 * time.Second

// errDied is a life that ended before it served.
var errDied = errors.New("the server died before it served")

// runFile is DATA/run.json, which gridloom up writes once it serves.
type runFile struct {
	MQTT string `json:"mqtt"`
	HTTP string `json:"http"`
	PID  int    `json:"pid"`
}

// start starts a life and waits until it serves. fault is GRIDLOOM_FAULT, "" for none.
// errDied is returned with the life when the process ended by SIGKILL meanwhile.
func (s *server) start(ctx context.Context, fault string) (*life, error) {
	runJSON := filepath.Join(s.data, "run.json")
	if err := os.Remove(runJSON); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	args := append([]string{"up", "--data", s.data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"}, s.args...)
	//nolint:noctx // a life ends when it is killed, which is what is tested
	cmd := exec.Command(s.binary, args...)
	cmd.Env = os.Environ()
	if fault != "" {
		cmd.Env = append(cmd.Env, "GRIDLOOM_FAULT="+fault)
	}
	if s.haste && hasty(fault) {
		cmd.Env = append(cmd.Env, hasteEnv)
	}
	begun := time.Now()
	p, err := startProcess(cmd, s.log)
	if err != nil {
		return nil, err
	}
	l := &life{process: p}
	if err := l.awaitReady(ctx, runJSON); err != nil {
		return l, s.explain(l, err)
	}
	l.ready = time.Since(begun)
	return l, nil
}

// awaitReady waits for run.json of this process and a 200 of /readyz.
func (l *life) awaitReady(ctx context.Context, runJSON string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var a *api
	defer func() {
		if a != nil {
			a.close()
		}
	}()
	for {
		if a == nil {
			if text, err := os.ReadFile(runJSON); err == nil {
				var r runFile
				if json.Unmarshal(text, &r) == nil && r.PID == l.pid() {
					l.mqtt, l.http = r.MQTT, r.HTTP
					a = newAPI(r.HTTP)
				}
			}
		} else if a.ready(ctx) == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-l.done:
			return errDied
		case <-ctx.Done():
			l.kill()
			return fmt.Errorf("the server did not serve within %s: %w", startTimeout, ctx.Err())
		}
	}
}

// explain adds the last lines of the log to an end that nobody wanted.
func (s *server) explain(l *life, err error) error {
	if !l.ended() || l.killed() {
		return err
	}
	return fmt.Errorf("%w (%s); it said: %s", err, l.cmd.ProcessState, s.lastWords())
}

func (s *server) lastWords() string { return lastWords(s.log, 0) }
