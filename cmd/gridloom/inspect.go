package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/internal/obs"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
	"github.com/gridloom/gridloom/stream"
)

const inspectUsage = `gridloom inspect prints what gridloom has stored, for people or as JSON.

  gridloom inspect log      [--data DIR] [--partition N] [--from SEQ] [--count N] [--json]
  gridloom inspect head     [--data DIR] [--partition N] [--json]
  gridloom inspect manifest [--data DIR] [--partition N | FILE] [--json]
  gridloom inspect segment  FILE [--count ROWS] [--json]
  gridloom inspect frame    FILE | --data DIR --from SEQ [--json]
  gridloom inspect spool    DIR [--json]

log, head and frame ask the process that runs on DIR where there is one, and open
the directory themselves where there is none.
`

// inspectConfig is what the kinds of inspect share.
type inspectConfig struct {
	data      string
	partition int
	from      uint64
	count     int
	json      bool
	file      string
}

// runInspect prints a log, head, manifest, segment, frame or spool.
func runInspect(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: inspect what? log, head, manifest, segment, frame or spool; gridloom inspect -h tells more", errUsage)
	}
	if args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(stderr, inspectUsage)
		return nil
	}
	c := inspectConfig{}
	fs := flag.NewFlagSet("gridloom inspect", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(stderr, inspectUsage) }
	fs.StringVar(&c.data, "data", "./gridloom-data", "data `directory`")
	fs.IntVar(&c.partition, "partition", -1, "one partition; all if not given")
	fs.Uint64Var(&c.from, "from", 0, "first log `sequence`")
	fs.IntVar(&c.count, "count", 20, "how many rows or frames at most")
	fs.BoolVar(&c.json, "json", false, "print JSON, one object per line")
	// The file may stand before or after the flags.
	rest := args[1:]
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		c.file, rest = rest[0], rest[1:]
	}
	if err := parseFlags(fs, rest, stderr); err != nil {
		return err
	}
	if c.file == "" && fs.NArg() > 0 {
		c.file = fs.Arg(0)
	}
	if c.count < 1 || c.count > 1_000_000 {
		return fmt.Errorf("%w: --count wants 1 to 1000000", errUsage)
	}
	need := func() error {
		if c.file == "" {
			return fmt.Errorf("%w: inspect %s needs a file", errUsage, args[0])
		}
		return nil
	}
	switch args[0] {
	case "log", "head":
		return inspectLive(ctx, args[0], &c, stdout)
	case "frame":
		if c.file == "" {
			c.count = 1
			return inspectLive(ctx, "frame", &c, stdout)
		}
		data, err := os.ReadFile(c.file)
		if err != nil {
			return fmt.Errorf("frame %s: %w", c.file, reason(err))
		}
		return printFrame(stdout, &c, frameAt{Data: data}, true)
	case "manifest":
		return inspectManifest(ctx, &c, stdout)
	case "segment":
		if err := need(); err != nil {
			return err
		}
		return describe(stdout, &c, c.file, pane.DescribeSegment)
	case "spool":
		if err := need(); err != nil {
			return err
		}
		return spool.Inspect(stdout, c.file, c.json)
	default:
		return fmt.Errorf("%w: inspect %q: want log, head, manifest, segment, frame or spool", errUsage, args[0])
	}
}

// inspectLive asks the running process for what only it can read, or reads the
// directory's log itself.
func inspectLive(ctx context.Context, kind string, c *inspectConfig, stdout io.Writer) error {
	if _, err := os.Stat(filepath.Join(c.data, "gridloom.json")); err != nil {
		return fmt.Errorf("%s is no data directory of gridloom: name it with --data", c.data)
	}
	var run runInfo
	if data, err := os.ReadFile(filepath.Join(c.data, "run.json")); err == nil && json.Unmarshal(data, &run) == nil {
		if err := inspectOverHTTP(ctx, kind, c, run, stdout); !errors.Is(err, errNobodyThere) {
			return err
		}
	}
	dir, err := lockExisting(c.data)
	if err != nil {
		return err
	}
	defer dir.close()
	s, closeLog, err := openLog(ctx, dir)
	if err != nil {
		return err
	}
	defer closeLog()
	return inspectStream(ctx, kind, c, s, stdout)
}

// errNobodyThere means that run.json is stale.
var errNobodyThere = errors.New("nobody serves there")

func inspectOverHTTP(ctx context.Context, kind string, c *inspectConfig, run runInfo, stdout io.Writer) error {
	q := url.Values{"partition": {strconv.Itoa(c.partition)}, "from": {strconv.FormatUint(c.from, 10)}, "count": {strconv.Itoa(c.count)}, "json": {strconv.FormatBool(c.json)}}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+run.HTTP+"/debug/inspect/"+kind+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("run.json of %s: %w", c.data, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errNobodyThere
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s answers %s: %s", run.HTTP, resp.Status, bytes.TrimSpace(text))
	}
	_, err = io.Copy(stdout, resp.Body)
	return err
}

// inspectHandler serves inspect to the command line of the same machine.
func inspectHandler(s *stream.Stream) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		partition, err1 := strconv.Atoi(q.Get("partition"))
		from, err2 := strconv.ParseUint(q.Get("from"), 10, 64)
		count, err3 := strconv.Atoi(q.Get("count"))
		if err := errors.Join(err1, err2, err3); err != nil {
			http.Error(w, oneLine(err), http.StatusBadRequest)
			return
		}
		var buf bytes.Buffer
		c := inspectConfig{partition: partition, from: from, count: min(count, 100_000), json: q.Get("json") == "true"}
		if err := inspectStream(r.Context(), r.PathValue("kind"), &c, s, &buf); err != nil {
			http.Error(w, oneLine(err), http.StatusInternalServerError)
			return
		}
		_, _ = buf.WriteTo(w) // the reader went away at worst
	})
}

// openLog starts the embedded server on a directory that nobody runs on.
func openLog(ctx context.Context, dir *dataDir) (*stream.Stream, func(), error) {
	logger := obs.Discard()
	srv, err := natsd.Open(natsd.Config{Dir: dir.sub("log"), Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	s, err := stream.Connect(ctx, stream.Config{InProcess: srv, Disk: stream.Disk{Dir: dir.path}, Logger: logger})
	if err != nil {
		srv.Close()
		return nil, nil, err
	}
	return s, func() { s.Close(); srv.Close() }, nil
}

// lockExisting opens a data directory that exists already.
func lockExisting(path string) (*dataDir, error) {
	data, err := os.ReadFile(filepath.Join(path, "gridloom.json"))
	if err != nil {
		return nil, fmt.Errorf("%s is no data directory of gridloom: name it with --data", path)
	}
	var meta dirMeta
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", filepath.Join(path, "gridloom.json"), err)
	}
	w, err := time.ParseDuration(meta.Window)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: window: %w", filepath.Join(path, "gridloom.json"), err)
	}
	return openDataDir(path, w)
}

// inspectStream prints heads or frames of the log.
func inspectStream(ctx context.Context, kind string, c *inspectConfig, s *stream.Stream, w io.Writer) error {
	layout := s.Layout()
	parts := make([]int, 0, layout.Partitions)
	for p := range layout.Partitions {
		if c.partition < 0 || c.partition == p {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("%w: there is no partition %d: the log has 0 to %d", gridloom.ErrNotFound, c.partition, layout.Partitions-1)
	}
	switch kind {
	case "head":
		for _, p := range parts {
			if err := printHead(ctx, c, s, p, w); err != nil {
				return err
			}
		}
		return nil
	case "log", "frame":
		return printLog(ctx, kind, c, s, parts, w)
	}
	return fmt.Errorf("%w: inspect %q", gridloom.ErrNotFound, kind)
}

func printHead(ctx context.Context, c *inspectConfig, s *stream.Stream, p int, w io.Writer) error {
	h, rev, err := s.LoadHead(ctx, p)
	if errors.Is(err, gridloom.ErrNotFound) {
		if !c.json {
			fmt.Fprintf(w, "partition %d: no head\n", p)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if c.json {
		return json.NewEncoder(w).Encode(struct {
			gridloom.Head
			Revision uint64 `json:"revision"`
		}{h, rev})
	}
	fmt.Fprintf(w, "partition %d  generation %d  revision %d\n", h.Partition, h.Generation, rev)
	fmt.Fprintf(w, "  epoch     %d  owner %s  node %s  commit %s\n", h.Epoch, h.Owner, h.Node, h.CommitID)
	fmt.Fprintf(w, "  position  next sequence %d, last frame %d (crc %08x), log time %s\n", h.NextSeq, h.LastRef.Seq, h.LastRef.CRC, h.LogTime)
	fmt.Fprintf(w, "  log       created %s\n", h.StreamCreated.Format(time.RFC3339Nano))
	fmt.Fprintf(w, "  manifest  %s (crc %08x)\n", orNone(h.Manifest.Path), h.Manifest.CRC)
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none yet"
	}
	return s
}

// frameAt is a frame and where it was found.
type frameAt struct {
	Sequence uint64
	LoggedAt gridloom.Millis
	Data     []byte
}

// printLog prints the frames of some partitions in the order of the log.
func printLog(ctx context.Context, kind string, c *inspectConfig, s *stream.Stream, parts []int, w io.Writer) error {
	var all []frameAt
	for _, p := range parts {
		last, err := s.LastSequence(ctx, p)
		if err != nil {
			return err
		}
		if last == 0 || last < c.from {
			continue
		}
		frames, err := readFrames(ctx, s, p, max(c.from, 1), last, c.count)
		if err != nil {
			return err
		}
		all = append(all, frames...)
	}
	slices.SortFunc(all, func(a, b frameAt) int { return int(int64(a.Sequence) - int64(b.Sequence)) })
	if len(all) > c.count {
		all = all[:c.count]
	}
	if kind == "frame" && (len(all) == 0 || all[0].Sequence != c.from) {
		return fmt.Errorf("%w: the log holds no frame %d: it was purged, is not written yet, or is of another stream", gridloom.ErrNotFound, c.from)
	}
	for _, f := range all {
		if err := printFrame(w, c, f, kind == "frame"); err != nil {
			return err
		}
	}
	return nil
}

func readFrames(ctx context.Context, s *stream.Stream, p int, from, last uint64, count int) ([]frameAt, error) {
	r, err := s.Follow(ctx, p, gridloom.Head{Format: gridloom.HeadFormat, Generation: s.Layout().Generation, Partition: p, NextSeq: from, StreamCreated: s.Layout().Created})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []frameAt
	for {
		msgs, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			out = append(out, frameAt{m.Sequence, m.LoggedAt, m.Data})
			if m.Sequence >= last || len(out) >= count {
				return out, nil
			}
		}
	}
}

// printFrame prints what a frame is and, if asked for, its readings.
func printFrame(w io.Writer, c *inspectConfig, f frameAt, rows bool) error {
	var cols wire.Columns
	info, err := wire.DecodeFrame(f.Data, &cols)
	if err != nil {
		return fmt.Errorf("frame %d: %w", f.Sequence, err)
	}
	if c.json {
		o := map[string]any{
			"sequence": f.Sequence, "logged_at": f.LoggedAt.String(), "kind": info.Kind.String(), "generation": info.Generation, "partition": info.Partition,
			"readings": info.Readings, "bytes": len(f.Data), "crc": wire.CRC(f.Data),
		}
		if rows {
			var list []map[string]any
			for i := range cols.Len() {
				r := cols.Reading(i)
				list = append(list, map[string]any{
					"meter": r.Meter, "register": r.Register.Info().Code, "start": r.Start.String(), "length_ms": r.Length,
					"value_milli": r.Value, "void": r.Void, "quality": r.Quality.Names(), "order": r.Order.String(), "serial": r.Serial, "agent": r.Agent,
				})
			}
			o["rows"] = list
		}
		return json.NewEncoder(w).Encode(o)
	}
	fmt.Fprintf(w, "frame %d  %s  %s  generation %d  partition %d  %d readings of %d meters  %d bytes  crc %08x\n",
		f.Sequence, f.LoggedAt, info.Kind, info.Generation, info.Partition, info.Readings, len(cols.Meters), len(f.Data), wire.CRC(f.Data))
	if rows {
		for i := range cols.Len() {
			r := cols.Reading(i)
			value := strconv.FormatInt(r.Value, 10)
			if r.Void {
				value = "void"
			}
			fmt.Fprintf(w, "  %s  %s  %s +%s  %s m%s  %s  order %s  agent %s\n", r.Meter, r.Register, r.Start, r.Length.Duration(), value, r.Register.Info().Unit, r.Quality, r.Order, orNone(r.Agent))
		}
	}
	return nil
}

// describe prints a file of the store.
func describe(w io.Writer, c *inspectConfig, name string, show func(io.Writer, []byte, pane.DescribeOptions) error) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, reason(err))
	}
	if err := show(w, data, pane.DescribeOptions{JSON: c.json, Rows: c.count}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// inspectManifest prints a manifest file, or the newest that the store of a data directory holds for each partition.
func inspectManifest(ctx context.Context, c *inspectConfig, stdout io.Writer) error {
	if c.file != "" {
		return describe(stdout, c, c.file, pane.DescribeManifest)
	}
	disk, err := blob.OpenDir(filepath.Join(c.data, "store"), blob.OS{})
	if err != nil {
		return err
	}
	found, err := newestManifests(ctx, pane.NewStore(disk, pane.StoreOptions{}), disk)
	if err != nil {
		return err
	}
	for _, f := range found {
		if c.partition >= 0 && f.manifest.Head.Partition != c.partition {
			continue
		}
		name := filepath.Join(c.data, "store", filepath.FromSlash(f.ref.Path))
		if !c.json {
			fmt.Fprintln(stdout, name)
		}
		if err := describe(stdout, c, name, pane.DescribeManifest); err != nil {
			return err
		}
	}
	return nil
}
