package floor

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// serveHook runs the broker that ingest uses, with ingest's settings and a hook
// that takes every message and does nothing with it. What one read brought is
// acknowledged with one write, on the goroutine that reads: nothing costs less.
func serveHook(ctx context.Context, l net.Listener) error {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumPacketSize = maxPacketBytes
	caps.MaximumClientWritesPending = 32
	s := mqtt.New(&mqtt.Options{
		Capabilities: caps, ClientNetReadBufferSize: 4 << 10, Logger: slog.New(slog.DiscardHandler), SysTopicResendInterval: 24 * 60 * 60,
	})
	if err := s.AddHook(&countingHook{}, nil); err != nil {
		return err
	}
	if err := s.AddListener(listeners.NewNet("floor", ackListener{l})); err != nil {
		return err
	}
	if err := s.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}

// countingHook lets everybody in and drops every message.
type countingHook struct{ mqtt.HookBase }

// ID names the hook.
func (*countingHook) ID() string { return "floor" }

// Provides says what the hook is asked for.
func (*countingHook) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck || b == mqtt.OnPublish
}

// OnConnectAuthenticate lets everybody in.
func (*countingHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck lets everybody publish everywhere.
func (*countingHook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

// OnPublish takes the message out of the broker's hands and acknowledges it.
func (*countingHook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if c, ok := cl.Net.Conn.(*ackConn); ok && pk.FixedHeader.Qos == 1 {
		c.acks = binary.BigEndian.AppendUint16(append(c.acks, packets.Puback<<4, 2), pk.PacketID)
	}
	return pk, packets.ErrRejectPacket
}

// ackListener wraps what it accepts.
type ackListener struct{ net.Listener }

// Accept waits for the next connection.
func (l ackListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &ackConn{Conn: c}, nil
}

// ackConn writes the acknowledgements of what was read before it reads more.
type ackConn struct {
	net.Conn
	acks []byte // owned by the goroutine that reads
}

// Read writes what is to be acknowledged, then reads.
func (c *ackConn) Read(p []byte) (int, error) {
	if len(c.acks) > 0 {
		if _, err := c.Write(c.acks); err != nil {
			return 0, err
		}
		c.acks = c.acks[:0]
	}
	return c.Conn.Read(p)
}
