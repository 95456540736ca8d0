package protocol_test

import (
	"fmt"
	"math/bits"
)

// check returns the promise that a state breaks, "" if it keeps all.
func (s *state) check() string {
	if s.bad != none {
		return violations[s.bad]
	}
	a, b := &s.own[0], &s.own[1]
	if a.phase == running && b.phase == running && a.head.epoch == b.head.epoch && s.losses == 0 {
		return fmt.Sprintf("both owners hold epoch %d", a.head.epoch)
	}
	if s.reg.none {
		return ""
	}
	return s.checkHead()
}

// checkHead holds the head against the store and the log.
func (s *state) checkHead() string {
	h := &s.reg.head
	var rows uint8
	if h.man > 0 {
		set := s.named(h.man - 1)
		if !s.allThere(set) {
			return "the head names a file that is not there: " + fileNames(s.missing(set))
		}
		var twice bool
		if rows, twice = s.sumRows(s.mans[h.man-1].segs); twice {
			return "a row stands in two segments of the head's manifest"
		}
	}
	// Of every frame below next_seq one row, and all of one log: the one that was
	// acknowledged first, or what is left of it and what came after the cut.
	n := h.next - 1
	if rows == prefix(n, n) || s.log.wasCut && n > s.log.cut && rows == prefix(n, s.log.cut) {
		return ""
	}
	return fmt.Sprintf("the head has next_seq %d, its manifest the rows %s", h.next, rowNames(rows))
}

// prefix is the rows of the frames 1 to n of a log whose frames after cut were
// appended again.
func prefix(n, cut uint8) (rows uint8) {
	for seq := uint8(1); seq <= n; seq++ {
		era := uint8(0)
		if seq > cut {
			era = 1
		}
		rows |= rowOf(seq, era)
	}
	return rows
}

func (s *state) missing(set uint32) uint32 {
	for rest := set; rest != 0; rest &= rest - 1 {
		i := uint8(bits.TrailingZeros32(rest))
		if st, _, _ := s.fileAt(i); st == there {
			set &^= 1 << i
		}
	}
	return set
}
