package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// The stacks that gridloom is compared with, in their best practice: nothing is
// dropped, nothing is compressed on loopback, batches are large, and where durability
// costs them something they are without it.
const (
	stackBare   = "mosquitto + bare subscriber"
	stackVM     = "mosquitto + telegraf + victoria-metrics"
	stackInflux = "mosquitto + telegraf + influxdb"
)

// stacks returns those that can run here and notes versions and what is missing.
func (c *contest) stacks(ctx context.Context) ([]stack, error) {
	c.versions, c.programs, c.missing = map[string]string{}, map[string]string{}, []string{}
	c.find(ctx, "mosquitto", "mosquitto", "-h")
	c.find(ctx, "victoria-metrics", "victoria-metrics", "-version")
	c.find(ctx, "influxd", "influxdb", "version")
	if c.cfg.telegraf != "" {
		c.programs["telegraf"] = c.cfg.telegraf
		c.versions["telegraf"] = version(ctx, c.cfg.telegraf, "", "version")
	} else if path, err := exec.LookPath("telegraf"); err == nil {
		c.programs["telegraf"] = path
		c.versions["telegraf"] = version(ctx, path, "", "version")
	} else {
		c.missing = append(c.missing, "telegraf is not installed: give its path with --telegraf (docs/benchmarks.md says how to build it)")
	}
	have := func(programs ...string) bool {
		return !slices.ContainsFunc(programs, func(p string) bool { return c.programs[p] == "" })
	}
	all := []stack{c.gridloom()}
	if have("mosquitto") {
		all = append(all, c.bare())
	}
	if have("mosquitto", "telegraf", "victoria-metrics") {
		all = append(all, c.telegrafTo(stackVM, c.victoriaMetrics))
	}
	if have("mosquitto", "telegraf", "influxd") {
		all = append(all, c.telegrafTo(stackInflux, c.influxDB))
	}
	if c.cfg.only != "" {
		var chosen []stack
		for name := range strings.SplitSeq(c.cfg.only, ",") {
			i := slices.IndexFunc(all, func(s stack) bool { return s.name == name })
			if i < 0 {
				return nil, fmt.Errorf("--only %s: there is no such stack, or a part of it is missing: %s", name, strings.Join(c.missing, "; "))
			}
			chosen = append(chosen, all[i])
		}
		all = chosen
	}
	if !slices.ContainsFunc(all, func(s stack) bool { return s.name == stackGridloom }) {
		return all, nil
	}
	var err error
	c.server, err = serverBinary(ctx, c.cfg.server, c.dir)
	if err == nil {
		c.versions["gridloom"] = version(ctx, c.server, "", "version")
	}
	return all, err
}

// find looks for a program of a Debian package.
func (c *contest) find(ctx context.Context, program, pkg, versionFlag string) {
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			c.programs[program] = path
			c.versions[program] = version(ctx, path, pkg, versionFlag)
			return
		}
	}
	c.missing = append(c.missing, fmt.Sprintf("%s is not installed: apt-get install %s", program, pkg))
}

// version returns the first line that a program says of itself, or else its package's version.
func version(ctx context.Context, path, pkg, arg string) string {
	text, _ := exec.CommandContext(ctx, path, arg).CombinedOutput() // mosquitto -h says it with exit status 3
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if line == "" && pkg != "" {
		text, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", pkg).Output()
		if err == nil {
			line = "package " + string(text)
		}
	}
	return line
}

// mosquitto starts a broker that queues without limit and keeps nothing on disk.
func (c *contest) mosquitto(ctx context.Context, t *trial) error {
	addr, err := freePort(ctx)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	conf := fmt.Sprintf(`listener %s 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 1000
max_queued_messages 0
set_tcp_nodelay true
sys_interval 0
log_type error
log_dest stderr
`, port)
	if os.Getuid() == 0 {
		conf += "user root\n" // else it gives up root and cannot read its files here
	}
	path := filepath.Join(t.dir, "mosquitto.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return err
	}
	if err := t.launch("mosquitto", c.programs["mosquitto"], "-c", path); err != nil {
		return err
	}
	t.mqtt = addr
	return t.awaitPort(ctx, addr)
}

// loadTopics are those that gridbench load publishes to.
const loadTopics = "gridloom/v1/bench/+/readings"

// bare is mosquitto with gridbench's own subscriber, which only counts.
func (c *contest) bare() stack {
	return stack{stackBare, func(ctx context.Context, t *trial) error {
		if err := c.mosquitto(ctx, t); err != nil {
			return err
		}
		s, err := subscribe(ctx, t.mqtt, loadTopics)
		if err != nil {
			return err
		}
		t.close = append(t.close, s.close)
		t.shown = func(context.Context) (int64, error) { return s.messages.Load() * int64(t.objects), s.err() }
		return nil
	}}
}

// A database is what Telegraf writes to: its address, and how many objects of a
// register it shows.
type database struct {
	addr  string
	shown func(ctx context.Context, a *api) (int64, error)
}

// telegrafTo is mosquitto, Telegraf and a database.
func (c *contest) telegrafTo(name string, start func(context.Context, *trial) (database, error)) stack {
	return stack{name, func(ctx context.Context, t *trial) error {
		if err := c.mosquitto(ctx, t); err != nil {
			return err
		}
		db, err := start(ctx, t)
		if err != nil {
			return err
		}
		path := filepath.Join(t.dir, "telegraf.conf")
		if err := os.WriteFile(path, []byte(telegrafConfig(t.mqtt, db.addr, t.objects)), 0o600); err != nil {
			return err
		}
		if err := t.launch("telegraf", c.programs["telegraf"], "--config", path, "--quiet"); err != nil {
			return err
		}
		a := newAPI(db.addr)
		t.close = append(t.close, func() error { a.close(); return nil })
		var probes int64
		t.shown = func(ctx context.Context) (int64, error) {
			n, err := db.shown(ctx, a)
			return n - probes, err
		}
		probes, err = t.awaitPath(ctx, a, db)
		return err
	}}
}

// awaitPath publishes one object after the other until the database shows one: then
// Telegraf has subscribed. It returns how many are shown when no more come.
func (t *trial) awaitPath(ctx context.Context, a *api, db database) (shown int64, err error) {
	conn, reader, err := dialMQTT(ctx, t.mqtt, "probe")
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	id, since := uint16(0), time.Now()
	err = t.until(ctx, func() bool {
		if shown == 0 {
			id++
			p := newJSON("probe", 1, t.objects)
			for i := range p.objects {
				p.set(i, objectAt(9_999_999, gridloom.MillisOf(time.Now())+gridloom.Millis(i)))
			}
			if _, err := conn.Write(appendPublish(nil, "gridloom/v1/bench/probe/readings", id, p.bytes)); err == nil {
				_, _ = readPuback(reader, make([]byte, 64)) // one that fails is seen by what is shown
			}
		}
		n, err := db.shown(ctx, a)
		if err == nil && n != shown {
			shown, since = n, time.Now()
		}
		return shown > 0 && time.Since(since) > 2*time.Second
	})
	return shown, err
}

// telegrafConfig is for one consumer with a large window and large batches.
func telegrafConfig(mqtt, db string, objects int) string {
	query := ""
	if objects > 1 {
		query = `json_query = "readings"`
	}
	return fmt.Sprintf(`[agent]
interval = "1s"
flush_interval = "1s"
flush_jitter = "0s"
metric_batch_size = 10000
metric_buffer_limit = 20000000
omit_hostname = true
[[inputs.mqtt_consumer]]
servers = ["tcp://%s"]
topics = ["%s"]
qos = 1
client_id = "telegraf"
persistent_session = true
max_undelivered_messages = 20000
topic_tag = ""
name_override = "bench"
data_format = "json"
tag_keys = ["meter"]
json_time_key = "at"
json_time_format = "unix_ms"
%s
[[outputs.influxdb]]
urls = ["http://%s"]
database = "bench"
content_encoding = "identity"
timeout = "30s"
`, mqtt, loadTopics, query, db)
}

// victoriaMetrics starts VictoriaMetrics with answers that are never cached or held back.
func (c *contest) victoriaMetrics(ctx context.Context, t *trial) (database, error) {
	addr, err := freePort(ctx)
	if err != nil {
		return database{}, err
	}
	err = t.launch("victoria-metrics", c.programs["victoria-metrics"], "-httpListenAddr="+addr, "-storageDataPath="+filepath.Join(t.dir, "vm"),
		"-search.latencyOffset=0s", "-search.disableCache", "-retentionPeriod=1y", "-loggerLevel=WARN")
	if err != nil {
		return database{}, err
	}
	q := url.Values{"query": {`sum(count_over_time(bench_power_import[2h]))`}}
	return database{addr, func(ctx context.Context, a *api) (int64, error) {
		var answer struct {
			Data struct {
				Result []struct{ Value [2]json.RawMessage }
			}
		}
		if err := getJSON(ctx, a, "/api/v1/query", q, &answer); err != nil || len(answer.Data.Result) == 0 {
			return 0, err
		}
		return countOf(answer.Data.Result[0].Value[1])
	}}, t.awaitPort(ctx, addr)
}

// influxDB starts InfluxDB 1 with the index for many series.
func (c *contest) influxDB(ctx context.Context, t *trial) (database, error) {
	addr, err1 := freePort(ctx)
	backup, err2 := freePort(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return database{}, err
	}
	dir := filepath.Join(t.dir, "influx")
	conf := fmt.Sprintf(`reporting-disabled = true
bind-address = %q
[meta]
dir = %q
[data]
dir = %q
wal-dir = %q
index-version = "tsi1"
wal-fsync-delay = "100ms"
max-series-per-database = 0
[http]
bind-address = %q
log-enabled = false
[monitor]
store-enabled = false
[logging]
level = "error"
`, backup, filepath.Join(dir, "meta"), filepath.Join(dir, "data"), filepath.Join(dir, "wal"), addr)
	path := filepath.Join(t.dir, "influxdb.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return database{}, err
	}
	if err := t.launch("influxdb", c.programs["influxd"], "-config", path); err != nil {
		return database{}, err
	}
	q := url.Values{"db": {"bench"}, "q": {"SELECT count(power_import) FROM bench"}}
	return database{addr, func(ctx context.Context, a *api) (int64, error) {
		var answer struct {
			Results []struct {
				Series []struct{ Values [][]json.RawMessage }
			}
		}
		if err := getJSON(ctx, a, "/query", q, &answer); err != nil || len(answer.Results) == 0 || len(answer.Results[0].Series) == 0 {
			return 0, err
		}
		return countOf(answer.Results[0].Series[0].Values[0][1])
	}}, t.awaitPort(ctx, addr)
}

// countOf reads a count that is a JSON number or one in quotes.
func countOf(value json.RawMessage) (int64, error) {
	n, err := strconv.ParseFloat(strings.Trim(string(value), `"`), 64)
	return int64(n), err
}
