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

// TestCrashRoles kills, stops and restarts real role processes and a real nats-server
// under load and has everything checked: docs/benchmarks.md tells of longer forms.
func TestCrashRoles(t *testing.T) {
	progress, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	var out strings.Builder
	err = run(t.Context(), []string{
		"crash", "--roles", "--kills-each", "1", "--zombies", "1", "--rolling", "--rate", "5000", "--partitions", "4",
		"--dir", filepath.Join(t.TempDir(), "crash"), "--json",
	}, &out, progress)
	said, _ := os.ReadFile(progress.Name())
	if err != nil {
		t.Fatalf("%v\n%s%s", err, said, out.String())
	}
	var r rolesReport
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{ingestRole, aggregateRole, queryRole, natsRole, everyone} {
		if r.KillsByRole[role] != 1 {
			t.Errorf("%d kills of %s, want 1", r.KillsByRole[role], role)
		}
	}
	if r.KillsByPoint["append.sealed"] != 1 || r.KillsByPoint["claim.loaded"] != 1 || r.Readings < 1000 || r.Panes == 0 || len(r.Zombies) != 1 {
		t.Errorf("the run shows too little: %s", out.String())
	}
	if r.RollingAnswerPauseMs <= 0 || r.RollingPubackPauseMs <= 0 || r.RecoveryMsMax["restart "+aggregateRole] <= 0 {
		t.Errorf("the rolling restart shows no pause: %s", out.String())
	}
	if r.UnexpectedExits > 0 {
		t.Errorf("%d processes ended by themselves:\n%s", r.UnexpectedExits, said)
	}
	t.Log(out.String())
}

func TestRolePlan(t *testing.T) {
	roles, points := map[string]int{}, map[string]int{}
	for _, b := range rolePlan(30, rand.New(rand.NewPCG(1, 1))) {
		roles[b.role]++
		points[b.point]++
		if b.stop && !slices.Contains(commitPoints, b.point) || b.point != "" && b.role != ingestRole && b.role != aggregateRole {
			t.Errorf("no blow can be %s", b)
		}
	}
	for _, role := range []string{ingestRole, aggregateRole, queryRole, natsRole, everyone} {
		if roles[role] != 30 {
			t.Errorf("%d blows against %s, want 30", roles[role], role)
		}
	}
	for _, p := range slices.Concat(claimPoints, commitPoints, appendPoints, upkeepPoints) {
		if points[p] < 2 {
			t.Errorf("%d blows at %s, want at least 2", points[p], p)
		}
	}
	if points[""] != 110 {
		t.Errorf("%d blows at random, want 110", points[""])
	}
}

// TestRolesVerdict: what a run with roles may not show.
func TestRolesVerdict(t *testing.T) {
	f := func(r rolesReport, wantErr bool) {
		t.Helper()
		if err := r.verdict(&crashConfig{maxPause: time.Second}); (err != nil) != wantErr {
			t.Errorf("verdict(%+v) = %v, want an error: %t", r, err, wantErr)
		}
	}
	f(rolesReport{}, false)
	f(rolesReport{findings: findings{Lost: 1}}, true)
	f(rolesReport{ScaleCycles: 1, ScalePauseMsMax: 999, ScalePubackP99Ms: 20, ScalePubackBeforeP99Ms: 10}, false)
	f(rolesReport{ScaleCycles: 1, ScalePauseMsMax: 1001, ScalePubackP99Ms: 20, ScalePubackBeforeP99Ms: 10}, true)
	f(rolesReport{ScaleCycles: 1, ScalePauseMsMax: 10, ScalePubackP99Ms: 21, ScalePubackBeforeP99Ms: 10}, true)
}

func TestRolesSayWhatIsWrong(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		err := run(t.Context(), args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something about %q", args, err, want)
		}
	}
	f("--aggregates", "crash", "--roles", "--aggregates", "0")
	f("need --roles", "crash", "--zombies", "3")
	f("--fault-each", "soak", "--fault-each", "0s")
	f("--partitions", "soak", "--partitions", "0")
}

// TestABrokenRoleEndsTheRun: processes that end by themselves again and again are named with what they said.
func TestABrokenRoleEndsTheRun(t *testing.T) {
	dir := t.TempDir()
	broken, idle := filepath.Join(dir, "broken"), filepath.Join(dir, "idle")
	for path, script := range map[string]string{broken: "#!/bin/sh\necho the disk is on fire\nexit 3\n", idle: "#!/bin/sh\nexec sleep 1000\n"} {
		if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var progress strings.Builder
	err := run(t.Context(), []string{"crash", "--roles", "--server", broken, "--nats-server", idle, "--dir", filepath.Join(dir, "w")}, io.Discard, &progress)
	if err == nil || !strings.Contains(err.Error(), "ended by themselves") || !strings.Contains(progress.String(), "the disk is on fire") {
		t.Errorf("crash with broken roles: %v; it said %q", err, progress.String())
	}
}
