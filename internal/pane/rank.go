package pane

import (
	"cmp"
	"slices"
	"sort"

	"github.com/gridloom/gridloom"
)

// SeriesTable names the series that an owner's rows count by number. Its slices only
// ever grow: a copy of the struct stays right while their owner appends.
type SeriesTable struct {
	Meters    []string              // distinct
	MeterOf   []uint32              // of each series, into Meters
	Registers []gridloom.RegisterID // of each series
	Names     []string              // agents and serials
}

// Ranking knows the order in which the series of one SeriesTable stand in segments: by
// register code, then meter. It is kept from commit to commit, so that only new
// meters are compared; the zero value has seen none. Not safe for concurrent use.
type Ranking struct {
	registers []uint16 // rank of each register's code
	meters    []uint32 // sorted by name
	meterRank []uint32 // of each meter
	order     []uint32 // all series in file order
	place     []uint32 // of each series in order
	spare     []uint32

	counts  []uint32 // rows of each series, then the place of its next one; 0 between rounds
	touched []uint32
}

// update takes in what was appended to the table.
func (r *Ranking) update(t *SeriesTable) {
	if len(r.order) == len(t.MeterOf) {
		return
	}
	if r.registers == nil {
		r.rankRegisters()
	}
	r.rankMeters(t.Meters)
	// Two stable counting passes: by meter, then by register.
	n := len(t.MeterOf)
	r.order, r.place, r.spare = room(r.order, n), room(r.place, n), room(r.spare, n)
	next := make([]uint32, max(len(t.Meters), len(r.registers))+1)
	for _, m := range t.MeterOf {
		next[r.meterRank[m]+1]++
	}
	sums(next)
	for s, m := range t.MeterOf {
		at := &next[r.meterRank[m]]
		r.spare[*at] = uint32(s)
		*at++
	}
	clear(next)
	for _, g := range t.Registers[:n] {
		next[r.registers[g]+1]++
	}
	sums(next)
	for _, s := range r.spare {
		at := &next[r.registers[t.Registers[s]]]
		r.order[*at] = s
		r.place[s] = *at
		*at++
	}
	for len(r.counts) < n {
		r.counts = append(r.counts, 0)
	}
}

// room returns s with n elements, in memory that doubles as a table grows.
func room(s []uint32, n int) []uint32 { return slices.Grow(s[:0], n)[:n] }

// sums replaces counts, each one place late, by their running sums.
func sums(counts []uint32) {
	for i := 1; i < len(counts); i++ {
		counts[i] += counts[i-1]
	}
}

func (r *Ranking) rankRegisters() {
	ids := make([]gridloom.RegisterID, gridloom.Registers())
	for i := range ids {
		ids[i] = gridloom.RegisterID(i)
	}
	slices.SortFunc(ids, func(a, b gridloom.RegisterID) int { return cmp.Compare(a.Info().Code, b.Info().Code) })
	r.registers = make([]uint16, len(ids))
	for rank, id := range ids {
		r.registers[id] = uint16(rank)
	}
}

// rankMeters sorts the new meters and merges them into the others.
func (r *Ranking) rankMeters(names []string) {
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
	for i, m := range slices.Backward(fresh) {
		name := names[m]
		at := sort.Search(rest, func(k int) bool { return names[merged[k]] > name })
		copy(merged[at+i+1:], merged[at:rest])
		merged[at+i] = m
		rest = at
	}
	r.meters, r.meterRank = merged, room(r.meterRank, len(names))
	for rank, m := range merged {
		r.meterRank[m] = uint32(rank)
	}
}

// denseShare is the part of all series from which on it is cheaper to look at all of
// them in order than to sort those that have rows.
const denseShare = 16

// A round of ordering rows by series: count each row's series, settle, take the next
// place for each row in turn, clear.

// count notes a row of a series.
func (r *Ranking) count(series uint32) {
	n := &r.counts[series]
	if *n == 0 {
		r.touched = append(r.touched, series)
	}
	*n++
}

// settle returns the series that have rows, in file order, and where each one's rows
// end. The series are valid until the next round.
func (r *Ranking) settle(ends []int32) ([]uint32, []int32) {
	if len(r.touched) > len(r.order)/denseShare {
		r.touched = r.touched[:0]
		for _, s := range r.order {
			if r.counts[s] != 0 {
				r.touched = append(r.touched, s)
			}
		}
	} else {
		slices.SortFunc(r.touched, func(a, b uint32) int { return cmp.Compare(r.place[a], r.place[b]) })
	}
	ends = resize(ends, len(r.touched))
	from := uint32(0)
	for i, s := range r.touched {
		c := r.counts[s]
		r.counts[s] = from
		from += c
		ends[i] = int32(from)
	}
	return r.touched, ends
}

// next returns the place of the next row of a series.
func (r *Ranking) next(series uint32) uint32 {
	n := &r.counts[series]
	*n++
	return *n - 1
}

// clear ends a round.
func (r *Ranking) clear() {
	for _, s := range r.touched {
		r.counts[s] = 0
	}
	r.touched = r.touched[:0]
}

// describe fills in what a segment tells of its series, which stand in file order.
func (r *Ranking) describe(g *Segment, t *SeriesTable, series []uint32) {
	least, most := uint32(1<<32-1), uint32(0)
	for i, s := range series {
		rank := r.meterRank[t.MeterOf[s]]
		least, most = min(least, rank), max(most, rank)
		if i == 0 || t.Registers[s] != t.Registers[series[i-1]] {
			g.Registers = append(g.Registers, t.Registers[s].Info().Code)
		}
	}
	g.MinMeter, g.MaxMeter = t.Meters[r.meters[least]], t.Meters[r.meters[most]]
	if names := r.meterNames(t, series); names != nil {
		g.Meters = newFilter(names)
	}
}

// meterNames returns the distinct meters of series in order, or nil if they are more
// than a filter takes.
func (r *Ranking) meterNames(t *SeriesTable, series []uint32) []string {
	seen := map[uint32]struct{}{}
	for _, s := range series {
		if seen[t.MeterOf[s]] = struct{}{}; len(seen) > maxFilterMeters {
			return nil
		}
	}
	names := make([]string, 0, len(seen))
	for m := range seen {
		names = append(names, t.Meters[m])
	}
	slices.Sort(names)
	return names
}

// seriesRuns writes the first two columns of a row group, register and meter, as runs:
// series[i] stands for counts[i] rows.
func (e *encoder) seriesRuns(t *SeriesTable, series []uint32, counts []int32, memo *runMemo) {
	memo.ids, memo.words = resize(memo.ids, len(series)), memo.words[:0]
	for i, s := range series {
		if i == 0 || t.Registers[s] != t.Registers[series[i-1]] {
			memo.words = append(memo.words, t.Registers[s].Info().Code)
		}
		memo.ids[i] = int32(len(memo.words) - 1)
	}
	e.stringRuns(memo.words, memo.ids, counts)

	memo.words = memo.words[:0]
	if len(memo.at) < len(t.Meters) {
		memo.at = make([]int32, max(len(t.Meters), 2*len(memo.at)))
	}
	for i, s := range series {
		m := t.MeterOf[s]
		if memo.at[m] == 0 {
			memo.words = append(memo.words, t.Meters[m])
			memo.at[m] = int32(len(memo.words))
		}
		memo.ids[i] = memo.at[m] - 1
	}
	e.stringRuns(memo.words, memo.ids, counts)
	for _, s := range series {
		memo.at[t.MeterOf[s]] = 0
	}
}

// runMemo is the memory of seriesRuns.
type runMemo struct {
	words []string
	ids   []int32
	at    []int32 // number of each meter in the row group, plus 1; 0 between uses
}
