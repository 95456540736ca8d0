package aggregate

import (
	"cmp"
	"slices"
	"sort"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// ranking knows the place of every series in the order of segments: by register code,
// then meter. It is kept from commit to commit, so that only new meters are compared.
// It belongs to who saves.
type ranking struct {
	registers []uint32 // rank of each register's code
	meters    []uint32 // sorted by name
	ofMeter   []uint32 // rank of each meter
	ofSeries  []uint32
	byMeter   []uint32 // series, while they are ranked
}

// update returns the rank of each series, those that are new included. It is valid
// until the next call.
func (r *ranking) update(n *pane.SeriesNames) []uint32 {
	if len(r.ofSeries) == len(n.Meter) {
		return r.ofSeries
	}
	if r.registers == nil {
		r.registers = registerRanks()
	}
	r.rankMeters(n.Meters)
	// Two stable counting passes.
	r.ofSeries, r.byMeter = sized(r.ofSeries, len(n.Meter)), sized(r.byMeter, len(n.Meter))
	next := make([]uint32, max(len(n.Meters), len(r.registers))+1)
	for _, m := range n.Meter {
		next[r.ofMeter[m]+1]++
	}
	sumUp(next)
	for s, m := range n.Meter {
		at := &next[r.ofMeter[m]]
		r.byMeter[*at] = uint32(s)
		*at++
	}
	clear(next)
	for _, g := range n.Register {
		next[r.registers[g]+1]++
	}
	sumUp(next)
	for _, s := range r.byMeter {
		at := &next[r.registers[n.Register[s]]]
		r.ofSeries[s] = *at
		*at++
	}
	return r.ofSeries
}

// rankMeters sorts the new meters and merges them into the others.
func (r *ranking) rankMeters(names []string) {
	known := len(r.meters)
	if known == len(names) {
		return
	}
	fresh := make([]uint32, len(names)-known)
	for i := range fresh {
		fresh[i] = uint32(known + i)
	}
	slices.SortFunc(fresh, func(a, b uint32) int { return cmp.Compare(names[a], names[b]) })
	// From the end, so that each meter moves once.
	merged := slices.Grow(r.meters, len(fresh))[:len(names)]
	rest := known
	for i := len(fresh) - 1; i >= 0; i-- {
		name := names[fresh[i]]
		at := sort.Search(rest, func(k int) bool { return names[merged[k]] > name })
		copy(merged[at+i+1:], merged[at:rest])
		merged[at+i] = fresh[i]
		rest = at
	}
	r.meters, r.ofMeter = merged, sized(r.ofMeter, len(names))
	for rank, m := range merged {
		r.ofMeter[m] = uint32(rank)
	}
}

// registerRanks returns the rank of each register's code.
func registerRanks() []uint32 {
	ids := make([]gridloom.RegisterID, gridloom.Registers())
	for i := range ids {
		ids[i] = gridloom.RegisterID(i)
	}
	slices.SortFunc(ids, func(a, b gridloom.RegisterID) int { return cmp.Compare(a.Info().Code, b.Info().Code) })
	ranks := make([]uint32, len(ids))
	for rank, id := range ids {
		ranks[id] = uint32(rank)
	}
	return ranks
}

// sumUp replaces counts, each one place late, by their running sums.
func sumUp(counts []uint32) {
	for i := 1; i < len(counts); i++ {
		counts[i] += counts[i-1]
	}
}

// sized returns s with n elements whose contents are undefined, in its own memory where that suffices.
func sized(s []uint32, n int) []uint32 { return slices.Grow(s[:0], n)[:n] }
