package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest/decode"
)

// pieces is a connection on which bytes arrive in pieces of any size.
type pieces struct {
	net.Conn // not there: only what follows is called
	rng      *rand.Rand
	rest     []byte
	deadline time.Time
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := 1 + p.rng.IntN(1<<p.rng.IntN(18))
	n = copy(b, p.rest[:min(n, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error)       { return len(b), nil }
func (p *pieces) Close() error                      { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error  { return nil }
func (p *pieces) SetReadDeadline(t time.Time) error { p.deadline = t; return nil }

// unserved is an established connection of gw-1 that publishes to topic, without a
// broker behind it.
func unserved(tb testing.TB, bridge *Bridge, version byte, from net.Conn) *conn {
	tb.Helper()
	cfg := BrokerConfig{Listen: "127.0.0.1:0"}
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	cfg.MaxInFlight = 65_535
	c := newConn(&Broker{cfg: cfg, bridge: bridge}, from)
	c.client, c.version = &mqtt.Client{ID: "gw-1"}, version
	c.turnTo(topic)
	return c
}

// TestIntakeTakesReadingsAndPassesAllElse: in whatever pieces the bytes arrive and are
// asked for, the broker gets every packet that is not for the bridge, unchanged and in
// order, and the bridge the payloads of all others in order.
func TestIntakeTakesReadingsAndPassesAllElse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		version := []byte{4, 5}[round%2]
		reading := []byte(object("m1", 1))
		others := [][]byte{
			{0xc0, 0},
			publishPacket(version, topic, 7, 2, 0, reading),
			publishPacket(version, topic, 7, 1, 1, reading), // retained
			publishPacket(version, topic, 0, 0, 8, reading), // an error
			publishPacket(version, topic, 0, 1, 0, reading), // an error
			publishPacket(version, topic+"x", 7, 1, 0, reading),
			publishPacket(version, strings.Replace(topic, "readings", "state", 1), 7, 1, 0, reading),
			mqttPacket(0x32, binary.BigEndian.AppendUint16(nil, 40)), // a topic that is not there
			mqttPacket(0x32, nil),
		}
		var sent, passed []byte
		taken := 0
		if round%10 == 0 {
			huge := publishPacket(version, topic, 7, 1, 0, append(bytes.Repeat([]byte{' '}, 1<<20), reading...))
			sent, passed = append(sent, huge...), append(passed, huge...)
		}
		for range 40 {
			payload := []byte(object("m1", taken))
			if n := []int{0, 5_000, 70_000, 300_000}[rng.IntN(4)]; n > 0 && rng.IntN(8) == 0 {
				payload = append(payload, bytes.Repeat([]byte{' '}, n)...)
			}
			id := uint16(1 + rng.IntN(65_535))
			good := publishPacket(version, topic, id, 1, 0, payload)
			switch rng.IntN(12) {
			case 0:
				good = publishPacket(version, topic, 0, 0, 0, payload)
			case 1:
				good = publishPacket(version, topic, id, 1, 8, payload) // a repetition
			case 2, 3, 4, 5, 6:
			default:
				other := others[rng.IntN(len(others))]
				sent, passed = append(sent, other...), append(passed, other...)
				continue
			}
			sent = append(sent, good...)
			taken++
		}
		if version == 5 { // has a property
			b := append(binary.BigEndian.AppendUint16(mqttString(nil, topic), 7), 2, 1, 1)
			other := mqttPacket(0x32, append(b, object("m1", 1)...))
			sent, passed = append(sent, other...), append(passed, other...)
		}
		if rng.IntN(2) == 0 { // a length that is none: all that follows is the broker's to refuse
			other := append([]byte{0x32, 0x80, 0x80, 0x80, 0x80, 1}, publishPacket(version, topic, 1, 1, 0, []byte("{}"))...)
			sent, passed = append(sent, other...), append(passed, other...)
		}

		log := new(fakeLog)
		bridge, err := New(BridgeConfig{Partitions: 4, Generation: 7}, log, log)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- bridge.Run(ctx) }()
		c := unserved(t, bridge, version, &pieces{rng: rng, rest: sent})
		var got []byte
		for {
			p := make([]byte, 1+rng.IntN(1<<rng.IntN(14)))
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, passed) {
			t.Fatalf("the broker got %d bytes, want %d, other ones from byte %d", len(got), len(passed), firstDifference(got, passed))
		}
		rows := log.readings(t)
		if len(rows) != taken {
			t.Fatalf("%d readings are stored, want %d", len(rows), taken)
		}
		for i, r := range rows {
			if want := int64(i) * 1000; r.Value != want {
				t.Fatalf("reading %d is %d, want %d: the order of the messages", i, r.Value, want)
			}
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestPublishesKeepAConnectionAlive although the broker sees none of them.
func TestPublishesKeepAConnectionAlive(t *testing.T) {
	log := new(fakeLog)
	bridge, err := New(BridgeConfig{Partitions: 4}, log, log)
	if err != nil {
		t.Fatal(err)
	}
	one := publishPacket(4, topic, 1, 1, 0, []byte(object("m1", 1)))
	from := &pieces{rng: rand.New(rand.NewPCG(1, 2)), rest: one}
	c := unserved(t, bridge, 4, from)
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	first := time.Now()
	c.deadline, from.deadline = first, first // as if the minute were over
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if d := from.deadline.Sub(first); d < 59*time.Second || d > 62*time.Second {
		t.Errorf("a publish moved the deadline by %v, want a minute and a second", d)
	}
	// Half a packet does not.
	from.rest, from.deadline, c.deadline = one[:10], first, first
	if _, err := c.Read(make([]byte, 10)); !errors.Is(err, io.EOF) || !from.deadline.Equal(first) {
		t.Errorf("half a publish moved the deadline by %v", from.deadline.Sub(first))
	}
}

// TestMessagesAllocateNothingPerReading, from the payload to the open frame.
func TestMessagesAllocateNothingPerReading(t *testing.T) {
	f := func(kind string, want float64) {
		t.Helper()
		log := new(fakeLog)
		bridge, err := New(BridgeConfig{Partitions: 4, MaxFrameBytes: 1 << 30, MaxInFlightBytes: 1 << 40}, log, log)
		if err != nil {
			t.Fatal(err)
		}
		c := unserved(t, bridge, 4, nil)
		m := message{
			source:  decode.Source{Topic: topic, Agent: "gw-1", Client: "gw-1", Now: testStart + gridloom.Hour},
			payload: loadPayload(kind, 1), from: c, tag: tag{id: 1, qos: 1},
		}
		s := newScratch(bridge)
		take := func() {
			for range 40 { // frames grow now and then
				s.decode(&m)
				if err := s.place(&m, 100); err != nil || s.nbad > 0 {
					t.Fatal(s.nbad, err)
				}
			}
		}
		take()
		if n := testing.AllocsPerRun(10, take) / 40; n > want+0.2 {
			t.Errorf("%s: %.2f allocations a message, want %v", kind, n, want)
		}
	}
	f("json1", 0)
	f("pb1", 0)
	f("json100", 1) // the count of the frames that hold a part of it
	f("pb100", 1)
}

// FuzzIntake: no bytes make it fail, and what is passed is part of what came.
func FuzzIntake(f *testing.F) {
	f.Add(publishPacket(4, topic, 1, 1, 0, []byte(object("m1", 1))), uint64(1))
	f.Add([]byte{0xc0, 0, 0x32, 0x80, 0x80, 0x80, 0x80}, uint64(2))
	f.Add([]byte{0x30, 0xff, 0xff, 0x7f, 0}, uint64(3))
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64) {
		log := new(fakeLog)
		bridge, err := New(BridgeConfig{Partitions: 4, MaxFrameBytes: 1 << 30, MaxInFlightBytes: 1 << 40}, log, log)
		if err != nil {
			t.Fatal(err)
		}
		c := unserved(t, bridge, byte(4+seed%2), &pieces{rng: rand.New(rand.NewPCG(seed, 0)), rest: sent})
		passed := 0
		for {
			n, err := c.Read(make([]byte, 1+seed%100))
			if passed += n; err != nil {
				break
			}
		}
		if passed > len(sent) {
			t.Fatalf("%d bytes came and %d were passed on", len(sent), passed)
		}
	})
}
