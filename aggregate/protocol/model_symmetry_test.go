package protocol_test

import "cmp"

// The owners are alike, so a state and the one with their names exchanged lead to the
// same. Of each such pair a search looks at one only, where it can tell which.

// canonical returns the one of the pair that is looked at.
func canonical(s state) state {
	if s.own[0].compare(&s.own[1]) <= 0 {
		return s
	}
	s.own[0], s.own[1] = s.own[1], s.own[0]
	for o := range s.own {
		s.own[o].head.exchange()
		s.own[o].want.exchange()
	}
	s.reg.head.exchange()
	for i := range s.net {
		s.net[i].head.exchange()
	}
	s.order()
	if s.q.step != idle {
		s.q.owner ^= 1
	}
	return s
}

func (h *head) exchange() {
	if h.epoch > 0 {
		h.owner ^= 1
		h.id ^= 1 << 4
	}
}

// compare need not tell all owners apart: what it takes for equal is searched twice.
func (w *owner) compare(v *owner) int {
	return cmp.Or(
		cmp.Compare(w.phase, v.phase), cmp.Compare(w.ids, v.ids), cmp.Compare(w.head.epoch, v.head.epoch), cmp.Compare(w.want.epoch, v.want.epoch),
		cmp.Compare(w.saving, v.saving), cmp.Compare(w.next, v.next), cmp.Compare(w.rows, v.rows), cmp.Compare(w.era, v.era), cmp.Compare(w.rev, v.rev),
		cmp.Compare(w.expected, v.expected), cmp.Compare(w.purges, v.purges), cmp.Compare(w.sweeps, v.sweeps), cmp.Compare(w.merge.epoch, v.merge.epoch),
		cmp.Compare(w.merge.out, v.merge.out), cmp.Compare(w.owned, v.owned),
	)
}
