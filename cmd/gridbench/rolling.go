package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// How long a member may take to end cleanly, and how long the cluster is watched in a
// state before it is changed again.
const (
	cleanStop  = 10 * time.Second
	steadyTime = 2 * time.Second
)

// firstMeters are those that the fleet has from the beginning, for pauses to ask for.
func (f *fleet) firstMeters() (ids []string) {
	for _, s := range f.senders {
		for i := range f.meters {
			ids = append(ids, fmt.Sprintf("%s-%d", s.traffic.agent, i))
		}
	}
	return ids
}

// waits returns how long batches have waited for their PUBACK since the last call.
func (f *fleet) waits() (h histogram) {
	for _, s := range f.senders {
		one := s.takeWaits()
		h.merge(&one)
	}
	return h
}

// rolling stops every process of a role cleanly and starts it again, one after the other.
func (o *ordeal) rolling(ctx context.Context) error {
	if !o.cfg.rolling {
		return nil
	}
	watch := watchPauses(ctx, o.cluster, o.fleet.firstMeters(), o.cfg.maxPause, o.out)
	defer watch.end()
	if err := watch.begin(ctx); err != nil {
		return err
	}
	o.fleet.waits()
	for _, m := range o.cluster.members {
		if !m.running() {
			continue
		}
		if err := o.restart(ctx, m); err != nil {
			return fmt.Errorf("rolling restart of %s: %w", m, err)
		}
		if err := rest(ctx, steadyTime); err != nil {
			return err
		}
	}
	waits := o.fleet.waits()
	o.report.RollingAnswerPauseMs = millisOf(slices.Max(watch.take()))
	o.report.RollingPubackPauseMs = millisOf(waits.max)
	fmt.Fprintf(o.out, "rolling restart: longest pause of answers %.0f ms, longest wait for a PUBACK %.0f ms\n", o.report.RollingAnswerPauseMs, o.report.RollingPubackPauseMs)
	return nil
}

// restart stops a member cleanly and starts it again.
func (o *ordeal) restart(ctx context.Context, m *member) error {
	begun := time.Now()
	o.release(ctx, m)
	return o.recover(ctx, "restart "+m.role, begun, m)
}

// release stops a member cleanly.
func (o *ordeal) release(ctx context.Context, m *member) {
	if !m.stop(ctx, cleanStop) && ctx.Err() == nil {
		o.report.UncleanStops++
		fmt.Fprintf(o.out, "unclean stop of %s (%s): %s\n", m, m.proc.cmd.ProcessState, m.lastWords())
	}
	m.proc = nil // it is not to be revived
}

func millisOf(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// scaleSteps are how many aggregates there are in turn.
var scaleSteps = []int{2, 4, 1}

// scale changes the number of aggregates again and again and measures how long the
// partitions give no answer, and what a PUBACK takes meanwhile.
func (o *ordeal) scale(ctx context.Context) error {
	if o.cfg.scale == 0 {
		return nil
	}
	if err := o.scaleTo(ctx, 1); err != nil {
		return err
	}
	watch := watchPauses(ctx, o.cluster, o.fleet.firstMeters(), o.cfg.maxPause, o.out)
	defer watch.end()
	if err := watch.begin(ctx); err != nil {
		return err
	}
	o.fleet.waits()
	if err := rest(ctx, 5*steadyTime); err != nil {
		return err
	}
	before := o.fleet.waits()
	o.report.ScalePubackBeforeP99Ms = before.quantile(0.99)
	var all []float64
	var during histogram
	for cycle := range o.cfg.scale {
		for _, n := range scaleSteps {
			watch.take()
			if err := o.scaleTo(ctx, n); err != nil {
				return fmt.Errorf("cycle %d, to %d aggregates: %w", cycle+1, n, err)
			}
			if err := rest(ctx, steadyTime); err != nil {
				return err
			}
			longest := watch.take()
			for _, d := range longest {
				all = append(all, millisOf(d))
			}
			fmt.Fprintf(o.out, "cycle %d of %d, to %d aggregates: longest pause of a partition %.0f ms\n", cycle+1, o.cfg.scale, n, millisOf(slices.Max(longest)))
		}
		one := o.fleet.waits()
		during.merge(&one)
	}
	o.report.ScaleCycles = o.cfg.scale
	o.report.ScalePauseMsMax, o.report.ScalePauseMsMedian = slices.Max(all), median(all)
	o.report.ScalePubackP99Ms = during.quantile(0.99)
	return nil
}

// scaleTo starts or stops aggregates until n of them run and each partition has an owner among them.
func (o *ordeal) scaleTo(ctx context.Context, n int) error {
	for i, m := range o.cluster.of(aggregateRole) {
		switch {
		case i < n && !m.running():
			if err := m.exec(""); err != nil {
				return err
			}
		case i >= n && m.running():
			o.release(ctx, m)
		}
	}
	if err := o.settle(ctx); err != nil {
		return err
	}
	return o.awaitOwners(ctx, min(n, o.cfg.partitions))
}

// ownersPatience is how long partitions may take to move to new owners.
const ownersPatience = 30 * time.Second

// awaitOwners waits until all partitions run at as many owners.
func (o *ordeal) awaitOwners(ctx context.Context, owners int) error {
	a := newAPI(o.cluster.http())
	defer a.close()
	deadline := time.Now().Add(ownersPatience)
	for {
		ps, err := a.status(ctx)
		seen := map[string]bool{}
		running := 0
		for _, p := range ps {
			seen[p.Owner] = true
			if p.State == "running" {
				running++
			}
		}
		if err == nil && running == o.cfg.partitions && len(seen) == owners {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s %d of %d partitions run at %d owners, want %d: %w", ownersPatience, running, o.cfg.partitions, len(seen), owners, errFound)
		}
		if err := rest(ctx, askEvery); err != nil {
			return err
		}
	}
}
