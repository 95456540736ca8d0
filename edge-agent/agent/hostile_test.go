package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/wire"
)

// seqOf returns the seq of a batch, 0 of another message.
func seqOf(t *testing.T, m brokertest.Message) uint32 {
	t.Helper()
	if !strings.HasSuffix(m.Topic, "/readings") {
		return 0
	}
	var c wire.Columns
	b := wire.Batch{Columns: &c}
	if err := wire.DecodeBatch(m.Payload, &b, func(string, string, string) {}); err != nil {
		t.Error(err)
	}
	return b.Seq
}

// TestHostileBrokers sends 150 readings in batches of 10 through brokers that
// misbehave for a while: every reading arrives and is acknowledged once.
func TestHostileBrokers(t *testing.T) {
	type hooks struct {
		connect func(brokertest.Connect) int
		publish func(*brokertest.Conn, brokertest.Message)
	}
	var mu sync.Mutex
	count := 0
	next := func() int { mu.Lock(); defer mu.Unlock(); count++; return count }
	var held *uint16
	for name, h := range map[string]hooks{
		"drops the connection in the middle of a window": {publish: func(c *brokertest.Conn, m brokertest.Message) {
			if next()%5 == 0 {
				c.Drop()
				return
			}
			c.Ack(m.ID)
		}},
		"drops the connection after the acknowledgement": {publish: func(c *brokertest.Conn, m brokertest.Message) {
			c.Ack(m.ID)
			if next()%4 == 0 {
				c.Drop()
			}
		}},
		"acknowledges nothing on the first two connections": {publish: func(c *brokertest.Conn, m brokertest.Message) {
			if c.Number > 2 {
				c.Ack(m.ID)
			}
		}},
		"withholds every seventh acknowledgement once": {publish: func(c *brokertest.Conn, m brokertest.Message) {
			if next()%7 != 0 {
				c.Ack(m.ID)
			}
		}},
		"acknowledges twice, and what was never sent": {publish: func(c *brokertest.Conn, m brokertest.Message) {
			c.Ack(m.ID + 40)
			c.Ack(m.ID)
			c.Ack(m.ID)
			c.Ack(0)
		}},
		"acknowledges in another order": {publish: func(c *brokertest.Conn, m brokertest.Message) {
			if seq := seqOf(t, m); seq%2 == 1 && seq < 15 {
				held = &m.ID
				return
			}
			c.Ack(m.ID)
			if held != nil {
				c.Ack(*held)
				held = nil
			}
		}},
		"refuses connections": {connect: func(brokertest.Connect) int {
			switch n := next(); {
			case n <= 2:
				return 5
			case n <= 4:
				return -1
			}
			return 0
		}},
	} {
		t.Run(name, func(t *testing.T) {
			count, held = 0, nil
			b, addr := broker(t)
			b.OnConnect, b.OnPublish = h.connect, h.publish
			cfg := config(t, addr)
			cfg.Window, cfg.AckTimeout = 4, 100*time.Millisecond
			a := runToEnd(t, cfg, sim(t, 1, 50))
			if st := a.Stats(); len(readings(t, b.Messages())) != 150 || st.Acknowledged != 150 || st.Spooled != 0 {
				t.Errorf("%d readings arrived; stats %+v", len(readings(t, b.Messages())), st)
			}
		})
	}
}

// TestOnlyAContiguousPrefixIsAcknowledged: one missing acknowledgement keeps all
// later batches in the spool, however many of them were acknowledged.
func TestOnlyAContiguousPrefixIsAcknowledged(t *testing.T) {
	b, addr := broker(t)
	b.OnPublish = func(c *brokertest.Conn, m brokertest.Message) {
		if seqOf(t, m) != 4 {
			c.Ack(m.ID)
		}
	}
	cfg := config(t, addr)
	ctx, cancel := context.WithCancel(t.Context())
	a := start(t, cfg, sim(t, 1, 50))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	await(t, b, func() bool { return len(readings(t, b.Messages())) == 150 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	equalSeqs(t, cfg.Dir, 4, 15)
	b.OnPublish = nil
}

// equalSeqs checks that a spool holds the batches from..to.
func equalSeqs(t *testing.T, dir string, from, to uint32) {
	t.Helper()
	sp, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	r := sp.Reader()
	defer r.Close()
	for want := from; want <= to; want++ {
		if rec, err := r.Next(); err != nil || rec.Seq != want {
			t.Fatalf("spool holds %d (%v), want %d", rec.Seq, err, want)
		}
	}
	if rec, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("spool holds %d too", rec.Seq)
	}
}

// await waits until done says so, asking whenever something arrives at the broker.
func await(t *testing.T, b *brokertest.Broker, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		news := b.News()
		if done() {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatal("waited in vain")
		}
	}
}

// TestBatchesKeepTheirEpochAndSeq stops an agent that has no broker; the next
// start sends what was sealed as it was sealed, under the old epoch, before its own.
func TestBatchesKeepTheirEpochAndSeq(t *testing.T) {
	cfg := config(t, "mqtt://127.0.0.1:1")
	cfg.Dial = func(context.Context) (net.Conn, error) { return nil, errors.New("away") }
	ctx, cancel := context.WithCancel(t.Context())
	a := start(t, cfg, sim(t, 1, 50))
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-sourceEnd(t, a)
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	b, addr := broker(t)
	cfg.Dial, cfg.Connect = nil, addr
	second := runToEnd(t, cfg, sim(t, 1, 10))
	var epochs, seqs []uint32
	for _, m := range b.Messages() {
		var c wire.Columns
		batch := wire.Batch{Columns: &c}
		if strings.HasSuffix(m.Topic, "/readings") {
			if err := wire.DecodeBatch(m.Payload, &batch, func(string, string, string) {}); err != nil {
				t.Fatal(err)
			}
			epochs, seqs = append(epochs, batch.Epoch), append(seqs, batch.Seq)
		}
	}
	if len(seqs) != 18 {
		t.Fatalf("batches %v of epochs %v", seqs, epochs)
	}
	for i := range seqs {
		wantEpoch, wantSeq := a.Stats().Epoch, uint32(i+1)
		if i >= 15 {
			wantEpoch, wantSeq = second.Stats().Epoch, uint32(i-14)
		}
		if epochs[i] != wantEpoch || seqs[i] != wantSeq {
			t.Errorf("batch %d is %d/%d, want %d/%d", i, epochs[i], seqs[i], wantEpoch, wantSeq)
		}
	}
	if second.Stats().Epoch <= a.Stats().Epoch {
		t.Errorf("epochs %d, then %d", a.Stats().Epoch, second.Stats().Epoch)
	}
}

// sourceEnd returns a channel that is closed when an agent's source has ended.
func sourceEnd(t *testing.T, a *Agent) <-chan struct{} {
	t.Helper()
	c := make(chan struct{})
	go func() {
		defer close(c)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for !a.Stats().Ended && t.Context().Err() == nil {
			<-tick.C
		}
	}()
	return c
}

// TestReconnectingWaitsLongerEachTimeAndNotInStep looks at an hour of failures.
func TestReconnectingWaitsLongerEachTimeAndNotInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t, "mqtt://127.0.0.1:1")
		cfg.BackoffMin, cfg.BackoffMax = 0, 0 // the defaults
		var at []time.Time
		cfg.Dial = func(context.Context) (net.Conn, error) {
			at = append(at, time.Now())
			return nil, errors.New("away")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := start(t, cfg, sim(t, 1, 1)).Run(ctx); err != nil {
			t.Fatal(err)
		}
		var long int
		for i := 1; i < len(at); i++ {
			wait, bound := at[i].Sub(at[i-1]), min(time.Minute, time.Second<<min(i-1, 10))
			if wait > bound {
				t.Errorf("attempt %d waited %s, bound %s", i, wait, bound)
			}
			if wait > 20*time.Second {
				long++
			}
		}
		// The mean is 30 s: about 120 attempts, two thirds of them after more than 20 s.
		if len(at) < 80 || len(at) > 180 || long < len(at)/3 {
			t.Errorf("%d attempts in an hour, %d after more than 20 s", len(at), long)
		}
	})
}

// TestABatchIsSentWhenItIsOld: no other batch fills it up.
func TestABatchIsSentWhenItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New()
		cfg := config(t, "mqtt://127.0.0.1:1")
		cfg.Dial = func(context.Context) (net.Conn, error) { return b.Dial() }
		cfg.Sync, cfg.BatchAge, cfg.BatchReadings = 10*time.Second, 3*time.Second, 1000
		in := newFeed()
		began := time.Now()
		var arrived []time.Duration
		b.OnPublish = func(c *brokertest.Conn, m brokertest.Message) {
			if seqOf(t, m) > 0 {
				arrived = append(arrived, time.Since(began))
			}
			c.Ack(m.ID)
		}
		a := start(t, cfg, in)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		in.give(simFrom)
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		in.give(simFrom + 1)
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's clock
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		b.Close()
		time.Sleep(writeTimeout) //nolint:forbidigo // paho's last goroutine ends with its timer
		if len(arrived) != 1 || arrived[0] != 3*time.Second {
			t.Errorf("batches arrived after %v, want one after 3s", arrived)
		}
	})
}
