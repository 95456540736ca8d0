package stream_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// shortWatch makes a watchdog bite within a test's patience.
const shortWatch = 250 * time.Millisecond

// TestReaderSurvivesItsConsumer does something to the reader's consumer behind its
// back; the frames must come all the same, each once.
func TestReaderSurvivesItsConsumer(t *testing.T) {
	f := func(name, reason string, harm func(ctx context.Context, st jetstream.Stream, consumer string) error) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			srv := streamtest.Start(t, func(c *stream.Config) { c.Watch, c.Registerer = shortWatch, reg })
			ctx := testContext(t)
			r, err := srv.Stream.Follow(ctx, 0, newHead(srv.Stream, 0, "c"))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			mustAppend(t, srv.Stream, 0, "frame 0")
			if ms, err := r.Next(ctx); err != nil || len(ms) != 1 {
				t.Fatalf("%d frames, %v", len(ms), err)
			}
			st, err := operator(t, srv).Stream(ctx, stream.LogName)
			if err != nil {
				t.Fatal(err)
			}
			var consumer string
			for name := range st.ConsumerNames(ctx).Name() {
				consumer = name
			}
			if err := harm(ctx, st, consumer); err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= 5; i++ {
				mustAppend(t, srv.Stream, 0, fmt.Sprintf("frame %d", i))
			}
			next := uint64(2)
			for next <= 6 {
				ms, err := r.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range ms {
					if m.Sequence != next || string(m.Data) != fmt.Sprintf("frame %d", next-1) {
						t.Fatalf("frame %q at %d, want sequence %d", m.Data, m.Sequence, next)
					}
					next++
				}
			}
			if n := counterOf(t, reg, "gridloom_stream_consumer_recreations_total", reason); n == 0 {
				t.Errorf("no consumer was made anew for reason %q", reason)
			}
		})
	}
	f("deleted", "error", func(ctx context.Context, st jetstream.Stream, c string) error { return st.DeleteConsumer(ctx, c) })
	f("asleep", "stall", func(ctx context.Context, st jetstream.Stream, c string) error {
		_, err := st.PauseConsumer(ctx, c, time.Now().Add(time.Hour))
		return err
	})
	f("frames stolen", "gap", func(ctx context.Context, st jetstream.Stream, c string) error {
		// Another client that pulls from the same consumer takes frames away from it.
		cons, err := st.Consumer(ctx, c)
		if err != nil {
			return err
		}
		b, err := cons.Fetch(2, jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			return err
		}
		go func() { // ends with the fetch
			for range b.Messages() {
			}
		}()
		return nil
	})
}

func counterOf(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	ms, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ms {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func TestNextEndsWithItsContextAndGoesOnAfterwards(t *testing.T) {
	srv := streamtest.Start(t)
	ctx := testContext(t)
	r, err := srv.Stream.Follow(ctx, 0, newHead(srv.Stream, 0, "c"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 3 {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		if _, err := r.Next(short); !errors.Is(err, gridloom.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Next on an empty log = %v, want ErrUnavailable and the context's error", err)
		}
		cancel()
		want := mustAppend(t, srv.Stream, 0, fmt.Sprint(i))
		if ms, err := r.Next(ctx); err != nil || len(ms) != 1 || ms[0].Sequence != want {
			t.Fatalf("after the time-out: %v, %v; want sequence %d", ms, err, want)
		}
	}
}

func TestManyFramesComeOnceEach(t *testing.T) {
	reg := prometheus.NewRegistry()
	srv := streamtest.Start(t, streamtest.Partitions(1), func(c *stream.Config) { c.Registerer = reg })
	const n = 700 // more than two pulls
	for i := range n {
		mustAppend(t, srv.Stream, 0, fmt.Sprint(i))
	}
	for i, m := range read(t, srv.Stream, 0, gridloom.Head{}, n) {
		if m.Sequence != uint64(i+1) || string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("frame %d is %q at %d", i, m.Data, m.Sequence)
		}
	}
	ms, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range ms {
		if f.GetName() != "gridloom_stream_consumer_recreations_total" {
			continue
		}
		found = true
		for _, m := range f.GetMetric() {
			if v := m.GetCounter().GetValue(); v != 0 {
				t.Errorf("consumers were made anew %v times: %v", v, m.GetLabel())
			}
		}
	}
	if !found {
		t.Error("nobody counts consumers that are made anew")
	}
}
