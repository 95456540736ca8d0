package pane

import (
	"cmp"
	"slices"

	"github.com/gridloom/gridloom"
)

// arrangement is the order in which rows are written, and what it was made from.
// It is valid until the arranger's next use.
type arrangement struct {
	rows      []int32  // positions of the rows, in file order
	meters    []string // sorted
	registers []string // codes, sorted
}

// arranger orders rows and keeps its memory from one use to the next.
type arranger struct {
	meterOf    []int32
	registerOf []gridloom.RegisterID
	rows, next []int32
	counts     []int32
}

// arrange orders n rows by register code and meter, and rows of one series by
// less. Two counting passes find the series; within one, rows mostly come in time
// order already, and only a series that does not is sorted.
func (a *arranger) arrange(n int, series func(i int) (gridloom.RegisterID, string), less func(i, j int32) int) arrangement {
	a.meterOf, a.registerOf = resize(a.meterOf, n), resize(a.registerOf, n)
	a.rows, a.next = resize(a.rows, n), resize(a.next, n)
	meterOf, registerOf, rows := a.meterOf, a.registerOf, a.rows
	ids := make(map[string]int32)
	var meters []string
	last := int32(-1)
	seen := make([]bool, gridloom.Registers())
	for i := range n {
		register, meter := series(i)
		if last < 0 || meters[last] != meter {
			id, ok := ids[meter]
			if !ok {
				id = int32(len(meters))
				ids[meter] = id
				meters = append(meters, meter)
			}
			last = id
		}
		meterOf[i], registerOf[i] = last, register
		seen[register] = true
	}
	meterRank, sorted := rank(meters)
	codes := make([]string, 0, len(seen))
	for id, ok := range seen {
		if ok {
			codes = append(codes, gridloom.RegisterID(id).Info().Code)
		}
	}
	slices.Sort(codes)
	registerRank := make([]int32, len(seen))
	for r, code := range codes {
		id, _ := gridloom.RegisterByName(code)
		registerRank[id] = int32(r)
	}

	for i := range rows {
		rows[i] = int32(i)
	}
	rows = a.distribute(rows, len(meters), func(i int32) int32 { return meterRank[meterOf[i]] })
	rows = a.distribute(rows, len(codes), func(i int32) int32 { return registerRank[registerOf[i]] })
	for lo := 0; lo < n; {
		hi := lo + 1
		inOrder := true
		for hi < n && meterOf[rows[hi]] == meterOf[rows[lo]] && registerOf[rows[hi]] == registerOf[rows[lo]] {
			inOrder = inOrder && less(rows[hi-1], rows[hi]) <= 0
			hi++
		}
		if !inOrder {
			slices.SortStableFunc(rows[lo:hi], less)
		}
		lo = hi
	}
	return arrangement{rows: rows, meters: sorted, registers: codes}
}

// rank returns each word's place in sorted order, and the words in that order. Words are distinct.
func rank(words []string) (ranks []int32, sorted []string) {
	order := make([]int32, len(words))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(words[a], words[b]) })
	ranks = make([]int32, len(words))
	sorted = make([]string, len(words))
	for r, i := range order {
		ranks[i] = int32(r)
		sorted[r] = words[i]
	}
	return ranks, sorted
}

// distribute is one stable counting pass over keys in [0, count). The result is in
// the memory of a that rows is not in.
func (a *arranger) distribute(rows []int32, count int, key func(i int32) int32) []int32 {
	if count < 2 {
		return rows
	}
	a.counts = resize(a.counts, count+1)
	next := a.counts
	clear(next)
	for _, i := range rows {
		next[key(i)+1]++
	}
	for k := 1; k <= count; k++ {
		next[k] += next[k-1]
	}
	out := a.next
	for _, i := range rows {
		k := key(i)
		out[next[k]] = i
		next[k]++
	}
	a.rows, a.next = a.next, a.rows
	return out
}
