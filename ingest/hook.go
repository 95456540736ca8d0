package ingest

import (
	"errors"
	"slices"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest/decode"
)

// maxStateBytes bounds the payload of a state message.
const maxStateBytes = 4 << 10

// maxClientID bounds the client id, in bytes.
const maxClientID = 256

// hook is what mochi calls. One hook does everything: mochi asks each hook about
// each packet.
//
// What mochi does with the error of OnPublish (v2.7.9): ErrRejectPacket keeps the
// connection and sends nothing, which leaves the PUBACK to us. Any other error, a
// wrapped packets.Code above all, acknowledges the message or panics: never return
// one.
type hook struct {
	mqtt.HookBase
	broker *Broker
}

// ID and Provides tell mochi who is called for what.
func (h *hook) ID() string { return "gridloom" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnDisconnect, mqtt.OnPacketEncode, mqtt.OnPacketRead,
		mqtt.OnPublish, mqtt.OnWill, mqtt.OnClientExpired, mqtt.OnRetainMessage, mqtt.OnRetainedExpired, mqtt.StoredRetainedMessages:
		return true
	}
	return false
}

// OnPacketRead is the bridge for readings at QoS 0 and 1 that intake.go does not
// take, the first on a topic above all: it runs on the connection's read goroutine as
// soon as a packet is decoded. A message that is taken goes on as a PUBACK of packet
// id 0, which mochi looks up, does not find and ignores. OnPublish would do as well,
// and does for all else, but on the way there and back mochi asks the clock, three
// maps and the ACL and copies the packet to the heap for a log line that is off, for
// devices that change their topics by turns.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok || pk.FixedHeader.Type != packets.Publish || c.client == nil {
		return pk, nil
	}
	c.turnTo(pk.TopicName)
	if qos := pk.FixedHeader.Qos; c.route.kind != readings || qos > 1 || (qos == 1) != (pk.PacketID != 0) ||
		pk.Properties.TopicAliasFlag || len(pk.Properties.SubscriptionIdentifier) > 0 {
		return pk, nil // OnPublish, or mochi has something against it
	}
	h.broker.publish(c, pk.Payload, tag{id: pk.PacketID, qos: pk.FixedHeader.Qos})
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, ProtocolVersion: pk.ProtocolVersion}, nil
}

// OnPublish takes what OnPacketRead left: states, which mochi retains and hands on,
// and what is refused. It runs on the connection's read goroutine. See hook.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return pk, packets.ErrRejectPacket
	}
	c.turnTo(pk.TopicName)
	if c.route.kind == state && len(pk.Payload) <= maxStateBytes {
		if pk.FixedHeader.Retain && !h.broker.retained.fits(c.topic, len(pk.Payload)) {
			h.broker.bridge.metrics.retainedNot.Inc()
			pk.FixedHeader.Retain = false
		}
		return pk, nil
	}
	h.broker.publish(c, pk.Payload, tag{id: pk.PacketID, qos: pk.FixedHeader.Qos})
	return pk, packets.ErrRejectPacket
}

// publish hands a message to the bridge, which needs payload until publish returns.
// If it cannot, the connection is closed without an answer: the device sends the
// message again when it is back.
func (b *Broker) publish(c *conn, payload []byte, t tag) {
	b.bridge.metrics.qos[t.qos].Inc()
	if err := c.reserve(); err != nil {
		b.drop(c, err)
		return
	}
	m := &c.taken
	*m = message{
		source: decode.Source{
			Topic: c.topic, Site: c.route.site, Agent: c.route.agent, Client: c.client.ID, Now: b.bridge.cfg.Now(),
		},
		payload: payload, from: c, tag: t, gone: c.gone,
	}
	if t.qos == 2 {
		c.client.State.Inflight.DecreaseReceiveQuota()
	}
	err := b.bridge.hand(m, &c.route)
	*m = message{} // payload is the caller's again
	if err != nil {
		c.unreserve(1)
		b.drop(c, err)
	}
}

// hand takes or refuses a message, as its topic says.
func (b *Bridge) hand(m *message, r *route) error {
	switch r.kind {
	case readings:
		return b.take(m)
	case others:
		return b.refuse(m, notTheSender, decode.Bad{Reason: "AGENT", Detail: r.problem, Place: "topic"})
	case state:
		return b.refuse(m, badPayload, decode.Bad{Reason: "SIZE", Detail: "a state message has at most 4096 bytes"})
	default:
		return b.refuse(m, badTopic, decode.Bad{Reason: "TOPIC", Detail: r.problem, Place: "topic"})
	}
}

// drop closes the connection of a message that was not taken.
func (b *Broker) drop(c *conn, err error) {
	switch {
	case errors.Is(err, errGone):
		return
	case errors.Is(err, errClosing):
		c.shutDown(codeShuttingDown)
	default:
		b.bridge.metrics.closed.WithLabelValues("unavailable").Inc()
		c.shutDown(codeServerBusy)
	}
}

// OnConnect decides whether a client may connect, and answers it if not.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c, ok := cl.Net.Conn.(*conn)
	if !ok {
		return packets.ErrNotAuthorized
	}
	c.mu.Lock()
	c.client, c.version = cl, cl.Properties.ProtocolVersion
	c.mu.Unlock()
	why := h.broker.admit(c, &pk)
	if why == "" {
		return nil
	}
	h.broker.refused(why)
	code := packets.Code{Code: connackOf(c.version, why), Reason: string(why)}
	if err := h.broker.server.SendConnack(cl, code, false, nil); err != nil {
		return err
	}
	return code
}

// admit returns why a CONNECT is refused, "" if it is not.
func (b *Broker) admit(c *conn, pk *packets.Packet) refusal {
	agent, ok := agentOf(b.cfg.Users, credentials{
		certificate: c.certificate(), username: string(pk.Connect.Username), password: pk.Connect.Password,
	})
	if !ok {
		return refusedCredentials
	}
	c.agent = agent
	if len(c.client.ID) > maxClientID {
		return refusedClientID
	}
	if pk.Connect.WillFlag {
		will := routeOf(pk.Connect.WillTopic, agent)
		if will.kind != state || len(pk.Connect.WillPayload) > maxStateBytes {
			return refusedWill
		}
	}
	return b.establish(c)
}

// OnConnectAuthenticate is answered by OnConnect.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnACLCheck lets clients read below gridloom/v1/. What they publish is judged by
// OnPublish: mochi's own refusal closes a 3.1.1 connection or says nothing at all.
func (h *hook) OnACLCheck(_ *mqtt.Client, topic string, write bool) bool {
	return write || mayRead(topic)
}

// OnDisconnect counts why connections end that should not.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	var code packets.Code
	if !errors.As(err, &code) || code.Code < packets.ErrUnspecifiedError.Code {
		return
	}
	why := "protocol"
	switch code {
	case packets.ErrPacketTooLarge:
		why = "packet_size"
	case packets.ErrSessionTakenOver:
		why = "taken_over"
	}
	h.broker.bridge.metrics.closed.WithLabelValues(why).Inc()
	if why != "taken_over" {
		h.broker.cfg.Logger.Warn("connection closed: the device broke a rule", "agent", cl.ID, "err", code.Reason)
	}
}

// OnPacketEncode tells MQTT 5 clients our limit on packets, which mochi leaves out.
func (h *hook) OnPacketEncode(_ *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == 0 {
		pk.Properties.MaximumPacketSize = uint32(h.broker.cfg.MaxPacketBytes)
	}
	return pk
}

// OnWill keeps wills within the bounds of retained messages; OnConnect has seen to
// the topic.
func (h *hook) OnWill(_ *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	if will.Retain && !h.broker.retained.fits(will.TopicName, len(will.Payload)) {
		h.broker.bridge.metrics.retainedNot.Inc()
		will.Retain = false
	}
	return will, nil
}

// OnClientExpired ends the subscriptions of a session that ended: mochi leaves them.
func (h *hook) OnClientExpired(cl *mqtt.Client) { h.broker.server.UnsubscribeClient(cl) }

// OnRetainMessage notes a retained message, or with an empty payload its end.
func (h *hook) OnRetainMessage(_ *mqtt.Client, pk packets.Packet, _ int64) {
	h.broker.retained.set(retainedMessage{
		Topic: strings.Clone(pk.TopicName), Payload: slices.Clone(pk.Payload), QoS: pk.FixedHeader.Qos,
		At: gridloom.Millis(pk.Created * 1000), Expires: gridloom.Millis(pk.Expiry * 1000), V5: pk.ProtocolVersion == 5,
	})
}

// OnRetainedExpired notes that a retained message has reached its expiry.
func (h *hook) OnRetainedExpired(topic string) { h.broker.retained.set(retainedMessage{Topic: topic}) }

// StoredRetainedMessages gives the broker at its start what was retained.
func (h *hook) StoredRetainedMessages() ([]storage.Message, error) {
	var out []storage.Message
	for _, m := range h.broker.retained.all() {
		out = append(out, storage.Message{
			TopicName: m.Topic, Payload: m.Payload, Created: int64(m.At / 1000),
			FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true, Qos: m.QoS},
		})
	}
	return out, nil
}
