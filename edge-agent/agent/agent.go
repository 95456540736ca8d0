// Package agent takes readings from a device's source, keeps them on its disk and
// publishes them until they are acknowledged.
//
// Agent (agent.go) runs three loops: one reads the source, one gathers readings
// into batches and appends them to the spool (gather.go, sealer.go), one publishes
// what the spool holds (publish.go; flights.go knows what is on its way) over one MQTT
// connection after the other (session.go). step.go takes the same steps without
// goroutines, for the simulation. dating.go gives readings that were made before the device's clock
// was set their time. stats.go is what a person is told.
//
// A batch leaves the spool when its PUBLISH was acknowledged on the connection
// that it was sent on; whatever is not is sent again. Sending twice is harmless:
// readings are told apart by identity.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/wire"
)

// Config describes an agent. The zero value of a field is what its comment says.
type Config struct {
	Site  string // of the topic gridloom/v1/<site>/<agent>/readings; "home"
	Agent string // its name, unique in the site; must be given

	Connect  string // mqtt://host:1883 or mqtts://host:8883; must be given
	ClientID string // "<site>-<agent>"
	Username string
	Password string
	TLS      *tls.Config // for mqtts; the system's authorities

	Dir        string  // of the spool; must be given
	FS         blob.FS // the operating system's
	SpoolMax   int64   // bytes; spool.DefaultMaxBytes, at least 64 KiB
	DropOldest bool    // a full spool gives up its oldest readings instead of refusing new ones
	// Sync is how often the spool is fsynced; 0: before a reading counts as taken.
	Sync time.Duration

	BatchReadings int           // a batch is sealed at so many readings, 1..10,000; 500
	BatchBytes    int           // or about so many bytes, 1 KiB..512 KiB; 64 KiB
	BatchAge      time.Duration // or when its first reading is so old; 1 s
	Window        int           // batches in flight, 1..1,000; 32

	Stay bool // go on, connected, when the source has ended

	// Clock is the device's; a trusted system clock. The source must use the same.
	Clock *device.Clock

	AckTimeout time.Duration // a connection is given up when a batch waits longer; 2 min
	BackoffMin time.Duration // reconnecting waits a random time up to this, then twice as long, ...; 1 s
	BackoffMax time.Duration // ... and never longer than this; 60 s

	StatusEvery time.Duration // a status line in the log; 0 never
	Version     string        // told in the state message; "dev"
	Logger      *slog.Logger  // none

	// Dial replaces the connection to Connect's host and port, TLS included.
	Dial func(ctx context.Context) (net.Conn, error)
}

// Agent carries readings of one source. Create it with New, then Run it once.
type Agent struct {
	cfg    Config
	server *url.URL
	source device.Source
	spool  *spool.Spool
	log    *slog.Logger

	sealer    sealer
	dating    dating
	publisher publisher

	refused atomic.Uint64 // readings
	ended   atomic.Bool   // the source has nothing more
}

// finishTimeout is how long an agent that is told to stop goes on publishing what it has.
const finishTimeout = 2 * time.Second

// New opens the spool, which it owns until Run returns, and settles the epoch.
func New(cfg Config, source device.Source) (*Agent, error) {
	server, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	sp, err := spool.Open(spool.Options{
		Dir: cfg.Dir, FS: cfg.FS, MaxBytes: cfg.SpoolMax, DropOldest: cfg.DropOldest,
		SyncEach: cfg.Sync == 0, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, server: server, source: source, spool: sp, log: cfg.Logger}
	if err := a.dating.open(&a.cfg, sp); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	if err := a.sealer.open(&a.cfg, sp.MaxEpoch()); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	a.publisher.open(a)
	return a, nil
}

// complete fills in defaults and checks what was given.
func (c *Config) complete() (*url.URL, error) {
	set := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.BatchAge, time.Second)
	set(&c.AckTimeout, 2*time.Minute)
	set(&c.BackoffMin, time.Second)
	set(&c.BackoffMax, time.Minute)
	if c.Site == "" {
		c.Site = "home"
	}
	if c.BatchReadings == 0 {
		c.BatchReadings = 500
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 64 << 10
	}
	if c.Window == 0 {
		c.Window = 32
	}
	if c.SpoolMax == 0 {
		c.SpoolMax = spool.DefaultMaxBytes
	}
	if c.FS == nil {
		c.FS = blob.OS{}
	}
	if c.Clock == nil {
		c.Clock = device.NewClock(device.ClockTrust)
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.ClientID == "" {
		c.ClientID = c.Site + "-" + c.Agent
	}
	c.Logger = c.Logger.With("site", c.Site, "agent", c.Agent)
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{gridloom.ErrInvalid}, args...)...)
	}
	if err := errors.Join(wire.CheckAgent("agent", c.Agent), wire.CheckAgent("site", c.Site)); err != nil {
		return nil, err
	}
	switch {
	case c.Dir == "":
		return nil, invalid("no directory for the spool")
	case c.BatchReadings < 1 || c.BatchReadings > 10_000:
		return nil, invalid("batch of %d readings: want 1 to 10,000", c.BatchReadings)
	case c.BatchBytes < 1<<10 || c.BatchBytes > 512<<10:
		return nil, invalid("batch of %d bytes: want 1 KiB to 512 KiB", c.BatchBytes)
	case int64(c.BatchBytes) > c.SpoolMax/4:
		return nil, invalid("batch of %d bytes: want at most a quarter of the spool's %d", c.BatchBytes, c.SpoolMax)
	case c.Window < 1 || c.Window > 1000:
		return nil, invalid("window of %d batches: want 1 to 1,000", c.Window)
	case c.BatchAge < 0 || c.Sync < 0 || c.AckTimeout < 0 || c.BackoffMin < 0 || c.BackoffMax < c.BackoffMin:
		return nil, invalid("a time is negative, or the longest backoff is below the shortest")
	}
	server, err := url.Parse(c.Connect)
	if err != nil || server.Host == "" || server.Scheme != "mqtt" && server.Scheme != "mqtts" {
		return nil, invalid("connect %q: want mqtt://host:1883 or mqtts://host:8883", c.Connect)
	}
	if server.Port() == "" {
		server.Host = net.JoinHostPort(server.Hostname(), map[string]string{"mqtt": "1883", "mqtts": "8883"}[server.Scheme])
	}
	return server, nil
}

// Run carries readings until the source has ended and all is acknowledged (never
// with Stay), or until ctx is done: then it stops within 5 s and what is not
// acknowledged stays in the spool. Both are nil. An error is the source's or the
// spool's. Run closes the spool.
func (a *Agent) Run(ctx context.Context) error {
	// The publisher outlives ctx by finishTimeout.
	publishing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { a.publisher.run(publishing) })
	if a.cfg.StatusEvery > 0 {
		wg.Go(func() { a.statusLines(publishing) })
	}
	err := a.gather(ctx)
	if errors.Is(err, io.EOF) {
		a.ended.Store(true)
		err = nil
		a.log.Info("source has ended", "count", a.source.Counts().Readings)
		if a.cfg.Stay {
			<-ctx.Done()
		} else {
			a.awaitDrained(ctx, nil)
		}
	}
	if ctx.Err() != nil {
		if errors.Is(err, ctx.Err()) {
			err = nil
		}
		deadline := time.NewTimer(finishTimeout)
		defer deadline.Stop()
		a.awaitDrained(context.WithoutCancel(ctx), deadline.C)
	}
	stop()
	wg.Wait()
	st := a.Stats()
	a.log.Info("agent stops", "acknowledged", st.Acknowledged, "spooled", st.Spooled, "refused", st.Refused, "bad", st.Bad)
	return errors.Join(err, a.spool.Close())
}

// awaitDrained waits until nothing in the spool is unacknowledged.
func (a *Agent) awaitDrained(ctx context.Context, deadline <-chan time.Time) {
	for a.spool.Stats().Records > 0 {
		select {
		case <-a.publisher.drained:
		case <-deadline:
			return
		case <-ctx.Done():
			return
		}
	}
}
