package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom/edge-agent/agent"
	"github.com/gridloom/gridloom/edge-agent/device"
)

// demoEvery is how often a simulated meter is read.
const demoEvery = 5 * time.Second

// addDemo prepares a simulated neighbourhood: real edge agents, each with its own
// spool, which speak MQTT to the listener as any other.
func (p *pipeline) addDemo(cfg config, dir *dataDir) error {
	clock := device.NewClock(device.ClockTrust)
	var agents []*agent.Agent
	first := 1
	for i := range cfg.agents {
		meters := cfg.meters/cfg.agents + boolInt(i < cfg.meters%cfg.agents)
		source, err := device.NewSim(device.SimConfig{Seed: 1, Meters: meters, First: first, Prefix: "demo-", Every: demoEvery}, clock)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		first += meters
		name := fmt.Sprintf("demo-gw-%02d", i+1)
		a, err := agent.New(agent.Config{
			Site: "demo", Agent: name, Connect: "mqtt://" + p.mqttAddr(), Dir: dir.sub(filepath.Join("demo", name)),
			Sync: time.Second, Clock: clock, Logger: p.logger, Version: version,
		}, source)
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		agents = append(agents, a)
	}
	p.demo = func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, a := range agents {
			g.Go(func() error { return a.Run(ctx) })
		}
		return g.Wait()
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// showProgress refreshes the progress line until ctx ends.
func (p *pipeline) showProgress(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var objects rate
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			sums := p.sums("gridloom_ingest_objects_total", "gridloom_aggregate_panes_total")
			list, err := p.worker.Status(ctx)
			if err != nil {
				continue
			}
			var lag uint64
			series, open := 0, 0
			for _, st := range list {
				lag, series, open = max(lag, st.Lag), series+st.Series, open+st.OpenPanes
			}
			p.bar.show(fmt.Sprintf("%8.0f objects/s   lag %d frames   %d series   panes: %d open, %.0f written",
				objects.look(sums[0], now), lag, series, open, sums[1]))
		}
	}
}

// sums adds up the counters of the given names over their labels.
func (p *pipeline) sums(names ...string) []float64 {
	out := make([]float64, len(names))
	families, err := p.reg.Gather()
	if err != nil {
		return out
	}
	for _, f := range families {
		for i, name := range names {
			if f.GetName() == name {
				for _, m := range f.GetMetric() {
					out[i] += m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}
