package ingest

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// conn is one device's connection: the net.Conn that the broker reads from and
// writes to, with deadlines of our own, and the sender of the messages that come
// in on it. Answers are gathered and written together, on a goroutine that lives
// as long as there are any, so that a device that does not read holds up nobody.
type conn struct {
	net.Conn
	broker *Broker
	gone   chan struct{} // closed by Close
	once   sync.Once

	// Set once while the CONNECT is handled, before anything is published.
	client      *mqtt.Client
	version     version // written under mu: a stop may come before the CONNECT
	agent       string  // the only one it may publish under; "" for any
	established bool    // counted against MaxConnections; guarded by broker.mu

	// Owned by the read goroutine.
	topic     string // the last one
	route     route  // and what it means
	deadline  time.Time
	keepalive time.Duration // how long it may be silent; 0 for ever
	intake    intake
	taken     message // the one that is handed to the bridge, kept to allocate it once

	inFlight atomic.Int32  // messages taken and not yet answered
	waiting  atomic.Bool   // the read goroutine waits for room
	room     chan struct{} // holds one: there may be room

	writing sync.Mutex // one write and its deadline at a time

	mu    sync.Mutex
	out   outbox // guarded by mu
	spare []byte // owned by the sending goroutine
}

func newConn(b *Broker, c net.Conn) *conn {
	return &conn{Conn: c, broker: b, gone: make(chan struct{}), room: make(chan struct{}, 1)}
}

// Close closes the connection. A second call does nothing.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		close(c.gone)
		err = c.Conn.Close()
		c.broker.forget(c)
	})
	return err
}

// awaitConnect bounds the time until the CONNECT has been read.
func (c *conn) awaitConnect() error {
	c.deadline = time.Now().Add(connectTimeout)
	return c.SetReadDeadline(c.deadline)
}

// SetDeadline is called by the broker before each packet with the time when the
// device's keepalive runs out. It is a bound on reading alone: writes have their own.
func (c *conn) SetDeadline(t time.Time) error {
	c.keepalive = 0
	if !t.IsZero() {
		c.keepalive = time.Until(t)
	}
	return c.extendDeadline(t)
}

// extendDeadline sets the deadline a second later than t and then leaves it alone
// for about a second, because setting it for each of a thousand packets costs as
// much as decoding them. A zero t is no deadline.
func (c *conn) extendDeadline(t time.Time) error {
	if t.IsZero() {
		if c.deadline.IsZero() {
			return nil
		}
		c.deadline = t
		return c.SetReadDeadline(t)
	}
	if !c.deadline.Before(t) && c.deadline.Sub(t) <= time.Second {
		return nil
	}
	c.deadline = t.Add(time.Second)
	return c.SetReadDeadline(c.deadline)
}

// Write writes whole packets. A device that does not take them within
// WriteTimeout is cut off: what it got may end in the middle of a packet.
func (c *conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.SetWriteDeadline(time.Now().Add(c.broker.writeTimeout())); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.broker.bridge.metrics.closed.WithLabelValues("not_reading").Inc()
	}
	if err != nil {
		c.Close()
	}
	return n, err
}

// turnTo makes topic the current one. A device publishes to one or two topics, so
// their meaning is remembered. Called by the read goroutine.
func (c *conn) turnTo(topic string) {
	if topic == c.topic {
		return
	}
	c.topic = strings.Clone(topic) // mochi's string keeps the whole packet alive
	c.route = routeOf(c.topic, c.agent)
}

// certificate returns the common name of the client certificate that was verified;
// "" if there is none.
func (c *conn) certificate() string {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return ""
	}
	chains := t.ConnectionState().VerifiedChains
	if len(chains) == 0 {
		return ""
	}
	return chains[0][0].Subject.CommonName
}

// reserve takes one of the connection's places in flight, waiting for it. Called by
// the read goroutine: while it waits nothing is read, and TCP slows the device down.
func (c *conn) reserve() error {
	limit := int32(c.broker.cfg.MaxInFlight)
	if c.inFlight.Add(1) <= limit {
		return nil
	}
	c.inFlight.Add(-1)
	w := wait{bridge: c.broker.bridge, gone: c.gone, metric: c.broker.bridge.metrics.waitConnection}
	c.waiting.Store(true)
	defer c.waiting.Store(false)
	for {
		if c.inFlight.Add(1) <= limit {
			return nil
		}
		c.inFlight.Add(-1)
		if err := w.on(c.room); err != nil {
			return err
		}
	}
}

// unreserve gives n places back.
func (c *conn) unreserve(n int32) {
	c.inFlight.Add(-n)
	if c.waiting.Load() {
		select {
		case c.room <- struct{}{}:
		default:
		}
	}
}

// answer implements sender.
func (c *conn) answer(t tag, o outcome) (send bool) {
	code, ok := answerOf(c.version, o)
	if ok && t.qos == 2 {
		c.received(t.id, code)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.add(t, code, ok)
}

// received notes a QoS 2 message as received, so that the broker goes on with it:
// PUBREL finds it, and a repeated PUBLISH is told that it is known.
func (c *conn) received(id uint16, code byte) {
	if code >= 0x80 { // this answer ends the exchange
		c.client.State.Inflight.IncreaseReceiveQuota()
		return
	}
	c.client.State.Inflight.Set(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: id, Created: time.Now().Unix(),
	})
}

// send implements sender.
func (c *conn) send() { c.broker.sends.Go(c.sendAll) }

// sendAll writes what is gathered until there is nothing more.
func (c *conn) sendAll() {
	m := c.broker.bridge.metrics
	for {
		c.mu.Lock()
		out, n := c.out.take(c.spare)
		closing, v := c.out.closing, c.version
		c.mu.Unlock()
		if n == 0 {
			if closing != 0 {
				c.hangUp(v, closing)
			}
			return
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err == nil {
				m.answers.Add(float64(countAnswers(out)))
				m.answerWrite.Inc()
			}
		}
		c.spare = out
		c.unreserve(n)
	}
}

// shutDown closes the connection when the answers that are gathered are sent.
func (c *conn) shutDown(code byte) {
	c.mu.Lock()
	start := c.out.close(code)
	c.mu.Unlock()
	if start {
		c.send()
	}
}

// hangUp tells an MQTT 5 device why, and closes the connection. The will is then
// published by the broker: the device did not say goodbye.
func (c *conn) hangUp(v version, code byte) {
	if v >= 5 {
		_, _ = c.Write([]byte{packets.Disconnect << 4, 2, code, 0}) // it is closed either way
	}
	c.Close()
}
