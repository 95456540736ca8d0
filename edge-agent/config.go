package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/gridloom/gridloom/edge-agent/agent"
	"github.com/gridloom/gridloom/edge-agent/device"
)

// envPrefix begins the environment variable of each flag: --spool-max is GRIDLOOM_AGENT_SPOOL_MAX.
const envPrefix = "GRIDLOOM_AGENT_"

const usage = `usage: edge-agent <source> [flags] [files]

sources:
  sim      a simulated neighbourhood
  replay   CSV files, plain or gzip: edge-agent replay [flags] FILE...
  stdin    readings as JSON, one value a line

Each flag can be set by the environment too: --spool-max by GRIDLOOM_AGENT_SPOOL_MAX.
Exit status: 0 done or told to stop, 1 could not start or go on, 2 wrong usage.

flags of %s:
`

// options is what the command line and the environment say.
type options struct {
	source string // sim, replay or stdin
	agent  agent.Config

	version, check bool
	logFormat      string
	logLevel       slog.Level
	clock          string
	clockWait      time.Duration
	passwordFile   string
	ca, cert, key  string
	serverName     string
	exitWhenDone   bool

	sim    device.SimConfig
	replay device.ReplayConfig
	lines  device.LinesConfig
	input  string
}

// parse reads the arguments, then the environment for flags that were not given.
// flag.ErrHelp says that help was printed.
func parse(args []string, getenv func(string) string, stdout io.Writer) (*options, error) {
	o := &options{exitWhenDone: true}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.source, args = args[0], args[1:]
	}
	fs := o.flags()
	fs.SetOutput(io.Discard)
	switch o.source {
	case "sim", "replay", "stdin", "":
	default:
		return nil, fmt.Errorf("no source %q: want sim, replay or stdin", o.source)
	}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		name := o.source
		if name == "" {
			name = "every source (those of a source: edge-agent <source> -h)"
		}
		_, _ = fmt.Fprintf(stdout, usage, name)
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if o.version {
		return o, nil
	}
	if err := fromEnvironment(fs, getenv); err != nil {
		return nil, err
	}
	return o, o.complete(fs.Args())
}

// fromEnvironment sets the flags that were not given and have a variable.
func fromEnvironment(fs *flag.FlagSet, getenv func(string) string) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	fs.VisitAll(func(f *flag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v := getenv(name); v != "" && !given[f.Name] && err == nil {
			if e := fs.Set(f.Name, v); e != nil {
				err = fmt.Errorf("%s=%q: %w", name, v, e)
			}
		}
	})
	return err
}

// flags declares the flags of a source; without one, those that all have.
func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("edge-agent", flag.ContinueOnError)
	c := &o.agent
	c.SpoolMax, c.BatchBytes, o.logFormat, o.clock = 64<<20, 64<<10, "text", "auto" // a Var shows what it finds as its default
	fs.StringVar(&c.Connect, "connect", "mqtt://127.0.0.1:1883", "`server`: mqtt://host:1883, or mqtts://host:8883 with TLS")
	fs.StringVar(&c.Site, "site", "home", "`name` of the site in the topic")
	fs.StringVar(&c.Agent, "agent", hostname(), "`name` of this agent, unique in its site")
	fs.StringVar(&c.ClientID, "client-id", "", "MQTT client `id` (default site-agent)")
	fs.StringVar(&c.Username, "username", "", "MQTT user `name`")
	fs.StringVar(&c.Password, "password", "", "MQTT `password`; better in GRIDLOOM_AGENT_PASSWORD or --password-file")
	fs.StringVar(&o.passwordFile, "password-file", "", "`file` that holds the MQTT password")
	fs.StringVar(&o.ca, "ca", "", "PEM `file` of the authorities that may vouch for the server (default the system's)")
	fs.StringVar(&o.cert, "cert", "", "PEM `file` of this agent's certificate")
	fs.StringVar(&o.key, "key", "", "PEM `file` of its private key")
	fs.StringVar(&o.serverName, "server-name", "", "`name` in the server's certificate, if it is not the host of --connect")

	fs.StringVar(&c.Dir, "spool", "gridloom-spool", "`directory` that keeps what is not acknowledged")
	fs.Var((*byteSize)(&c.SpoolMax), "spool-max", "how many `bytes` the spool may take, such as 64MiB")
	fs.Var(choice{&c.DropOldest, "refuse", "drop-oldest"}, "when-full", "`what` a full spool does: refuse new readings, or drop-oldest; files that are replayed at speed 0 wait instead")
	fs.Var((*syncPolicy)(&c.Sync), "sync", "`when` the spool is fsynced: reading (before a reading counts as taken), 1s, 10s or another time")
	fs.IntVar(&c.BatchReadings, "batch-readings", 500, "a batch is sent at this many `readings`")
	fs.Var((*byteSizeInt)(&c.BatchBytes), "batch-bytes", "or at about this many `bytes`, 1KiB to 512KiB")
	fs.DurationVar(&c.BatchAge, "batch-age", time.Second, "or when its first reading is older than this `time`")
	fs.IntVar(&c.Window, "window", 32, "`batches` in flight")
	fs.DurationVar(&c.AckTimeout, "ack-timeout", 2*time.Minute, "a connection is given up when a batch waits longer than this `time` for its acknowledgement")
	fs.DurationVar(&c.BackoffMax, "backoff-max", time.Minute, "longest `time` between two attempts to connect; the first is at most 1s")
	fs.DurationVar(&c.StatusEvery, "status-every", time.Minute, "a status line in the log each `time`; 0 for none")
	fs.BoolVar(&o.exitWhenDone, "exit-when-done", true, "end when the source has ended and all is acknowledged; =false stays connected")

	fs.Var(oneOf{&o.clock, []string{"auto", "trust"}}, "clock", "`how` the device's own clock is taken: auto holds what it dates until it is set, trust believes it as it is")
	fs.DurationVar(&o.clockWait, "clock-wait", device.DefaultClockWait, "how much `time` after boot a running clock gets to be synchronised; after that what it dates is marked CLOCK_SUSPECT")
	fs.Var(oneOf{&o.logFormat, []string{"text", "json"}}, "log", "`format` of the log on standard error: text or json")
	fs.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "`level` from which lines are logged: DEBUG, INFO, WARN or ERROR")
	fs.BoolVar(&o.check, "check", false, "check flags, environment and certificates, then end")
	fs.BoolVar(&o.version, "version", false, "print the version and end")
	switch o.source {
	case "sim":
		o.simFlags(fs)
	case "replay":
		o.replayFlags(fs)
	case "stdin":
		fs.StringVar(&o.input, "input", "-", "`file` or named pipe instead of standard input; a named pipe has no end")
		fs.Var(choice{&o.lines.StampArrival, "given", "arrival"}, "stamp", "`which` time a reading without one gets: given leaves it out, arrival dates it when it comes")
	}
	return fs
}

func (o *options) simFlags(fs *flag.FlagSet) {
	s := &o.sim
	fs.Uint64Var(&s.Seed, "seed", 1, "`number` that decides what the households are like")
	fs.IntVar(&s.Meters, "meters", 10, "`number` of meters")
	fs.IntVar(&s.First, "first-meter", 1, "`number` of the first meter")
	fs.StringVar(&s.Prefix, "meter-prefix", "sim-", "`text` before the number in meter ids")
	fs.DurationVar(&s.Every, "every", 10*time.Second, "`time` between two objects of a meter")
	fs.Var((*instant)(&s.From), "from", "start a virtual clock at this `instant` (RFC 3339) instead of now")
	fs.DurationVar(&s.For, "for", 0, "end after this `time`, by its own clock; 0 never")
	fs.Float64Var(&s.Speed, "speed", 0, "with --from: `times` real time; 0 as fast as acknowledged")
}

func (o *options) replayFlags(fs *flag.FlagSet) {
	r := &o.replay
	fs.StringVar(&r.Map, "map", "meter=meter,at=at,value=value", "`columns`: meter=, at= (or date= and time=), value=, register=, quality=, serial= or a register's name, each = a column's name, #3 or =text")
	fs.BoolVar(&r.NoHeader, "no-header", false, "the files have no line of names")
	fs.StringVar(&r.Register, "register", "energy_import", "`register` of the column value, by alias or OBIS code")
	fs.StringVar(&r.Registers, "registers", "", "`words` in the column register= and what they stand for: Offtake Day=energy_import_t1,Offtake Night=energy_import_t2")
	fs.StringVar(&r.Qualities, "qualities", "", "`words` in the column quality= and what they stand for: Read=,Estimated=ESTIMATED_LINEAR")
	fs.Var(lengthFlag{&r.Length, &r.NextLength}, "length", "`length` of interval readings, such as 30m; 0 for readings at an instant; next: until the meter's next row")
	fs.DurationVar(&r.Longest, "longest", time.Hour, "with --length next: after a `time` longer than this an interval is as long as the one before it")
	fs.Var(choice{&r.LabelEnd, "start", "end"}, "label", "`which` instant of an interval its time is: start or end")
	fs.StringVar(&r.Unit, "unit", "", "`unit` of the values, such as kWh (default the register's)")
	fs.StringVar(&r.Separator, "separator", ",", "`character` between fields, or tab")
	fs.StringVar(&r.Decimal, "decimal", ".", "decimal `mark`")
	fs.StringVar(&r.Layout, "time-layout", "auto", "`layout` of times as Go writes it, such as '2006-01-02 15:04:05', or unix, unixms, auto")
	fs.StringVar(&r.Zone, "zone", "UTC", "`zone` of times without an offset, such as Europe/Amsterdam")
	fs.Float64Var(&r.Speed, "speed", 0, "`times` real time; 0 as fast as acknowledged")
	fs.Func("shift-to", "`instant` to move all times to: now, which the last reading (speed 0) or the first (else) then ends at", func(s string) error {
		if s != "now" {
			return errors.New("want now")
		}
		r.ShiftToNow = true
		return nil
	})
}

// complete checks what flags cannot check alone.
func (o *options) complete(files []string) error {
	o.agent.Stay = !o.exitWhenDone
	switch {
	case o.source == "":
		return errors.New("no source: want edge-agent sim, replay or stdin; edge-agent -h tells more")
	case o.source != "replay" && len(files) > 0:
		return fmt.Errorf("%s takes no arguments, but there is %q", o.source, files[0])
	case (o.cert == "") != (o.key == ""):
		return errors.New("--cert and --key belong together")
	case o.agent.Password != "" && o.passwordFile != "":
		return errors.New("--password and --password-file say the same: want one")
	case o.source == "replay":
		var err error
		o.replay.Files, err = device.ExpandFiles(files)
		return err
	}
	return nil
}

func (o *options) newSource(stdin io.Reader, log *slog.Logger) (device.Source, *device.Clock, error) {
	mode, err := device.ParseClockMode(o.clock)
	if err != nil {
		return nil, nil, err
	}
	clock := device.NewClock(mode)
	clock.Wait = o.clockWait
	var s device.Source
	switch o.source {
	case "sim":
		s, err = device.NewSim(o.sim, clock)
	case "replay":
		s, err = device.NewReplay(o.replay, log)
	default:
		if stdin, err = o.openInput(stdin); err == nil {
			s = device.NewLines(o.lines, stdin, clock, log)
		}
	}
	return s, clock, err
}

// openInput opens what --input names; it stays open until the process ends.
func (o *options) openInput(stdin io.Reader) (io.Reader, error) {
	if o.input == "-" {
		return stdin, nil
	}
	info, err := os.Stat(o.input)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	mode := os.O_RDONLY
	if info.Mode()&os.ModeNamedPipe != 0 {
		mode = os.O_RDWR // our own writing end keeps it from ending when a writer leaves
	}
	f, err := os.OpenFile(o.input, mode, 0)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	return f, nil
}

// credentials reads the files that flags name.
func (o *options) credentials(c *agent.Config) error {
	if o.passwordFile != "" {
		data, err := os.ReadFile(o.passwordFile)
		if err != nil {
			return fmt.Errorf("--password-file: %w", err)
		}
		c.Password = strings.TrimRight(string(data), "\r\n")
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.serverName}
	if o.ca != "" {
		data, err := os.ReadFile(o.ca)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(data) {
			return fmt.Errorf("--ca: %s holds no PEM certificate", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return fmt.Errorf("--cert, --key: %w", err)
		}
		c.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}

func (o *options) logger(w io.Writer) *slog.Logger {
	h := &slog.HandlerOptions{Level: o.logLevel}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, h))
	}
	return slog.New(slog.NewTextHandler(w, h))
}

// warnClock says what the clock means for readings that it dates.
func (o *options) warnClock(log *slog.Logger, c *device.Clock) {
	own := o.source == "sim" && o.sim.From == 0 || o.source == "stdin" && o.lines.StampArrival
	if !own {
		return
	}
	switch c.Trust() {
	case device.Undated:
		log.Warn("clock is not set: readings are held and dated when it is; --clock=trust takes it as it is")
	case device.Doubtful:
		log.Warn("clock is not synchronised: readings are marked CLOCK_SUSPECT; --clock=trust takes it as it is")
	case device.Given, device.Good:
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "agent"
	}
	return name
}
