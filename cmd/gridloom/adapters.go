package main

import (
	"context"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/ingest"
	"github.com/gridloom/gridloom/stream"
)

// ownerLog gives package stream's log to aggregate, which does not know it.
type ownerLog struct{ *stream.Stream }

// Follow implements aggregate.Log.
func (l ownerLog) Follow(ctx context.Context, partition int, head gridloom.Head) (aggregate.Reader, error) {
	r, err := l.Stream.Follow(ctx, partition, head)
	if err != nil {
		return nil, err // a nil *stream.Reader must not become a non-nil interface
	}
	return ownerReader{r}, nil
}

// ownerReader gives stream's messages to aggregate as frames.
type ownerReader struct{ r *stream.Reader }

// Next implements aggregate.Reader.
func (o ownerReader) Next(ctx context.Context) ([]aggregate.Frame, error) {
	msgs, err := o.r.Next(ctx)
	if err != nil {
		return nil, err
	}
	frames := make([]aggregate.Frame, len(msgs))
	for i, m := range msgs {
		frames[i] = aggregate.Frame{Sequence: m.Sequence, LoggedAt: m.LoggedAt, Data: m.Data}
	}
	return frames, nil
}

// Close implements aggregate.Reader.
func (o ownerReader) Close() { o.r.Close() }

// guardedLog is the log as ingest and query write to it, with the fault points of crash tests. What
// would go into a log that was rolled back is not acknowledged: problem says so, from
// the owners in this process or from a stream.Guard.
type guardedLog struct {
	log     ingest.Log
	problem func(partition int) error
	fault   func(string)
}

// Append implements ingest.Log and query.Log.
func (l guardedLog) Append(ctx context.Context, partition int, frame []byte) (uint64, error) {
	if err := l.problem(partition); err != nil {
		return 0, err
	}
	l.fault("append.sealed")
	seq, err := l.log.Append(ctx, partition, frame)
	if err == nil {
		l.fault("append.stored")
	}
	return seq, err
}
