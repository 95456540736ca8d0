package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/wire"
)

// testLog writes an agent's log to the test's.
func testLog(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// broker starts a broker; a test sets its hooks before it starts an agent.
func broker(t *testing.T) (*brokertest.Broker, string) {
	t.Helper()
	b := brokertest.New()
	addr, err := b.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, "mqtt://" + addr
}

// config is an agent that reconnects at once.
func config(t *testing.T, connect string) Config {
	t.Helper()
	return Config{
		Site: "s", Agent: "a", Connect: connect, Dir: t.TempDir(), Logger: testLog(t), BatchReadings: 10,
		BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}
}

// sim is a source of n objects of one meter in virtual time.
func sim(t *testing.T, meters, ticks int) device.Source {
	t.Helper()
	s, err := device.NewSim(device.SimConfig{
		Seed: 7, Meters: meters, From: simFrom, For: time.Duration(ticks) * 10 * time.Second,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const simFrom gridloom.Millis = 1_772_366_400_000 // 2026-03-01T12:00:00Z

func start(t *testing.T, cfg Config, s device.Source) *Agent {
	t.Helper()
	a, err := New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// runToEnd runs an agent until its source has ended and all is acknowledged.
func runToEnd(t *testing.T, cfg Config, s device.Source) *Agent {
	t.Helper()
	a := start(t, cfg, s)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("the agent did not finish: %+v", a.Stats())
	}
	return a
}

// readings decodes what arrived on the readings topic, each message as one map
// from identity to value; a batch that came twice must say the same twice.
func readings(t *testing.T, messages []brokertest.Message) map[gridloom.Identity]gridloom.Reading {
	t.Helper()
	all := map[gridloom.Identity]gridloom.Reading{}
	seen := map[uint64]string{}
	for _, m := range messages {
		if !strings.HasSuffix(m.Topic, "/readings") {
			continue
		}
		var c wire.Columns
		c.Reset()
		b := wire.Batch{Columns: &c}
		if err := wire.DecodeBatch(m.Payload, &b, func(place, reason, detail string) { t.Errorf("%s: %s %s", place, reason, detail) }); err != nil {
			t.Fatal(err)
		}
		key := uint64(b.Epoch)<<32 | uint64(b.Seq)
		if was, ok := seen[key]; ok && was != string(m.Payload) {
			t.Errorf("batch %d/%d was sent twice with different content", b.Epoch, b.Seq)
		}
		seen[key] = string(m.Payload)
		for i := range c.Len() {
			r := c.Reading(i)
			if was, ok := all[r.Identity()]; !ok || was.Order <= r.Order {
				all[r.Identity()] = r
			}
		}
	}
	return all
}

func TestEveryReadingArrives(t *testing.T) {
	b, addr := broker(t)
	a := runToEnd(t, config(t, addr), sim(t, 5, 20))
	got := readings(t, b.Messages())
	st := a.Stats()
	if uint64(len(got)) != st.Read || st.Read < 5*20*3 || st.Acknowledged != st.Read || st.Spooled != 0 {
		t.Errorf("%d readings arrived; stats %+v", len(got), st)
	}
}

func TestStateIsRetainedAndTheWillSaysOffline(t *testing.T) {
	b, addr := broker(t)
	cfg := config(t, addr)
	cfg.Version, cfg.Username, cfg.Password = "1.2", "u", "p"
	a := runToEnd(t, cfg, sim(t, 1, 1))
	c := b.Connects()[0]
	if c.WillTopic != "gridloom/v1/s/a/state" || !c.WillRetain || c.ClientID != "s-a" || c.Username != "u" || c.Password != "p" {
		t.Errorf("CONNECT = %+v", c)
	}
	var words []string
	said := [][]byte{c.WillPayload}
	for _, m := range b.Messages() {
		if m.Topic == "gridloom/v1/s/a/state" {
			if !m.Retain {
				t.Errorf("state %s is not retained", m.Payload)
			}
			said = append(said, m.Payload)
		}
	}
	for _, p := range said {
		var s State
		if err := json.Unmarshal(p, &s); err != nil {
			t.Fatal(err)
		}
		if s.Agent != "a" || s.Version != "1.2" || s.Epoch != a.Stats().Epoch {
			t.Errorf("state = %+v", s)
		}
		words = append(words, s.State)
	}
	if got := strings.Join(words, " "); got != "offline online offline" {
		t.Errorf("will and states = %s", got)
	}
}

func osFS() blob.FS { return blob.OS{} }

func oneRow() *wire.Columns {
	var c wire.Columns
	c.Reset()
	c.AppendReading(&gridloom.Reading{Meter: "m", Start: simFrom, Value: 1})
	return &c
}

func (b *lockedBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
