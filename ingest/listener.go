package ingest

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
)

// connectTimeout bounds the time from the TCP connection to the CONNECT, the TLS
// handshake included.
const connectTimeout = 10 * time.Second

// spareSockets is how many sockets beyond MaxConnections may be open at once, so
// that those that are too many hear why; beyond that they are just closed.
const spareSockets = 64

// listener hands the connections of one net.Listener to the broker. It is ours
// because the broker's own logs a warning per lost connection, bounds neither
// sockets nor the time until a CONNECT, and gives no place for conn.
type listener struct {
	net.Listener
	id     string
	broker *Broker
	close  sync.Once
	ended  chan struct{} // closed when Serve has returned
}

func newListener(b *Broker, id string, l net.Listener) *listener {
	return &listener{Listener: l, id: id, broker: b, ended: make(chan struct{})}
}

// ID, Address, Protocol and Init are what mochi's Listener asks for.
func (l *listener) ID() string              { return l.id }
func (l *listener) Address() string         { return l.Addr().String() }
func (l *listener) Protocol() string        { return l.id }
func (l *listener) Init(*slog.Logger) error { return nil }

// Serve accepts connections until the listener is closed.
func (l *listener) Serve(establish listeners.EstablishFn) {
	defer close(l.ended)
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, say: it passes
			pause := time.NewTimer(50 * time.Millisecond)
			select {
			case <-pause.C:
			case <-l.broker.bridge.closing:
				pause.Stop()
			}
			continue
		}
		c := newConn(l.broker, nc)
		if !l.broker.remember(c) {
			l.broker.refused(refusedFull)
			c.Close()
			continue
		}
		l.broker.conns.Go(func() { l.serve(establish, c) })
	}
}

// serve runs one connection to its end.
func (l *listener) serve(establish listeners.EstablishFn, c *conn) {
	defer c.Close()
	if err := c.awaitConnect(); err != nil {
		return
	}
	err := establish(l.id, c)
	if c.client == nil && err != nil { // it never got as far as a CONNECT
		l.broker.refused(refusedMalformed)
	}
}

// Close stops accepting. The broker's connections are closed by Broker.Run, after
// their answers are sent: fn is not needed.
func (l *listener) Close(listeners.CloseFn) {
	l.close.Do(func() { l.Listener.Close() })
}
