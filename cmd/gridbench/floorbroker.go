package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/gridloom/gridloom/cmd/gridbench/floor"
)

// floorBroker is the command by which gridbench floor starts itself as one of floor's
// brokers, in a process of its own so that its CPU time is not that of the load. It
// says where it listens and ends with its standard input.
const floorBroker = "floor-broker"

func runFloorBroker(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%s is for gridbench floor alone: want a broker and a directory", floorBroker)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with its parent, which holds the other end
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()
	return floor.Serve(ctx, args[0], args[1], func(addr string) error {
		_, err := fmt.Fprintln(stdout, addr)
		return err
	})
}

// brokerStop is how long a broker may take to end.
const brokerStop = 10 * time.Second

// loadBroker starts one of floor's brokers, loads it and ends it.
func (r *floorRun) loadBroker(ctx context.Context, broker string, load *loadConfig) (_ *loadReport, err error) {
	dir, err := os.MkdirTemp(r.dir, "broker-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log, err := os.CreateTemp(r.dir, "broker-log-")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	//nolint:noctx // it ends with its standard input, or is killed below
	cmd := exec.Command(self, floorBroker, broker, dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, said, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	cmd.Stdout = said
	p, err := startProcess(cmd, log)
	said.Close()
	if err != nil {
		return nil, err
	}
	defer func() {
		stdin.Close()
		p.await(context.WithoutCancel(ctx), brokerStop)
		p.kill()
	}()
	if err := stdout.SetReadDeadline(time.Now().Add(brokerStop)); err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("it did not say where it listens: %w: %s", err, lastWords(log, 0))
	}
	load.mqtt, load.serverPID = strings.TrimSpace(addr), p.pid()
	return measureLoad(ctx, load)
}

// measureLoad is load after a short one that warms the server up.
func measureLoad(ctx context.Context, cfg *loadConfig) (*loadReport, error) {
	warm := *cfg
	warm.duration = min(cfg.duration/5, time.Second)
	if _, err := load(ctx, &warm); err != nil {
		return nil, err
	}
	return load(ctx, cfg)
}
