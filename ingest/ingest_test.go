package ingest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// fakeLog keeps frames in memory. hold and fail, when set, are called before.
type fakeLog struct {
	mu      sync.Mutex
	frames  [][]byte
	rejects []gridloom.Reject
	gate    chan struct{} // if not nil, each Append takes one from it, or ends with its context
	fail    error
	calls   int
	entered chan struct{} // if not nil, gets one per call of Append
}

func (l *fakeLog) pass(ctx context.Context) error {
	l.mu.Lock()
	l.calls++
	gate, fail, entered := l.gate, l.fail, l.entered
	l.mu.Unlock()
	if entered != nil {
		entered <- struct{}{}
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fail
}

func (l *fakeLog) Append(ctx context.Context, _ int, frame []byte) (uint64, error) {
	if err := l.pass(ctx); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = append(l.frames, slices.Clone(frame))
	return uint64(len(l.frames)), nil
}

func (l *fakeLog) AppendRejects(ctx context.Context, rs []gridloom.Reject) error {
	if err := l.pass(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rejects = append(l.rejects, rs...)
	return nil
}

func (l *fakeLog) setFail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *fakeLog) attempts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// readings decodes everything that is stored.
func (l *fakeLog) readings(tb testing.TB) (rows []gridloom.Reading) {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.frames {
		var c wire.Columns
		info, err := wire.DecodeFrame(f, &c)
		if err != nil {
			tb.Fatalf("frame %d: %v", i, err)
		}
		if info.Kind != wire.KindReadings || info.Generation != 7 || info.Readings != c.Len() {
			tb.Fatalf("frame %d is %+v with %d rows", i, info, c.Len())
		}
		for row := range c.Len() {
			r := c.Reading(row)
			if p := gridloom.PartitionOf(r.Meter, 4); p != info.Partition {
				tb.Fatalf("meter %s lies in partition %d, want %d", r.Meter, info.Partition, p)
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func (l *fakeLog) rejected() []gridloom.Reject {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.rejects)
}

// running is a broker under test.
type running struct {
	*Broker
	log  *fakeLog
	reg  *prometheus.Registry
	stop func()
}

// start runs a broker on a free port until the test ends. log may be nil.
func start(tb testing.TB, log *fakeLog, change func(*BridgeConfig, *BrokerConfig)) *running {
	tb.Helper()
	if log == nil {
		log = new(fakeLog)
	}
	reg := prometheus.NewRegistry()
	bc := BridgeConfig{Partitions: 4, Generation: 7, Registerer: reg}
	kc := BrokerConfig{Listen: "127.0.0.1:0"}
	if change != nil {
		change(&bc, &kc)
	}
	bridge, err := New(bc, log, log)
	if err != nil {
		tb.Fatal(err)
	}
	broker, err := Open(kc, bridge)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- broker.Run(ctx) }()
	var once sync.Once
	r := &running{Broker: broker, log: log, reg: reg, stop: func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					tb.Errorf("Run() = %v", err)
				}
			case <-time.After(20 * time.Second):
				tb.Error("Run does not end")
			}
		})
	}}
	tb.Cleanup(r.stop)
	return r
}

// metric sums what the registry holds under a name, over labels that match.
func (r *running) metric(tb testing.TB, name string, labels ...string) (sum float64) {
	tb.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "gridloom_ingest_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			ok := true
			for i := 0; i < len(labels); i += 2 {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				ok = ok && has
			}
			if ok {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// eventually waits for a condition that another goroutine brings about.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("still not: %s", what)
		}
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
}

const topic = "gridloom/v1/home/gw-1/readings"

var testStart = gridloom.Millis(1_795_000_000_000)

// object is a JSON object of one reading, n seconds after testStart.
func object(meter string, n int) string {
	return fmt.Sprintf(`{"meter":%q,"register":"1-0:1.8.0","at":%d,"value":%d}`, meter, testStart+gridloom.Millis(n)*gridloom.Second, n)
}

func TestPublishIsStoredAndAnswered(t *testing.T) {
	r := start(t, nil, nil)
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	id := d.publish(topic, object("m1", 5))
	if code := d.wantAck(id); code != 0 {
		t.Errorf("PUBACK code %#x, want 0", code)
	}
	rows := r.log.readings(t)
	if len(rows) != 1 || rows[0].Meter != "m1" || rows[0].Value != 5000 || rows[0].Agent != "gw-1" {
		t.Errorf("stored %+v", rows)
	}
	if n := r.metric(t, "messages_total", "encoding", "json"); n != 1 {
		t.Errorf("messages_total{json} = %v, want 1", n)
	}
}
