// Package natsd runs the NATS server inside the process: JetStream on files, every
// message fsynced before it is acknowledged, no network listener. natsd.go starts
// and stops it, scan.go mends a store that a crash left half created before the
// server sees it, lock_unix.go keeps a second process off the store, log.go hands
// the server's lines to slog.
package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/obs"
)

// MaxPayload is the largest message that the server takes, in bytes. Ingest seals
// a frame at 256 KiB, but one MQTT packet of 1 MiB is never split; the server's
// own default of 1 MiB would refuse such a frame.
const MaxPayload = 8 << 20

// The server's own check "does this stream fit the disk" counts reservations, not
// bytes: with its default of 3/4 of the free disk a restart on a fuller disk could
// refuse streams that are already there. Package stream guards the real disk.
const defaultMaxStore = 1 << 60

// closeTimeout bounds Close. The server flushes its index on the way out; the
// messages themselves are on disk already, so giving up loses nothing.
const closeTimeout = 4 * time.Second

// Config says where the store is and who listens.
type Config struct {
	Dir          string        // the store; created if missing
	Logger       *slog.Logger  // nil means none
	MaxStore     int64         // bytes that streams may reserve in all; 0 means no limit of its own
	StartTimeout time.Duration // until the store is recovered; 0 means 2 min
}

// Server is a running embedded server.
type Server struct {
	srv  *server.Server
	lock *lock
	dir  string
}

// Open scans and, where that is safe, mends the store in cfg.Dir, then starts the
// server on it. It returns when the store is recovered and connections are taken.
//
// Errors: ErrUnavailable if another process has the store, the directory cannot be
// written or the server does not come up in time; ErrCorrupt if the scan finds a
// stream that it must not touch (the text names the directory).
func Open(cfg Config) (*Server, error) {
	if cfg.Dir == "" {
		return nil, fmt.Errorf("%w: natsd: Dir is empty", gridloom.ErrInvalid)
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = defaultMaxStore
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 2 * time.Minute
	}
	log := obs.Or(cfg.Logger)
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("%w: make the log's directory: %w", gridloom.ErrUnavailable, err)
	}
	lk, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{lock: lk, dir: cfg.Dir}
	if err := s.start(cfg, log); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(cfg Config, log *slog.Logger) error {
	if err := scan(filepath.Join(cfg.Dir, server.JetStreamStoreDir), log); err != nil {
		return err
	}
	opts := &server.Options{
		ServerName:         "gridloom",
		DontListen:         true,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           cfg.Dir,
		SyncAlways:         true, // without it a publish is acknowledged up to 2 min before its fsync
		JetStreamMaxStore:  cfg.MaxStore,
		JetStreamMaxMemory: 64 << 20, // consumers only; every stream is on files
		MaxPayload:         MaxPayload,
		MaxPending:         256 << 20, // readers pull up to 2×MaxPayload each over one connection
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("%w: configure the embedded NATS server: %w", gridloom.ErrInvalid, err)
	}
	s.srv = srv
	lines := &serverLog{log: log}
	srv.SetLoggerV2(lines, false, false, false)
	// Start returns after the store is recovered: a fatal line inside it ends it early.
	started := make(chan struct{})
	go func() {
		defer close(started)
		srv.Start()
	}()
	select {
	case <-started:
	case <-time.After(cfg.StartTimeout):
		return fmt.Errorf("%w: the log in %s was not recovered within %s: look at the disk, or start with a longer limit", gridloom.ErrUnavailable, cfg.Dir, cfg.StartTimeout)
	}
	if line := lines.firstFatal(); line != "" {
		return fmt.Errorf("%w: the embedded NATS server did not start on %s: %s", gridloom.ErrUnavailable, cfg.Dir, line)
	}
	if !srv.ReadyForConnections(10*time.Second) || !srv.JetStreamEnabled() {
		return fmt.Errorf("%w: the embedded NATS server on %s is not ready", gridloom.ErrUnavailable, cfg.Dir)
	}
	return nil
}

// InProcessConn returns a new connection to the server without a socket. It makes
// Server an nats.InProcessConnProvider, which stream.Config takes.
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// Dir returns the store's directory.
func (s *Server) Dir() string { return s.dir }

// Close stops the server and gives the store free, within 5 s. Connections must be
// closed before, or their requests fail. It may be called once. A server that does
// not stop keeps the store's lock until the process ends.
func (s *Server) Close() error {
	if s.srv != nil {
		if err := stop(s.srv); err != nil {
			return err
		}
	}
	return s.lock.release()
}

func stop(srv *server.Server) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(closeTimeout):
		return fmt.Errorf("%w: the embedded NATS server did not stop within %s; what was acknowledged is on disk", gridloom.ErrUnavailable, closeTimeout)
	}
}
