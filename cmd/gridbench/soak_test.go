package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSoak runs a soak of a few seconds with real processes.
func TestSoak(t *testing.T) {
	progress, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	var out strings.Builder
	// Whether memory is flat shows in minutes, not in seconds.
	err = run(t.Context(), []string{
		"soak", "--duration", "8s", "--fault-each", "2s", "--rate", "3000", "--partitions", "4", "--meters", "20", "--max-growth", "1000",
		"--dir", filepath.Join(t.TempDir(), "soak"), "--json",
	}, &out, progress)
	if err != nil {
		said, _ := os.ReadFile(progress.Name())
		t.Fatalf("%v\n%s%s", err, said, out.String())
	}
	var r soakReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Survivors) != 3 || len(r.Faults) == 0 || r.Readings < 1000 {
		t.Errorf("the run shows too little: %s", out.String())
	}
	for _, s := range r.Survivors {
		if s.Samples == 0 || s.RSSBytes < 1<<20 || s.Goroutines < 1 {
			t.Errorf("nothing is known of %s: %+v", s.Name, s)
		}
	}
}

func TestVitalsTellGrowthFromNoise(t *testing.T) {
	f := func(name string, rss, goroutines func(i int) float64, wantFlat bool) {
		t.Helper()
		v := vitals{member: &member{name: name}}
		for i := range 400 {
			v.at, v.rss, v.goroutines = append(v.at, float64(i)), append(v.rss, rss(i)), append(v.goroutines, goroutines(i))
		}
		if s := v.judge(0.1); s.Flat != wantFlat || s.Samples != 301 && s.Samples != 300 {
			t.Errorf("%s: %+v, want flat %t", name, s, wantFlat)
		}
	}
	const mib = 1 << 20
	steady := func(of float64) func(int) float64 {
		return func(i int) float64 { return of * (1 + 0.2*math.Sin(float64(i))) }
	}
	rising := func(from, to float64) func(int) float64 {
		return func(i int) float64 { return from + (to-from)*float64(i)/400 }
	}
	warming := func(i int) float64 { return 1000 * mib * min(1, float64(i)/80) }
	f("noise", steady(1000*mib), steady(100), true)
	f("memory grows", rising(1000*mib, 1300*mib), steady(100), false)
	f("goroutines grow", steady(1000*mib), rising(100, 200), false)
	f("it only warms up", warming, steady(100), true)
	f("small processes may grow a little", rising(40*mib, 60*mib), rising(10, 20), true)
}

func TestSoakVerdict(t *testing.T) {
	f := func(r soakReport, wantErr bool) {
		t.Helper()
		if err := r.verdict(); (err != nil) != wantErr {
			t.Errorf("verdict(%+v) = %v, want an error: %t", r, err, wantErr)
		}
	}
	f(soakReport{Survivors: []survivor{{Flat: true}}}, false)
	f(soakReport{Survivors: []survivor{{Flat: true}, {Flat: false}}}, true)
	f(soakReport{rolesReport: rolesReport{findings: findings{Duplicated: 1}}}, true)
}
