package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/cmd/gridbench/floor"
)

// floorConfig is what gridbench floor is told.
type floorConfig struct {
	duration    time.Duration // of each measurement
	only        string        // kinds of floors, separated by commas
	series      int           // of the kernel's readings
	rows        int           // of a segment
	connections int
	window      int
	dir         string // where frames are written; "": a temporary one
	json        bool
}

// floorKinds are what --only chooses from, in the order in which they run.
var floorKinds = []string{"mqtt", "frames", "kernel", "segment"}

// figure is one measurement of gridbench floor; docs/benchmarks.md explains the keys.
type figure struct {
	Group       string  `json:"group"`
	Name        string  `json:"name"`
	Floor       bool    `json:"floor"`     // false: a stage of gridloom
	Reference   bool    `json:"reference"` // what the ratios of the group are to
	Unit        string  `json:"unit"`
	PerSecond   float64 `json:"per_second"`
	CPUSPerM    float64 `json:"cpu_s_per_million"`
	CPURatio    float64 `json:"cpu_ratio"`
	RateRatio   float64 `json:"rate_ratio"`
	BytesPer    float64 `json:"bytes_per_unit,omitempty"`
	MBPerSecond float64 `json:"mb_per_second,omitempty"`
	PubackP50Ms float64 `json:"puback_p50_ms,omitempty"`
	PubackP99Ms float64 `json:"puback_p99_ms,omitempty"`
}

// floorReport is what gridbench floor prints.
type floorReport struct {
	Figures []figure `json:"figures"`
	Seconds float64  `json:"seconds"`
}

func runFloor(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseFloor(args, stderr)
	if err != nil {
		return err
	}
	r, err := measureFloors(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	return tell(stdout, r, cfg.json)
}

func floorFlags(c *floorConfig) *flag.FlagSet {
	fs := flag.NewFlagSet("gridbench floor", flag.ContinueOnError)
	fs.DurationVar(&c.duration, "duration", 5*time.Second, "how long each measurement takes")
	fs.StringVar(&c.only, "only", strings.Join(floorKinds, ","), "which floors, separated by commas")
	fs.IntVar(&c.series, "series", 1_000_000, "series of the kernel's readings")
	fs.IntVar(&c.rows, "rows", 240_000, "readings in a segment, about")
	fs.IntVar(&c.connections, "connections", 50, "MQTT connections")
	fs.IntVar(&c.window, "window", 100, "messages in flight per connection, 1 to 16384; a tenth of it with 100 objects a message")
	fs.StringVar(&c.dir, "dir", "", "`directory` on the disk to measure; the one for temporary files if empty")
	fs.BoolVar(&c.json, "json", false, "print JSON")
	return fs
}

func parseFloor(args []string, stderr io.Writer) (*floorConfig, error) {
	var c floorConfig
	fs := floorFlags(&c)
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	for k := range strings.SplitSeq(c.only, ",") {
		if !slices.Contains(floorKinds, k) {
			return nil, fmt.Errorf("--only %s: want some of %s", k, strings.Join(floorKinds, ","))
		}
	}
	if c.duration <= 0 || c.series < 1 || c.series > 10_000_000 || c.connections < 1 || c.connections > 10_000 || c.window < 1 || c.window > 16384 || c.rows < 1 || c.rows > 10_000_000 {
		return nil, errors.New("--duration, --series and --rows (at most 10,000,000), --connections (at most 10,000), --window (at most 16384): want positive ones")
	}
	return &c, nil
}

// A floorRun measures one figure after the other.
type floorRun struct {
	cfg      *floorConfig
	dir      string
	progress io.Writer
	report   floorReport
}

func measureFloors(ctx context.Context, cfg *floorConfig, progress io.Writer) (_ *floorReport, err error) {
	dir, err := os.MkdirTemp(cfg.dir, "gridbench-floor-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &floorRun{cfg: cfg, dir: dir, progress: progress}
	begun := time.Now()
	for _, k := range floorKinds {
		if !slices.Contains(strings.Split(cfg.only, ","), k) {
			continue
		}
		measure := map[string]func(context.Context) error{"mqtt": r.mqtt, "frames": r.frames, "kernel": r.kernel, "segment": r.segment}[k]
		if err := measure(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	r.report.Seconds = time.Since(begun).Seconds()
	r.report.compare()
	return &r.report, nil
}

// add notes a figure and says how far the run is.
func (r *floorRun) add(f figure) {
	r.report.Figures = append(r.report.Figures, f)
	fmt.Fprintf(r.progress, "%s, %s: %.0f %s/s\n", f.Group, f.Name, f.PerSecond, f.Unit)
}

// mqtt publishes the load of gridbench load to each of floor's brokers.
func (r *floorRun) mqtt(ctx context.Context) error {
	for _, shape := range []struct {
		objects  int
		encoding string
	}{{1, "json"}, {100, "json"}, {100, "protobuf"}} {
		group := fmt.Sprintf("mqtt, %d objects, %s", shape.objects, shape.encoding)
		if shape.objects == 1 {
			group = "mqtt, 1 object, json"
		}
		for _, broker := range floor.Brokers() {
			load := &loadConfig{
				connections: r.cfg.connections, objects: shape.objects, encoding: shape.encoding, window: r.cfg.window,
				meters: max(10_000, r.cfg.connections), duration: r.cfg.duration,
			}
			if shape.objects > 1 {
				load.window = max(1, load.window/10)
			}
			got, err := r.loadBroker(ctx, broker, load)
			if err != nil {
				return fmt.Errorf("%s: %w", broker, err)
			}
			r.add(figure{
				Group: group, Name: broker, Floor: broker == "raw" || broker == "hook", Reference: broker == "hook", Unit: "objects",
				PerSecond: got.ObjectsPerSecond, CPUSPerM: got.ServerCPUSPerM, PubackP50Ms: got.PubackP50Ms, PubackP99Ms: got.PubackP99Ms,
			})
		}
	}
	return nil
}

// frameSizes are those of frames: small, usual and where ingest seals one.
var frameSizes = []int{32 << 10, 128 << 10, 256 << 10}

func (r *floorRun) frames(ctx context.Context) error {
	for _, size := range frameSizes {
		for _, m := range []struct {
			name   string
			floor  bool
			refers bool
			do     func(context.Context, string, int, time.Duration) (floor.Work, error)
		}{{"write + fsync", true, false, floor.WriteFiles}, {"jetstream publish", true, true, floor.PublishFrames}, {"stream append", false, false, floor.AppendFrames}} {
			dir, err := os.MkdirTemp(r.dir, "frames-")
			if err != nil {
				return err
			}
			w, err := m.do(ctx, dir, size, r.cfg.duration)
			if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			f := worked(w, "frames")
			f.Group, f.Name, f.Floor, f.Reference = fmt.Sprintf("frames of %d KiB", size>>10), m.name, m.floor, m.refers
			f.BytesPer = 0 // the group says it
			r.add(f)
		}
	}
	return nil
}

func (r *floorRun) kernel(context.Context) error {
	for _, fleet := range []floor.Fleet{{Series: r.cfg.series, Mixed: true}, {Series: r.cfg.series}} {
		group := fmt.Sprintf("kernel, %d series, in order", fleet.Series)
		if fleet.Mixed {
			group = fmt.Sprintf("kernel, %d series, mixed", fleet.Series)
		}
		one := func(name string, isFloor, refers bool, do func() (floor.Work, error)) error {
			w, err := do()
			f := worked(w, "readings")
			f.Group, f.Name, f.Floor, f.Reference = group, name, isFloor, refers
			r.add(f)
			return err
		}
		err := errors.Join(
			one("array of sums", true, false, func() (floor.Work, error) { return floor.FoldArray(fleet, r.cfg.duration) }),
			one("array of panes", true, true, func() (floor.Work, error) { return floor.FoldRows(fleet, r.cfg.duration) }),
		)
		for _, k := range []gridloom.Kind{gridloom.Counter, gridloom.Gauge, gridloom.Interval} {
			err = errors.Join(err, one("kernel, "+k.String(), false, false, func() (floor.Work, error) { return floor.FoldKernel(k, fleet, r.cfg.duration) }))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *floorRun) segment(ctx context.Context) error {
	for _, c := range []floor.Commit{{Meters: 1000, Objects: max(1, r.cfg.rows/3000)}, {Meters: max(1, r.cfg.rows/6), Objects: 2}} {
		group := fmt.Sprintf("segment of %d rows, %d meters", c.Rows(), c.Meters)
		parquet, err := floor.WriteParquet(c, r.cfg.duration)
		if err != nil {
			return err
		}
		f := worked(parquet, "rows")
		f.Group, f.Name, f.Floor, f.Reference = group, "arrow's parquet, zstd", true, true
		r.add(f)
		ours, err := floor.WriteSegment(ctx, c, r.cfg.duration)
		if err != nil {
			return err
		}
		f = worked(ours, "rows")
		f.Group, f.Name = group, "raw segment of a commit"
		r.add(f)
	}
	return nil
}

// worked turns what was done into a figure without a name.
func worked(w floor.Work, unit string) figure {
	f := figure{Unit: unit}
	if w.N == 0 || w.Wall <= 0 {
		return f
	}
	f.PerSecond = float64(w.N) / w.Wall.Seconds()
	f.CPUSPerM = w.CPU.Seconds() / float64(w.N) * 1e6
	f.BytesPer = float64(w.Bytes) / float64(w.N)
	f.MBPerSecond = float64(w.Bytes) / w.Wall.Seconds() / 1e6
	return f
}

// compare fills in the ratios to each group's reference.
func (r *floorReport) compare() {
	for i := range r.Figures {
		f := &r.Figures[i]
		for _, ref := range r.Figures {
			if ref.Group == f.Group && ref.Reference && ref.CPUSPerM > 0 && ref.PerSecond > 0 {
				f.CPURatio, f.RateRatio = f.CPUSPerM/ref.CPUSPerM, f.PerSecond/ref.PerSecond
			}
		}
	}
}

func (r *floorReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	group := ""
	for _, f := range r.Figures {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(t, "%s\t%s/s\tCPU s per million\tCPU ratio\trate ratio\t\n", group, f.Unit)
		}
		kind, more := "stage", ""
		if f.Floor {
			kind = "floor"
		}
		if f.PubackP99Ms > 0 {
			more = fmt.Sprintf("PUBACK p50 %.2f ms, p99 %.2f ms", f.PubackP50Ms, f.PubackP99Ms)
		}
		if f.MBPerSecond > 0 {
			more = fmt.Sprintf("%.0f MB/s", f.MBPerSecond)
		}
		if f.BytesPer > 0 {
			more += fmt.Sprintf(", %.1f B a row", f.BytesPer)
		}
		fmt.Fprintf(t, "  %s %s\t%.0f\t%.3f\t%.2f\t%.2f\t%s\n", kind, f.Name, f.PerSecond, f.CPUSPerM, f.CPURatio, f.RateRatio, more)
	}
	return t.Flush()
}
