package ingest

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

func TestDuplicatesAreAnsweredEach(t *testing.T) {
	r := start(t, nil, nil)
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	p := publishPacket(4, topic, 9, 1, 0, []byte(object("m1", 1)))
	again := publishPacket(4, topic, 9, 1, 8, []byte(object("m1", 1)))
	d.write(append(append(p, again...), again...))
	for range 3 {
		d.wantAck(9)
	}
}

func TestQoS0IsStored(t *testing.T) {
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.MaxInFlight = 2 })
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	for i := range 10 {
		d.write(publishPacket(4, topic, 0, 0, 0, []byte(object("m1", i))))
	}
	eventually(t, "ten readings are stored", func() bool { return r.metric(t, "readings_total") == 10 })
	if n := r.metric(t, "publishes_total", "qos", "0"); n != 10 {
		t.Errorf("publishes_total{0} = %v, want 10", n)
	}
	d.wantSilence()
}

func TestQoS2IsReceivedWhenStored(t *testing.T) {
	for _, v := range []byte{4, 5} {
		r := start(t, holdLog(), nil)
		d := connect(t, r.Addr(), connectOptions{id: "gw-1", version: v})
		id := d.publishQoS(2, topic, object("m1", 1))
		<-r.log.entered
		d.wantSilence()
		r.log.gate <- struct{}{}
		if code := d.wantAck(id, pPubrec); code != 0 {
			t.Errorf("PUBREC code %#x, want 0", code)
		}
		// A repeated PUBLISH is known and not stored again.
		d.write(publishPacket(v, topic, id, 2, 8, []byte(object("m1", 1))))
		d.wantAck(id, pPubrec)
		d.write(mqttPacket(0x62, binary.BigEndian.AppendUint16(nil, id)))
		if code := d.wantAck(id, pPubcomp); code != 0 {
			t.Errorf("MQTT %d: PUBCOMP code %#x, want 0", v, code)
		}
		if n := len(r.log.readings(t)); n != 1 {
			t.Errorf("%d readings are stored, want 1", n)
		}
		r.stop()
	}
}

func TestQoS2ManyExchanges(t *testing.T) {
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.MaxInFlight = 3 })
	d := connect(t, r.Addr(), connectOptions{id: "gw-1", version: 5})
	for i := range 20 {
		payload, want := object("m1", i), byte(0)
		if i%2 == 1 {
			payload, want = "bad", 0x99
		}
		id := d.publishQoS(2, topic, payload)
		if code := d.wantAck(id, pPubrec); code != want {
			t.Fatalf("PUBREC %d: code %#x, want %#x", i, code, want)
		}
		if want == 0 {
			d.write(mqttPacket(0x62, binary.BigEndian.AppendUint16(nil, id)))
			d.wantAck(id, pPubcomp)
		}
	}
}

func TestInFlightOfOneConnectionIsBounded(t *testing.T) {
	r := start(t, holdLog(), func(_ *BridgeConfig, b *BrokerConfig) { b.MaxInFlight = 4 })
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	other := connect(t, r.Addr(), connectOptions{id: "gw-2"})
	for i := range 10 {
		d.publish(topic, object("m1", i))
	}
	<-r.log.entered
	c := r.connOf(t, "gw-1")
	eventually(t, "the reader waits", c.waiting.Load)
	if n := c.inFlight.Load(); n > 5 { // 4, and the try that failed may just be undone
		t.Errorf("%d messages are in flight, want at most 4", n)
	}
	other.wantSilence() // others are served
	go func() {
		for range r.log.entered {
		}
	}()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case r.log.gate <- struct{}{}:
			case <-done:
				return
			}
		}
	}()
	for i := range 10 {
		d.wantAck(uint16(i + 1))
	}
	eventually(t, "the wait is counted", func() bool { return r.metric(t, "wait_seconds_total", "full", "connection") > 0 })
}

// connOf returns the connection of a client.
func (r *running) connOf(t *testing.T, id string) *conn {
	t.Helper()
	cl, ok := r.server.Clients.Get(id)
	if !ok {
		t.Fatalf("no client %s", id)
	}
	return cl.Net.Conn.(*conn)
}

// slowLog stores a frame in a millisecond or so.
type slowLog struct{ fakeLog }

func (l *slowLog) Append(ctx context.Context, p int, frame []byte) (uint64, error) {
	tick := time.NewTimer(time.Millisecond)
	<-tick.C
	return l.fakeLog.Append(ctx, p, frame)
}

// TestBackPressureLosesNothing: however little may be in flight, everything that is
// sent is stored once and answered once, and the bound holds.
func TestBackPressureLosesNothing(t *testing.T) {
	const devices, messages, limit = 8, 300, 4 << 10
	log := new(slowLog)
	bridge, err := New(BridgeConfig{Partitions: 4, Generation: 7, MaxInFlightBytes: limit, MaxFrameBytes: 512}, log, log)
	if err != nil {
		t.Fatal(err)
	}
	broker, err := Open(BrokerConfig{Listen: "127.0.0.1:0", MaxInFlight: 16}, bridge)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- broker.Run(ctx) }()

	var most int64
	watch, stopWatch := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watch)
		for {
			select {
			case <-stopWatch:
				return
			default:
				most = max(most, bridge.budget.used.Load())
			}
			tick := time.NewTimer(50 * time.Microsecond)
			<-tick.C
		}
	}()
	var wg sync.WaitGroup
	for i := range devices {
		d := connect(t, broker.Addr(), connectOptions{id: fmt.Sprint("gw-", i)})
		wg.Go(func() {
			for n := range messages {
				d.conn.Write(publishPacket(4, topic, uint16(n+1), 1, 0, []byte(object(fmt.Sprint("m", i), n))))
			}
		})
		wg.Go(func() {
			seen := map[uint16]bool{}
			for range messages {
				p, err := d.next()
				if err != nil || p.kind != pPuback {
					t.Errorf("device %d: packet %d, %v after %d answers", i, p.kind, err, len(seen))
					return
				}
				seen[binary.BigEndian.Uint16(p.body)] = true
			}
			if len(seen) != messages {
				t.Errorf("device %d: %d messages are answered, want %d", i, len(seen), messages)
			}
		})
	}
	wg.Wait()
	close(stopWatch)
	<-watch
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// A failed try is undone at once: at most one per device at a time.
	if over := most - limit; over > devices*(200+messageOverhead) {
		t.Errorf("%d bytes were in flight, want at most %d", most, limit)
	}
	count := map[string]int{}
	for _, x := range log.readings(t) {
		count[fmt.Sprint(x.Meter, x.Start)]++
	}
	if len(count) != devices*messages {
		t.Errorf("%d readings are stored, want %d", len(count), devices*messages)
	}
	for k, n := range count {
		if n != 1 {
			t.Fatalf("%s is stored %d times", k, n)
		}
	}
}

// pipes is a listener whose connections have no buffers: what one side writes
// waits until the other reads.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// deaf is a device that publishes one message and does not read the answer. It
// returns when the broker is in the midst of writing that.
func deaf(t *testing.T, p *pipes, r *running) *device {
	t.Helper()
	near, far := net.Pipe()
	p.accept <- far
	t.Cleanup(func() { near.Close() })
	d := &device{t: t, conn: near, r: bufio.NewReader(near), version: 4}
	d.write(connectPacket(connectOptions{id: "deaf", version: 4}))
	if got := d.read(); got.kind != pConnack {
		t.Fatalf("got packet %d, want CONNACK", got.kind)
	}
	d.publish(topic, object("m1", 1))
	c := r.connOf(t, "deaf")
	eventually(t, "the answer is being written", func() bool {
		if c.writing.TryLock() {
			c.writing.Unlock()
			return false
		}
		return true
	})
	return d
}

func TestDeviceThatDoesNotReadHoldsUpNobody(t *testing.T) {
	p := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.WriteTimeout, b.more = time.Hour, p })
	deaf(t, p, r)
	ok := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	for i := range 100 {
		ok.wantAck(ok.publish(topic, object("m1", i)))
	}
	r.stop() // fails the test if the deaf device holds it up
}

func TestDeviceThatDoesNotReadIsCutOff(t *testing.T) {
	p := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.WriteTimeout, b.more = 30*time.Millisecond, p })
	d := deaf(t, p, r)
	eventually(t, "it is cut off", func() bool { return r.metric(t, "closed_connections_total", "reason", "not_reading") == 1 })
	d.wantClosed()
	eventually(t, "nothing is in flight", func() bool { return r.metric(t, "in_flight_bytes") == 0 })
}

func TestStopAnswersWhatWasTaken(t *testing.T) {
	r := start(t, holdLog(), nil)
	d := connect(t, r.Addr(), connectOptions{id: "gw-1", version: 5})
	id := d.publish(topic, object("m1", 1))
	<-r.log.entered
	stopped := make(chan struct{})
	go func() {
		r.stop()
		close(stopped)
	}()
	<-r.bridge.closing
	r.log.gate <- struct{}{}
	d.wantAck(id)
	left := d.wantClosed()
	if len(left) != 1 || left[0].kind != pDisconnect || left[0].body[0] != codeShuttingDown {
		t.Errorf("got %v at the end, want DISCONNECT %#x", left, codeShuttingDown)
	}
	<-stopped
}

func TestStopEndsWaits(t *testing.T) {
	r := start(t, holdLog(), func(b *BridgeConfig, k *BrokerConfig) {
		b.FinishTimeout = 50 * time.Millisecond
		k.MaxInFlight = 2
	})
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	for i := range 10 {
		d.publish(topic, object("m1", i))
	}
	<-r.log.entered
	eventually(t, "the reader waits", r.connOf(t, "gw-1").waiting.Load)
	r.stop() // fails the test if Run does not end
	for _, p := range d.wantClosed() {
		if p.kind == pPuback {
			t.Error("PUBACK for a message that is not stored")
		}
	}
}

func TestSenderThatLeavesEndsItsWait(t *testing.T) {
	r := start(t, holdLog(), func(_ *BridgeConfig, k *BrokerConfig) { k.MaxInFlight = 2 })
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	for i := range 10 {
		d.publish(topic, object("m1", i))
	}
	<-r.log.entered
	old := r.connOf(t, "gw-1")
	eventually(t, "the reader waits", old.waiting.Load)
	connect(t, r.Addr(), connectOptions{id: "gw-1"}) // takes over
	d.wantClosed()
	eventually(t, "the old reader has ended", func() bool { return !old.waiting.Load() })
	close(r.log.gate)
	eventually(t, "nothing is in flight", func() bool { return r.metric(t, "in_flight_bytes") == 0 })
}

func TestOutageEndsWaits(t *testing.T) {
	r := start(t, &fakeLog{entered: make(chan struct{}, 4096)}, func(b *BridgeConfig, k *BrokerConfig) {
		b.OutageWait = 40 * time.Millisecond
		b.MaxFrameBytes = 128
	})
	r.log.setFail(fmt.Errorf("%w: full", gridloom.ErrUnavailable))
	var all []*device
	for i := range 10 {
		d := connect(t, r.Addr(), connectOptions{id: fmt.Sprint("gw-", i)})
		for n := range 10 {
			d.publish(topic, object("m1", n))
		}
		all = append(all, d)
	}
	for _, d := range all {
		for _, p := range d.wantClosed() {
			if p.kind == pPuback {
				t.Error("PUBACK for a message that is not stored")
			}
		}
	}
	eventually(t, "nothing is in flight", func() bool { return r.metric(t, "in_flight_bytes") == 0 })
}

func TestBudgetLetsALargeOnePassAlone(t *testing.T) {
	b := newBudget(100)
	if !b.tryTake(500) || b.tryTake(1) {
		t.Error("a message larger than the bound passes exactly when nothing else is in flight")
	}
	b.give(500)
	if !b.tryTake(100) || b.tryTake(1) {
		t.Error("the bound is 100")
	}
}

func TestPayloadOfALongPublishIsCutInRejects(t *testing.T) {
	r := start(t, nil, nil)
	d := connect(t, r.Addr(), connectOptions{id: "c"})
	d.wantAck(d.publish(topic, "?"+strings.Repeat("x", 100_000)))
	got := r.log.rejected()
	if len(got) != 1 || !got[0].Cut || len(got[0].Payload) != gridloom.MaxRejectPayload {
		t.Errorf("got %d rejects, cut %v with %d bytes, want one cut to %d", len(got), got[0].Cut, len(got[0].Payload), gridloom.MaxRejectPayload)
	}
}
