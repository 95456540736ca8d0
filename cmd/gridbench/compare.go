package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// compareConfig is what gridbench compare is told.
type compareConfig struct {
	objects     string // per message, several separated by commas
	duration    time.Duration
	maxObjects  int
	rounds      int
	connections int
	window      int
	meters      int
	only        string // names of stacks, separated by commas; "": all that can run
	server      string
	serverArgs  string
	telegraf    string
	dir         string
	json        bool
}

// stackRun is one run of one stack.
type stackRun struct {
	objectsPerSecond float64 // first publish to last object visible
	cpu              map[string]float64
	rss              map[string]int64
	p50, p99         float64
	sent, shown      int64
}

// stackFigure is the median of a stack's runs; docs/benchmarks.md explains the keys.
type stackFigure struct {
	Stack            string             `json:"stack"`
	ObjectsPerMsg    int                `json:"objects_per_message"`
	Rounds           int                `json:"rounds"`
	ObjectsPerSecond float64            `json:"objects_per_second"`
	CPUSPerM         float64            `json:"cpu_s_per_million_objects"`
	CPUByPart        map[string]float64 `json:"cpu_by_part"`
	PeakRSS          int64              `json:"peak_rss_bytes"`
	RSSByPart        map[string]int64   `json:"peak_rss_by_part"`
	PubackP50Ms      float64            `json:"puback_p50_ms"`
	PubackP99Ms      float64            `json:"puback_p99_ms"`
	NotShown         int64              `json:"not_shown"` // objects acknowledged and shown by no query, over all rounds
	RateRatio        float64            `json:"rate_ratio"`
	CPURatio         float64            `json:"cpu_ratio"`
}

// compareReport is what gridbench compare prints.
type compareReport struct {
	Figures  []stackFigure     `json:"figures"`
	Versions map[string]string `json:"versions"`
	Missing  []string          `json:"missing"`
	Seconds  float64           `json:"seconds"`
}

func compareFlags(c *compareConfig) *flag.FlagSet {
	fs := flag.NewFlagSet("gridbench compare ingest", flag.ContinueOnError)
	fs.StringVar(&c.objects, "objects", "1,100", "objects of three readings per message, 1 to 1000; several separated by commas")
	fs.DurationVar(&c.duration, "duration", 10*time.Second, "how long to publish to a stack in a round")
	fs.IntVar(&c.maxObjects, "max-objects", 1_000_000, "objects published to a stack in a round, about: a broker queues what its consumer is late for")
	fs.IntVar(&c.rounds, "rounds", 3, "how often each stack has its turn; figures are medians")
	fs.IntVar(&c.connections, "connections", 20, "MQTT connections")
	fs.IntVar(&c.window, "window", 200, "messages in flight per connection, 1 to 16384")
	fs.IntVar(&c.meters, "meters", 10_000, "meters")
	fs.StringVar(&c.only, "only", "", "`stacks` to run, separated by commas; all that are installed if empty")
	fs.StringVar(&c.server, "server", "", "`path` of the gridloom binary; built from this module if empty")
	fs.StringVar(&c.serverArgs, "server-args", "", "further `flags` of gridloom up, separated by blanks")
	fs.StringVar(&c.telegraf, "telegraf", "", "`path` of a Telegraf binary; the one in PATH if empty")
	fs.StringVar(&c.dir, "dir", "", "`directory` for the stacks' files, which are removed; the one for temporary files if empty")
	fs.BoolVar(&c.json, "json", false, "print JSON")
	return fs
}

func runCompare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "ingest" {
		return errors.New("compare what? want: gridbench compare ingest")
	}
	var cfg compareConfig
	fs := compareFlags(&cfg)
	fs.SetOutput(stderr)
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	shapes, err := cfg.validate()
	if err != nil {
		return err
	}
	r, err := compare(ctx, &cfg, shapes, stderr)
	if err != nil {
		return err
	}
	return tell(stdout, r, cfg.json)
}

// validate returns the numbers of objects per message.
func (c *compareConfig) validate() (shapes []int, err error) {
	for text := range strings.SplitSeq(c.objects, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return nil, fmt.Errorf("--objects %s: want 1 to 1000, several separated by commas", c.objects)
		}
		shapes = append(shapes, n)
	}
	if c.rounds < 1 || c.rounds > 100 {
		return nil, fmt.Errorf("--rounds %d: want 1 to 100", c.rounds)
	}
	if c.maxObjects < 1 {
		return nil, fmt.Errorf("--max-objects %d: want at least 1", c.maxObjects)
	}
	return shapes, c.load(shapes[0]).validate()
}

// load is what each stack gets.
func (c *compareConfig) load(objects int) *loadConfig {
	return &loadConfig{
		connections: c.connections, objects: objects, encoding: "json", window: c.window, meters: c.meters, duration: c.duration, maxObjects: c.maxObjects, commitWait: 30 * time.Second,
	}
}

// compare lets the stacks have their turns.
func compare(ctx context.Context, cfg *compareConfig, shapes []int, progress io.Writer) (_ *compareReport, err error) {
	dir, err := os.MkdirTemp(cfg.dir, "gridbench-compare-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := &contest{cfg: cfg, dir: dir}
	begun := time.Now()
	stacks, err := c.stacks(ctx)
	if err != nil {
		return nil, err
	}
	r := &compareReport{Versions: c.versions, Missing: c.missing}
	for _, m := range c.missing {
		fmt.Fprintln(progress, m)
	}
	for _, objects := range shapes {
		runs := make([][]stackRun, len(stacks))
		for round := range cfg.rounds {
			for i := range stacks {
				s := (round + i) % len(stacks) // who is first changes from round to round
				one, err := c.run(ctx, &stacks[s], objects)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", stacks[s].name, err)
				}
				runs[s] = append(runs[s], *one)
				fmt.Fprintf(progress, "round %d, %d objects a message, %s: %.0f objects/s\n", round+1, objects, stacks[s].name, one.objectsPerSecond)
			}
		}
		for i, s := range stacks {
			r.Figures = append(r.Figures, figureOf(s.name, objects, runs[i]))
		}
	}
	r.compare()
	r.Seconds = time.Since(begun).Seconds()
	return r, nil
}

// figureOf takes medians, of each quantity on its own.
func figureOf(name string, objects int, runs []stackRun) stackFigure {
	of := func(get func(*stackRun) float64) float64 {
		var all []float64
		for i := range runs {
			all = append(all, get(&runs[i]))
		}
		return median(all)
	}
	f := stackFigure{
		Stack: name, ObjectsPerMsg: objects, Rounds: len(runs), CPUByPart: map[string]float64{}, RSSByPart: map[string]int64{},
		ObjectsPerSecond: of(func(r *stackRun) float64 { return r.objectsPerSecond }),
		PubackP50Ms:      of(func(r *stackRun) float64 { return r.p50 }),
		PubackP99Ms:      of(func(r *stackRun) float64 { return r.p99 }),
		CPUSPerM: of(func(r *stackRun) (sum float64) {
			for _, v := range r.cpu {
				sum += v
			}
			return sum
		}),
	}
	for part := range runs[0].cpu {
		f.CPUByPart[part] = of(func(r *stackRun) float64 { return r.cpu[part] })
		f.RSSByPart[part] = int64(of(func(r *stackRun) float64 { return float64(r.rss[part]) }))
		f.PeakRSS += f.RSSByPart[part]
	}
	for _, r := range runs {
		f.NotShown += r.sent - r.shown
	}
	return f
}

// median returns the middle of some numbers, of an even count the mean of the two.
func median(all []float64) float64 {
	slices.Sort(all)
	n := len(all)
	if n == 0 {
		return 0
	}
	return (all[n/2] + all[(n-1)/2]) / 2
}

// compare fills in what gridloom does beside each of the others.
func (r *compareReport) compare() {
	for i := range r.Figures {
		f := &r.Figures[i]
		for _, us := range r.Figures {
			if us.Stack == stackGridloom && us.ObjectsPerMsg == f.ObjectsPerMsg && f.ObjectsPerSecond > 0 && us.CPUSPerM > 0 {
				f.RateRatio, f.CPURatio = us.ObjectsPerSecond/f.ObjectsPerSecond, f.CPUSPerM/us.CPUSPerM
			}
		}
	}
}

func (r *compareReport) print(w io.Writer) error {
	var text []byte
	for i, f := range r.Figures {
		if i == 0 || r.Figures[i-1].ObjectsPerMsg != f.ObjectsPerMsg {
			text = fmt.Appendf(text, "%d objects a message, QoS 1, median of %d rounds\n", f.ObjectsPerMsg, f.Rounds)
		}
		text = fmt.Appendf(text, "  %-36s %9.0f objects/s  %7.2f CPU s per million (%s)  %5d MiB (%s)  PUBACK p50 %.2f ms, p99 %.2f ms",
			f.Stack, f.ObjectsPerSecond, f.CPUSPerM, byPart(f.CPUByPart, "%.2f", 1), f.PeakRSS>>20, byPart(f.RSSByPart, "%.0f", 1<<20), f.PubackP50Ms, f.PubackP99Ms)
		if f.Stack != stackGridloom && f.RateRatio > 0 {
			text = fmt.Appendf(text, "  gridloom: %.1f x the rate at 1/%.1f of the CPU", f.RateRatio, f.CPURatio)
		}
		if f.NotShown > 0 {
			text = fmt.Appendf(text, "  %d ACKNOWLEDGED OBJECTS WERE NEVER SHOWN", f.NotShown)
		}
		text = append(text, '\n')
	}
	if !slices.ContainsFunc(r.Figures, func(f stackFigure) bool { return strings.Contains(f.Stack, "telegraf") }) {
		text = append(text, "  without Telegraf: the ratio is to mosquitto and a subscriber that only counts, which is the most that shape can do; the subscriber's CPU is not counted\n"...)
	}
	for _, name := range sortedKeys(r.Versions) {
		text = fmt.Appendf(text, "  %s: %s\n", name, r.Versions[name])
	}
	for _, m := range r.Missing {
		text = fmt.Appendf(text, "  %s\n", m)
	}
	_, err := w.Write(text)
	return err
}

func byPart[N int64 | float64](parts map[string]N, format string, unit float64) string {
	var words []string
	for _, name := range sortedKeys(parts) {
		words = append(words, fmt.Sprintf("%s "+format, name, float64(parts[name])/unit))
	}
	return strings.Join(words, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
