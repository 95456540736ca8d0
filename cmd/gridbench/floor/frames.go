package floor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom/internal/natsd"
)

// Writers is how many frames are in flight at once: one of each partition of an
// embedded log.
const Writers = 4

// maxFrameBytes bounds what one measurement writes to the disk.
const maxFrameBytes = 2 << 30

// WriteFiles appends frames of size bytes to one file for d, each fsynced before the
// next: what the disk itself allows.
func WriteFiles(ctx context.Context, dir string, size int, d time.Duration) (Work, error) {
	f, err := os.Create(filepath.Join(dir, "frames"))
	if err != nil {
		return Work{}, err
	}
	defer f.Close()
	return frames(ctx, 1, size, d, func(_ context.Context, _ int, frame []byte) error {
		if _, err := f.Write(frame); err != nil {
			return err
		}
		return f.Sync()
	})
}

// PublishFrames publishes frames of size bytes to a bare stream of an embedded NATS
// server that fsyncs always, for d: Writers subjects, one frame in flight on each.
func PublishFrames(ctx context.Context, dir string, size int, d time.Duration) (w Work, err error) {
	server, err := natsd.Open(natsd.Config{Dir: filepath.Join(dir, "bare")})
	if err != nil {
		return Work{}, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		return Work{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return Work{}, err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "FLOOR", Subjects: []string{"floor.*"}, Storage: jetstream.FileStorage, MaxBytes: maxLogBytes, Discard: jetstream.DiscardNew,
	}); err != nil {
		return Work{}, err
	}
	return frames(ctx, Writers, size, d, func(ctx context.Context, i int, frame []byte) error {
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: fmt.Sprintf("floor.%d", i), Data: frame})
		return err
	})
}

// AppendFrames is the same by way of package stream.
func AppendFrames(ctx context.Context, dir string, size int, d time.Duration) (w Work, err error) {
	s, closeLog, err := openLog(ctx, dir)
	if err != nil {
		return Work{}, err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	return frames(ctx, s.Layout().Partitions, size, d, func(ctx context.Context, i int, frame []byte) error {
		_, err := s.Append(ctx, i, frame)
		return err
	})
}

// frames lets writers store frames, each one after the other, until d has passed.
func frames(ctx context.Context, writers, size int, d time.Duration, store func(ctx context.Context, writer int, frame []byte) error) (Work, error) {
	frame := make([]byte, size)
	if _, err := rand.Read(frame); err != nil { // nothing may compress it
		return Work{}, err
	}
	var n atomic.Int64
	var watch stopwatch
	if err := watch.start(); err != nil {
		return Work{}, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range writers {
		g.Go(func() error {
			for time.Since(watch.beganWall) < d && n.Load()*int64(size) < maxFrameBytes {
				if err := store(ctx, i, frame); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Work{}, err
	}
	err := watch.stop()
	return Work{N: n.Load(), Bytes: n.Load() * int64(size), Wall: watch.wall, CPU: watch.cpu}, err
}
