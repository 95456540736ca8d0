package device

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

const march gridloom.Millis = 1_772_323_200_000 // 2026-03-01T00:00:00Z

// everything reads a source to its end.
func everything(t testing.TB, s Source, limit int) []gridloom.Reading {
	t.Helper()
	var all []gridloom.Reading
	c := Chunk{Limit: limit}
	for {
		c.Reset()
		err := s.Next(context.Background(), &c)
		for i := range c.Len() {
			all = append(all, c.Reading(i))
		}
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func simulate(t testing.TB, cfg SimConfig) []gridloom.Reading {
	t.Helper()
	s, err := NewSim(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return everything(t, s, 100)
}

func TestTheSameSeedMakesTheSameReadings(t *testing.T) {
	cfg := SimConfig{Seed: 3, Meters: 20, From: march, For: 10 * time.Minute}
	first := simulate(t, cfg)
	again := simulate(t, cfg)
	if len(first) < 20*60*3 || len(first) != len(again) {
		t.Fatalf("%d and %d readings", len(first), len(again))
	}
	for i := range first {
		if first[i] != again[i] {
			t.Fatalf("%+v, then %+v", first[i], again[i])
		}
	}
	cfg.Seed = 4
	other := simulate(t, cfg)
	if other[0] == first[0] {
		t.Errorf("another seed makes the same %+v", other[0])
	}
	// A later start goes on with the same registers; so does a subset of the meters.
	cfg = SimConfig{Seed: 3, Meters: 5, First: 11, From: march + 5*gridloom.Minute, For: 5 * time.Minute}
	known := map[gridloom.Identity]int64{}
	for i := range first {
		known[first[i].Identity()] = first[i].Value
	}
	for _, r := range simulate(t, cfg) {
		if v, ok := known[r.Identity()]; !ok || v != r.Value {
			t.Fatalf("%+v; the first run said %d", r, v)
		}
	}
}

// TestRegistersAreTheIntegralOfPower adds up power second by second over two days
// of 40 households and compares it with what the registers moved.
func TestRegistersAreTheIntegralOfPower(t *testing.T) {
	solar := 0
	for n := range 40 {
		h := newHousehold(5, n, simSince)
		if h.solar > 0 {
			solar++
		}
		before := h.at(march)
		var in, out int64 // mW·s
		for s := range gridloom.Millis(2 * daySeconds) {
			net := h.at(march + s*gridloom.Second).net
			in += max(net, 0)
			out += max(-net, 0)
			if s%3571 != 0 {
				continue
			}
			at := h.at(march + (s+1)*gridloom.Second)
			if d := at.imported - before.imported - in/3600; d < -1 || d > 1 {
				t.Fatalf("household %d, second %d: import moved %d mWh, power says %d", n, s, at.imported-before.imported, in/3600)
			}
			if d := at.exported - before.exported - out/3600; d < -1 || d > 1 {
				t.Fatalf("household %d, second %d: export moved %d mWh, power says %d", n, s, at.exported-before.exported, out/3600)
			}
		}
		if in == 0 || h.solar == 0 && out != 0 {
			t.Errorf("household %d: %d mW·s in, %d out, PV of %d mW", n, in, out, h.solar)
		}
	}
	if solar == 0 || solar == 40 {
		t.Errorf("%d of 40 households have PV", solar)
	}
}

func TestRegistersNeverFall(t *testing.T) {
	for n := range 30 {
		h := newHousehold(1, n, simSince)
		last := h.at(simSince)
		for at := simSince; at < simSince+20*gridloom.Day; at += 17 * gridloom.Minute {
			now := h.at(at)
			if now.imported < last.imported || now.exported < last.exported {
				t.Fatalf("household %d at %s: %+v after %+v", n, at, now, last)
			}
			if now.voltage < 195_000 || now.voltage > 255_000 {
				t.Errorf("household %d at %s: %d mV", n, at, now.voltage)
			}
			last = now
		}
	}
}

func TestSimTellsWhatIsWrong(t *testing.T) {
	for name, cfg := range map[string]SimConfig{
		"meters": {Meters: -1},
		"every":  {Every: time.Millisecond},
		"speed":  {Speed: 2},
		"from":   {From: 5},
	} {
		if _, err := NewSim(cfg, nil); !errors.Is(err, gridloom.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func BenchmarkSim(b *testing.B) {
	s, err := NewSim(SimConfig{Meters: 200, From: march}, nil)
	if err != nil {
		b.Fatal(err)
	}
	c := Chunk{Limit: 1000}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		c.Reset()
		if err := s.Next(context.Background(), &c); err != nil {
			b.Fatal(err)
		}
		n += c.Len()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/reading")
}
