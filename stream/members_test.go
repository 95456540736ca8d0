package stream_test

import (
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

// TestMembersHearOneAnother: what one says reaches every member, itself included, and what a
// member does not take in is counted by reason.
func TestMembersHearOneAnother(t *testing.T) {
	reg := prometheus.NewRegistry()
	server := streamtest.Start(t, func(c *stream.Config) { c.Registerer = reg })
	var heard atomic.Int64
	first, err := server.Stream.Join("a", func(text []byte) stream.Unheard {
		if string(text) != "here" {
			return stream.Unreadable
		}
		heard.Add(1)
		return stream.Heard
	})
	if err != nil {
		t.Fatal(err)
	}
	second, err := server.Stream.Join("b", func([]byte) stream.Unheard { return stream.Heard })
	if err != nil {
		t.Fatal(err)
	}
	for _, say := range []struct {
		c    *stream.Circle
		text string
	}{{first, "here"}, {second, "here"}, {second, "what"}} {
		if err := say.c.Say([]byte(say.text)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "both members are heard by the first", func() bool { return heard.Load() == 2 })
	until(t, "what cannot be read is counted", func() bool {
		return counterOf(t, reg, "gridloom_stream_beats_unheard_total", "unreadable") == 1
	})
	if n := counterOf(t, reg, "gridloom_stream_beats_unheard_total", "waiting"); n != 0 {
		t.Errorf("%v waited in vain, want none", n)
	}
}
