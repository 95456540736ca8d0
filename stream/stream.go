// Package stream is everything in gridloom that speaks NATS: the log of frames, the
// heads of the partitions and the rejects, on JetStream. What it promises:
// a frame is fsynced before Append returns, a partition's head moves by compare and
// swap alone, and a log that is not the one that was read before is never read on.
//
// Connect (stream.go) joins or creates the streams (layout.go). Ingest appends
// frames (append.go) and rejects (rejects.go). An owner claims and commits heads
// (head.go), follows its partition (follow.go) after checking the log against its
// head (verify.go), and what all have committed is purged (purge.go). room.go keeps
// the disk from filling up, usage.go tells how full things are and watches the
// log's identity; guard.go does that for who appends without owning. Owners answer
// questions of other processes (owners.go), which ask by the head (ask.go); members.go
// carries what processes that share partitions say of themselves.
// errors.go turns NATS errors into gridloom's kinds, metrics.go
// counts, link.go tells of connections that are lost and of new ones, durability.go says whether the log fsyncs. Formats: docs/format/subjects.md and docs/format/head.md.
package stream

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/obs"
)

// Config says which NATS to use and what to create if there is nothing yet. The
// zero value of a field means what its comment says.
type Config struct {
	// One of the three: a connection that the caller keeps and closes, an embedded
	// server (natsd.Server), or a comma-separated list of server URLs.
	Conn      *nats.Conn
	InProcess interface{ InProcessConn() (net.Conn, error) }
	URL       string

	CredentialsFile, CAFile, CertFile, KeyFile string // for URL; "" means without

	FsyncAlways bool   // the servers of URL or Conn fsync every message; see Durable
	MonitorURL  string // of one of them, where that is checked; "" means it is believed

	// What the first to start creates; all others read it from the log's metadata.
	Partitions  int   // 0 means 4 with InProcess, else 64
	Replicas    int   // 0 means 1
	MaxBytes    int64 // of the log; 0 means 1/4 of the disk of Disk.Dir, at most 64 GiB
	RejectBytes int64 // of the rejects; 0 means 1/16 of that disk, at most 1 GiB

	Disk          Disk          // the file system under an embedded server
	AppendTimeout time.Duration // of one append whose context has no deadline; 0 means 10 s
	Margin        Margin        // how much of what is committed Purge keeps
	Watch         time.Duration // how long a reader may stand still before it is looked at; 0 means 5 s

	Logger     *slog.Logger          // nil means none
	Registerer prometheus.Registerer // nil means no metrics
}

// Layout is how meters map to partitions in this log. It never changes in the life of a Stream.
type Layout struct {
	Generation uint32
	Partitions int
	Created    time.Time // of the log's stream: its identity
}

// Stream is a connection to the log, the heads and the rejects. All methods are
// safe for concurrent use.
type Stream struct {
	cfg     Config
	log     *slog.Logger
	nc      *nats.Conn
	ownConn bool
	js      jetstream.JetStream

	frames  jetstream.Stream
	heads   jetstream.Stream
	rejects jetstream.Stream
	layout  Layout
	max     int64 // bytes of the log

	met      *metrics
	room     *room
	greatest atomic.Uint64         // log sequence acknowledged so far
	foreign  atomic.Pointer[error] // set once the log is not the one that was joined
	link     atomic.Pointer[link]  // the connection as it is now
	curve    curve

	again     again
	answering chan struct{} // holds one for each answer under way
	answers   sync.WaitGroup

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Connect reaches NATS, creates what is missing, waits until the log is ready and
// starts watching disk and log. It gives up when ctx ends.
//
// Errors: ErrUnavailable (NATS cannot be reached, no room), ErrInvalid (a stream of
// that name has settings that gridloom cannot work with), ErrCorrupt (heads and log
// are of different layouts).
func Connect(ctx context.Context, cfg Config) (*Stream, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Stream{cfg: cfg, log: obs.Or(cfg.Logger), met: newMetrics(cfg.Registerer), answering: make(chan struct{}, answersAtOnce)}
	s.link.Store(newLink())
	s.room = newRoom(cfg.Disk, s.log, s.met)
	if err := s.dial(ctx); err != nil {
		return nil, err
	}
	// Only now: until the server is there, neither is its monitor.
	err := checkFsync(ctx, &s.cfg)
	if err == nil {
		err = s.join(ctx)
	}
	if err != nil {
		s.closeConn()
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	s.stop = stop
	lost := s.nc.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	s.wg.Go(func() { s.watchLink(life, lost) })
	s.wg.Go(func() { s.room.run(life) })
	s.wg.Go(func() { s.watch(life) })
	return s, nil
}

// fill sets the defaults and names the field that makes no sense.
func (c *Config) fill() error {
	ways := 0
	for _, given := range []bool{c.Conn != nil, c.InProcess != nil, c.URL != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return fmt.Errorf("%w: stream: give one of Conn, InProcess and URL, not %d", gridloom.ErrInvalid, ways)
	}
	if c.Partitions == 0 {
		c.Partitions = 64
		if c.InProcess != nil {
			c.Partitions = 4
		}
	}
	if c.Partitions < 1 || c.Partitions > MaxPartitions {
		return fmt.Errorf("%w: stream: Partitions %d: want 1 to %d", gridloom.ErrInvalid, c.Partitions, MaxPartitions)
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.AppendTimeout == 0 {
		c.AppendTimeout = 10 * time.Second
	}
	if c.Watch == 0 {
		c.Watch = 5 * time.Second
	}
	c.Margin.fill()
	return c.Disk.fill()
}

func (s *Stream) dial(ctx context.Context) error {
	var err error
	if s.nc = s.cfg.Conn; s.nc == nil {
		s.ownConn = true
		if s.nc, err = connect(ctx, &s.cfg, s.log, s.again.tell); err != nil {
			return err
		}
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		s.closeConn()
		return kindOf("open JetStream", err)
	}
	return nil
}

// connect dials until ctx ends: a cluster's servers may start after their roles.
func connect(ctx context.Context, cfg *Config, log *slog.Logger, again func()) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name("gridloom"),
		nats.MaxReconnects(-1),
		nats.ReconnectJitter(500*time.Millisecond, 2*time.Second),
		// A publish while the connection is down fails at once and is repeated by
		// the caller: buffering it would hide how old it is.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost NATS", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("NATS is back"); again() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS client", "err", err) }),
	}
	if cfg.InProcess != nil {
		opts = append(opts, nats.InProcessServer(cfg.InProcess))
	}
	if cfg.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredentialsFile))
	}
	if cfg.CAFile != "" {
		opts = append(opts, nats.RootCAs(cfg.CAFile))
	}
	if cfg.CertFile != "" {
		opts = append(opts, nats.ClientCert(cfg.CertFile, cfg.KeyFile))
	}
	for told := false; ; {
		nc, err := nats.Connect(cfg.URL, opts...)
		if err == nil {
			return nc, nil
		}
		if !told {
			told = true
			log.Warn("waiting for NATS", "err", err)
		}
		if !wait(ctx, 250*time.Millisecond) {
			return nil, fmt.Errorf("%w: connect to NATS %s: %w", gridloom.ErrUnavailable, cfg.URL, err)
		}
	}
}

// Layout returns generation, partitions and identity of the log.
func (s *Stream) Layout() Layout { return s.layout }

// Replicated reports whether the log's server stores every frame on several machines,
// and so fsyncs frames together. Without, it fsyncs one after the other.
func (s *Stream) Replicated() bool { return s.frames.CachedInfo().Config.Replicas > 1 }

// Close ends the watching and, unless the caller gave it, the connection. Readers
// must be closed before.
func (s *Stream) Close() {
	s.stop()
	s.wg.Wait()
	s.closeConn()
	s.answers.Wait() // nothing can be sent any more
}

func (s *Stream) closeConn() {
	if s.ownConn {
		s.nc.Close()
	}
}

// checkPartition returns ErrInvalid for a partition that the layout does not have.
func (s *Stream) checkPartition(partition int) error {
	if partition < 0 || partition >= s.layout.Partitions {
		return fmt.Errorf("%w: partition %d: the log has %d", gridloom.ErrInvalid, partition, s.layout.Partitions)
	}
	return nil
}

// wait pauses for d; false means that ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
