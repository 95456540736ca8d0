package stream_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// mutedServer hands out connections that can be made deaf: what is written to them
// arrives nowhere, as to a machine that has just lost its power.
type mutedServer struct {
	inner interface{ InProcessConn() (net.Conn, error) }

	mu   sync.Mutex
	last *mutedConn
}

func (s *mutedServer) InProcessConn() (net.Conn, error) {
	c, err := s.inner.InProcessConn()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = &mutedConn{Conn: c, swallowed: make(chan struct{})}
	return s.last, nil
}

type mutedConn struct {
	net.Conn
	deaf      atomic.Bool
	once      sync.Once
	swallowed chan struct{} // closed when something was written in vain
}

func (c *mutedConn) Write(b []byte) (int, error) {
	if c.deaf.Load() {
		c.once.Do(func() { close(c.swallowed) })
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestAnAppendDoesNotOutliveItsConnection: the answer to what was sent over a connection
// that is lost never comes, and nobody waits the whole time-out for it.
func TestAnAppendDoesNotOutliveItsConnection(t *testing.T) {
	server := &mutedServer{inner: streamtest.Start(t).NATS}
	s, err := stream.Connect(t.Context(), stream.Config{InProcess: server, AppendTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(t.Context(), 0, []byte("before")); err != nil {
		t.Fatal(err)
	}
	server.mu.Lock()
	conn := server.last
	server.mu.Unlock()
	conn.deaf.Store(true)
	type outcome struct {
		err  error
		took time.Duration
	}
	done := make(chan outcome, 1)
	began := time.Now()
	go func() { // ends with its append
		_, err := s.Append(t.Context(), 0, []byte("never heard"))
		done <- outcome{err, time.Since(began)}
	}()
	<-conn.swallowed
	conn.Close()
	if o := <-done; !errors.Is(o.err, gridloom.ErrUnavailable) || o.took > 30*time.Second {
		t.Errorf("an append whose connection was lost: %v after %s; want unavailable at once, its time-out is a minute", o.err, o.took)
	}

	// What comes after the reconnect is stored.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		if _, err = s.Append(ctx, 0, []byte("after")); err == nil || ctx.Err() != nil {
			break
		}
		tick := time.NewTimer(20 * time.Millisecond)
		<-tick.C
	}
	if err != nil {
		t.Errorf("after the reconnect: %v", err)
	}
}
