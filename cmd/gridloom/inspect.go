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
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/internal/obs"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/stream"
)

const inspectUsage = `gridloom inspect prints what gridloom has stored, for people or as JSON.

  gridloom inspect log      [--data DIR] [--partition N] [--from SEQ] [--count N] [--json]
  gridloom inspect head     [--data DIR] [--partition N] [--json]
  gridloom inspect manifest [--data DIR] [--partition N | FILE] [--json]
  gridloom inspect segment  FILE [--count ROWS] [--json]
  gridloom inspect frame    FILE | --data DIR --from SEQ [--json]
  gridloom inspect spool    DIR [--json]
  gridloom inspect store    DIR [--partition N] [--json]

log, head, frame and store ask the process that runs on DIR where there is one, and open
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

// runInspect prints a log, head, manifest, segment, frame, spool or store.
func runInspect(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: inspect what? log, head, manifest, segment, frame, spool or store; gridloom inspect -h tells more", errUsage)
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
	need := func(what string) error {
		if c.file == "" {
			return fmt.Errorf("%w: inspect %s needs a %s", errUsage, args[0], what)
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
		if err := printFrame(stdout, &c, frameAt{Data: data}, true); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
		return nil
	case "manifest":
		return inspectManifest(ctx, &c, stdout)
	case "store":
		return inspectStore(ctx, &c, stdout)
	case "segment":
		if err := need("file"); err != nil {
			return err
		}
		return describe(stdout, &c, c.file, pane.DescribeSegment)
	case "spool":
		if err := need("directory"); err != nil {
			return err
		}
		if _, err := os.Stat(c.file); err != nil {
			return fmt.Errorf("%s: %w", c.file, reason(err))
		}
		return spool.Inspect(stdout, c.file, c.json)
	default:
		return fmt.Errorf("%w: inspect %q: want log, head, manifest, segment, frame, spool or store", errUsage, args[0])
	}
}

// inspectLive asks the running process for what only it can read, or reads the
// directory's log itself.
func inspectLive(ctx context.Context, kind string, c *inspectConfig, stdout io.Writer) error {
	if err := isDataDir(c.data); err != nil {
		return err
	}
	for _, file := range runFiles(c.data) {
		if run, ok := readRun(file); ok {
			if err := inspectOverHTTP(ctx, kind, c, run, stdout); !errors.Is(err, errNobodyThere) {
				return err
			}
		}
	}
	dir, err := lockExisting(c.data)
	if err != nil {
		return err
	}
	defer dir.close()
	s, closeLog, err := openLog(ctx, dir, natsConfig{})
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

// openLog joins the log of a directory that nobody runs on: that of the NATS server
// that n names, or else its own, in an embedded server.
func openLog(ctx context.Context, dir *dataDir, n natsConfig) (*stream.Stream, func(), error) {
	logger := obs.Discard()
	if n.url != "" {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		s, err := stream.Connect(ctx, n.config(logger))
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	}
	if _, err := os.Stat(dir.sub("log")); err != nil {
		return nil, nil, fmt.Errorf("data directory %s has no log of its own: roles run on it with a NATS server elsewhere, and one of them must run", dir.path)
	}
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

// describe prints a file of the store.
func describe(w io.Writer, c *inspectConfig, name string, show func(io.Writer, []byte, pane.DescribeOptions) error) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, reason(err))
	}
	var out bytes.Buffer
	if err := show(&out, data, pane.DescribeOptions{JSON: c.json, Rows: c.count}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if c.json {
		return objectPerLine(w, &out)
	}
	_, err = out.WriteTo(w)
	return err
}

// objectPerLine writes each JSON value of r on a line of its own.
func objectPerLine(w io.Writer, r io.Reader) error {
	values := json.NewDecoder(r)
	for {
		var v json.RawMessage
		err := values.Decode(&v)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var line bytes.Buffer
		if err == nil {
			err = json.Compact(&line, v)
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", line.Bytes())
		}
		if err != nil {
			return err
		}
	}
}

// isDataDir returns an error if path is no data directory.
func isDataDir(path string) error {
	if _, err := os.Stat(filepath.Join(path, "gridloom.json")); err != nil {
		return fmt.Errorf("%s is no data directory of gridloom: name it with --data", path)
	}
	return nil
}

// inspectManifest prints a manifest file, or the newest that the store of a data directory holds for each partition.
func inspectManifest(ctx context.Context, c *inspectConfig, stdout io.Writer) error {
	if c.file != "" {
		return describe(stdout, c, c.file, pane.DescribeManifest)
	}
	if err := isDataDir(c.data); err != nil {
		return err
	}
	disk := blob.ViewDir(filepath.Join(c.data, "store"), blob.OS{})
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
