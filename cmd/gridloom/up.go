package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gridloom/gridloom/internal/obs"
)

// runRole runs the stages of a role in this process until ctx ends: one of them, or
// with up all of them and the log.
func runRole(ctx context.Context, r role, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseConfig(r, args, stderr)
	if err != nil {
		return err
	}
	fault, err := faultFromEnv()
	if err != nil {
		return err
	}
	dir, err := openRoleDir(&cfg)
	if err != nil {
		return err
	}
	defer dir.close()
	bar := newProgress(stdout, r == roleUp && isTerminal(stdout))
	logger := obs.Logger(bar.wrap(stderr), cfg.logLevel)
	p, err := openPipeline(ctx, cfg, dir, logger, fault)
	if ctx.Err() != nil && p == nil {
		return nil // told to stop while it started
	}
	if err != nil {
		return err
	}
	if err := dir.announce(p.runInfo(os.Getpid())); err != nil {
		return errors.Join(fmt.Errorf("data directory %s: %w", dir.path, reason(err)), p.close())
	}
	p.greet(stdout)
	if cfg.demo {
		if err := p.addDemo(cfg, dir); err != nil {
			return errors.Join(err, p.close())
		}
	}
	p.bar = bar
	return p.run(ctx)
}
