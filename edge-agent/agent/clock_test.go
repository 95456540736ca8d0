package agent

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
)

// feed is a live source of one meter that a test feeds.
type feed struct {
	in     chan device.Chunk
	mu     sync.Mutex
	counts device.Counts
	waits  bool
}

func newFeed() *feed { return &feed{in: make(chan device.Chunk, 100)} }

func (f *feed) give(at ...gridloom.Millis) { f.stamped(device.Stamp{}, at...) }

func (f *feed) stamped(stamp device.Stamp, at ...gridloom.Millis) {
	var c device.Chunk
	c.Reset()
	c.Stamp = stamp
	for _, at := range at {
		c.AppendReading(&gridloom.Reading{Meter: "m", Start: at, Value: 5})
	}
	f.in <- c
}

func (f *feed) Next(ctx context.Context, c *device.Chunk) error {
	select {
	case in, ok := <-f.in:
		if !ok {
			return io.EOF
		}
		c.Stamp = in.Stamp
		for i := range in.Len() {
			r := in.Reading(i)
			c.AppendReading(&r)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.counts.Readings += uint64(in.Len())
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *feed) Traits() device.Traits { return device.Traits{CanWait: f.waits} }

func (f *feed) Counts() device.Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}

// bubble is a device in a bubble of synctest: its clock is off by wrong until it is set.
type bubble struct {
	t     *testing.T
	clock *device.Clock
	cfg   Config
	b     *brokertest.Broker

	mu     sync.Mutex
	wrong  time.Duration
	synced bool
	booted time.Time
}

func newBubble(t *testing.T) *bubble {
	t.Helper()
	d := &bubble{t: t, b: brokertest.New(), booted: time.Now(), wrong: -30 * 365 * 24 * time.Hour}
	d.cfg = config(t, "mqtt://127.0.0.1:1")
	d.cfg.Dial = func(context.Context) (net.Conn, error) { return d.b.Dial() }
	d.boot("boot-1")
	return d
}

// truth is the right time: the bubble begins in the year 2000, the test in 2026.
func truth() time.Time { return time.Now().Add(9600 * 24 * time.Hour) }

// boot starts the device again, without its clock.
func (d *bubble) boot(id string) {
	d.booted, d.wrong, d.synced = time.Now(), -30*365*24*time.Hour, false
	locked := func(f func()) { d.mu.Lock(); defer d.mu.Unlock(); f() }
	d.clock = &device.Clock{
		Boot: id,
		Now:  func() (now time.Time) { locked(func() { now = truth().Add(d.wrong) }); return now },
		Uptime: func() (up time.Duration) {
			locked(func() { up = time.Since(d.booted) })
			return up
		},
		Synced: func() (ok bool) { locked(func() { ok = d.synced }); return ok },
	}
	d.cfg.Clock = d.clock
}

func (d *bubble) set() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wrong, d.synced = 0, true
}

func (d *bubble) stamp() (gridloom.Millis, device.Stamp) { return d.clock.Stamp() }

// run runs an agent until stop.
func (d *bubble) run(in *feed) (a *Agent, stop func()) {
	d.t.Helper()
	a = start(d.t, d.cfg, in)
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, func() {
		d.t.Helper()
		cancel()
		if err := <-done; err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *bubble) end() {
	d.b.Close()
	sleep(writeTimeout) // paho's last goroutine ends with its timer
}

// sleep lets the bubble's clock move.
func sleep(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // used in bubbles only

func TestReadingsBeforeTheClockIsSetAreDatedAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBubble(t)
		in := newFeed()
		a, stop := d.run(in)
		var want []gridloom.Millis
		for range 3 {
			sleep(time.Minute)
			at, stamp := d.stamp()
			want = append(want, gridloom.MillisOf(truth()))
			in.stamped(stamp, at)
		}
		sleep(time.Minute)
		if got := readings(t, d.b.Messages()); len(got) != 0 || a.Stats().Spooled != 3 {
			t.Fatalf("before the clock is set %v arrived; stats %+v", got, a.Stats())
		}
		d.set()
		at, stamp := d.stamp()
		in.stamped(stamp, at)
		want = append(want, at)
		sleep(5 * time.Second)
		stop()
		d.end()
		arrived(t, d.b, want, 0)
	})
}

// arrived checks instants and quality of all that has come.
func arrived(t *testing.T, b *brokertest.Broker, want []gridloom.Millis, q gridloom.Quality) {
	t.Helper()
	got := readings(t, b.Messages())
	if len(got) != len(want) {
		t.Errorf("%d readings arrived, want %d", len(got), len(want))
	}
	for _, at := range want {
		id := gridloom.Identity{Series: gridloom.Series{Meter: "m"}, Start: at}
		if r, ok := got[id]; !ok || r.Quality != q {
			t.Errorf("reading at %s: there %v with quality %q, want %q; arrived %v", at, ok, r.Quality, q, got)
		}
	}
}

func TestARestartOfTheProcessBeforeTheClockIsSetLosesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBubble(t)
		in := newFeed()
		_, stop := d.run(in)
		sleep(time.Minute)
		at, stamp := d.stamp()
		want := gridloom.MillisOf(truth())
		in.stamped(stamp, at)
		sleep(time.Second)
		stop()
		_, stop = d.run(newFeed())
		sleep(time.Hour)
		d.set()
		sleep(5 * time.Second)
		stop()
		d.end()
		arrived(t, d.b, []gridloom.Millis{want}, 0)
	})
}

// TestARestartOfTheDeviceBeforeTheClockIsSet keeps the distances of readings, puts
// them before the restart, in order, and marks them; sent again they say the same.
func TestARestartOfTheDeviceBeforeTheClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newBubble(t)
		for _, boot := range []string{"boot-1", "boot-2"} {
			d.boot(boot)
			in := newFeed()
			_, stop := d.run(in)
			for range 2 {
				sleep(time.Minute)
				at, stamp := d.stamp()
				in.stamped(stamp, at)
			}
			sleep(10 * time.Second)
			stop()
			sleep(time.Hour)
		}
		d.boot("boot-3")
		booted := gridloom.MillisOf(truth())
		first := d.b
		first.OnPublish = func(*brokertest.Conn, brokertest.Message) {} // takes all, acknowledges nothing
		sleep(time.Minute)
		_, stop := d.run(newFeed())
		sleep(time.Minute)
		d.set()
		sleep(5 * time.Second)
		stop()
		sleep(time.Hour)
		d.b = brokertest.New()
		d.boot("boot-4")
		d.set()
		_, stop = d.run(newFeed())
		sleep(5 * time.Second)
		stop()
		first.Close()
		d.end()
		// The last batch of boot-2 lies at the start of boot-3, and boot-2 began two
		// minutes before it; the last of boot-1 lies at that start.
		m := gridloom.Minute
		want := []gridloom.Millis{booted - 3*m, booted - 2*m, booted - m, booted}
		arrived(t, first, want, gridloom.ClockSuspect)
		arrived(t, d.b, want, gridloom.ClockSuspect)
	})
}

func TestAnUnsyncedClockIsTakenAtLastButMarked(t *testing.T) {
	f := func(now string, uptime time.Duration, synced bool, want device.Trust) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		c := device.Clock{
			Now: func() time.Time { return at }, Uptime: func() time.Duration { return uptime },
			Synced: func() bool { return synced },
		}
		if got := c.Trust(); got != want {
			t.Errorf("Trust at %s, %s after boot, synced %v = %d, want %d", now, uptime, synced, got, want)
		}
		c.Mode = device.ClockTrust
		if got := c.Trust(); got != device.Good {
			t.Errorf("Trust with ClockTrust = %d, want Good", got)
		}
	}
	f("1970-01-01T00:01:00Z", time.Minute, false, device.Undated)
	f("1970-01-01T00:01:00Z", time.Hour, true, device.Undated) // whatever the kernel says
	f("2026-03-01T00:00:00Z", time.Minute, true, device.Good)
	f("2026-03-01T00:00:00Z", time.Minute, false, device.Undated) // something may set it yet
	f("2026-03-01T00:00:00Z", time.Hour, false, device.Doubtful)
}

// TestEpochRule: above every epoch used and seen, never below the clock, unless
// that is not set or an earlier one was far ahead.
func TestEpochRule(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	e := gridloom.EpochAt(gridloom.MillisOf(now))
	f := func(name string, stored, inSpool uint32, undated bool, want uint32) {
		t.Helper()
		cfg := config(t, "mqtt://127.0.0.1:1")
		cfg.Clock = &device.Clock{
			Now: func() time.Time { return now }, Uptime: func() time.Duration { return time.Minute }, Boot: "b",
			Synced: func() bool { return !undated },
		}
		if stored > 0 {
			if err := spool.SaveEpoch(osFS(), cfg.Dir, stored); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := cfg.complete(); err != nil {
			t.Fatal(err)
		}
		var s sealer
		if err := s.open(&cfg, inSpool); err != nil {
			t.Fatal(err)
		}
		got, err := spool.LoadEpoch(osFS(), cfg.Dir)
		if err != nil || s.epoch != want || got != want {
			t.Errorf("%s: epoch %d, stored %d (%v), want %d", name, s.epoch, got, err, want)
		}
		s.seq = gridloom.MaxSeq
		r, err := s.seal(oneRow(), device.Stamp{})
		if err != nil || r.Seq != 1 || r.Epoch <= want {
			t.Errorf("%s: after the last seq %d/%d (%v), want a new epoch", name, r.Epoch, r.Seq, err)
		}
	}
	f("first start", 0, 0, false, e)
	f("second start in the same second", e, 0, false, e+1)
	f("clock went back", e+3600, 0, false, e+3601)
	f("epoch file lost", 0, e+7, false, e+8)
	f("clock not set", 1000, 0, true, 1001)
	f("clock never set", 0, 0, true, 1)
	f("an earlier clock was years ahead", e+400*86_400, 0, false, e)
}
