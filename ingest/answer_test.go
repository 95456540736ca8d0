package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

// holdLog is a log of which each Append waits for a token from gate.
func holdLog() *fakeLog { return &fakeLog{gate: make(chan struct{}), entered: make(chan struct{}, 64)} }

func TestNoAnswerBeforeAppendReturns(t *testing.T) {
	for _, v := range []byte{4, 5} {
		r := start(t, holdLog(), nil)
		d := connect(t, r.Addr(), connectOptions{id: "gw-1", version: v})
		id := d.publish(topic, object("m1", 1))
		<-r.log.entered
		d.wantSilence()
		r.log.gate <- struct{}{}
		d.wantAck(id)
		r.stop()
	}
}

func TestMessageOfSeveralPartitionsWaitsForAll(t *testing.T) {
	r := start(t, holdLog(), nil)
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	var objects []string
	partitions := map[int]bool{}
	for i := range 40 {
		m := fmt.Sprint("meter-", i)
		partitions[gridloom.PartitionOf(m, 4)] = true
		objects = append(objects, object(m, i))
	}
	if len(partitions) != 4 {
		t.Fatalf("the meters lie in %d partitions, want all 4", len(partitions))
	}
	id := d.publish(topic, "["+strings.Join(objects, ",")+"]")
	for range 3 {
		<-r.log.entered
		r.log.gate <- struct{}{}
	}
	<-r.log.entered
	eventually(t, "three frames are stored", func() bool { return r.metric(t, "frames_total") == 3 })
	d.wantSilence()
	r.log.gate <- struct{}{}
	d.wantAck(id)
	if n := len(r.log.readings(t)); n != 40 {
		t.Errorf("%d readings are stored, want 40", n)
	}
	if n := r.metric(t, "messages_total"); n != 1 {
		t.Errorf("messages_total = %v, want 1", n)
	}
	if n := r.metric(t, "objects_total"); n != 40 {
		t.Errorf("objects_total = %v, want 40", n)
	}
}

func TestLargeMessageSpreadsOverFrames(t *testing.T) {
	r := start(t, nil, func(b *BridgeConfig, _ *BrokerConfig) { b.MaxFrameBytes = 4 << 10 })
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	var objects []string
	for i := range 6000 {
		objects = append(objects, object("m1", i))
	}
	id := d.publish(topic, "["+strings.Join(objects, ",")+"]")
	d.wantAck(id)
	rows := r.log.readings(t)
	if len(rows) != 6000 {
		t.Fatalf("%d readings are stored, want 6000", len(rows))
	}
	for i := range rows {
		if rows[i].Value != int64(i)*1000 {
			t.Fatalf("reading %d has value %d: the message's order is lost", i, rows[i].Value)
		}
	}
	if n := r.metric(t, "frames_total"); n < 3 {
		t.Errorf("it took %v frames, want several", n)
	}
}

func TestLostLogWithholdsAnswersAndRecovers(t *testing.T) {
	for _, v := range []byte{4, 5} {
		r := start(t, nil, func(b *BridgeConfig, _ *BrokerConfig) { b.OutageWait = 60 * time.Millisecond })
		r.log.setFail(fmt.Errorf("%w: no quorum", gridloom.ErrUnavailable))
		d := connect(t, r.Addr(), connectOptions{id: "gw-1", version: v})
		d.publish(topic, object("m1", 1))
		for _, p := range d.wantClosed() {
			if p.kind == pPuback {
				t.Errorf("MQTT %d: PUBACK for a message that is not stored", v)
			}
			if p.kind == pDisconnect && p.body[0] != codeServerBusy {
				t.Errorf("DISCONNECT code %#x, want %#x", p.body[0], codeServerBusy)
			}
		}
		if !strings.Contains(r.bridge.Problem(), "no quorum") {
			t.Errorf("Problem() = %q, want the log's own words", r.bridge.Problem())
		}
		if n := r.metric(t, "unavailable_partitions"); n != 1 {
			t.Errorf("unavailable_partitions = %v, want 1", n)
		}

		r.log.setFail(nil)
		d = connect(t, r.Addr(), connectOptions{id: "gw-1", version: v})
		d.wantAck(d.publish(topic, object("m1", 1)))
		if p := r.bridge.Problem(); p != "" {
			t.Errorf("Problem() = %q after the log answers again", p)
		}
		eventually(t, "nothing is in flight", func() bool { return r.metric(t, "in_flight_bytes") == 0 })
		r.stop()
	}
}

func TestShortOutageIsNotNoticedBySenders(t *testing.T) {
	r := start(t, &fakeLog{entered: make(chan struct{}, 64)}, nil)
	r.log.setFail(fmt.Errorf("%w: leader change", gridloom.ErrUnavailable))
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	id := d.publish(topic, object("m1", 1))
	<-r.log.entered
	<-r.log.entered // the same frame again
	r.log.setFail(nil)
	d.wantAck(id)
	if n := len(r.log.readings(t)); n != 1 {
		t.Errorf("%d readings are stored, want 1", n)
	}
}

func TestErrorThatDoesNotPassIsNotRepeated(t *testing.T) {
	r := start(t, nil, nil)
	r.log.setFail(fmt.Errorf("%w: another layout", gridloom.ErrFenced))
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	d.publish(topic, object("m1", 1))
	if got := d.wantClosed(); len(got) != 0 {
		t.Errorf("got %v before the end, want nothing", got)
	}
	if n := r.log.attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
}

func TestBadContentIsKeptAndAnswered(t *testing.T) {
	good, bad := object("m1", 1), `{"meter":"m1","register":"1-0:1.8.0","at":5,"value":1}`
	f := func(v byte, username, topic, payload string, wantCode byte, wantReason string, wantRows int) {
		t.Helper()
		r := start(t, nil, nil)
		defer r.stop()
		d := connect(t, r.Addr(), connectOptions{id: "c", username: username, version: v})
		if code := d.wantAck(d.publish(topic, payload)); code != wantCode {
			t.Errorf("MQTT %d, %s %.40s: code %#x, want %#x", v, topic, payload, code, wantCode)
		}
		if n := len(r.log.readings(t)); n != wantRows {
			t.Errorf("%s %.40s: %d readings are stored, want %d", topic, payload, n, wantRows)
		}
		rejects := r.log.rejected()
		if wantReason == "" {
			if len(rejects) != 0 {
				t.Errorf("%s %.40s: rejects %+v, want none", topic, payload, rejects)
			}
			return
		}
		if len(rejects) != 1 || rejects[0].Reason != wantReason || string(rejects[0].Payload) != payload || rejects[0].Topic != topic || rejects[0].Client != "c" {
			t.Errorf("%s %.40s: rejects %+v, want one %s", topic, payload, rejects, wantReason)
		}
		if n := r.metric(t, "rejects_total", "reason", wantReason); n != 1 {
			t.Errorf("rejects_total{%s} = %v, want 1", wantReason, n)
		}
	}
	for _, v := range []byte{4, 5} {
		code := func(c byte) byte {
			if v < 5 {
				return 0
			}
			return c
		}
		f(v, "", topic, good, 0, "", 1)
		f(v, "", topic, "[]", 0, "", 0)
		f(v, "", topic, "["+good+","+bad+"]", 0, "TIME", 1)                                       // some of it is good
		f(v, "", topic, bad, code(0x99), "TIME", 0)                                               // nothing is
		f(v, "", topic, "{", code(0x99), "SYNTAX", 0)                                             //
		f(v, "", "gridloom/v1/home/readings", good, code(0x90), "TOPIC", 0)                       // no agent in it
		f(v, "", "sensors/7", good, code(0x90), "TOPIC", 0)                                       // someone else's topic
		f(v, "", "gridloom/v1/home/gw-1/ack", good, code(0x90), "TOPIC", 0)                       // ours to send
		f(v, "gw-1", topic, good, 0, "", 1)                                                       // its own agent
		f(v, "gw-2", topic, good, code(0x87), "AGENT", 0)                                         // another's
		f(v, "", "gridloom/v1/home/gw-1/state", strings.Repeat("x", 4097), code(0x99), "SIZE", 0) // too long a state
	}
}

func TestRejectsAreStoredBeforeTheAnswer(t *testing.T) {
	r := start(t, holdLog(), nil)
	d := connect(t, r.Addr(), connectOptions{id: "c"})
	id := d.publish(topic, "nonsense")
	<-r.log.entered
	d.wantSilence()
	r.log.gate <- struct{}{}
	d.wantAck(id)
}

func TestManyBadReadingsKeepOnePayload(t *testing.T) {
	r := start(t, nil, nil)
	d := connect(t, r.Addr(), connectOptions{id: "c"})
	bad := strings.Repeat(`{"meter":"m1","register":"1-0:1.8.0","at":5,"value":1},`, 100)
	payload := "[" + bad + object("m1", 1) + "]"
	d.wantAck(d.publish(topic, payload))
	rejects := r.log.rejected()
	if len(rejects) != maxRejectsPerMessage {
		t.Fatalf("%d rejects are kept, want %d", len(rejects), maxRejectsPerMessage)
	}
	for i, x := range rejects {
		if has := len(x.Payload) > 0; has != (i == 0) || x.Cut == has {
			t.Errorf("reject %d: payload of %d bytes, cut %v", i, len(x.Payload), x.Cut)
		}
	}
	if last := rejects[len(rejects)-1].Detail; !strings.Contains(last, "84 more") {
		t.Errorf("last detail %q, want the number of those that are not listed", last)
	}
	if n := r.metric(t, "rejects_total", "reason", "TIME"); n != 100 {
		t.Errorf("rejects_total = %v, want 100", n)
	}
}

func TestAnswerTable(t *testing.T) {
	f := func(v version, o outcome, wantCode byte, wantOK bool) {
		t.Helper()
		if code, ok := answerOf(v, o); code != wantCode || ok != wantOK {
			t.Errorf("answerOf(%d, %d) = %#x, %v, want %#x, %v", v, o, code, ok, wantCode, wantOK)
		}
	}
	f(4, stored, 0, true)
	f(5, stored, 0, true)
	f(4, badPayload, 0, true)
	f(5, badPayload, 0x99, true)
	f(5, badTopic, 0x90, true)
	f(5, notTheSender, 0x87, true)
	f(3, notTheSender, 0, true)
	f(4, withheld, 0, false)
	f(5, withheld, 0, false)
}
