package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gridloom/gridloom/aggregate"
)

// faultFromEnv returns a hook for crash tests: GRIDLOOM_FAULT="point" or
// "point:n" makes the process kill itself with SIGKILL when it passes the named
// point for the n-th time, as a power cut would at that place. Points:
// claim.loaded, claim.swapped, commit.raw, commit.panes, commit.snapshot,
// commit.registry, commit.audit, commit.manifest, commit.swapped, append.sealed, append.stored, compact.merged,
// compact.edited, retain.edited, commit.expired, sweep.deleted.
func faultFromEnv() (func(point string), error) {
	spec := os.Getenv("GRIDLOOM_FAULT")
	if spec == "" {
		return func(string) {}, nil
	}
	name, count, _ := strings.Cut(spec, ":")
	n := int64(1)
	if count != "" {
		var err error
		if n, err = strconv.ParseInt(count, 10, 64); err != nil || n < 1 {
			return nil, fmt.Errorf("GRIDLOOM_FAULT=%q: want point or point:n with n from 1", spec)
		}
	}
	var passed atomic.Int64
	return func(point string) {
		if point == name && passed.Add(1) == n {
			fmt.Fprintf(os.Stderr, "gridloom: fault point %s reached: killing myself\n", point)
			// Nothing deferred may run: this is a crash.
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic(err)
			}
			select {}
		}
	}, nil
}

// hasteFromEnv makes what else happens in minutes happen at once, where crash tests ask for it with
// GRIDLOOM_HASTE=1: a kill would hardly ever hit a merge or a sweep otherwise.
func hasteFromEnv(c *aggregate.Config) {
	if os.Getenv("GRIDLOOM_HASTE") != "1" {
		return
	}
	c.CommitEvery = 500 * time.Millisecond
	c.CompactEvery, c.MergeFiles = 50*time.Millisecond, 3
	c.SweepEvery, c.ReaderLease = 100*time.Millisecond, 10*time.Second
}
