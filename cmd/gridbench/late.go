package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom"
)

// lateConfig is what gridbench late is told.
type lateConfig struct {
	mqtt, http string
	meters     int
	days       int
	step       time.Duration
	late       int // readings
	backlog    int // days of a device that sends newest first; 0: none does
	devices    int
	seed       uint64
	serverPID  int
	wait       time.Duration
	json       bool
}

// lateReport is what gridbench late prints; docs/benchmarks.md explains the keys.
type lateReport struct {
	HistoryReadings  int64   `json:"history_readings"`
	HistorySeconds   float64 `json:"history_seconds"`
	HistoryCPUS      float64 `json:"history_cpu_s,omitempty"`
	LateReadings     int64   `json:"late_readings"`
	LateAckedMs      float64 `json:"late_acked_ms"`
	LateAnsweredMs   float64 `json:"late_answered_ms"`
	LateCommittedMs  float64 `json:"late_committed_ms"`
	LateCPUS         float64 `json:"late_cpu_s,omitempty"`
	BacklogReadings  int64   `json:"backlog_readings,omitempty"`
	InOrderCPUS      float64 `json:"in_order_cpu_s,omitempty"`
	NewestFirstCPUS  float64 `json:"newest_first_cpu_s,omitempty"`
	NewestFirstRatio float64 `json:"newest_first_ratio,omitempty"`
	Missing          int64   `json:"missing"`
	Seed             uint64  `json:"seed"`
}

func lateFlags(c *lateConfig) *flag.FlagSet {
	fs := flag.NewFlagSet("gridbench late", flag.ContinueOnError)
	fs.StringVar(&c.mqtt, "mqtt", "127.0.0.1:1883", "the server's MQTT `address`")
	fs.StringVar(&c.http, "http", "127.0.0.1:8080", "the server's HTTP `address`")
	fs.IntVar(&c.meters, "meters", 1000, "meters with a history")
	fs.IntVar(&c.days, "days", 30, "days of history")
	fs.DurationVar(&c.step, "step", 15*time.Minute, "time between two objects of a meter")
	fs.IntVar(&c.late, "late", 10_000, "readings that are held back and come when all others are committed")
	fs.IntVar(&c.backlog, "backlog-days", 7, "days that devices send at once, in order and newest first; 0: none")
	fs.IntVar(&c.devices, "devices", 200, "how many do so in each order")
	fs.Uint64Var(&c.seed, "seed", 1, "of which readings are late")
	fs.IntVar(&c.serverPID, "server-pid", 0, "process whose CPU time is reported")
	fs.DurationVar(&c.wait, "commit-wait", time.Minute, "how long the server may take to commit each part")
	fs.BoolVar(&c.json, "json", false, "print JSON")
	return fs
}

func runLate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c lateConfig
	fs := lateFlags(&c)
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := c.validate(); err != nil {
		return err
	}
	r, err := c.run(ctx)
	if err != nil {
		return err
	}
	if err := tell(stdout, r, c.json); err != nil {
		return err
	}
	if r.Missing != 0 {
		return fmt.Errorf("%d readings are in no window: %w", r.Missing, errFound)
	}
	return nil
}

func (c *lateConfig) validate() error {
	switch {
	case c.meters < 1 || c.meters > 100_000 || c.days < 1 || c.days > 366:
		return errors.New("--meters and --days: want 1 to 100,000 and 1 to 366")
	case c.step < time.Second || c.step > 24*time.Hour:
		return fmt.Errorf("--step %s: want 1s to 24h", c.step)
	case c.late < 1 || c.late > c.meters*c.instants(c.days)/2*readingsPerObject:
		return fmt.Errorf("--late %d: want at least one and at most half of the history", c.late)
	case c.backlog < 0 || c.backlog > 366 || c.devices < 1 || c.devices > 10_000:
		return errors.New("--backlog-days and --devices: want 0 to 366 and 1 to 10,000")
	}
	return nil
}

// instants returns how many objects a meter has in so many days.
func (c *lateConfig) instants(days int) int {
	return int(time.Duration(days) * 24 * time.Hour / c.step)
}

// lateBatch is how many objects travel in one message.
const lateBatch = 100

// lateConnections is how many connections the history and the backlogs take.
const lateConnections = 8

// lateRun is one run of gridbench late.
type lateRun struct {
	*lateConfig
	a     *api
	epoch uint32
	end   gridloom.Millis // of all histories: an hour ago
	sent  int             // connections so far, each an agent of its own
}

func (c *lateConfig) run(ctx context.Context) (*lateReport, error) {
	now := gridloom.MillisOf(time.Now())
	run := &lateRun{lateConfig: c, a: newAPI(c.http), epoch: gridloom.EpochAt(now), end: (now - gridloom.Hour).Floor(gridloom.SpanOf(c.step))}
	defer run.a.close()
	run.a.patience = c.wait
	r := &lateReport{Seed: c.seed}
	inTime, late := run.history()
	var err error
	var took lap
	if took, err = run.publish(ctx, inTime); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	r.HistoryReadings, r.HistorySeconds, r.HistoryCPUS = took.readings, took.committed.Seconds(), took.cpu.Seconds()

	if took, err = run.publish(ctx, [][]object{late}); err != nil {
		return nil, fmt.Errorf("late readings: %w", err)
	}
	r.LateReadings, r.LateCPUS = took.readings, took.cpu.Seconds()
	r.LateAckedMs, r.LateAnsweredMs, r.LateCommittedMs = msOf(took.acked), msOf(took.answered), msOf(took.committed)
	if r.Missing, err = run.missing(ctx, 0, c.meters, c.days); err != nil || c.backlog == 0 {
		return r, err
	}

	var orders [2]lap
	for newestFirst := range orders {
		lists := run.backlogs(newestFirst)
		if orders[newestFirst], err = run.publish(ctx, lists); err != nil {
			return nil, fmt.Errorf("backlogs: %w", err)
		}
		n, err := run.missing(ctx, run.firstDevice(newestFirst), c.devices, c.backlog)
		if err != nil {
			return nil, err
		}
		r.Missing += n
	}
	r.BacklogReadings, r.InOrderCPUS, r.NewestFirstCPUS = orders[0].readings, orders[0].cpu.Seconds(), orders[1].cpu.Seconds()
	if r.InOrderCPUS > 0 {
		r.NewestFirstRatio = r.NewestFirstCPUS / r.InOrderCPUS
	}
	return r, nil
}

func msOf(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// at returns the i-th instant of a history of so many days.
func (run *lateRun) at(i, days int) gridloom.Millis {
	return run.end - gridloom.Millis(run.instants(days)-i)*gridloom.SpanOf(run.step)
}

// history returns what each connection sends in time, and what all hold back: both in
// whole messages, those that would begin one more are left out.
func (run *lateRun) history() (inTime [][]object, late []object) {
	n := run.instants(run.days)
	rng := rand.New(rand.NewPCG(run.seed, 1))
	held := make(map[[2]int]bool, run.late/readingsPerObject)
	for want := (run.late + readingsPerObject - 1) / readingsPerObject; len(held) < want; {
		k := [2]int{rng.IntN(run.meters), rng.IntN(n)}
		if !held[k] {
			held[k] = true
			late = append(late, objectAt(uint32(k[0]), run.at(k[1], run.days)))
		}
	}
	inTime = make([][]object, min(lateConnections, run.meters))
	for i := range n {
		for m := range run.meters {
			if !held[[2]int{m, i}] {
				c := m % len(inTime)
				inTime[c] = append(inTime[c], objectAt(uint32(m), run.at(i, run.days)))
			}
		}
	}
	return inTime, late
}

// firstDevice is the number of the first meter that sends a backlog in an order.
func (run *lateRun) firstDevice(newestFirst int) int { return 1_000_000 * (newestFirst + 1) }

// backlogs returns what devices send, each all of its backlog in one go.
func (run *lateRun) backlogs(newestFirst int) [][]object {
	lists := make([][]object, min(lateConnections, run.devices))
	n := run.instants(run.backlog)
	for d := range run.devices {
		c := d % len(lists)
		for i := range n {
			if newestFirst == 1 {
				i = n - 1 - i
			}
			lists[c] = append(lists[c], objectAt(uint32(run.firstDevice(newestFirst)+d), run.at(i, run.backlog)))
		}
	}
	return lists
}

// lap is what publishing a part took, from its first PUBLISH on.
type lap struct {
	readings                   int64
	acked, answered, committed time.Duration
	cpu                        time.Duration // of the server, until committed
}

// publish sends each list over a connection of its own, in order, asks for the last day of all meters when all is
// acknowledged: an answer tells what is acknowledged, so that late readings must have been restated; and waits until everything is committed.
func (run *lateRun) publish(ctx context.Context, lists [][]object) (l lap, err error) {
	pubs := make([]*publisher, len(lists))
	for i, list := range lists {
		if pubs[i], err = run.publisher(ctx, list); err != nil {
			for _, p := range pubs[:i] {
				p.conn.Close()
			}
			return l, err
		}
		l.readings += int64(len(list)) * readingsPerObject
	}
	before, err := run.cpu()
	if err != nil {
		return l, err
	}
	begun := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for _, ps := range pubs {
		g.Go(func() error { return ps.run(gctx, begun, run.wait, ackGrace) })
	}
	if err := g.Wait(); err != nil {
		return l, err
	}
	l.acked = time.Since(begun)
	if _, err := run.readings(ctx, 0, run.meters, 1); err != nil {
		return l, err
	}
	l.answered = time.Since(begun)
	if err := run.awaitCommit(ctx); err != nil {
		return l, err
	}
	l.committed = time.Since(begun)
	after, err := run.cpu()
	l.cpu = after - before
	return l, err
}

// awaitCommit waits until nothing is left that is in no segment.
func (run *lateRun) awaitCommit(ctx context.Context) error {
	begun := time.Now()
	ask := time.NewTicker(20 * time.Millisecond)
	defer ask.Stop()
	for {
		ps, err := run.a.status(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(ps, func(p partitionStatus) bool { return p.Lag > 0 || p.TailBytes > 0 }) {
			return nil
		}
		if time.Since(begun) > run.wait {
			return fmt.Errorf("not committed after %s", run.wait)
		}
		select {
		case <-ask.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (run *lateRun) cpu() (time.Duration, error) {
	if run.serverPID == 0 {
		return 0, nil
	}
	return cpuTime(run.serverPID)
}

// publisher returns an agent that sends list. The last message repeats objects to be full.
func (run *lateRun) publisher(ctx context.Context, list []object) (*publisher, error) {
	name := fmt.Sprintf("late-%d", run.sent)
	run.sent++
	p, err := newPublisher(ctx, run.mqtt, name, newProtobuf(name, run.epoch, min(lateBatch, len(list))), nil, 0, 8)
	if err != nil {
		return nil, err
	}
	p.list, p.limit = list, int64((len(list)+lateBatch-1)/lateBatch)
	return p, nil
}

// lateAsked is how many meters one question is about: rows that are not merged yet are sorted in memory, within bounds.
const lateAsked = 100

// missing returns how many readings of meters from first on are in no window: less than none
// if a window counts one twice.
func (run *lateRun) missing(ctx context.Context, first, meters, days int) (int64, error) {
	var n int64
	for from := 0; from < meters; from += lateAsked {
		got, err := run.readings(ctx, first+from, min(lateAsked, meters-from), days)
		if err != nil {
			return 0, err
		}
		n += got
	}
	return int64(meters)*int64(run.instants(days))*readingsPerObject - n, nil
}

// readings returns how many readings the windows of meters tell of.
func (run *lateRun) readings(ctx context.Context, first, meters, days int) (n int64, err error) {
	ids := make([]string, meters)
	for i := range ids {
		ids[i] = meterID(uint32(first + i))
	}
	q := selectMeters(ids, run.at(0, days).Floor(gridloom.Day), run.end)
	q.Set("step", "1d")
	err = rows(ctx, run.a, "/api/v1/windows", q, func(w *servedWindow) error {
		n += w.N
		return nil
	})
	return n, err
}

func (r *lateReport) print(w io.Writer) error {
	lines := fmt.Appendf(nil, `history: %d readings in order, committed after %.1f s, CPU %.2f s
late: %d readings, acknowledged after %.0f ms, in an answer after %.0f ms, committed after %.0f ms, CPU %.2f s
`, r.HistoryReadings, r.HistorySeconds, r.HistoryCPUS, r.LateReadings, r.LateAckedMs, r.LateAnsweredMs, r.LateCommittedMs, r.LateCPUS)
	if r.BacklogReadings > 0 {
		lines = fmt.Appendf(lines, "backlogs: %d readings, CPU in order %.2f s, newest first %.2f s: %.2f times\n",
			r.BacklogReadings, r.InOrderCPUS, r.NewestFirstCPUS, r.NewestFirstRatio)
	}
	lines = fmt.Appendf(lines, "readings in no window: %d\n", r.Missing)
	_, err := w.Write(lines)
	return err
}
