package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// TestLoadReportsWhatTheServerTook runs gridbench load in each of its forms and
// compares its figures with what the server counted.
func TestLoadReportsWhatTheServerTook(t *testing.T) {
	f := func(args ...string) {
		t.Helper()
		srv := newFakeServer(t)
		args = append(args, "--mqtt", srv.addr(), "--http", srv.httpAddr(), "--connections", "3", "--meters", "30", "--duration", "300ms", "--json")
		var out strings.Builder
		if err := run(t.Context(), append([]string{"load"}, args...), &out, io.Discard); err != nil {
			t.Fatalf("load %q: %v", args, err)
		}
		var r loadReport
		if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
			t.Fatal(err)
		}
		srv.mu.Lock()
		defer srv.mu.Unlock()
		stored := 0
		for k, spots := range srv.readings {
			if strings.HasPrefix(k.meter, "m0") {
				stored += len(spots)
			}
		}
		if r.Objects == 0 || int64(stored) != r.Readings || r.Readings != 3*r.Objects {
			t.Errorf("load %q reports %d objects and %d readings; the server has %d", args, r.Objects, r.Readings, stored)
		}
		if r.PubackMaxMs <= 0 || r.PubackP50Ms > r.PubackP99Ms || r.PubackP99Ms > r.PubackMaxMs {
			t.Errorf("load %q reports PUBACK %v %v %v", args, r.PubackP50Ms, r.PubackP99Ms, r.PubackMaxMs)
		}
		if !r.Committed || r.LagFrames == nil || *r.LagFrames != 0 {
			t.Errorf("load %q reports lag %v, committed %t", args, r.LagFrames, r.Committed)
		}
	}
	f("--encoding", "json", "--window", "4")
	f("--encoding", "json", "--objects", "20", "--rate", "2000")
	f("--encoding", "protobuf", "--window", "2")
	f("--encoding", "protobuf", "--objects", "10", "--rate", "3000", "--probes", "8")
}

func TestFixedRateIsKept(t *testing.T) {
	srv := newFakeServer(t)
	var out strings.Builder
	if err := run(t.Context(), []string{
		"load", "--mqtt", srv.addr(), "--http", "", "--connections", "4", "--meters", "40", "--duration", "500ms", "--rate", "1000", "--json",
	}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var r loadReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if r.Objects < 450 || r.Objects > 504 {
		t.Errorf("%d objects in half a second at 1000 objects/s", r.Objects)
	}
}

func TestLoadStopsAtItsBound(t *testing.T) {
	srv := newFakeServer(t)
	r, err := load(t.Context(), &loadConfig{
		mqtt: srv.addr(), connections: 3, objects: 10, encoding: "json", window: 7, meters: 60, duration: time.Minute, maxObjects: 1500,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Objects != 1500 || r.Seconds > 50 {
		t.Errorf("%d objects in %.1f s, want 1500", r.Objects, r.Seconds)
	}
}

func TestProbesFollowReadings(t *testing.T) {
	srv := newFakeServer(t)
	a := newAPI(srv.httpAddr())
	defer a.close()
	p, err := newProber(t.Context(), srv.addr(), "probe-0", a)
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	hidden := 3
	srv.spoilReading = func(*map[string]any) int {
		if hidden > 0 { // the first questions find nothing
			hidden--
			return 0
		}
		return 1
	}
	d, err := p.probe(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	if p.polls != 4 || d < 3*pollEvery {
		t.Errorf("probe took %d questions and %s, want 4 questions and at least %s", p.polls, d, 3*pollEvery)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		err := run(t.Context(), append([]string{"load"}, args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("load %q: %v, want something about %q", args, err, want)
		}
	}
	f("--encoding", "--encoding", "xml")
	f("--objects", "--objects", "0")
	f("--meters", "--meters", "5")
	f("--probes", "--probes", "5", "--http", "")
	f("connection refused", "--mqtt", "127.0.0.1:1", "--connections", "1", "--http", "")
}
