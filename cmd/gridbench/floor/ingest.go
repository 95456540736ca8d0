package floor

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest"
	"github.com/gridloom/gridloom/internal/natsd"
	"github.com/gridloom/gridloom/stream"
)

// nothing is a log that stores nothing.
type nothing struct{}

// Append implements ingest.Log.
func (nothing) Append(context.Context, int, []byte) (uint64, error) { return 1, nil }

// AppendRejects implements ingest.Rejects.
func (nothing) AppendRejects(context.Context, []gridloom.Reject) error { return nil }

// serveIngest runs ingest over a log until ctx ends.
func serveIngest(ctx context.Context, log ingest.Log, rejects ingest.Rejects, partitions int, generation uint32, ready func(string) error) error {
	bridge, err := ingest.New(ingest.BridgeConfig{Partitions: partitions, Generation: generation}, log, rejects)
	if err != nil {
		return err
	}
	broker, err := ingest.Open(ingest.BrokerConfig{Listen: "127.0.0.1:0"}, bridge)
	if err != nil {
		return err
	}
	if err := ready(broker.Addr().String()); err != nil {
		return errors.Join(err, broker.Close())
	}
	return broker.Run(ctx)
}

// serveLog runs ingest over the embedded log in dir, as gridloom up does.
func serveLog(ctx context.Context, dir string, ready func(string) error) (err error) {
	s, closeLog, err := openLog(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	layout := s.Layout()
	return serveIngest(ctx, s, s, layout.Partitions, layout.Generation, ready)
}

// openLog starts an embedded log in dir, fsync always.
func openLog(ctx context.Context, dir string) (*stream.Stream, func() error, error) {
	dir = filepath.Join(dir, "log")
	server, err := natsd.Open(natsd.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	s, err := stream.Connect(ctx, stream.Config{InProcess: server, MaxBytes: maxLogBytes, Disk: stream.Disk{Dir: dir}})
	if err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	return s, func() error {
		s.Close()
		return server.Close()
	}, nil
}

// maxLogBytes bounds the log of a floor: nothing empties it.
const maxLogBytes = 8 << 30
