package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/obs"
)

// upConfig is what `gridloom up` runs with.
type upConfig struct {
	data        string
	mqtt        string
	http        string
	insecure    bool
	window      time.Duration
	demo        bool
	meters      int
	agents      int
	logLevel    slog.Level
	maxLog      int64
	mqttTLS     string
	tlsCert     string
	tlsKey      string
	tlsClientCA string
}

// parseUp reads the flags of `gridloom up`.
func parseUp(args []string, stderr io.Writer) (upConfig, error) {
	var c upConfig
	fs := flag.NewFlagSet("gridloom up", flag.ContinueOnError)
	fs.StringVar(&c.data, "data", "./gridloom-data", "data `directory`: log, segments, heads")
	fs.StringVar(&c.mqtt, "mqtt", "127.0.0.1:1883", "`address` of the MQTT listener; port 0 takes a free one")
	fs.StringVar(&c.http, "http", "127.0.0.1:8080", "`address` of the HTTP listener; port 0 takes a free one")
	fs.StringVar(&c.mqttTLS, "mqtt-tls", "", "`address` of an MQTT listener with TLS; needs --tls-cert and --tls-key")
	fs.StringVar(&c.tlsCert, "tls-cert", "", "certificate `file` (PEM) of the TLS listener")
	fs.StringVar(&c.tlsKey, "tls-key", "", "key `file` (PEM) of the TLS listener")
	fs.StringVar(&c.tlsClientCA, "tls-client-ca", "", "`file` (PEM) of the authority whose client certificates are accepted; a certificate's common name is the agent")
	fs.BoolVar(&c.insecure, "insecure", false, "allow listeners beyond loopback without TLS and authentication")
	fs.DurationVar(&c.window, "window", gridloom.DefaultWidth.Duration(), "length of a window, 1m to 1h, fixed for a data directory")
	fs.BoolVar(&c.demo, "demo", false, "run a simulated neighbourhood behind real edge agents")
	fs.IntVar(&c.meters, "demo-meters", 200, "meters of the simulated neighbourhood")
	fs.IntVar(&c.agents, "demo-agents", 10, "edge agents of the simulated neighbourhood")
	fs.TextVar(&c.logLevel, "log", slog.LevelInfo, "log `level`: DEBUG, INFO, WARN or ERROR")
	fs.Int64Var(&c.maxLog, "log-max-bytes", 0, "bound of the log in `bytes`; 0 chooses by the disk")
	if err := parseFlags(fs, args, stderr); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("%w: up takes no arguments, and got %q", errUsage, fs.Arg(0))
	}
	if err := gridloom.CheckWidth(c.window); err != nil {
		return c, fmt.Errorf("%w: --window: %w", errUsage, err)
	}
	if c.demo && (c.agents < 1 || c.agents > 1000 || c.meters < c.agents || c.meters > 100_000) {
		return c, fmt.Errorf("%w: --demo-agents wants 1 to 1000 and --demo-meters at least one per agent, at most 100000", errUsage)
	}
	for _, a := range []struct{ flag, addr string }{{"--mqtt", c.mqtt}, {"--http", c.http}} {
		if err := checkListen(a.flag, a.addr, c.insecure); err != nil {
			return c, err
		}
	}
	if c.mqttTLS != "" {
		if c.tlsCert == "" || c.tlsKey == "" {
			return c, fmt.Errorf("%w: --mqtt-tls needs --tls-cert and --tls-key", errUsage)
		}
		if err := checkListen("--mqtt-tls", c.mqttTLS, c.insecure || c.tlsClientCA != ""); err != nil {
			return c, err
		}
	}
	return c, nil
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

// runUp runs everything in one process until ctx ends.
func runUp(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseUp(args, stderr)
	if err != nil {
		return err
	}
	fault, err := faultFromEnv()
	if err != nil {
		return err
	}
	dir, err := openDataDir(cfg.data, cfg.window)
	if err != nil {
		return err
	}
	defer dir.close()
	bar := newProgress(stdout, isTerminal(stdout))
	logger := obs.Logger(bar.wrap(stderr), cfg.logLevel)
	p, err := openPipeline(ctx, cfg, dir, logger, fault)
	if ctx.Err() != nil && p == nil {
		return nil // told to stop while it started
	}
	if err != nil {
		return err
	}
	if err := dir.announce(runInfo{PID: os.Getpid(), MQTT: p.mqttAddr(), HTTP: p.httpAddr()}); err != nil {
		return errors.Join(fmt.Errorf("data directory %s: %w", dir.path, reason(err)), p.close())
	}
	p.greet(stdout)
	if cfg.demo {
		if err := p.addDemo(cfg, dir); err != nil {
			return errors.Join(err, p.close())
		}
	}
	p.bar = bar
	return p.run(ctx)
}
