package wire

// maxInterned bounds the strings that a table remembers from one Reset to the
// next: the meters of a partition come back in every frame, and a string of 12
// bytes costs about 70 here. Past it the table forgets all and starts again.
const maxInterned = 1 << 16

// interner finds the place of a string in one table, and the string itself without
// an allocation if an earlier use of the table had it too.
//
// Meters come in the order in which they came before, message by message, so each
// string remembers which came after it. To compare with that one takes 6 ns where
// looking it up takes 18 while the table stays in the processor's cache
// (BenchmarkAddMeter); under load it does not, and looking up was 14 % of the
// server's CPU time.
type interner struct {
	known   map[string]uint32 // index into entries
	entries []interned
	round   uint32 // counts resets, so that forgetting places costs nothing
}

// interned is a known string, its place in the table if round is the interner's,
// and the index of the string that came after it.
type interned struct {
	s     string
	round uint32
	place uint32
	next  uint32
}

// reset forgets all places and, past maxInterned, the strings.
func (t *interner) reset() {
	t.round++
	if len(t.entries) > maxInterned || t.round == 0 {
		*t = interner{round: 1}
	}
}

// add returns the place of s in table, appending it where it is new there.
func add[T string | []byte](t *interner, table *[]string, s T) uint32 {
	i, ok := t.known[string(s)]
	if !ok {
		i = t.learn(string(s))
	}
	return t.place(i, table)
}

// guess returns the index of the known string that came after the one at index
// last, if it is s. Any last will do: a wrong one is a miss.
func guess[T string | []byte](t *interner, last uint32, s T) (i uint32, ok bool) {
	if uint64(last) >= uint64(len(t.entries)) {
		return 0, false
	}
	i = t.entries[last].next
	return i, uint64(i) < uint64(len(t.entries)) && t.entries[i].s == string(s)
}

// followed notes that the string at index i came after the one at index last.
func (t *interner) followed(last, i uint32) {
	if uint64(last) < uint64(len(t.entries)) {
		t.entries[last].next = i
	}
}

// after returns the index of s, which came after the string at index *last, and
// sets *last to it.
func after[T string | []byte](t *interner, last *uint32, s T) uint32 {
	i, ok := guess(t, *last, s)
	if !ok {
		if i, ok = t.known[string(s)]; !ok {
			i = t.learn(string(s))
		}
		t.followed(*last, i)
	}
	*last = i
	return i
}

// place returns the place in table of the known string i, appending it where it is new there.
func (t *interner) place(i uint32, table *[]string) uint32 {
	e := &t.entries[i]
	if e.round != t.round {
		e.round, e.place = t.round, uint32(len(*table))
		*table = append(*table, e.s)
	}
	return e.place
}

// knows returns b as a string if it is known, without allocating.
func (t *interner) knows(b []byte) (string, bool) {
	i, ok := t.known[string(b)]
	if !ok {
		return "", false
	}
	return t.entries[i].s, true
}

// learn remembers a new string.
func (t *interner) learn(s string) uint32 {
	if t.known == nil {
		t.known = make(map[string]uint32)
	}
	i := uint32(len(t.entries))
	t.entries = append(t.entries, interned{s: s, round: t.round - 1})
	t.known[s] = i
	return i
}

// text returns b as a string, an earlier one where b is known.
func (t *interner) text(b []byte) string {
	if s, ok := t.knows(b); ok {
		return s
	}
	return t.entries[t.learn(string(b))].s
}
