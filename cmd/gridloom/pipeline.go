package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/ingest"
	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/internal/obs"
	"github.com/gridloom/gridloom/internal/pane"
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

// pipeline is the stages of a role in one process. A part that the role does not
// have is nil.
type pipeline struct {
	cfg    config
	dir    *dataDir
	logger *slog.Logger
	reg    *prometheus.Registry
	fault  func(point string)
	bar    *progress
	window window.Config

	listener net.Listener // HTTP
	nats     *natsd.Server
	stream   *stream.Stream
	store    *pane.Store
	worker   *aggregate.Worker
	guard    *stream.Guard
	bridge   *ingest.Bridge
	broker   *ingest.Broker
	web      *http.Server
	demo     func(context.Context) error
}

func (p *pipeline) mqttAddr() string { return p.broker.Addr().String() }
func (p *pipeline) httpAddr() string { return p.listener.Addr().String() }

// runInfo tells where the process serves.
func (p *pipeline) runInfo(pid int) runInfo {
	r := runInfo{PID: pid, Name: p.cfg.name, HTTP: p.httpAddr()}
	if p.cfg.role != roleUp {
		r.Role = string(p.cfg.role)
	}
	if p.broker != nil {
		r.MQTT = p.mqttAddr()
	}
	return r
}

// run serves until ctx ends or a stage fails, then stops the stages in the order
// of the data: ingest, owners, HTTP, log.
func (p *pipeline) run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var owners, mqtt *stage
	var extra []*stage
	if p.worker != nil {
		owners = startStage("aggregate", fail, p.worker.Run)
	}
	if p.guard != nil {
		extra = append(extra, startStage("guard", fail, p.guard.Run))
	}
	if p.broker != nil {
		mqtt = startStage("ingest", fail, p.broker.Run) // the bridge behind it included
	}
	if p.cfg.role != roleQuery {
		extra = append(extra, startStage("clock", fail, func(ctx context.Context) error { return obs.ClockWatch(ctx, obs.Clock{}) }))
	}
	web := startStage("http", fail, func(context.Context) error {
		if err := p.web.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
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
		if s == nil {
			return
		}
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
