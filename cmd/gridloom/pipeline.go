package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

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

// When the parts of a stop must be done, counted from its beginning, so that all of
// it stays below 5 s. A part that is late loses nothing: what ingest could not
// store was not acknowledged, and what owners could not commit is in the log.
const (
	stopSources = 1 * time.Second
	stopIngest  = 2800 * time.Millisecond
	stopOwners  = 4200 * time.Millisecond
	stopHTTP    = 4400 * time.Millisecond
	stopLog     = 4700 * time.Millisecond

	finishIngest = 1300 * time.Millisecond // for storing what was taken, of what the demo leaves of stopIngest
)

// pipeline is every stage in one process.
type pipeline struct {
	cfg    upConfig
	logger *slog.Logger
	reg    *prometheus.Registry
	bar    *progress

	listener net.Listener // HTTP
	nats     *natsd.Server
	stream   *stream.Stream
	worker   *aggregate.Worker
	bridge   *ingest.Bridge
	broker   *ingest.Broker
	web      *http.Server
	demo     func(context.Context) error
}

// openPipeline opens every part and takes the listeners, but serves nothing yet.
func openPipeline(ctx context.Context, cfg upConfig, dir *dataDir, logger *slog.Logger, fault func(string)) (_ *pipeline, err error) {
	p := &pipeline{cfg: cfg, logger: logger, reg: obs.Registry()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	// Listen before anything is opened: a taken port is the commonest mistake.
	if p.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.http); err != nil {
		return nil, fmt.Errorf("HTTP listener %s: %w: stop what uses it or choose another with --http", cfg.http, listenReason(err))
	}
	if p.nats, err = natsd.Open(natsd.Config{Dir: dir.sub("log"), Logger: logger}); err != nil {
		return nil, err
	}
	p.stream, err = stream.Connect(ctx, stream.Config{
		InProcess: p.nats, MaxBytes: cfg.maxLog, Disk: stream.Disk{Dir: dir.sub("log")}, Logger: logger, Registerer: p.reg,
	})
	if err != nil {
		return nil, err
	}
	disk, err := blob.OpenDir(dir.sub("store"), blob.OS{})
	if err != nil {
		return nil, err
	}
	store := pane.NewStore(disk, pane.StoreOptions{Registerer: p.reg})
	layout := p.stream.Layout()
	win := window.Config{Width: dir.window(), Lateness: gridloom.DefaultLateness, Bridge: gridloom.DefaultBridge}
	owners := aggregate.Config{
		Generation: layout.Generation, Partitions: layout.Partitions, StreamCreated: layout.Created,
		Window: win, Node: dir.meta.Node, Alone: true, Fault: fault, Logger: logger, Registerer: p.reg,
	}
	hasteFromEnv(&owners)
	p.worker = aggregate.New(owners, ownerLog{p.stream}, p.stream, store)
	p.bridge, err = ingest.New(ingest.BridgeConfig{
		Partitions: layout.Partitions, Generation: layout.Generation, FinishTimeout: finishIngest, Logger: logger, Registerer: p.reg,
		AppendsAtOnce: 1, // the embedded log fsyncs one frame after the other
	}, ingestLog{p.stream, p.worker, fault}, p.stream)
	if err != nil {
		return nil, err
	}
	p.broker, err = ingest.Open(ingest.BrokerConfig{
		Listen: cfg.mqtt, TLSListen: cfg.mqttTLS, CertFile: cfg.tlsCert, KeyFile: cfg.tlsKey, ClientCAFile: cfg.tlsClientCA,
		RetainedFile: dir.sub("retained.json"), Logger: logger,
	}, p.bridge)
	if err != nil {
		return nil, mqttError(cfg, err)
	}
	api, err := query.New(query.Config{
		Partitions: layout.Partitions, Window: win, Logger: logger, Registerer: p.reg,
		Problems: p.problems, Listener: p.listener.Addr(), Version: version,
	}, store, p.worker, p.stream, p.stream)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(p.reg, promhttp.HandlerOpts{}))
	if isLoopback(hostOf(p.listener.Addr())) {
		mux.Handle("GET /debug/inspect/{kind}", inspectHandler(p.stream))
	}
	mux.Handle("/", api.Routes())
	p.web = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	return p, nil
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
func mqttError(cfg upConfig, err error) error {
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

// problems tells what keeps ingest and log from doing their whole job; the query
// tier asks the partitions itself.
func (p *pipeline) problems(context.Context) []string {
	var list []string
	if err := p.stream.Writable(); err != nil {
		list = append(list, err.Error())
	} else if text := p.bridge.Problem(); text != "" {
		list = append(list, "ingest: "+text)
	}
	return list
}

func (p *pipeline) mqttAddr() string { return p.broker.Addr().String() }
func (p *pipeline) httpAddr() string { return p.listener.Addr().String() }

// greet prints a line per listener and something to try.
func (p *pipeline) greet(w io.Writer) {
	meter := "YOUR-METER"
	if p.cfg.demo {
		meter = "demo-00001"
	}
	fmt.Fprintf(w, "MQTT   mqtt://%s   publish to gridloom/v1/SITE/AGENT/readings, QoS 1\n", p.mqttAddr())
	if p.cfg.mqttTLS != "" {
		fmt.Fprintf(w, "MQTT   mqtts://%s\n", p.broker.TLSAddr())
	}
	fmt.Fprintf(w, "HTTP   http://%s   REST below /api/v1, /metrics, /readyz\n", p.httpAddr())
	fmt.Fprintf(w, "data   %s\n", p.cfg.data)
	fmt.Fprintf(w, "try    curl 'http://%s/api/v1/windows?meters=%s&registers=energy_import&from=-1h&unit=kWh'\n", p.httpAddr(), meter)
}

// run serves until ctx ends or a stage fails, then stops the stages in the order
// of the data: ingest, owners, HTTP, log.
func (p *pipeline) run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	owners := startStage("aggregate", fail, p.worker.Run)
	mqtt := startStage("ingest", fail, p.broker.Run) // the bridge behind it included
	clock := startStage("clock", fail, func(ctx context.Context) error { return obs.ClockWatch(ctx, obs.Clock{}) })
	web := startStage("http", fail, func(context.Context) error {
		if err := p.web.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	extra := []*stage{clock}
	if p.demo != nil {
		extra = append(extra, startStage("demo", fail, p.demo))
	}
	if p.bar.live {
		extra = append(extra, startStage("progress", fail, p.showProgress))
	}
	<-ctx.Done()
	cause := context.Cause(ctx)
	p.bar.end()
	p.logger.Info("stopping")
	began := time.Now()
	left := func(part time.Duration) time.Duration { return max(0, part-time.Since(began)) }

	var errs []error
	stop := func(s *stage, part time.Duration) {
		err := s.stop(left(part))
		if errors.Is(err, errLate) {
			p.logger.Warn("not everything was finished; the next start and the devices do the rest", "err", err)
			return
		}
		errs = append(errs, err)
	}
	for _, s := range extra {
		stop(s, stopSources)
	}
	stop(mqtt, stopIngest)
	stop(owners, stopOwners)
	web.cancel()
	hctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), left(stopHTTP))
	defer cancel()
	if err := p.web.Shutdown(hctx); err != nil {
		p.web.Close()
	}
	stop(web, stopHTTP)
	closed := make(chan error, 1)
	go func() { closed <- p.close() }() // ends with the process if it is late
	select {
	case err := <-closed:
		errs = append(errs, err)
	case <-time.After(left(stopLog)):
		p.logger.Warn("the log was not closed in time; what was acknowledged is on disk")
	}
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	p.logger.Info("stopped")
	return nil
}

// close gives back what openPipeline took.
func (p *pipeline) close() error {
	var errs []error
	if p.listener != nil {
		p.listener.Close() // already closed by the server after a run
	}
	if p.stream != nil {
		p.stream.Close()
	}
	if p.nats != nil {
		errs = append(errs, p.nats.Close())
	}
	return errors.Join(errs...)
}
