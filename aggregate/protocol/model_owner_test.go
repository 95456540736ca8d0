package protocol_test

import (
	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

// What owners do. Each function is one kind of move: it is given a state by value and
// yields every state that one such move can lead to.

// claim loads the head and sends the next one on its way.
func (m *model) claim(s state, o uint8) {
	w := &s.own[o]
	if w.phase != down || w.ids == m.ids {
		return
	}
	w.ids++
	me := protocol.Claimant{Owner: letter(o)}
	id := letter(o<<4 | w.ids)
	w.expected = s.reg.rev
	var h gridloom.Head
	if s.reg.none {
		found := 0
		for i := range uint8(files) {
			if st, _, _ := s.fileAt(i); st == there {
				found++
			}
		}
		if err := protocol.MayCreate(0, found); err != nil && !m.broken.createAlways {
			if s.losses == 0 {
				s.bad = stoppedForNothing
			}
			w.phase = stopped
			m.yield(move{kind: claims, who: o}, s)
			return
		}
		h = protocol.First(1, 0, created, me, id)
	} else {
		if s.reg.head.epoch == m.epochs {
			return
		}
		h = protocol.Claim(s.reg.head.expand(), me, id)
	}
	w.phase, w.want = claiming, pack(&h)
	if m.send(&s, put{head: w.want, expected: w.expected, there: true}) {
		m.yield(move{kind: claims, who: o}, s)
	}
}

// readBack looks at what has become of a put. The server's own answer tells an owner
// nothing else than reading back at the moment of the answer would.
func (m *model) readBack(s state, o uint8) {
	w := &s.own[o]
	if w.phase != claiming && w.saving != swapping {
		return
	}
	mine := w.want.expand()
	var now *gridloom.Head
	if !s.reg.none {
		h := s.reg.head.expand()
		now = &h
	}
	outcome := protocol.ReadBack(&mine, uint64(w.expected), now, uint64(s.reg.rev))
	if m.broken.readBackByEpoch && now != nil && now.Epoch == mine.Epoch {
		outcome = protocol.Stored
	}
	switch outcome {
	case protocol.Again: // it is repeated as it was: it may still arrive
		return
	case protocol.Fenced:
		s.leave(o, down)
	case protocol.Stored:
		if w.rev = s.reg.rev; w.phase == claiming {
			m.restore(&s, o)
		} else {
			m.finish(&s, o)
		}
	}
	m.yield(move{kind: readsBack, who: o}, s)
}

// restore is what follows a claim that was stored: manifest, snapshot, rows after it.
func (m *model) restore(s *state, o uint8) {
	w := &s.own[o]
	w.head = w.want
	w.want, w.expected = head{}, 0
	x := w.head.expand()
	pos, err := protocol.PositionOf(&x)
	if err != nil {
		s.stop(o)
		return
	}
	w.phase, w.next, w.era = running, uint8(pos.Next), w.head.era
	if w.next > 1 {
		w.seen = rowOf(w.next-1, w.era)
	}
	w.fromStart = w.next == 1
	if w.head.man == 0 {
		return
	}
	if !s.allThere(s.named(w.head.man - 1)) {
		s.stop(o) // of a head that is not the last any more, else a broken promise
		return
	}
	f := &s.mans[w.head.man-1]
	rows, _ := s.sumRows(f.segs)
	if f.snap > 0 {
		for seq := uint8(1); seq < s.snap[f.snap-1].next; seq++ {
			rows &^= rowOf(seq, 0) | rowOf(seq, 1) // known from the snapshot
		}
		for seq := s.snap[f.snap-1].next; seq < w.next; seq++ {
			if rows&(rowOf(seq, 0)|rowOf(seq, 1)) == 0 {
				s.bad = restoredWrong
			}
		}
		if s.snap[f.snap-1].next > w.next {
			s.bad = restoredWrong
		}
	}
}

// finish takes a commit that was stored into the owner's state, and lists what it has
// superseded.
func (m *model) finish(s *state, o uint8) {
	w := &s.own[o]
	before := w.head.man
	w.head = w.want
	w.want, w.expected, w.saving = head{}, 0, notSaving
	w.frozen, w.frozenNext, w.frozenEra, w.seg = 0, 0, 0, 0
	var gone uint32
	if before > 0 {
		gone = s.named(before-1) &^ s.named(w.head.man-1)
	}
	if w.withEdit {
		gone |= 1 << w.merge.out &^ s.named(w.head.man-1) // thrown away
		w.withEdit, w.merge = false, merge{}
	}
	w.dropped[0] |= gone
}

// consume makes a consumer where there is none, after verifying the log.
func (m *model) consume(s state, o uint8) {
	w := &s.own[o]
	if w.phase != running || w.live {
		return
	}
	w.live = true
	if err := s.verify(w.position()); err != nil && !m.broken.unverifiedConsumer {
		s.stop(o)
	}
	m.yield(move{kind: consumes, who: o}, s)
}

// position is an owner's as the transition functions take it.
func (w *owner) position() protocol.Position {
	p := protocol.Position{Created: created, Next: uint64(w.next), LogTime: gridloom.Millis(w.next)}
	if w.next > 1 {
		p.Last = gridloom.FrameRef{Seq: uint64(w.next - 1), CRC: crcOf(w.next-1, w.era)}
	}
	return p
}

// trail is what an owner remembers of what it has read.
func (w *owner) trail() protocol.Trail {
	t := protocol.TrailFrom(gridloom.FrameRef{})
	begun := false
	for seq := uint8(1); seq <= mostFrames; seq++ {
		for era := range uint8(2) {
			if w.seen&rowOf(seq, era) == 0 {
				continue
			}
			ref := gridloom.FrameRef{Seq: uint64(seq), CRC: crcOf(seq, era)}
			if !begun && !w.fromStart {
				t = protocol.TrailFrom(ref)
			} else {
				t.Read(ref)
			}
			begun = true
		}
	}
	return t
}

// verify asks the log as stream does.
func (s *state) verify(p protocol.Position) error {
	l := protocol.Log{Created: created, FirstSeq: uint64(s.log.first), LastSeq: uint64(s.log.last)}
	if err := protocol.VerifyLog(p, l); err != nil || p.Last.Seq == 0 {
		return err
	}
	seq := uint8(p.Last.Seq)
	found := seq >= s.log.first && seq <= s.log.last
	return protocol.VerifyLast(p, found, crcOf(seq, s.log.era(seq)), l)
}

// read takes the next frame that the consumer has. A consumer knows nothing of
// frames that were purged: it gives the first one that there is.
func (m *model) read(s state, o uint8) {
	w := &s.own[o]
	seq := max(w.next, s.log.first)
	if w.phase != running || !w.live || seq > s.log.last {
		return
	}
	era := s.log.era(seq)
	if w.next > 1 && w.era != s.log.era(w.next-1) {
		s.bad = guessedLog
	}
	p := w.position()
	p.Read(gridloom.FrameRef{Seq: uint64(seq), CRC: crcOf(seq, era)})
	w.next, w.era = uint8(p.Next), era
	w.rows |= rowOf(seq, era)
	w.seen |= rowOf(seq, era)
	m.yield(move{kind: reads, who: o, arg: seq}, s)
}

// freeze begins a commit and writes its segment.
func (m *model) freeze(s state, o uint8) {
	w := &s.own[o]
	if w.phase != running || w.saving != notSaving || w.rows == 0 && w.merge.epoch == 0 {
		return
	}
	w.saving = written
	w.withEdit = w.merge.epoch != 0
	w.frozen, w.rows, w.frozenNext, w.frozenEra = w.rows, 0, w.next, w.era
	if w.frozen != 0 {
		slot, ok := m.freeSegment(&s, w.head.epoch)
		if !ok {
			return
		}
		s.segs[slot] = segment{st: there, rows: w.frozen}
		w.seg = slot + 1
	}
	m.yield(move{kind: freezes, who: o}, s)
}

// save writes the manifest and sends the head on its way.
func (m *model) save(s state, o uint8, withSnapshot bool) {
	w := &s.own[o]
	if w.saving != written || w.ids == m.ids {
		return
	}
	epoch := w.head.epoch
	first := (epoch - 1) * perEpoch
	slot := first
	for ; slot < first+m.perEpoch && s.mans[slot].st != unwritten; slot++ {
	}
	if slot == first+m.perEpoch {
		return
	}
	f := manifest{st: there, next: w.frozenNext}
	if w.head.man > 0 {
		f.segs, f.snap = s.mans[w.head.man-1].segs, s.mans[w.head.man-1].snap
	}
	if w.seg > 0 {
		f.segs |= 1 << (w.seg - 1)
	}
	if w.withEdit {
		f.segs = m.amend(f.segs, epoch, &w.merge)
	}
	if withSnapshot {
		if !m.snapshots || s.snap[epoch-1].st != unwritten {
			return
		}
		s.snap[epoch-1] = snapshot{st: there, next: w.frozenNext}
		f.snap = epoch
	}
	s.mans[slot] = f

	w.ids++
	to := protocol.Position{Next: uint64(w.frozenNext), LogTime: gridloom.Millis(w.frozenNext)}
	if w.frozenNext > 1 {
		to.Last = gridloom.FrameRef{Seq: uint64(w.frozenNext - 1), CRC: crcOf(w.frozenNext-1, w.frozenEra)}
	}
	h := protocol.Commit(w.head.expand(), to, gridloom.FileRef{Path: letter(slot + 1)}, letter(o<<4|w.ids))
	w.want, w.expected, w.saving = pack(&h), w.rev, swapping
	if m.send(&s, put{head: w.want, expected: w.expected, commit: true, there: true}) {
		m.yield(move{kind: saves, who: o, arg: manifestFile(slot)}, s)
	}
}

// compact merges all segments of the last commit's manifest into a new one; a single one
// as well, which shows as much with fewer frames.
func (m *model) compact(s state, o uint8) {
	w := &s.own[o]
	if !m.merges || w.phase != running || w.merge.epoch != 0 || w.head.man == 0 {
		return
	}
	f := &s.mans[w.head.man-1]
	if f.segs == 0 || !s.allThere(uint32(f.segs)) {
		return // nothing to merge, or beneath a zombie a file has gone
	}
	slot, ok := m.freeSegment(&s, w.head.epoch)
	if !ok {
		return
	}
	rows, _ := s.sumRows(f.segs)
	s.segs[slot] = segment{st: there, rows: rows}
	w.merge = merge{epoch: w.head.epoch, out: slot, inputs: f.segs, base: f.segs}
	m.yield(move{kind: compacts, who: o, arg: slot}, s)
}

// freeSegment finds a name for a segment of an epoch.
func (m *model) freeSegment(s *state, epoch uint8) (slot uint8, ok bool) {
	first := (epoch - 1) * perEpoch
	for slot = first; slot < first+m.perEpoch; slot++ {
		if s.segs[slot].st == unwritten {
			return slot, true
		}
	}
	return 0, false
}

// purge has the log forget what the head does not need. It is two moves: what was
// decided on one head may be done under a later one.
func (m *model) purge(s state, o uint8) {
	w := &s.own[o]
	if !m.purges || w.phase != running {
		return
	}
	if w.purges == 0 {
		if s.reg.none {
			return
		}
		h := s.reg.head.expand()
		bound := protocol.FirstNeeded(&h)
		bound, err := protocol.PurgeBound(bound, &h, created)
		if err != nil {
			return
		}
		pos, err := protocol.PositionOf(&h)
		if err == nil && !m.broken.unverifiedPurge {
			err = s.verify(pos)
		}
		if err != nil {
			return
		}
		switch {
		case m.broken.purgeToNext:
			bound = h.NextSeq
		case m.broken.purgeRead:
			bound = uint64(w.next)
		}
		if bound <= uint64(s.log.first) {
			return
		}
		w.purges = uint8(bound)
		m.yield(move{kind: willPurge, who: o, arg: w.purges}, s)
		return
	}
	to := min(w.purges, s.log.last+1)
	w.purges = 0
	for ; s.log.first < to; s.log.first++ {
		seq := s.log.first
		h := s.reg.head.expand()
		var rows uint8
		if s.reg.head.man > 0 {
			rows, _ = s.sumRows(s.mans[s.reg.head.man-1].segs)
		}
		if rows&rowOf(seq, s.log.era(seq)) == 0 || uint64(seq) >= protocol.FirstNeeded(&h) {
			s.bad = purgedNeeded
		}
	}
	m.yield(move{kind: purges, who: o, arg: to}, s)
}

// crash ends a process; what it has sent is still on its way.
func (m *model) crash(s state, o uint8) {
	if m.steady || s.own[o].phase == down && s.own[o].merge == (merge{}) {
		return
	}
	s.leave(o, down)
	s.own[o].merge = merge{}
	m.yield(move{kind: crashes, who: o}, s)
}

// leave drops all state of an owner. A merge in the making outlives it: the compactor
// does not know yet that the partition is lost.
func (s *state) leave(o uint8, to phase) {
	w := &s.own[o]
	*w = owner{phase: to, ids: w.ids, merge: w.merge}
	if s.q.step == asking && s.q.owner == o {
		s.q = query{} // it gets no answer, and fails
	}
}

// stop has an owner refuse to go on. Where no disaster has happened that must not befall
// the one that holds the head.
func (s *state) stop(o uint8) {
	h := s.own[o].head
	if s.cuts == 0 && s.losses == 0 && h.epoch == s.reg.head.epoch && h.owner == s.reg.head.owner {
		s.bad = stoppedForNothing
	}
	s.leave(o, stopped)
}
