// Command edge-agent carries the readings of one device or site to gridloom: it
// takes them from a source, keeps them on disk, and publishes them over MQTT until
// they are acknowledged. config.go holds its flags, values.go
// the kinds of values that they take; the work is in the packages
// agent, device and spool. docs/edge-agent.md is its manual.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // devices seldom have a zone database; --zone needs one

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/agent"
	"github.com/gridloom/gridloom/edge-agent/spool"
)

// Exit statuses.
const (
	exitDone  = 0 // the source has ended and all is acknowledged, or the agent was told to stop
	exitStart = 1 // it could not start or go on; one line says why
	exitUsage = 2 // a flag or argument is wrong; one line says which
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "edge-agent: %v\n", err)
		return exitUsage
	case o.version:
		_, _ = fmt.Fprintln(stdout, "gridloom edge-agent", version())
		return exitDone
	}
	log := o.logger(stderr)
	source, clock, err := o.newSource(stdin, log)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "edge-agent: %v\n", err)
		if errors.Is(err, gridloom.ErrInvalid) {
			return exitUsage
		}
		return exitStart
	}
	cfg := o.agent
	cfg.Clock, cfg.Logger, cfg.Version = clock, log, version()
	if err := o.credentials(&cfg); err != nil {
		_, _ = fmt.Fprintf(stderr, "edge-agent: %v\n", err)
		return exitStart
	}
	if o.check {
		_, _ = fmt.Fprintln(stdout, "configuration is good")
		return exitDone
	}
	a, err := agent.New(cfg, source)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "edge-agent: %v\n", err)
		if errors.Is(err, gridloom.ErrInvalid) {
			return exitUsage
		}
		return exitStart
	}
	log.Info("agent starts", "version", cfg.Version, "source", o.source, "spool", cfg.Dir,
		"power_loss_takes", spool.LossWindow(cfg.Sync, cfg.BatchAge))
	o.warnClock(log, clock)
	if err := a.Run(ctx); err != nil {
		_, _ = fmt.Fprintf(stderr, "edge-agent: %v\n", err)
		return exitStart
	}
	return exitDone
}

// version returns the module's version, or the commit that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "devel"
}
