package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/stream"
)

// role is what a process does: one stage, or all of them.
type role string

const (
	roleUp        role = "up"
	roleIngest    role = "ingest"
	roleAggregate role = "aggregate"
	roleQuery     role = "query"
)

// does reports whether a process of role r does the work of role other.
func (r role) does(other role) bool { return r == roleUp || r == other }

// config is what a process runs with. What its role does not do is left empty.
type config struct {
	role     role
	name     string // of the process among those of its role; "" with up
	data     string
	http     string
	insecure bool
	logLevel slog.Level

	// The log: where it is, unless embedded, and what the first to start makes.
	nats       natsConfig
	maxLog     int64
	partitions int
	replicas   int

	// Ingest.
	mqtt        string
	mqttTLS     string
	tlsCert     string
	tlsKey      string
	tlsClientCA string

	window time.Duration // 0: as the data directory has it
	retain aggregate.Retention

	calendars string // file of bands

	demo   bool
	meters int
	agents int
}

// natsConfig says how to reach a NATS server that stands alone.
type natsConfig struct {
	url         string
	fsyncAlways bool
	monitor     string
	creds       string
	ca          string
	cert        string
	key         string
}

// parseConfig reads the flags of a role.
func parseConfig(r role, args []string, stderr io.Writer) (config, error) {
	c := config{role: r}
	fs := flag.NewFlagSet("gridloom "+string(r), flag.ContinueOnError)
	c.addFlags(fs)
	if err := parseFlags(fs, args, stderr); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("%w: %s takes no arguments, and got %q", errUsage, r, fs.Arg(0))
	}
	return c, c.check()
}

// parseUp reads the flags of `gridloom up`.
func parseUp(args []string, stderr io.Writer) (config, error) {
	return parseConfig(roleUp, args, stderr)
}

// addFlags defines the flags of c's role.
func (c *config) addFlags(fs *flag.FlagSet) {
	holds := "log, segments, heads"
	httpAt := "127.0.0.1:8080"
	if c.role != roleUp {
		holds = "segments; one for all roles"
		fs.StringVar(&c.name, "name", hostName(), "stable `name` of this process among those of its role")
		c.nats.addFlags(fs, "nats://127.0.0.1:4222", "")
		fs.BoolVar(&c.nats.fsyncAlways, "nats-fsync-always", false, "the NATS server fsyncs every message (sync_interval: always)")
		fs.StringVar(&c.nats.monitor, "nats-monitor", "", "`URL` of its monitor, such as http://127.0.0.1:8222, where that is checked")
		fs.IntVar(&c.partitions, "partitions", 0, "partitions of a log that does not exist yet; 0 means 64")
		fs.IntVar(&c.replicas, "replicas", 0, "replicas of a log that does not exist yet; 0 means 1")
		if c.role != roleQuery {
			httpAt = "127.0.0.1:0"
		}
	}
	fs.StringVar(&c.data, "data", "./gridloom-data", "data `directory`: "+holds)
	fs.StringVar(&c.http, "http", httpAt, "`address` of the HTTP listener; port 0 takes a free one")
	fs.BoolVar(&c.insecure, "insecure", false, "allow listeners beyond loopback without TLS and authentication")
	fs.TextVar(&c.logLevel, "log", slog.LevelInfo, "log `level`: DEBUG, INFO, WARN or ERROR")
	fs.Int64Var(&c.maxLog, "log-max-bytes", 0, "bound of the log in `bytes`; 0 chooses by the disk")
	if c.role.does(roleIngest) {
		fs.StringVar(&c.mqtt, "mqtt", "127.0.0.1:1883", "`address` of the MQTT listener; port 0 takes a free one")
		fs.StringVar(&c.mqttTLS, "mqtt-tls", "", "`address` of an MQTT listener with TLS; needs --tls-cert and --tls-key")
		fs.StringVar(&c.tlsCert, "tls-cert", "", "certificate `file` (PEM) of the TLS listener")
		fs.StringVar(&c.tlsKey, "tls-key", "", "key `file` (PEM) of the TLS listener")
		fs.StringVar(&c.tlsClientCA, "tls-client-ca", "", "`file` (PEM) of the authority whose client certificates are accepted; a certificate's common name is the agent")
	}
	if c.role.does(roleAggregate) {
		fs.DurationVar(&c.window, "window", gridloom.DefaultWidth.Duration(), "length of a window, 1m to 1h, fixed for a data directory")
		addRetentionFlags(fs, &c.retain)
	}
	if c.role.does(roleQuery) {
		fs.StringVar(&c.calendars, "calendars", "", "`file` (YAML) of calendars of bands, for calendar= of /api/v1/windows")
	}
	if c.role == roleUp {
		fs.BoolVar(&c.demo, "demo", false, "run a simulated neighbourhood behind real edge agents")
		fs.IntVar(&c.meters, "demo-meters", 200, "meters of the simulated neighbourhood")
		fs.IntVar(&c.agents, "demo-agents", 10, "edge agents of the simulated neighbourhood")
	}
}

// addFlags defines how to reach NATS; at is the default of --nats, about is added to what it says.
func (n *natsConfig) addFlags(fs *flag.FlagSet, at, about string) {
	fs.StringVar(&n.url, "nats", at, "`URL` of the NATS server, or several with commas between"+about)
	fs.StringVar(&n.creds, "nats-creds", "", "credentials `file` for NATS")
	fs.StringVar(&n.ca, "nats-ca", "", "`file` (PEM) of the authority that signed the NATS server's certificate")
	fs.StringVar(&n.cert, "nats-cert", "", "client certificate `file` (PEM) for NATS; needs --nats-key")
	fs.StringVar(&n.key, "nats-key", "", "key `file` (PEM) of that certificate")
}

// config is what package stream wants to know of it.
func (n *natsConfig) config(logger *slog.Logger) stream.Config {
	return stream.Config{
		URL: n.url, FsyncAlways: n.fsyncAlways, MonitorURL: n.monitor,
		CredentialsFile: n.creds, CAFile: n.ca, CertFile: n.cert, KeyFile: n.key, Logger: logger,
	}
}

func hostName() string {
	host, err := os.Hostname()
	if err != nil || !processName.MatchString(host) {
		return "local"
	}
	return host
}

// processName is what a file name and a NATS subject take.
var processName = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

const maxProcessName = 64 // bytes

// check refuses what cannot work, with the flag that mends it.
func (c *config) check() error {
	if c.role.does(roleAggregate) {
		if err := gridloom.CheckWidth(c.window); err != nil {
			return fmt.Errorf("%w: --window: %w", errUsage, err)
		}
		if err := checkRetention(&c.retain); err != nil {
			return err
		}
	}
	if c.demo && (c.agents < 1 || c.agents > 1000 || c.meters < c.agents || c.meters > 100_000) {
		return fmt.Errorf("%w: --demo-agents wants 1 to 1000 and --demo-meters at least one per agent, at most 100000", errUsage)
	}
	if c.role != roleUp {
		if err := c.checkRole(); err != nil {
			return err
		}
	}
	if c.role.does(roleIngest) {
		if err := checkListen("--mqtt", c.mqtt, c.insecure); err != nil {
			return err
		}
	}
	if err := checkListen("--http", c.http, c.insecure); err != nil {
		return err
	}
	if c.mqttTLS == "" {
		return nil
	}
	if c.tlsCert == "" || c.tlsKey == "" {
		return fmt.Errorf("%w: --mqtt-tls needs --tls-cert and --tls-key", errUsage)
	}
	return checkListen("--mqtt-tls", c.mqttTLS, c.insecure || c.tlsClientCA != "")
}

// checkRole refuses what a process of one role cannot work with.
func (c *config) checkRole() error {
	switch {
	case len(c.name) > maxProcessName || !processName.MatchString(c.name):
		return fmt.Errorf("%w: --name %q: want letters and digits, with single dots, dashes or underscores between, at most %d", errUsage, c.name, maxProcessName)
	case strings.TrimSpace(c.nats.url) == "":
		return fmt.Errorf("%w: --nats: want the URL of a NATS server, such as nats://127.0.0.1:4222", errUsage)
	case (c.nats.cert == "") != (c.nats.key == ""):
		return fmt.Errorf("%w: --nats-cert and --nats-key go together", errUsage)
	case !c.nats.fsyncAlways:
		// docs/adr/0005: a log that may lose what it acknowledged is not served.
		return fmt.Errorf("%w: a NATS server that does not fsync every message loses what was acknowledged in a power cut: set sync_interval: always in its jetstream block (deploy/nats/nats-server.conf) and say so with --nats-fsync-always",
			errUsage)
	}
	return nil
}

// checkListen refuses an address that is no host:port, or that others could reach
// although nothing asks who they are.
func checkListen(flagName, addr string, insecure bool) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: %s %q: want host:port, such as 127.0.0.1:1883", errUsage, flagName, addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%w: %s %q: port %q is not 0 to 65535", errUsage, flagName, addr, port)
	}
	if insecure || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("%w: %s %s can be reached from other machines, and nothing asks who they are: use 127.0.0.1, or add --insecure on a network that you trust",
		errExposed, flagName, addr)
}

// errExposed is a listener beyond loopback without --insecure.
var errExposed = errors.New("refused")

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
