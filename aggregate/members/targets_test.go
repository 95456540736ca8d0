package members

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func nodesOf(n int) (nodes []string) {
	for i := range n {
		nodes = append(nodes, fmt.Sprintf("node-%d", i))
	}
	return nodes
}

// TestTargetsAreBalancedAndTheSameForAll: in whatever order a process lists the nodes.
func TestTargetsAreBalancedAndTheSameForAll(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, count := range []int{1, 4, 7, 64, 200} {
		for n := 1; n <= 9; n++ {
			nodes := nodesOf(n)
			want := Targets(nodes, count)
			load := map[string]int{}
			for _, node := range want {
				load[node]++
			}
			for node, l := range load {
				if most := (count + n - 1) / n; l > most || !slices.Contains(nodes, node) {
					t.Errorf("%d partitions on %d nodes: %q has %d, at most %d are allowed", count, n, node, l, most)
				}
			}
			if len(want) != count || slices.Contains(want, "") {
				t.Errorf("%d partitions on %d nodes: %q", count, n, want)
			}
			rng.Shuffle(n, func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
			if diff := cmp.Diff(want, Targets(append(nodes, nodes[0]), count)); diff != "" {
				t.Errorf("another order, and a node named twice, give other targets:\n%s", diff)
			}
		}
	}
	if Targets(nil, 4) != nil {
		t.Error("targets without nodes")
	}
}

// TestFewPartitionsMoveWhenANodeJoins: over many sets of nodes, on average less than
// twice what must move for the newcomer to get its share. The same pairs of sets tell
// what moves when a node leaves.
func TestFewPartitionsMoveWhenANodeJoins(t *testing.T) {
	const count, sets = 64, 200
	for n := 1; n <= 8; n++ {
		moved := 0
		for s := range sets {
			var nodes []string
			for i := range n + 1 {
				nodes = append(nodes, fmt.Sprintf("set-%d-node-%d", s, i))
			}
			before, after := Targets(nodes[:n], count), Targets(nodes, count)
			for p := range before {
				if before[p] != after[p] {
					moved++
				}
			}
		}
		share := float64(count) / float64(n+1)
		if got := float64(moved) / sets; got > 2*share {
			t.Errorf("%d → %d nodes move %.1f of %d partitions, the newcomer's share is %.1f", n, n+1, got, count, share)
		} else {
			t.Logf("%d → %d nodes move %.1f of %d partitions, the newcomer's share is %.1f", n, n+1, got, count, share)
		}
	}
}

// TestTargetsAreFrozen: processes of two versions must agree, or they would hand
// partitions to and fro.
func TestTargetsAreFrozen(t *testing.T) {
	got := strings.Join(Targets([]string{"a", "b", "c"}, 16), "")
	if want := frozenTargets; got != want {
		t.Errorf("targets = %s, want %s", got, want)
	}
}

const frozenTargets = "caaaacbaabbcccbc"
