package window_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// someStates returns encoded states and carries as they come up.
func someStates() (states, carries [][]byte) {
	for _, k := range kinds {
		rng := rand.New(rand.NewPCG(3, uint64(k)))
		c := window.Defaults()
		rows := randomSeries(rng, k, 60)
		var s window.State
		states = append(states, window.AppendState(nil, &s))
		for i := range rows {
			c.Add(k, &s, &rows[i])
			if i%7 == 0 {
				c.Close(k, &s, rows[i].Start-gridloom.Hour, func(p *gridloom.Pane) {
					if p.Carry != nil {
						carries = append(carries, p.Carry)
					}
				})
				states = append(states, window.AppendState(nil, &s))
				carries = append(carries, s.Carry())
			}
		}
	}
	return states, carries
}

// live puts a state to every use: whatever could be decoded must not panic.
func live(c *window.Config, k gridloom.Kind, s *window.State) {
	i, _ := s.Last()
	at := i.Start
	for _, d := range []gridloom.Millis{-gridloom.Hour, 0, 1, gridloom.Hour, 40 * gridloom.Day} {
		r := window.Reading{Start: at + d, Length: 15 * gridloom.Minute, Value: int64(d) - 5}
		c.Add(k, s, &r)
		c.AffectedFrom(k, s, &r)
		c.Close(k, s, at+d-gridloom.Hour, func(*gridloom.Pane) {})
		c.Open(k, s, at+d, func(*gridloom.Pane) {})
	}
	s.Carry()
}

func FuzzDecodeState(f *testing.F) {
	states, _ := someStates()
	for _, b := range states {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			if !errors.Is(err, gridloom.ErrCorrupt) {
				t.Fatalf("Decode = %v", err)
			}
			return
		}
		if n := s.Bytes(); n > 1000+40*len(b) {
			t.Fatalf("%d bytes decode to %d", len(b), n)
		}
		again := window.AppendState(nil, &s)
		if string(again) != string(b) {
			t.Fatalf("%x decodes to a state that encodes as %x", b, again)
		}
		c := window.Defaults()
		for _, k := range kinds {
			s, err := decodeState(b)
			if err != nil {
				t.Fatal(err)
			}
			live(&c, k, &s)
		}
	})
}

func FuzzCarry(f *testing.F) {
	_, carries := someStates()
	for _, b := range carries {
		f.Add(b, int64(day1))
	}
	f.Fuzz(func(t *testing.T, b []byte, bound int64) {
		c := window.Defaults()
		at := gridloom.Millis(bound)
		if at != math.MinInt64 {
			at = (at & (1<<50 - 1)).Floor(c.Width)
		}
		rows := []window.Reading{{Start: max(at, 0), Length: gridloom.Hour, Value: 5}}
		for _, k := range kinds {
			s, err := c.Refold(k, at, b, rows)
			if err != nil {
				early, ok := errors.AsType[*window.EarlierError](err)
				if !errors.Is(err, gridloom.ErrCorrupt) && (!ok || early.At >= at) {
					t.Fatalf("Refold = %v", err)
				}
				continue
			}
			if len(b) > 0 && at > 0 && string(s.Carry()) != string(b) {
				t.Fatalf("%x is taken as %x", b, s.Carry())
			}
			live(&c, k, &s)
		}
	})
}

// TestDamagedStateIsRefused: cut anywhere, a state or carry is refused, and no single
// flipped bit panics.
func TestDamagedStateIsRefused(t *testing.T) {
	states, carries := someStates()
	c := window.Defaults()
	for _, b := range states {
		for n := range b {
			if _, err := decodeState(b[:n]); !errors.Is(err, gridloom.ErrCorrupt) {
				t.Fatalf("Decode of %d of %d bytes = %v", n, len(b), err)
			}
			for bit := range 8 {
				b[n] ^= 1 << bit
				if s, err := decodeState(b); err == nil {
					live(&c, gridloom.Counter, &s)
				}
				b[n] ^= 1 << bit
			}
		}
	}
	for _, b := range carries {
		for n := 1; n < len(b); n++ {
			if _, err := c.Refold(gridloom.Counter, day1+30*gridloom.Day, b[:n], nil); !errors.Is(err, gridloom.ErrCorrupt) {
				t.Fatalf("Refold with %d of %d bytes of a carry = %v", n, len(b), err)
			}
		}
	}
}
