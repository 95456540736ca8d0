package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom"
)

// loadConfig is what gridbench load is told.
type loadConfig struct {
	mqtt, http  string
	connections int
	objects     int     // per message: 1 to 1000
	encoding    string  // json or protobuf
	rate        float64 // objects per second over all connections; 0: closed loop
	window      int     // messages in flight per connection
	meters      int
	duration    time.Duration
	maxObjects  int // published in all, about; 0: no limit
	probes      int
	serverPID   int
	data        string
	commitWait  time.Duration
	json        bool
}

// loadReport is what gridbench load prints; docs/benchmarks.md explains the keys.
type loadReport struct {
	Objects           int64   `json:"objects"`
	Readings          int64   `json:"readings"`
	Messages          int64   `json:"messages"`
	Seconds           float64 `json:"seconds"`
	ObjectsPerSecond  float64 `json:"objects_per_second"`
	ReadingsPerSecond float64 `json:"readings_per_second"`
	PubackP50Ms       float64 `json:"puback_p50_ms"`
	PubackP99Ms       float64 `json:"puback_p99_ms"`
	PubackMaxMs       float64 `json:"puback_max_ms"`

	Probes            int     `json:"probes,omitempty"`
	VisibleP50Ms      float64 `json:"visible_p50_ms,omitempty"`
	VisibleP99Ms      float64 `json:"visible_p99_ms,omitempty"`
	VisibleMaxMs      float64 `json:"visible_max_ms,omitempty"`
	VisibleKnownP99Ms float64 `json:"visible_known_p99_ms,omitempty"`
	VisibleNewP99Ms   float64 `json:"visible_new_p99_ms,omitempty"`

	LagFrames      *uint64 `json:"lag_frames,omitempty"` // null: no --http
	CaughtUpMs     float64 `json:"caught_up_ms,omitempty"`
	Committed      bool    `json:"committed"`
	ClientCPUSPerM float64 `json:"client_cpu_s_per_million_objects"`
	ServerCPUSPerM float64 `json:"server_cpu_s_per_million_objects,omitempty"`
	ServerPeakRSS  int64   `json:"server_peak_rss_bytes,omitempty"`
	DiskBytes      int64   `json:"disk_bytes,omitempty"`
	DiskPerObject  float64 `json:"disk_bytes_per_object,omitempty"`
}

// readingsPerObject: energy, power and voltage of one meter and instant.
const readingsPerObject = 3

// ackGrace is how long the last messages may take to be acknowledged.
const ackGrace = 30 * time.Second

func runLoad(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseLoad(args, stderr)
	if err != nil {
		return err
	}
	r, err := load(ctx, cfg)
	if err != nil {
		return err
	}
	return tell(stdout, r, cfg.json)
}

func loadFlags(c *loadConfig) *flag.FlagSet {
	fs := flag.NewFlagSet("gridbench load", flag.ContinueOnError)
	fs.StringVar(&c.mqtt, "mqtt", "127.0.0.1:1883", "the server's MQTT `address`")
	fs.StringVar(&c.http, "http", "127.0.0.1:8080", "the server's HTTP `address`; empty: no probes, no lag")
	fs.IntVar(&c.connections, "connections", 100, "MQTT connections")
	fs.IntVar(&c.objects, "objects", 1, "objects of three readings per message, 1 to 1000")
	fs.StringVar(&c.encoding, "encoding", "json", "json or protobuf")
	fs.Float64Var(&c.rate, "rate", 0, "objects per second over all connections; 0: closed loop, as fast as acknowledged")
	fs.IntVar(&c.window, "window", 100, "messages in flight per connection, 1 to 16384")
	fs.IntVar(&c.meters, "meters", 10_000, "meters, each always on the same connection")
	fs.DurationVar(&c.duration, "duration", 30*time.Second, "how long to publish")
	fs.IntVar(&c.probes, "probes", 0, "readings to follow from PUBACK to the first query that shows them, spread over the run")
	fs.IntVar(&c.serverPID, "server-pid", 0, "process whose CPU time and memory are reported")
	fs.StringVar(&c.data, "data", "", "data `directory` whose size is reported")
	fs.DurationVar(&c.commitWait, "commit-wait", 30*time.Second, "how long to wait at the end until everything is committed, so that its cost is counted; 0: do not wait")
	fs.BoolVar(&c.json, "json", false, "print JSON")
	return fs
}

func parseLoad(args []string, stderr io.Writer) (*loadConfig, error) {
	var c loadConfig
	fs := loadFlags(&c)
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return &c, c.validate()
}

func (c *loadConfig) validate() error {
	switch {
	case c.encoding != "json" && c.encoding != "protobuf":
		return fmt.Errorf("--encoding %s: want json or protobuf", c.encoding)
	case c.objects < 1 || c.objects > 1000:
		return fmt.Errorf("--objects %d: want 1 to 1000", c.objects)
	case c.window < 1 || c.window > 16384:
		return fmt.Errorf("--window %d: want 1 to 16384", c.window)
	case c.connections < 1 || c.meters < c.connections || c.meters > 10_000_000:
		return fmt.Errorf("--meters %d: want at least one per connection (%d) and at most 10,000,000", c.meters, c.connections)
	case c.rate < 0 || c.duration <= 0:
		return errors.New("--rate and --duration: want positive ones")
	case c.probes > 0 && c.http == "":
		return errors.New("--probes needs --http")
	}
	return nil
}

// load runs the benchmark: connections first, then publishing and probing at
// once, then waiting until the server has worked everything off.
func load(ctx context.Context, cfg *loadConfig) (*loadReport, error) {
	pubs, err := cfg.publishers(ctx)
	if err != nil {
		return nil, err
	}
	a := newAPI(cfg.http)
	defer a.close()
	var probers []*prober
	if cfg.probes > 0 {
		if probers, err = cfg.probers(ctx, a); err != nil {
			return nil, err
		}
	}
	before, err := cfg.spent()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range pubs {
		g.Go(func() error { return p.run(gctx, begun, cfg.duration, ackGrace) })
	}
	for _, p := range probers {
		n := cfg.probes / len(probers)
		g.Go(func() error { return p.run(gctx, n, cfg.duration/time.Duration(n+1)) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	r := cfg.report(pubs, probers, time.Since(begun))
	return r, r.finish(ctx, cfg, a, before)
}

func (c *loadConfig) publishers(ctx context.Context) ([]*publisher, error) {
	epoch := gridloom.EpochAt(gridloom.MillisOf(time.Now()))
	var perTick time.Duration
	if c.rate > 0 {
		perTick = time.Duration(float64(c.connections*c.objects) / c.rate * float64(time.Second))
	}
	pubs := make([]*publisher, c.connections)
	for i := range pubs {
		name := fmt.Sprintf("bench-%04d", i)
		build := newProtobuf
		if c.encoding == "json" {
			build = newJSON
		}
		var meters []uint32
		for m := i; m < c.meters; m += c.connections {
			meters = append(meters, uint32(m))
		}
		p, err := newPublisher(ctx, c.mqtt, name, build(name, epoch, c.objects), meters, perTick, c.window)
		if err != nil {
			for _, p := range pubs[:i] {
				p.conn.Close()
			}
			return nil, err
		}
		p.phase = perTick * time.Duration(i) / time.Duration(c.connections) // agents do not speak in chorus
		if c.maxObjects > 0 {
			p.limit = int64(max(1, c.maxObjects/c.objects/c.connections))
		}
		pubs[i] = p
	}
	return pubs, nil
}

// maxProbers bounds how many probes are under way at once.
const maxProbers = 4

func (c *loadConfig) probers(ctx context.Context, a *api) ([]*prober, error) {
	var ps []*prober
	for i := range min(maxProbers, c.probes) {
		p, err := newProber(ctx, c.mqtt, fmt.Sprintf("probe-%d", i), a)
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// spent is CPU time of the server and of this process.
type spent struct{ server, client time.Duration }

func (c *loadConfig) spent() (s spent, err error) {
	if s.client, err = cpuTime(os.Getpid()); err != nil || c.serverPID == 0 {
		return s, err
	}
	s.server, err = cpuTime(c.serverPID)
	return s, err
}

func (c *loadConfig) report(pubs []*publisher, probers []*prober, took time.Duration) *loadReport {
	var latency, known, fresh, visible histogram
	r := &loadReport{Seconds: took.Seconds()}
	for _, p := range pubs {
		latency.merge(&p.latency)
		r.Messages += p.acked.Load()
	}
	r.Objects = r.Messages * int64(c.objects)
	r.Readings = r.Objects * readingsPerObject
	r.ObjectsPerSecond = float64(r.Objects) / r.Seconds
	r.ReadingsPerSecond = float64(r.Readings) / r.Seconds
	r.PubackP50Ms, r.PubackP99Ms, r.PubackMaxMs = latency.quantile(0.5), latency.quantile(0.99), latency.quantile(1)
	for _, p := range probers {
		known.merge(&p.known)
		fresh.merge(&p.fresh)
	}
	visible.merge(&known)
	visible.merge(&fresh)
	r.Probes = int(visible.n)
	r.VisibleP50Ms, r.VisibleP99Ms, r.VisibleMaxMs = visible.quantile(0.5), visible.quantile(0.99), visible.quantile(1)
	r.VisibleKnownP99Ms, r.VisibleNewP99Ms = known.quantile(0.99), fresh.quantile(0.99)
	return r
}

// finish waits until the server has read and committed everything, and reads
// what it used: the price of a reading includes its window and its segment.
func (r *loadReport) finish(ctx context.Context, cfg *loadConfig, a *api, before spent) error {
	client, err := cpuTime(os.Getpid())
	if err != nil {
		return err
	}
	perMillion := func(d time.Duration) float64 { return d.Seconds() / float64(max(r.Objects, 1)) * 1e6 }
	r.ClientCPUSPerM = perMillion(client - before.client)
	if cfg.http != "" {
		if err := r.waitUntilCommitted(ctx, cfg, a); err != nil {
			return err
		}
	}
	if cfg.serverPID != 0 {
		after, err := cfg.spent()
		if err != nil {
			return err
		}
		r.ServerCPUSPerM = perMillion(after.server - before.server)
		if r.ServerPeakRSS, err = peakRSS(cfg.serverPID); err != nil {
			return err
		}
	}
	if cfg.data != "" {
		if r.DiskBytes, err = diskBytes(cfg.data); err != nil {
			return err
		}
		r.DiskPerObject = float64(r.DiskBytes) / float64(max(r.Objects, 1))
	}
	return nil
}

// waitUntilCommitted notes the lag at the end of publishing, the time until
// there is none, and whether everything was committed within commitWait.
func (r *loadReport) waitUntilCommitted(ctx context.Context, cfg *loadConfig, a *api) error {
	begun := time.Now()
	ask := time.NewTicker(20 * time.Millisecond)
	defer ask.Stop()
	caughtUp := false
	var target []uint64 // where each partition's log ended when it had been read: what comes after are ticks
	for {
		ps, err := a.status(ctx)
		if err != nil {
			return err
		}
		var lag uint64
		for _, p := range ps {
			lag += p.Lag
		}
		if r.LagFrames == nil {
			r.LagFrames = &lag
		}
		if lag == 0 && !caughtUp {
			caughtUp = true
			for _, p := range ps {
				target = append(target, p.NextSeq)
			}
			r.CaughtUpMs = float64(time.Since(begun).Microseconds()) / 1e3
		}
		r.Committed = caughtUp && len(ps) == len(target)
		for i := 0; r.Committed && i < len(ps); i++ {
			r.Committed = ps[i].CommittedSeq >= target[i]
		}
		if r.Committed || caughtUp && time.Since(begun) > cfg.commitWait {
			return nil
		}
		if time.Since(begun) > cfg.commitWait+time.Minute {
			return fmt.Errorf("%d frames are still unread a minute after the last PUBACK: %w", lag, errFound)
		}
		select {
		case <-ask.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *loadReport) print(w io.Writer) error {
	lines := fmt.Appendf(nil, `%d objects (%d readings, %d messages) acknowledged in %.1f s
  %.0f objects/s, %.0f readings/s
  PUBACK p50 %.2f ms, p99 %.2f ms, max %.1f ms
`, r.Objects, r.Readings, r.Messages, r.Seconds, r.ObjectsPerSecond, r.ReadingsPerSecond, r.PubackP50Ms, r.PubackP99Ms, r.PubackMaxMs)
	if r.Probes > 0 {
		lines = fmt.Appendf(lines, "  visible after the PUBACK (%d probes) p50 %.1f ms, p99 %.1f ms (known meters %.1f, new %.1f), max %.1f ms\n",
			r.Probes, r.VisibleP50Ms, r.VisibleP99Ms, r.VisibleKnownP99Ms, r.VisibleNewP99Ms, r.VisibleMaxMs)
	}
	if r.LagFrames != nil {
		lines = fmt.Appendf(lines, "  lag at the end %d frames, none after %.0f ms; everything committed: %t\n", *r.LagFrames, r.CaughtUpMs, r.Committed)
	}
	lines = fmt.Appendf(lines, "  CPU per million objects: server %.2f s, gridbench %.2f s\n", r.ServerCPUSPerM, r.ClientCPUSPerM)
	if r.ServerPeakRSS > 0 {
		lines = fmt.Appendf(lines, "  server memory at most %.0f MiB\n", float64(r.ServerPeakRSS)/(1<<20))
	}
	if r.DiskBytes > 0 {
		lines = fmt.Appendf(lines, "  disk %.1f MB, %.1f B per object\n", float64(r.DiskBytes)/1e6, r.DiskPerObject)
	}
	_, err := w.Write(lines)
	return err
}
