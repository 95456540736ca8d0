package protocol_test

import (
	"time"

	"github.com/gridloom/gridloom/aggregate/protocol"
)

// sweep has an owner delete a file that nobody needs. It is two moves: what was
// decided may be done much later.
func (m *model) sweep(s state, o uint8) {
	w := &s.own[o]
	if !m.sweeps || w.phase != running {
		return
	}
	if w.sweeps > 0 {
		i := w.sweeps - 1
		w.sweeps = 0
		if st, _, _ := s.fileAt(i); st == there {
			if s.readerNeeds(i) {
				s.bad = sweptBeneathReader
			}
			s.deleteFile(i)
		}
		for a := range w.dropped {
			w.dropped[a] &^= 1 << i
		}
		m.yield(move{kind: sweeps, who: o, arg: i}, s)
		return
	}
	for i := range uint8(files) {
		if st, _, _ := s.fileAt(i); st == there && m.sweepable(&s, w, i) {
			next := s
			next.own[o].sweeps = i + 1
			m.yield(move{kind: willSweep, who: o, arg: i}, next)
		}
	}
}

// readerNeeds reports whether the query under way relies on file i.
func (s *state) readerNeeds(i uint8) bool {
	switch {
	case s.q.man == 0 || s.named(s.q.man-1)&(1<<i) == 0:
		return false
	case s.q.step == standing:
		return true
	}
	return s.q.step == answered && !s.reg.none && s.reg.head.epoch == s.q.epoch && s.reg.head.owner == s.q.owner
}

// sweepable decides over file i as aggregate's sweeper does: by the manifest of the head,
// by those that are kept before it, and by protocol.Sweep.
func (m *model) sweepable(s *state, w *owner, i uint8) bool {
	mine, now := w.head.expand(), s.reg.head.expand()
	if s.reg.none || protocol.Stands(&mine, &now) != nil {
		return false // somebody else owns the partition
	}
	var named uint32
	if w.head.man > 0 {
		named = s.named(w.head.man - 1)
	}
	kept := uint8(0)
	for slot := fileSlots - 1; slot >= 0 && kept < m.retained; slot-- { // newest first
		if s.mans[slot].st == there && uint8(slot)+1 != w.head.man {
			named |= s.named(uint8(slot))
			kept++
		}
	}
	sweep := protocol.Sweep{Epoch: uint64(w.head.epoch), Owned: ticksOf(w.owned), Lease: ticksOf(lease)}
	for j := range uint8(files) {
		if st, _, epoch := s.fileAt(j); st == there {
			sweep.TopEpoch = max(sweep.TopEpoch, uint64(epoch))
		}
	}
	_, age, epoch := s.fileAt(i)
	f := protocol.File{Epoch: uint64(epoch), Age: ticksOf(age), Named: named&(1<<i) != 0}
	for since := range w.dropped {
		if w.dropped[since]&(1<<i) != 0 {
			f.Dropped, f.Since = true, ticksOf(uint8(since))
		}
	}
	switch {
	case m.broken.sweepUnreferenced:
		return !f.Named
	case m.broken.sweepUnaged:
		sweep.Lease = 0
	case m.broken.sweepOwn:
		f.Dropped, f.Since = f.Dropped || f.Age >= sweep.Lease, f.Age
	}
	return sweep.Verdict(&f).Deletes()
}

func ticksOf(n uint8) time.Duration { return time.Duration(n) * time.Minute }
