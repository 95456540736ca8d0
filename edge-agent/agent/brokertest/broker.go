// Package brokertest is the least of an MQTT 3.1.1 broker that an agent can talk
// to, for tests: it records what is published, and a test decides when, how often
// and whether it is acknowledged. broker.go is all of it.
package brokertest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// Message is a PUBLISH.
type Message struct {
	Conn    int // counts connections from 1
	Topic   string
	ID      uint16
	Payload []byte
	Retain  bool
}

// Connect is what a CONNECT said.
type Connect struct {
	Conn               int
	ClientID           string
	WillTopic          string
	WillPayload        []byte
	WillRetain         bool
	Username, Password string
}

// Broker accepts connections until Close. Its hooks are set before Listen's
// address is used by anybody.
type Broker struct {
	// OnConnect returns the CONNACK's code; a negative one closes without an answer. nil accepts.
	OnConnect func(Connect) int
	// OnPublish is called by the connection's own goroutine. nil acknowledges.
	OnPublish func(*Conn, Message)

	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex
	conns    map[*Conn]bool
	count    int
	messages []Message
	connects []Connect
	news     chan struct{} // closed and replaced when something arrives
	closed   bool
}

// Conn is one connection.
type Conn struct {
	Number int

	conn net.Conn
	mu   sync.Mutex
}

// New returns a broker that does not listen yet.
func New() *Broker {
	return &Broker{conns: map[*Conn]bool{}, news: make(chan struct{})}
}

// Listen begins to accept on address, such as "127.0.0.1:0", and returns what it listens on.
func (b *Broker) Listen(address string) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return "", err
	}
	b.Serve(l)
	return l.Addr().String(), nil
}

// Serve begins to accept on l, which Close closes.
func (b *Broker) Serve(l net.Listener) {
	b.listener = l
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.take(c)
		}
	})
}

// Dial connects in memory, for tests in a bubble of testing/synctest.
func (b *Broker) Dial() (net.Conn, error) {
	client, server := net.Pipe()
	b.take(server)
	return client, nil
}

// Close ends all connections and waits for them.
func (b *Broker) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	if b.listener != nil {
		_ = b.listener.Close()
	}
	b.DropAll()
	b.wg.Wait()
}

// DropAll ends all connections without a word.
func (b *Broker) DropAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.Drop()
	}
}

// Messages returns what was published so far, in order of arrival.
func (b *Broker) Messages() []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Message(nil), b.messages...)
}

// Connects returns the CONNECTs so far.
func (b *Broker) Connects() []Connect {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Connect(nil), b.connects...)
}

// News returns a channel that is closed when the next message or connection has arrived.
func (b *Broker) News() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}

func (b *Broker) tell() {
	close(b.news)
	b.news = make(chan struct{})
}

func (b *Broker) take(c net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		_ = c.Close()
		return
	}
	b.count++
	conn := &Conn{Number: b.count, conn: c}
	b.conns[conn] = true
	b.wg.Go(func() {
		_ = b.serve(conn)
		_ = c.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.conns, conn)
		b.tell()
	})
}

// Drop ends the connection without a word.
func (c *Conn) Drop() { _ = c.conn.Close() }

// Ack writes a PUBACK.
func (c *Conn) Ack(id uint16) { c.write([]byte{0x40, 2, byte(id >> 8), byte(id)}) }

func (c *Conn) write(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.conn.Write(p)
}

var errProtocol = errors.New("brokertest: not MQTT 3.1.1")

// packet reads one control packet.
func packet(r *bufio.Reader) (first byte, body []byte, err error) {
	if first, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, shift := 0, 0
	for {
		d, err := r.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		n |= int(d&0x7f) << shift
		if shift += 7; d&0x80 == 0 {
			break
		}
		if shift > 21 {
			return 0, nil, errProtocol
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return first, body, err
}

// text cuts a length-prefixed string off b.
func text(b []byte) (s, rest []byte, err error) {
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return nil, nil, errProtocol
	}
	n := int(binary.BigEndian.Uint16(b))
	return b[2 : 2+n], b[2+n:], nil
}

func (b *Broker) serve(c *Conn) error {
	r := bufio.NewReader(c.conn)
	for connected := false; ; {
		first, body, err := packet(r)
		if err != nil {
			return err
		}
		switch kind := first >> 4; {
		case kind == 1 && !connected:
			connected = true
			err = b.connect(c, body)
		case !connected:
			err = errProtocol
		case kind == 3:
			err = b.publish(c, first, body)
		case kind == 12:
			c.write([]byte{0xd0, 0})
		case kind == 14:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (b *Broker) connect(c *Conn, body []byte) error {
	_, rest, err := text(body)
	if err != nil || len(rest) < 4 {
		return errProtocol
	}
	flags := rest[1]
	in := Connect{Conn: c.Number, WillRetain: flags&0x20 != 0}
	rest = rest[4:]
	take := func(wanted bool) (s []byte) {
		if wanted && err == nil {
			s, rest, err = text(rest)
		}
		return s
	}
	in.ClientID = string(take(true))
	in.WillTopic = string(take(flags&4 != 0))
	in.WillPayload = take(flags&4 != 0)
	in.Username = string(take(flags&0x80 != 0))
	in.Password = string(take(flags&0x40 != 0))
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.connects = append(b.connects, in)
	b.tell()
	b.mu.Unlock()
	code := 0
	if b.OnConnect != nil {
		code = b.OnConnect(in)
	}
	if code < 0 {
		return io.EOF
	}
	c.write([]byte{0x20, 2, 0, byte(code)})
	if code > 0 {
		return io.EOF
	}
	return nil
}

func (b *Broker) publish(c *Conn, first byte, body []byte) error {
	topic, rest, err := text(body)
	if err != nil {
		return err
	}
	m := Message{Conn: c.Number, Topic: string(topic), Retain: first&1 != 0}
	if qos := first >> 1 & 3; qos > 0 {
		if len(rest) < 2 {
			return errProtocol
		}
		m.ID, rest = binary.BigEndian.Uint16(rest), rest[2:]
	}
	m.Payload = rest
	b.mu.Lock()
	b.messages = append(b.messages, m)
	b.tell()
	b.mu.Unlock()
	if b.OnPublish != nil {
		b.OnPublish(c, m)
	} else if m.ID != 0 {
		c.Ack(m.ID)
	}
	return nil
}
