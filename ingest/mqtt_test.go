package ingest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// device is the other end of a connection: raw MQTT packets, 3.1.1 or 5.
type device struct {
	t       testing.TB
	conn    net.Conn
	r       *bufio.Reader
	version byte
	nextID  uint16
}

// packet is one packet from the broker.
type packet struct {
	kind byte // upper four bits of the first byte
	body []byte
}

const (
	pConnack    = 2
	pPublish    = 3
	pPuback     = 4
	pPubrec     = 5
	pPubcomp    = 7
	pSuback     = 9
	pPingresp   = 13
	pDisconnect = 14
)

// connectOptions are the fields of a CONNECT.
type connectOptions struct {
	id, username, password string
	version                byte // 4 if 0
	keepalive              uint16
	resume                 bool // clean session off
	willTopic, will        string
}

func mqttString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func mqttPacket(first byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

func connectPacket(o connectOptions) []byte {
	flags := byte(0)
	if !o.resume {
		flags |= 2
	}
	if o.will != "" {
		flags |= 4 | 1<<3 | 1<<5 // QoS 1, retained
	}
	if o.username != "" {
		flags |= 0x80
	}
	if o.password != "" {
		flags |= 0x40
	}
	b := append(mqttString(nil, "MQTT"), o.version, flags)
	b = binary.BigEndian.AppendUint16(b, o.keepalive)
	if o.version == 5 {
		if o.resume {
			b = append(b, 5, 17, 0, 0, 1, 0) // session expiry interval
		} else {
			b = append(b, 0)
		}
	}
	b = mqttString(b, o.id)
	if o.will != "" {
		if o.version == 5 {
			b = append(b, 0)
		}
		b = mqttString(mqttString(b, o.willTopic), o.will)
	}
	if o.username != "" {
		b = mqttString(b, o.username)
	}
	if o.password != "" {
		b = mqttString(b, o.password)
	}
	return mqttPacket(0x10, b)
}

func publishPacket(version byte, topic string, id uint16, qos byte, flags byte, payload []byte) []byte {
	b := mqttString(nil, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if version == 5 {
		b = append(b, 0)
	}
	return mqttPacket(0x30|qos<<1|flags, append(b, payload...))
}

// dial connects a socket and sends CONNECT; the CONNACK is still to be read.
func dial(tb testing.TB, addr net.Addr, o connectOptions) *device {
	tb.Helper()
	if o.version == 0 {
		o.version = 4
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	d := &device{t: tb, conn: c, r: bufio.NewReaderSize(c, 32<<10), version: o.version}
	d.write(connectPacket(o))
	return d
}

// connect is a device whose CONNECT was accepted.
func connect(tb testing.TB, addr net.Addr, o connectOptions) *device {
	tb.Helper()
	d := dial(tb, addr, o)
	if p := d.read(); p.kind != pConnack || p.body[1] != 0 {
		tb.Fatalf("CONNECT as %q: got packet %d % x, want CONNACK 0", o.id, p.kind, p.body)
	}
	return d
}

func (d *device) write(p []byte) {
	d.t.Helper()
	if _, err := d.conn.Write(p); err != nil {
		d.t.Fatalf("write: %v", err)
	}
}

// publish sends one QoS 1 message and returns its packet id.
func (d *device) publish(topic, payload string) uint16 {
	d.t.Helper()
	return d.publishQoS(1, topic, payload)
}

func (d *device) publishQoS(qos byte, topic, payload string) uint16 {
	d.t.Helper()
	if d.nextID++; d.nextID == 0 {
		d.nextID = 1
	}
	d.write(publishPacket(d.version, topic, d.nextID, qos, 0, []byte(payload)))
	return d.nextID
}

// next reads one packet.
func (d *device) next() (packet, error) {
	first, err := d.r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	n, err := binary.ReadUvarint(d.r)
	if err != nil {
		return packet{}, err
	}
	p := packet{kind: first >> 4, body: make([]byte, n)}
	_, err = io.ReadFull(d.r, p.body)
	return p, err
}

func (d *device) read() packet {
	d.t.Helper()
	d.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	p, err := d.next()
	if err != nil {
		d.t.Fatalf("read: %v", err)
	}
	return p
}

// wantAck reads one PUBACK (or of) for id and returns its reason code.
func (d *device) wantAck(id uint16, of ...byte) (code byte) {
	d.t.Helper()
	kind := byte(pPuback)
	if len(of) > 0 {
		kind = of[0]
	}
	p := d.read()
	if p.kind != kind || binary.BigEndian.Uint16(p.body) != id {
		d.t.Fatalf("got packet %d % x, want packet %d for id %d", p.kind, p.body, kind, id)
	}
	if len(p.body) > 2 {
		return p.body[2]
	}
	return 0
}

// wantSilence checks that the broker has answered nothing: a PINGREQ's answer is
// the first thing that comes.
func (d *device) wantSilence() {
	d.t.Helper()
	d.write([]byte{0xc0, 0})
	if p := d.read(); p.kind != pPingresp {
		d.t.Fatalf("got packet %d % x, want nothing before PINGRESP", p.kind, p.body)
	}
}

// wantClosed reads until the broker closes the connection and returns what came before.
func (d *device) wantClosed() (before []packet) {
	d.t.Helper()
	d.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		p, err := d.next()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				d.t.Fatal("the connection is still open")
			}
			return before
		}
		before = append(before, p)
	}
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReaderSize(c, 4<<10) }
