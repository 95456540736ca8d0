package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// seedsInTest is how many seeds make test runs (race_test.go: without the race detector).
func seedsInTest() int {
	if underRace {
		return 40
	}
	return 500
}

// fromEnv reads a number, def without one.
func fromEnv(t *testing.T, name string, def uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// TestSeeds runs worlds. GRIDLOOM_SIM_SEED=n runs one and shows its events;
// GRIDLOOM_SIM_SEEDS=n runs so many, from GRIDLOOM_SIM_FROM on.
func TestSeeds(t *testing.T) {
	if os.Getenv("GRIDLOOM_SIM_SEED") != "" {
		seed := fromEnv(t, "GRIDLOOM_SIM_SEED", 0)
		st, err := run(t.Context(), seed, eventsEach, os.Stdout, nil)
		t.Logf("seed %d: %+v", seed, st)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	seeds := uint64(seedsInTest())
	if testing.Short() {
		seeds = 20
	}
	seeds = fromEnv(t, "GRIDLOOM_SIM_SEEDS", seeds)
	from := fromEnv(t, "GRIDLOOM_SIM_FROM", 0)
	goroutines := runtime.NumGoroutine()

	var next atomic.Uint64
	var mu sync.Mutex
	var sum stats
	const enough = 10 // failures: more of them tell nothing new
	var failures atomic.Uint64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < seeds && failures.Load() < enough; i = next.Add(1) - 1 {
				st, err := run(t.Context(), from+i, eventsEach, nil, nil)
				mu.Lock()
				sum.add(&st)
				if err != nil {
					failures.Add(1)
					t.Errorf("seed %d: %v\nGRIDLOOM_SIM_SEED=%d go test -run TestSeeds ./internal/sim shows how it came to that", from+i, err, from+i)
				}
				if done := i + 1; done%1000 == 0 {
					t.Logf("%d seeds: %+v", done, sum)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds of %d events, %d failed: %+v", seeds, eventsEach, failures.Load(), sum)
	awaitGoroutines(t, goroutines)
	if failures.Load() > 0 {
		return
	}
	// A world in which nothing goes wrong shows nothing.
	for what, n := range map[string]int{
		"promises": sum.Promised, "commits": sum.Commits, "merges": sum.Merges, "swept files": sum.Swept, "claims": sum.Claims, "fenced owners": sum.Fenced, "crashes": sum.Crashes,
		"lost connections": sum.Losses, "ambiguous writes": sum.Ambiguous, "late messages": sum.Late, "stale reads": sum.Stale,
		"answers": sum.Answers, "rejects": sum.Refused, "edits": sum.Edits, "undos": sum.Undos,
		"bounds of retention": 3 * sum.Retained, "expired readings": 3 * sum.Expired, // in one world of three
	} {
		if uint64(n) < seeds {
			t.Errorf("only %d %s in %d seeds", n, what, seeds)
		}
	}
}

// awaitGoroutines waits until no more goroutines are left than there were: those of
// the workers need a moment to end.
func awaitGoroutines(t *testing.T, were int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 5000 {
		if runtime.NumGoroutine() <= were {
			return
		}
		<-tick.C
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d goroutines are left, there were %d:\n%s", runtime.NumGoroutine(), were, stacks[:runtime.Stack(stacks, true)])
}

// TestASeedRepeatsItself compares the traces of two runs of a seed, which tell of every
// frame and every manifest by its checksum.
func TestASeedRepeatsItself(t *testing.T) {
	for seed := range uint64(8) {
		trace := func(out io.Writer) {
			if _, err := run(t.Context(), seed, eventsEach, out, nil); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		one, two := sha256.New(), sha256.New()
		trace(one)
		trace(two)
		if a, b := hex.EncodeToString(one.Sum(nil)), hex.EncodeToString(two.Sum(nil)); a != b {
			t.Errorf("seed %d does not repeat itself: %s and %s", seed, a, b)
		}
	}
}
