package pane

// wordTable numbers the distinct strings of a column in order of appearance.
// Columns are sorted or made of long runs, so that most rows repeat the last one.
type wordTable struct {
	words []string
	ids   map[string]int32
}

// index sets dst to the number of each value.
func (t *wordTable) index(dst []int32, values []string) {
	t.words = t.words[:0]
	if t.ids == nil {
		t.ids = map[string]int32{}
	}
	clear(t.ids)
	last := int32(-1)
	for i, v := range values {
		if last < 0 || t.words[last] != v {
			id, ok := t.ids[v]
			if !ok {
				id = int32(len(t.words))
				t.ids[v] = id
				t.words = append(t.words, v)
			}
			last = id
		}
		dst[i] = last
	}
}

// numberTable numbers the distinct integers of a column in order of appearance:
// an open-addressing table, 4 times as fast as a map here (BenchmarkWriteRaw).
type numberTable struct {
	numbers []int64
	slots   []int32 // number of a value + 1, 0 if free; a power of two of them
}

const minSlots = 64

// index sets dst to the number of each value.
func (t *numberTable) index(dst []int32, values []int64) { t.indexFew(dst, values, len(values)) }

// indexFew is index that gives up, and returns false, beyond so many distinct values.
func (t *numberTable) indexFew(dst []int32, values []int64, most int) bool {
	t.numbers = t.numbers[:0]
	if len(t.slots) > 1<<16 || len(t.slots) == 0 {
		t.slots = make([]int32, minSlots)
	}
	clear(t.slots)
	last := int32(-1)
	for i, v := range values {
		if last < 0 || t.numbers[last] != v {
			if last = t.find(v); len(t.numbers) > most {
				return false
			}
		}
		dst[i] = last
	}
	return true
}

func (t *numberTable) find(v int64) int32 {
	mask := uint64(len(t.slots) - 1)
	at := hashNumber(v) & mask
	for t.slots[at] != 0 {
		if id := t.slots[at] - 1; t.numbers[id] == v {
			return id
		}
		at = (at + 1) & mask
	}
	t.numbers = append(t.numbers, v)
	t.slots[at] = int32(len(t.numbers))
	if len(t.numbers)*2 > len(t.slots) {
		t.grow()
	}
	return int32(len(t.numbers) - 1)
}

func (t *numberTable) grow() {
	t.slots = make([]int32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for id, v := range t.numbers {
		at := hashNumber(v) & mask
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = int32(id + 1)
	}
}

func hashNumber(v int64) uint64 {
	h := uint64(v) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}
