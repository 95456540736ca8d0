package obs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloom/gridloom"
)

func TestClockWatchTellsAStepFromTheRest(t *testing.T) {
	// A wall clock that is set by step after an hour, on a machine that sleeps for
	// asleep of it.
	f := func(step, asleep time.Duration, wantErr bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			t.Helper()
			began := time.Now()
			extra := func(d time.Duration) time.Duration {
				if time.Since(began) > time.Hour {
					return d
				}
				return 0
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
			defer cancel()
			err := ClockWatch(ctx, Clock{
				Wall: func() time.Time { return time.Now().Add(extra(step + asleep)) },
				Boot: func() (time.Duration, error) { return time.Since(began) + extra(asleep), nil },
			})
			if (err != nil) != wantErr {
				t.Errorf("step %v, asleep %v: %v, want error %v", step, asleep, err, wantErr)
			}
			if wantErr && time.Since(began) > time.Hour+2*time.Second {
				t.Errorf("step %v noticed only after %v", step, time.Since(began)-time.Hour)
			}
		})
	}
	f(0, 0, false)
	f(6*time.Minute, 0, true)
	f(-6*time.Minute, 0, true)
	f(4*time.Minute, 0, false)          // below the limit
	f(0, 8*time.Hour, false)            // a laptop that slept
	f(-24*time.Hour, 8*time.Hour, true) // slept and woke up with a dead battery
}

func TestClockWatchReportsAClockThatCannotBeRead(t *testing.T) {
	err := ClockWatch(t.Context(), Clock{Boot: func() (time.Duration, error) { return 0, errors.New("no such clock") }})
	if !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("err = %v, want ErrUnavailable", err)
	}
}

func TestSystemClockSinceBootRuns(t *testing.T) {
	a, err := sinceBoot()
	b, err2 := sinceBoot()
	if err != nil || err2 != nil || b < a || a <= 0 {
		t.Errorf("since boot = %v, %v then %v, %v", a, err, b, err2)
	}
}

func TestCheckFrame(t *testing.T) {
	f := func(ahead gridloom.Millis, ok bool) {
		t.Helper()
		const now = 1_795_383_300_000
		if err := CheckFrame(now, now+ahead); (err == nil) != ok {
			t.Errorf("a frame %d ms ahead: %v, want ok %v", ahead, err, ok)
		}
	}
	f(-365*gridloom.Day, true)
	f(5*gridloom.Minute, true)
	f(5*gridloom.Minute+1, false)
}

func TestLoggerWritesTextAtItsLevel(t *testing.T) {
	var b bytes.Buffer
	l := Logger(&b, slog.LevelInfo)
	l.Debug("not this")
	l.Info("but this", "partition", 3)
	if got := b.String(); !strings.Contains(got, `msg="but this" partition=3`) || strings.Contains(got, "not this") {
		t.Errorf("logged %q", got)
	}
}

func TestRegistryCarriesTheRuntime(t *testing.T) {
	ms, err := Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if m.GetName() == "go_goroutines" {
			return
		}
	}
	t.Errorf("no go_goroutines among %d metrics", len(ms))
}
