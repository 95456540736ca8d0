package ingest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest/decode"
)

// serialLog stores one frame after the other, each in a millisecond, as a log does
// that fsyncs each of them. Partition broken, if not negative, is not available.
type serialLog struct {
	disk   chan struct{} // holds one
	broken int
}

func (l *serialLog) Append(_ context.Context, partition int, _ []byte) (uint64, error) {
	if partition == l.broken {
		return 0, fmt.Errorf("%w: partition %d", gridloom.ErrUnavailable, partition)
	}
	l.disk <- struct{}{}
	<-time.After(time.Millisecond)
	<-l.disk
	return 1, nil
}

func (l *serialLog) AppendRejects(context.Context, []gridloom.Reject) error { return nil }

// clocked is a sender that notes how long its messages wait for their answer, and
// how many are not stored.
type clocked struct {
	mu       sync.Mutex
	begun    map[uint16]time.Time
	waits    []time.Duration
	withheld int
}

func (c *clocked) answer(t tag, o outcome) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o == withheld {
		c.withheld++
		return false
	}
	c.waits = append(c.waits, time.Since(c.begun[t.id]))
	return false
}

func (c *clocked) send() {}

// so returns the waits so far, and how many messages are not stored.
func (c *clocked) so() ([]time.Duration, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.waits), c.withheld
}

// publish gives b a message of one reading.
func (c *clocked) publish(t *testing.T, b *Bridge, id int, meter string) {
	t.Helper()
	c.mu.Lock()
	c.begun[uint16(id)] = time.Now()
	c.mu.Unlock()
	m := message{
		source:  decode.Source{Topic: topic, Agent: "gw-1", Now: testStart},
		payload: fmt.Appendf(nil, `{"meter":%q,"at":%d,"power_import":%d}`, meter, testStart, id),
		from:    c, tag: tag{id: uint16(id), qos: 1},
	}
	if err := b.take(&m); err != nil {
		t.Fatal(err)
	}
}

// withBridge runs f in a bubble with a bridge of four partitions.
func withBridge(t *testing.T, atOnce, broken int, f func(t *testing.T, b *Bridge, c *clocked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := &serialLog{disk: make(chan struct{}, 1), broken: broken}
		b, err := New(BridgeConfig{Partitions: 4, AppendsAtOnce: atOnce}, log, log)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		f(t, b, &clocked{begun: make(map[uint16]time.Time)})
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestFramesAreSealedWhenTheirTurnComes: a burst of messages to four partitions
// takes five appends of a millisecond. If each partition seals as soon as it can,
// the first message of each goes alone and all others wait for two rounds.
func TestFramesAreSealedWhenTheirTurnComes(t *testing.T) {
	median := func(atOnce int) (p50 time.Duration) {
		withBridge(t, atOnce, -1, func(t *testing.T, b *Bridge, c *clocked) {
			for burst := range 10 {
				for i := range 100 {
					c.publish(t, b, burst*100+i, fmt.Sprint("m", i))
					synctest.Wait() // whoever can seal has sealed
				}
				<-time.After(33 * time.Millisecond)
			}
			waits, _ := c.so()
			if len(waits) != 1000 {
				t.Fatalf("%d answers to 1000 messages", len(waits))
			}
			slices.Sort(waits)
			p50 = waits[500]
		})
		return p50
	}
	if all, one := median(0), median(1); all < 6*time.Millisecond || one > 4*time.Millisecond {
		t.Errorf("half of the answers took %v when all partitions store at once, %v in turns; want 6 ms or more, 4 ms or less", all, one)
	}
}

// TestAPartitionThatCannotStoreLetsOthersHaveTheirTurn while it is tried again.
func TestAPartitionThatCannotStoreLetsOthersHaveTheirTurn(t *testing.T) {
	withBridge(t, 1, 2, func(t *testing.T, b *Bridge, c *clocked) {
		good, bad := 0, 0
		for i := range 100 {
			meter := fmt.Sprint("m", i)
			if gridloom.PartitionOf(meter, 4) == 2 {
				bad++
			} else {
				good++
			}
			c.publish(t, b, i, meter)
		}
		<-time.After(time.Second)
		if waits, withheld := c.so(); len(waits) != good || withheld != 0 {
			t.Errorf("after a second %d answers, %d withheld; want %d and none", len(waits), withheld, good)
		}
		<-time.After(10 * time.Second) // two frames: the first message may have gone alone
		if _, withheld := c.so(); withheld != bad {
			t.Errorf("%d messages withheld, want %d", withheld, bad)
		}
	})
}
