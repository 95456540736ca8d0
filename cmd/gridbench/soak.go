package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// soakConfig is what gridbench soak is told.
type soakConfig struct {
	crashConfig

	duration  time.Duration
	faultEach time.Duration // about, between two faults
	maxGrowth float64       // of memory and goroutines after the warm-up, as a share
}

// soakReport is what gridbench soak prints; docs/benchmarks.md explains the keys.
type soakReport struct {
	rolesReport

	Faults    map[string]int `json:"faults"`
	Survivors []survivor     `json:"survivors"`
}

// survivor is a process that was never killed, and how its use of memory went.
type survivor struct {
	Name            string  `json:"name"`
	Samples         int     `json:"samples"` // after the warm-up
	RSSBytes        float64 `json:"rss_bytes"`
	RSSGrowth       float64 `json:"rss_growth"`
	Goroutines      float64 `json:"goroutines"`
	GoroutineGrowth float64 `json:"goroutine_growth"`
	Flat            bool    `json:"flat"`
}

func soakFlags(c *soakConfig) *flag.FlagSet {
	fs := flag.NewFlagSet("gridbench soak", flag.ContinueOnError)
	fs.DurationVar(&c.duration, "duration", 20*time.Minute, "how long to publish")
	fs.DurationVar(&c.faultEach, "fault-each", 10*time.Second, "time between two faults, on average")
	fs.Float64Var(&c.maxGrowth, "max-growth", 0.1, "growth of memory or goroutines after the first quarter that passes as flat, as a share")
	fs.IntVar(&c.rate, "rate", 20_000, "readings per second over all connections")
	fs.Uint64Var(&c.seed, "seed", 0, "seed of faults and readings; 0: a new one, which is printed")
	fs.IntVar(&c.connections, "connections", 8, "MQTT connections, an agent each")
	fs.IntVar(&c.meters, "meters", 100, "meters per connection")
	clusterFlags(fs, &c.crashConfig, 2)
	fs.BoolVar(&c.json, "json", false, "print JSON")
	return fs
}

func runSoak(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var cfg soakConfig
	fs := soakFlags(&cfg)
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if cfg.seed == 0 {
		cfg.seed = rand.Uint64()
	}
	if err := cfg.validateCluster(); err != nil {
		return err
	}
	if cfg.duration <= 0 || cfg.faultEach <= 0 || cfg.rate < 1 || cfg.connections < 1 || cfg.meters < 1 || cfg.maxGrowth <= 0 {
		return errors.New("--duration, --fault-each, --max-growth, --rate, --connections, --meters: want positive ones")
	}
	r, err := soak(ctx, &cfg, stderr)
	if err != nil {
		return err
	}
	if err := tell(stdout, r, cfg.json); err != nil {
		return err
	}
	return r.verdict()
}

// soak runs a cluster under mixed faults. The first process of each role is stopped and
// goes on, and meets what happens to the others, but is never killed.
func soak(ctx context.Context, cfg *soakConfig, progress io.Writer) (*soakReport, error) {
	o := newOrdeal(&cfg.crashConfig, progress)
	r := &soakReport{Faults: map[string]int{}}
	err := o.run(ctx, func(ctx context.Context) error {
		ctx, stop := context.WithTimeout(ctx, cfg.duration)
		defer stop()
		var watched []*vitals
		g, gctx := errgroup.WithContext(ctx)
		for _, role := range []string{ingestRole, aggregateRole, queryRole} {
			v := &vitals{member: o.cluster.of(role)[0]}
			watched = append(watched, v)
			g.Go(func() error { v.watch(gctx); return nil })
		}
		g.Go(func() error {
			for {
				if err := rest(gctx, time.Duration((0.5+o.rng.Float64())*float64(cfg.faultEach))); err != nil {
					return nil //nolint:nilerr // the time is over
				}
				what, err := o.fault(gctx)
				if err != nil && gctx.Err() == nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				r.Faults[what]++
				acked, _ := o.fleet.counts()
				fmt.Fprintf(progress, "%s; %d readings acknowledged\n", what, acked)
			}
		})
		err := g.Wait()
		for _, v := range watched {
			r.Survivors = append(r.Survivors, v.judge(cfg.maxGrowth))
		}
		return err
	})
	r.rolesReport = o.report
	return r, err
}

// fault does one thing to the cluster and waits until that is over.
func (o *ordeal) fault(ctx context.Context) (what string, err error) {
	role := []string{ingestRole, aggregateRole, queryRole}[o.rng.IntN(3)]
	ms := o.cluster.of(role)
	switch p := o.rng.IntN(10); {
	case p < 1:
		what, role, ms = "kill "+natsRole, natsRole, o.cluster.of(natsRole)
	case p < 5 && len(ms) > 1:
		what, ms = "kill "+role, ms[1:]
	case p < 6 && len(ms) > 1:
		m := ms[1+o.rng.IntN(len(ms)-1)]
		return "restart " + role, o.restart(ctx, m)
	default:
		span := time.Duration(1+o.rng.IntN(10)) * time.Second
		return "stop " + role, o.freeze(ctx, ms[o.rng.IntN(len(ms))], span)
	}
	m := ms[o.rng.IntN(len(ms))]
	blow := time.Now()
	m.kill()
	o.count(role, "")
	return what, o.recover(ctx, role, blow, m)
}

// freeze stops a process for a while, lets it go on and waits for the recovery.
func (o *ordeal) freeze(ctx context.Context, m *member, span time.Duration) error {
	if err := m.proc.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop %s: %w", m, err)
	}
	err := rest(ctx, span)
	blow := time.Now()
	if err = errors.Join(err, m.proc.cmd.Process.Signal(syscall.SIGCONT)); err != nil {
		return fmt.Errorf("%s, stopped for %s: %w", m, span, err)
	}
	return o.recover(ctx, "zombie "+m.role, blow)
}

// vitals are samples of one process.
type vitals struct {
	member     *member
	at         []float64 // seconds
	rss        []float64 // bytes
	goroutines []float64
}

// sampleEvery is the time between two samples.
const sampleEvery = time.Second

// watch samples until ctx ends. While the process is stopped it does not answer.
func (v *vitals) watch(ctx context.Context) {
	begun := time.Now()
	for rest(ctx, sampleEvery) == nil {
		_, http := v.member.serves()
		if http == "" {
			continue
		}
		rss, goroutines, err := sample(ctx, http)
		if err != nil {
			continue
		}
		v.at = append(v.at, time.Since(begun).Seconds())
		v.rss, v.goroutines = append(v.rss, rss), append(v.goroutines, goroutines)
	}
}

// sample reads memory and goroutines from /metrics.
func sample(ctx context.Context, http string) (rss, goroutines float64, err error) {
	a := newAPI(http)
	defer a.close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	body, err := a.get(ctx, "/metrics", nil)
	if err != nil {
		return 0, 0, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "process_resident_memory_bytes":
			rss, err = strconv.ParseFloat(value, 64)
		case "go_goroutines":
			goroutines, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	if rss == 0 || goroutines == 0 {
		return 0, 0, fmt.Errorf("%s/metrics tells neither memory nor goroutines", http)
	}
	return rss, goroutines, lines.Err()
}

// What a process may grow by whatever its size: what a garbage collector leaves standing, and a few connections.
const (
	freeBytes      = 32 << 20
	freeGoroutines = 20
)

// judge fits a line through the samples after the first quarter of the time.
func (v *vitals) judge(maxGrowth float64) survivor {
	s := survivor{Name: v.member.String()}
	if len(v.at) == 0 {
		return s
	}
	from, _ := slices.BinarySearch(v.at, v.at[len(v.at)-1]/4)
	s.Samples = len(v.at) - from
	var rise float64
	s.RSSBytes, rise = line(v.at[from:], v.rss[from:])
	s.RSSGrowth = rise / s.RSSBytes
	s.Flat = rise <= max(freeBytes, maxGrowth*s.RSSBytes)
	s.Goroutines, rise = line(v.at[from:], v.goroutines[from:])
	s.GoroutineGrowth = rise / s.Goroutines
	s.Flat = s.Flat && rise <= max(freeGoroutines, maxGrowth*s.Goroutines)
	return s
}

// line fits ys over xs by least squares and returns its value at the first x and how
// much it rises until the last.
func line(xs, ys []float64) (start, rise float64) {
	n := float64(len(xs))
	var sx, sy, sxx, sxy float64
	for i, x := range xs {
		sx, sy, sxx, sxy = sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	d := n*sxx - sx*sx
	if d == 0 {
		return sy / n, 0
	}
	slope := (n*sxy - sx*sy) / d
	return sy/n + slope*(xs[0]-sx/n), slope * (xs[len(xs)-1] - xs[0])
}

// verdict is errFound for a run that shows a fault.
func (r *soakReport) verdict() error {
	if !r.clean() {
		return errFound
	}
	for _, s := range r.Survivors {
		if !s.Flat {
			return fmt.Errorf("%s is not flat: memory grew by %.0f %%, goroutines by %.0f %%, in %d samples: %w", s.Name, 100*s.RSSGrowth, 100*s.GoroutineGrowth, s.Samples, errFound)
		}
	}
	return nil
}

func (r *soakReport) print(w io.Writer) error {
	text := fmt.Appendf(nil, "faults: %s\n", listed(r.Faults, "%d"))
	for _, s := range r.Survivors {
		text = fmt.Appendf(text, "  %s: %.0f MiB %+.1f %%, %.0f goroutines %+.1f %%, flat: %t (%d samples)\n",
			s.Name, s.RSSBytes/(1<<20), 100*s.RSSGrowth, s.Goroutines, 100*s.GoroutineGrowth, s.Flat, s.Samples)
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	return r.rolesReport.print(w)
}
