// Package nats holds the configuration of a NATS server for gridloom's roles,
// nats-server.conf, and this test, which loads it and runs a server by it.
package nats

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/stream"
)

func TestConfigurationFsyncsAndCarriesTheLog(t *testing.T) {
	opts, err := server.ProcessConfigFile("nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !opts.JetStream || !opts.SyncAlways {
		t.Errorf("JetStream %v, SyncAlways %v; want both", opts.JetStream, opts.SyncAlways)
	}
	if opts.MaxPayload != 8_000_000 && opts.MaxPayload != natsd.MaxPayload {
		t.Errorf("max_payload = %d, want about that of the embedded server, %d", opts.MaxPayload, natsd.MaxPayload)
	}
	// As written, but for where: a free port and a directory of the test's.
	opts.Host, opts.Port, opts.HTTPPort, opts.StoreDir, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, server.RANDOM_PORT, t.TempDir(), true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start() // ends with Shutdown
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// Roles start at once. Each would reserve the log's size, and two of them are more than the server has.
	var g errgroup.Group
	for range 6 {
		g.Go(func() error {
			s, err := stream.Connect(ctx, stream.Config{URL: srv.ClientURL(), FsyncAlways: true})
			if err == nil {
				s.Close()
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Errorf("one of several that start at once: %v", err)
	}
	s, err := stream.Connect(ctx, stream.Config{URL: srv.ClientURL(), FsyncAlways: true, MonitorURL: "http://" + srv.MonitorAddr().String()}) // sizes by default: 64 GiB and 1 GiB
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Durable() {
		t.Error("Durable = false for a server that fsyncs always")
	}
	if got := s.Layout().Partitions; got != 64 {
		t.Errorf("%d partitions, want 64 in a cluster", got)
	}
	if _, err := s.Append(ctx, 63, make([]byte, 3<<20)); err != nil {
		t.Errorf("a frame of 3 MiB: %v", err)
	}
}
