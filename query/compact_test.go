package query

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// mergeSome merges some neighbours among the segments of one kind of a partition, as
// compaction does. It reports whether there were two.
func (w *world) mergeSome(rng *rand.Rand, p int, kind pane.Kind) bool {
	w.t.Helper()
	ctx := context.Background()
	m := &w.manifests[p]
	var list []pane.Segment
	for seg, err := range w.store.Segments(ctx, m, kind, pane.Selector{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, seg)
	}
	if len(list) < 2 {
		return false
	}
	first := rng.IntN(len(list) - 1)
	inputs := list[first : first+2+rng.IntN(min(4, len(list)-first-1))]
	level := 1
	var paths []string
	for _, g := range inputs {
		paths = append(paths, g.Path)
		level = max(level, g.Level+1)
	}
	outputs, err := w.store.Merge(ctx, w.where(p), kind, inputs, level)
	if err != nil {
		w.t.Fatal(err)
	}
	dropped, ok, err := w.store.Replace(ctx, m, paths, outputs)
	if err != nil || !ok {
		w.t.Fatalf("replace: %v, %v", ok, err)
	}
	w.swap(p)
	for _, path := range dropped { // no query runs: what it may still need is gone
		if err := w.dir.Delete(ctx, path); err != nil {
			w.t.Fatal(err)
		}
	}
	return true
}

// TestCompactionChangesNoAnswer asks everything before and after each of many merges, of
// which the last leave one segment of a kind, with their inputs deleted.
func TestCompactionChangesNoAnswer(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 4))
	rows := neighbourhood(rng, 5)
	w := newWorld(t)
	truth := foldAll(window.Defaults(), rows, t0+10*gridloom.Day)
	w.scatter(rng, truth, 12)
	for len(rows) > 0 { // raw rows in the order of the log, as commits write them
		n := min(len(rows), 40+rng.IntN(400))
		w.commit(nil, rows[:n])
		rows = rows[n:]
	}
	paths := []string{
		"/api/v1/windows?" + wholeDay,
		"/api/v1/windows?" + wholeDay + "&group_by=register&step=1h",
		"/api/v1/readings?" + wholeDay,
		"/api/v1/readings?" + wholeDay + "&history=true",
		"/api/v1/readings?" + wholeDay + "&as_of=2026-11-22T11:11:00Z&meter=m01",
		"/api/v1/windows?" + wholeDay + "&as_of=2026-11-22T09:17:00Z",
		"/api/v1/windows?from=2026-11-22T03:00:00Z&to=2026-11-22T09:00:00Z&as_of=2026-11-22T20:00:00Z&meter=m02",
	}
	ask := func() (all [][]row) {
		w.forget()
		address := w.serve()
		for _, p := range paths {
			all = append(all, rowsOf(t, address+p))
		}
		return all
	}
	want := ask()
	for i := range want {
		if len(want[i]) == 0 {
			t.Fatalf("%s has no rows", paths[i])
		}
	}
	for round := 0; ; round++ {
		merged := false
		for p := range testPartitions {
			raw, panes := w.mergeSome(rng, p, pane.KindRaw), w.mergeSome(rng, p, pane.KindPane)
			merged = merged || raw || panes
		}
		if !merged {
			if round < 4 {
				t.Fatalf("only %d rounds of merges", round)
			}
			return
		}
		if diff := cmp.Diff(want, ask()); diff != "" {
			t.Fatalf("round %d: (-want +got)\n%.3000s", round, diff)
		}
	}
}
