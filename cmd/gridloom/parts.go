package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/ingest"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/internal/obs"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/query"
	"github.com/gridloom/gridloom/stream"
)

// openPipeline opens the parts of a role and takes the listeners, but serves nothing yet.
func openPipeline(ctx context.Context, cfg config, dir *dataDir, logger *slog.Logger, fault func(string)) (_ *pipeline, err error) {
	p := &pipeline{cfg: cfg, dir: dir, logger: logger, reg: obs.Registry(), fault: fault}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	// Listen before anything is opened: a taken port is the commonest mistake.
	if p.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.http); err != nil {
		return nil, fmt.Errorf("HTTP listener %s: %w: stop what uses it or choose another with --http", cfg.http, listenReason(err))
	}
	calendars, err := loadCalendars(cfg.calendars, dir.window())
	if err != nil {
		return nil, err
	}
	if err := p.openLog(ctx); err != nil {
		return nil, err
	}
	p.window = window.Config{Width: dir.window(), Lateness: gridloom.DefaultLateness, Bridge: gridloom.DefaultBridge}
	if cfg.role != roleIngest {
		disk, err := blob.OpenDir(dir.sub("store"), blob.OS{})
		if err != nil {
			return nil, err
		}
		p.store = pane.NewStore(disk, pane.StoreOptions{Registerer: p.reg})
	}
	if cfg.role.does(roleAggregate) {
		if err := p.openOwners(); err != nil {
			return nil, err
		}
	}
	if cfg.role.does(roleIngest) {
		if err := p.openIngest(); err != nil {
			return nil, err
		}
	}
	return p, p.openHTTP(calendars)
}

// openLog joins the log: of the server inside, or of one that stands alone.
func (p *pipeline) openLog(ctx context.Context) (err error) {
	c := p.cfg.nats.config(p.logger)
	c.MaxBytes, c.Partitions, c.Replicas, c.Registerer = p.cfg.maxLog, p.cfg.partitions, p.cfg.replicas, p.reg
	if p.cfg.role == roleUp {
		if p.nats, err = natsd.Open(natsd.Config{Dir: p.dir.sub("log"), Logger: p.logger}); err != nil {
			return err
		}
		c.InProcess, c.Disk = p.nats, stream.Disk{Dir: p.dir.sub("log")}
	}
	p.stream, err = stream.Connect(ctx, c)
	return err
}

// openOwners prepares owning partitions: all of them, asked directly, or a share of
// them, asked by other processes.
func (p *pipeline) openOwners() error {
	layout := p.stream.Layout()
	c := aggregate.Config{
		Generation: layout.Generation, Partitions: layout.Partitions, StreamCreated: layout.Created,
		Window: p.window, Node: p.dir.meta.Node, Alone: p.cfg.role == roleUp, Fault: p.fault, Logger: p.logger, Registerer: p.reg,
		Retain: p.cfg.retain,
	}
	hasteFromEnv(&c)
	if p.cfg.role == roleAggregate {
		others, err := joinPeers(p.stream, p.cfg.name, p.logger)
		if err != nil {
			return err
		}
		c.Node, c.Serve, c.Peers = p.cfg.name, p.serveOwner, others
	}
	p.worker = aggregate.New(c, ownerLog{p.stream}, p.stream, p.store)
	return nil
}

// openIngest takes the MQTT listeners.
func (p *pipeline) openIngest() (err error) {
	layout := p.stream.Layout()
	log := p.guardedLog()
	own := p.dir.path
	if p.worker == nil {
		if own, err = p.dir.make("ingest-" + p.cfg.name); err != nil {
			return err
		}
	}
	appends := 1 // the log fsyncs one frame after the other
	if p.stream.Replicated() {
		appends = 0 // one per partition
	}
	p.bridge, err = ingest.New(ingest.BridgeConfig{
		Partitions: layout.Partitions, Generation: layout.Generation, FinishTimeout: finishIngest, Logger: p.logger, Registerer: p.reg,
		AppendsAtOnce: appends,
	}, log, p.stream)
	if err != nil {
		return err
	}
	c := &p.cfg
	p.broker, err = ingest.Open(ingest.BrokerConfig{
		Listen: c.mqtt, TLSListen: c.mqttTLS, CertFile: c.tlsCert, KeyFile: c.tlsKey, ClientCAFile: c.tlsClientCA,
		RetainedFile: filepath.Join(own, "retained.json"), Logger: p.logger,
	}, p.bridge)
	if err != nil {
		return mqttError(p.cfg, err)
	}
	return nil
}

// guardedLog is where the role writes frames: with owners in this process they know whether the log
// is the right one, else a guard does.
func (p *pipeline) guardedLog() guardedLog {
	if p.worker != nil {
		return guardedLog{p.stream, p.worker.LogProblem, p.fault}
	}
	if p.guard == nil {
		p.guard = p.stream.Guard()
	}
	return guardedLog{p.guard, p.guard.Problem, p.fault}
}

// openHTTP puts the handlers of the role together.
func (p *pipeline) openHTTP(calendars []*query.Calendar) error {
	handler := http.Handler(p.health())
	if p.cfg.role.does(roleQuery) {
		var owners query.Owners = p.worker
		if p.cfg.role == roleQuery {
			owners = remoteOwners{p.stream, p.stream.Layout().Partitions}
		}
		api, err := query.New(query.Config{
			Partitions: p.stream.Layout().Partitions, Generation: p.stream.Layout().Generation, Log: p.guardedLog(), Window: p.window, Logger: p.logger, Registerer: p.reg,
			Problems: p.problems, Listener: p.listener.Addr(), Version: version, Calendars: calendars,
		}, p.store, owners, p.stream, p.stream)
		if err != nil {
			return err
		}
		handler = api.Routes()
	}
	p.web = &http.Server{Handler: p.routes(handler), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug)}
	return nil
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	return host
}

// listenReason gives the last cause of a failed listen: the address is named already.
func listenReason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		var sys interface{ Unwrap() error }
		if errors.As(op.Err, &sys) && sys.Unwrap() != nil {
			return sys.Unwrap()
		}
		return op.Err
	}
	return err
}

// mqttError names the flag that mends a failed MQTT listener.
func mqttError(cfg config, err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "listen" {
		return err
	}
	name, addr := "--mqtt", cfg.mqtt
	if op.Addr != nil && op.Addr.String() == cfg.mqttTLS {
		name, addr = "--mqtt-tls", cfg.mqttTLS
	}
	return fmt.Errorf("MQTT listener %s: %w: stop what uses it or choose another with %s", addr, listenReason(op), name)
}

// greet prints a line per listener and something to try.
func (p *pipeline) greet(w io.Writer) {
	if p.broker != nil {
		fmt.Fprintf(w, "MQTT   mqtt://%s   publish to gridloom/v1/SITE/AGENT/readings, QoS 1\n", p.mqttAddr())
		if p.cfg.mqttTLS != "" {
			fmt.Fprintf(w, "MQTT   mqtts://%s\n", p.broker.TLSAddr())
		}
	}
	serves := "/metrics, /readyz"
	if p.cfg.role.does(roleQuery) {
		serves = "REST below /api/v1, " + serves
	}
	fmt.Fprintf(w, "HTTP   http://%s   %s\n", p.httpAddr(), serves)
	if p.cfg.role != roleUp {
		fmt.Fprintf(w, "log    %s\n", p.cfg.nats.url)
	}
	fmt.Fprintf(w, "data   %s\n", p.cfg.data)
	if p.cfg.role.does(roleQuery) {
		meter := "YOUR-METER"
		if p.cfg.demo {
			meter = "demo-00001"
		}
		fmt.Fprintf(w, "try    curl 'http://%s/api/v1/windows?meters=%s&registers=energy_import&from=-1h&unit=kWh'\n", p.httpAddr(), meter)
	}
}
