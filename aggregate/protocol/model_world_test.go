package protocol_test

import (
	"slices"

	"github.com/gridloom/gridloom/aggregate/protocol"
)

// What happens around the owners: the log, the bucket of heads, the clock, a query.

// acknowledge appends a frame; ingest answers the devices with it.
func (m *model) acknowledge(s state) {
	if s.log.last == m.frames {
		return
	}
	s.log.last++
	m.yield(move{kind: appends, arg: s.log.last}, s)
}

// send puts a head on its way; false: there is no room for it. It stays there as long
// as it can still be stored, so it may arrive late, never, or often: what arrives
// again, or after the revision that it expects, the bucket refuses, and nothing changes.
func (m *model) send(s *state, p put) bool {
	if !m.mayLand(s, &p) {
		return true
	}
	for i := range s.net {
		if !s.net[i].there {
			s.net[i] = p
			s.order()
			return true
		}
	}
	return false
}

// mayLand reports whether the bucket would ever store p: revisions only rise.
func (m *model) mayLand(s *state, p *put) bool {
	return p.there && (p.expected == s.reg.rev || m.broken.blindPut && p.commit)
}

// order brings what is on its way into one order.
func (s *state) order() {
	slices.SortFunc(s.net[:], func(a, b put) int { return int(b.head.id) - int(a.head.id) })
}

// settle takes what can never land any more from the net.
func (m *model) settle(s *state) {
	for i := range s.net {
		if !m.mayLand(s, &s.net[i]) {
			s.net[i] = put{}
		}
	}
	s.order()
}

// deliver has the bucket take the puts that have arrived.
func (m *model) deliver(s state, i int) {
	p := s.net[i]
	if !p.there {
		return
	}
	switch {
	case p.expected != s.reg.rev && !m.broken.lookAway:
		s.bad = twoFromOneRevision
	case s.reg.none && s.reg.head.man > 0:
		s.bad = guessedHead
	case s.reg.head.next > p.head.next:
		s.bad = positionBack
	}
	s.reg = register{head: p.head, rev: s.reg.rev + 1}
	s.net[i] = put{}
	m.settle(&s)
	m.yield(move{kind: delivers, who: p.head.owner}, s)
}

// cut rolls the log back, as a restored backup does. The server was restarted for it,
// so no consumer survives.
func (m *model) cut(s state, to uint8) {
	if s.cuts == m.cuts || to >= s.log.last || to+1 < s.log.first {
		return
	}
	s.cuts++
	s.log.last, s.log.cut, s.log.wasCut = to, to, true
	for o := range s.own {
		s.own[o].live = false
		s.own[o].purges = 0
	}
	m.yield(move{kind: cuts, arg: to}, s)
}

// loseHead removes the head, as an operator by mistake does. The key's revision rises
// by that.
func (m *model) loseHead(s state) {
	if s.losses == m.losses || s.reg.none {
		return
	}
	s.losses++
	s.reg.none = true
	s.reg.rev++
	m.settle(&s)
	m.yield(move{kind: losesHead}, s)
}

// tick lets time pass: files grow older, up to the lease, and a query fails at its
// deadline.
func (m *model) tick(s state) {
	before := s
	for i := range s.segs {
		grow(s.segs[i].st, &s.segs[i].age)
		grow(s.mans[i].st, &s.mans[i].age)
	}
	for i := range s.snap {
		grow(s.snap[i].st, &s.snap[i].age)
	}
	for o := range s.own {
		if w := &s.own[o]; m.sweeps && w.phase == running && w.owned < lease {
			w.owned++
		}
		d := &s.own[o].dropped
		d[lease] |= d[lease-1]
		for i := lease - 1; i > 0; i-- {
			d[i] = d[i-1]
		}
		d[0] = 0
	}
	if s.q.step != idle {
		if s.q.age++; s.q.age == deadline {
			s.q = query{}
		}
	}
	if s != before {
		m.yield(move{kind: ticks}, s)
	}
}

func grow(st fileState, age *uint8) {
	if st == there && *age < lease {
		*age++
	}
}

// ask begins a query: the owner is asked, with the last sequence that the log has now.
func (m *model) ask(s state, o uint8) {
	if s.asked == m.queries || s.q.step != idle || s.own[o].phase != running {
		return
	}
	s.asked++
	s.q = query{step: asking, owner: o, goal: s.log.last, era: s.log.era(mostFrames + 1)}
	if s.q.goal > 0 {
		s.q.goalEra = s.log.era(s.q.goal)
	}
	m.yield(move{kind: asks, who: o}, s)
}

// answer is the owner's: its head and every row after it.
func (m *model) answer(s state) {
	w := &s.own[s.q.owner]
	if s.q.step != asking {
		return
	}
	ok, err := m.mayAnswer(&s, w)
	if err != nil {
		s.stop(s.q.owner)
	} else if !ok {
		return
	} else {
		s.q.step, s.q.epoch, s.q.man, s.q.rows = answered, w.head.epoch, w.head.man, w.frozen|w.rows
	}
	m.yield(move{kind: answers, who: s.q.owner}, s)
}

// stand reads the head again once the manifest is read.
func (m *model) stand(s state) {
	if s.q.step != answered {
		return
	}
	h := s.reg.head.expand()
	told := head{epoch: s.q.epoch, owner: s.q.owner}.expand()
	switch {
	case s.q.man > 0 && s.mans[s.q.man-1].st != there:
		s.q = query{} // fails: a manifest that is named and not there
	case s.reg.none:
		s.q = query{}
	case protocol.Stands(&told, &h) != nil && !m.broken.standsAlways:
		s.q = query{}
	default:
		s.q.step = standing
	}
	m.yield(move{kind: stands}, s)
}

// complete reads the files and answers who asked.
func (m *model) complete(s state) {
	if s.q.step != standing {
		return
	}
	rows, twice := s.q.rows, false
	if s.q.man > 0 {
		segs := s.mans[s.q.man-1].segs
		stored, doubled := s.sumRows(segs)
		twice = doubled || stored&rows != 0
		rows |= stored
	}
	for seq := uint8(1); seq <= s.q.goal; seq++ {
		era := s.log.era(seq)
		if seq > s.log.last || era != s.q.era && seq > s.log.cut {
			continue // the log has lost it since: what was promised was broken from outside
		}
		if rows&rowOf(seq, era) == 0 {
			s.bad = shortAnswer
		}
	}
	if twice {
		s.bad = doubleAnswer
	}
	s.q = query{}
	s.ended = 1
	m.yield(move{kind: completes}, s)
}
