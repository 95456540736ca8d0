package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestMain lets the test binary be the brokers that gridbench floor starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == floorBroker {
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestFloorMeasuresEveryGroup runs gridbench floor in a short form.
func TestFloorMeasuresEveryGroup(t *testing.T) {
	var out, progress strings.Builder
	err := run(t.Context(), []string{
		"floor", "--duration", "60ms", "--series", "2000", "--rows", "9000", "--connections", "3", "--dir", t.TempDir(), "--json",
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var r floorReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	type group struct{ floors, stages, references int }
	groups := map[string]*group{}
	for _, f := range r.Figures {
		g := groups[f.Group]
		if g == nil {
			g = &group{}
			groups[f.Group] = g
		}
		if f.Floor {
			g.floors++
		} else {
			g.stages++
		}
		if f.Reference {
			g.references++
			if f.CPURatio != 1 && f.CPUSPerM > 0 || !f.Floor {
				t.Errorf("the reference of its group: %+v", f)
			}
		}
		if f.PerSecond <= 0 || f.Unit == "" {
			t.Errorf("nothing was measured: %+v", f)
		}
	}
	for name, g := range groups {
		if g.floors == 0 || g.stages == 0 || g.references != 1 {
			t.Errorf("%s has %d floors, %d stages and %d references", name, g.floors, g.stages, g.references)
		}
	}
	if len(groups) != 3+len(frameSizes)+2+2 {
		t.Errorf("%d groups were measured", len(groups))
	}
	var text strings.Builder
	if err := r.print(&text); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Figures {
		if !slices.ContainsFunc(strings.Split(text.String(), "\n"), func(l string) bool { return strings.Contains(l, " "+f.Name+" ") }) {
			t.Errorf("the text has no line of %s", f.Name)
		}
	}
}

func TestFloorRatios(t *testing.T) {
	r := floorReport{Figures: []figure{
		{Group: "a", Name: "stage", PerSecond: 50, CPUSPerM: 3},
		{Group: "a", Name: "floor", Floor: true, Reference: true, PerSecond: 100, CPUSPerM: 2},
		{Group: "b", Name: "floor", Floor: true, Reference: true, PerSecond: 7, CPUSPerM: 7},
	}}
	r.compare()
	if f := r.Figures[0]; f.CPURatio != 1.5 || f.RateRatio != 0.5 {
		t.Errorf("ratios are %v and %v, want 1.5 and 0.5", f.CPURatio, f.RateRatio)
	}
}

func TestFloorSaysWhatIsWrong(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		err := run(t.Context(), append([]string{"floor"}, args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("floor %q: %v, want something about %q", args, err, want)
		}
	}
	f("--only", "--only", "ceiling")
	f("--series", "--series", "0")
	f("no such file", "--only", "segment", "--dir", "/nonexistent")
	if err := run(t.Context(), []string{floorBroker}, io.Discard, io.Discard); err == nil {
		t.Error("a broker runs without a name")
	}
}
