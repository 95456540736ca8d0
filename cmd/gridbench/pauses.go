package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gridloom/gridloom"
)

// pauses watches how long a cluster gives no answer: for each partition it asks for
// one meter again and again. The longest time between two answers is the pause.
type pauses struct {
	cluster *cluster
	meters  []string // one of each partition that has one
	notable time.Duration
	notes   io.Writer // where longer pauses are told

	mu      sync.Mutex
	last    []time.Time // when each partition answered last
	longest []time.Duration
	refused []string // why it gave none, since last

	stop func()
	wg   sync.WaitGroup
}

// askEvery is how often each partition is asked, and with it the finest pause seen.
const askEvery = 50 * time.Millisecond

// watchPauses begins to ask. A pause above notable is told on notes.
func watchPauses(ctx context.Context, c *cluster, meters []string, notable time.Duration, notes io.Writer) *pauses {
	p := &pauses{cluster: c, notable: notable, notes: notes}
	seen := make([]bool, c.partitions)
	for _, m := range meters {
		if at := gridloom.PartitionOf(m, c.partitions); !seen[at] {
			seen[at] = true
			p.meters = append(p.meters, m)
		}
	}
	n := len(p.meters)
	p.last, p.longest, p.refused = make([]time.Time, n), make([]time.Duration, n), make([]string, n)
	ctx, p.stop = context.WithCancel(ctx)
	for i := range p.meters {
		p.wg.Go(func() { p.ask(ctx, i) })
	}
	return p
}

func (p *pauses) ask(ctx context.Context, i int) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	at := ""
	var a *api
	defer func() {
		if a != nil {
			a.close()
		}
	}()
	for {
		if now := p.cluster.http(); now != at || a == nil {
			if a != nil {
				a.close()
			}
			at, a = now, newAPI(now)
		}
		if at != "" {
			if err := p.answered(ctx, a, p.meters[i]); err == nil {
				p.note(i)
			} else {
				p.refuse(i, err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// answered asks one question whose answer must hold everything acknowledged before.
func (p *pauses) answered(ctx context.Context, a *api, meter string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	now := gridloom.MillisOf(time.Now())
	return rows(ctx, a, "/api/v1/readings", selectMeters([]string{meter}, now-gridloom.Second, now), func(*servedReading) error { return nil })
}

func (p *pauses) note(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.last[i].IsZero() {
		d := now.Sub(p.last[i])
		p.longest[i] = max(p.longest[i], d)
		if d > p.notable {
			fmt.Fprintf(p.notes, "partition %d gave no answer for %.0f ms until %s%s\n", gridloom.PartitionOf(p.meters[i], p.cluster.partitions), millisOf(d), now.UTC().Format("15:04:05.000"), p.refused[i])
		}
	}
	p.refused[i] = ""
	p.last[i] = now
}

func (p *pauses) refuse(i int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused[i] == "" {
		p.refused[i] = ": " + err.Error()
	}
}

// take returns the longest pause of each partition since the last call, what lasts included.
func (p *pauses) take() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]time.Duration, len(p.longest))
	for i := range out {
		if !p.last[i].IsZero() {
			out[i] = max(p.longest[i], time.Since(p.last[i]))
		}
		p.longest[i] = 0
	}
	return out
}

// begin forgets what was and waits until every partition has answered once.
func (p *pauses) begin(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	deadline := time.Now().Add(settlePatience)
	p.mu.Lock()
	clear(p.last)
	clear(p.longest)
	p.mu.Unlock()
	for {
		p.mu.Lock()
		silent := 0
		for _, at := range p.last {
			if at.IsZero() {
				silent++
			}
		}
		p.mu.Unlock()
		if silent == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d partitions gave no answer within %s: %w", silent, settlePatience, errFound)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end stops asking.
func (p *pauses) end() {
	p.stop()
	p.wg.Wait()
}
