// Package streamtest runs the real log for tests: an embedded server in a temporary
// directory, in-process, which can be stopped, killed off and started again on the
// same files.
package streamtest

import (
	"context"
	"testing"
	"time"

	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/stream"
)

// Server is an embedded server with a stream.Stream connected to it. Its fields
// change with Stop and Start: a test reads them anew after each.
type Server struct {
	Stream *stream.Stream
	NATS   *natsd.Server
	Dir    string

	tb  testing.TB
	cfg stream.Config
}

// Option changes the configuration before it is used.
type Option func(*stream.Config)

// Partitions sets how many partitions a new log gets.
func Partitions(n int) Option { return func(c *stream.Config) { c.Partitions = n } }

// Start runs a server in a new directory until the test ends and connects to it. By
// default the log has 4 partitions and at most 64 MiB, and Purge leaves no margin.
func Start(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	s := &Server{Dir: tb.TempDir(), tb: tb, cfg: stream.Config{
		MaxBytes: 64 << 20, RejectBytes: 8 << 20, Margin: stream.Margin{Age: -1}, Watch: time.Second,
	}}
	for _, o := range opts {
		o(&s.cfg)
	}
	s.Start()
	tb.Cleanup(s.Stop)
	return s
}

// Start starts a stopped server on the same directory.
func (s *Server) Start() {
	s.tb.Helper()
	s.StartServer()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg := s.cfg
	cfg.InProcess = s.NATS
	st, err := stream.Connect(ctx, cfg)
	if err != nil {
		s.tb.Fatalf("connect to the embedded server: %v", err)
	}
	s.Stream = st
}

// StartServer starts the server alone, without a Stream.
func (s *Server) StartServer() {
	s.tb.Helper()
	srv, err := natsd.Open(natsd.Config{Dir: s.Dir, Logger: s.cfg.Logger})
	if err != nil {
		s.tb.Fatalf("start the embedded server: %v", err)
	}
	s.NATS = srv
}

// Stop closes the stream and the server; the files stay. A stopped Server may be started again.
func (s *Server) Stop() {
	s.tb.Helper()
	if s.Stream != nil {
		s.Stream.Close()
		s.Stream = nil
	}
	if s.NATS != nil {
		if err := s.NATS.Close(); err != nil {
			s.tb.Errorf("stop the embedded server: %v", err)
		}
		s.NATS = nil
	}
}

// Restart is Stop and Start.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.Start()
}
