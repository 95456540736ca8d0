package main

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCrash kills a real server ten times under load and has every acknowledged
// reading and every window checked: docs/benchmarks.md tells how to run longer forms.
func TestCrash(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "crash")
	progress, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	var out strings.Builder
	// Other packages' tests run at the same time, so that no restart is judged by the clock here.
	err = run(t.Context(), []string{"crash", "--kills", "10", "--max-restart", "1m", "--dir", dir, "--json"}, &out, progress)
	if err != nil {
		said, _ := os.ReadFile(progress.Name())
		t.Fatalf("%v\n%s%s", err, said, out.String())
	}
	var r crashReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	// A point that was not reached would count as a random kill, and the report would show it.
	if r.Kills != 10 || r.ClaimKills != 2 || r.CommitKills != 2 || r.UpkeepKills != 2 || r.Edits < 10 || r.Readings < 10_000 || r.Panes == 0 {
		t.Errorf("the run shows too little: %s", out.String())
	}
	t.Log(out.String())
}

func TestKillPlan(t *testing.T) {
	plan := killPlan(100, rand.New(rand.NewPCG(1, 1)))
	count := map[string]int{}
	for _, b := range plan {
		count[b.String()]++
		if b.stop && !slices.Contains(commitPoints, b.point) {
			t.Errorf("a clean stop for %s, which is not in a commit", b)
		}
	}
	for _, p := range slices.Concat(claimPoints, commitPoints, appendPoints, upkeepPoints) {
		if count[p] < 4 {
			t.Errorf("%d of 100 kills at %s, want at least 4", count[p], p)
		}
	}
	if count["random"] != 25 {
		t.Errorf("%d of 100 kills at random, want 25", count["random"])
	}
}

// TestVerdict: what a crash run may not show.
func TestVerdict(t *testing.T) {
	f := func(kills int, r crashReport, wantErr bool) {
		t.Helper()
		if err := r.verdict(&crashConfig{kills: kills, maxRestart: 5 * time.Second}); (err != nil) != wantErr {
			t.Errorf("verdict(%+v) = %v, want an error: %t", r, err, wantErr)
		}
	}
	f(10, crashReport{RestartMsMax: 900}, false)
	f(10, crashReport{RestartMsMax: 5001}, true)
	f(10, crashReport{findings: findings{Lost: 1}}, true)
	f(10, crashReport{findings: findings{Duplicated: 1}}, true)
	f(10, crashReport{findings: findings{WrongPanes: 1}}, true)
	f(60, crashReport{ClaimKills: 10, CommitKills: 10, UpkeepKills: 10}, false)
	f(60, crashReport{ClaimKills: 9, CommitKills: 20, UpkeepKills: 10}, true)
	f(60, crashReport{ClaimKills: 10, CommitKills: 20, UpkeepKills: 9}, true)
}

// TestCrashSaysWhatIsWrong: a server that ends by itself is named with what it said.
func TestCrashSaysWhatIsWrong(t *testing.T) {
	script := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho the disk is on fire\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"crash", "--kills", "1", "--server", script, "--dir", filepath.Join(t.TempDir(), "w")}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "the disk is on fire") {
		t.Errorf("crash with a broken server: %v", err)
	}
}
