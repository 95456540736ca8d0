package members

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// Targets returns the node of each of count partitions: rendezvous hashing with
// bounded load. Every pair of node and partition has a score, and pairs are taken by
// falling score while the partition is free and the node has room for it. No node
// gets more than ⌈count/nodes⌉. It depends on the set of nodes alone, and when a node
// joins or leaves, most partitions stay where they are. Nil without nodes.
func Targets(nodes []string, count int) []string {
	nodes = slices.Compact(slices.Sorted(slices.Values(nodes)))
	if len(nodes) == 0 {
		return nil
	}
	type pair struct {
		score     uint64
		node      int
		partition int
	}
	pairs := make([]pair, 0, len(nodes)*count)
	for n, node := range nodes {
		seed := hash(node)
		for p := range count {
			pairs = append(pairs, pair{mix(seed ^ mix(uint64(p)+1)), n, p})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.partition, b.partition), cmp.Compare(a.node, b.node))
	})
	most := (count + len(nodes) - 1) / len(nodes)
	load := make([]int, len(nodes))
	targets := make([]string, count)
	for _, x := range pairs {
		if targets[x.partition] == "" && load[x.node] < most {
			targets[x.partition] = nodes[x.node]
			load[x.node]++
		}
	}
	return targets
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails (hash.Hash)
	return h.Sum64()
}

// mix is the finaliser of SplitMix64 (Sebastiano Vigna, public domain).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
