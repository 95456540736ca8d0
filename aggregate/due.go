package aggregate

import (
	"math"
	"slices"

	"github.com/gridloom/gridloom"
)

// dues lists series by the watermark at which Close has something to emit of them, so
// that a commit looks only at those. A series may be listed more than once: what
// counts is its own due, which is never after the true one.
type dues struct {
	at   map[gridloom.Millis][]uint32
	next gridloom.Millis // the least key of at, MaxInt64 if there is none
}

func newDues() dues {
	return dues{at: map[gridloom.Millis][]uint32{}, next: math.MaxInt64}
}

func (d *dues) add(at gridloom.Millis, i uint32) {
	d.at[at] = append(d.at[at], i)
	d.next = min(d.next, at)
}

// count returns how many series are listed at the watermark, some perhaps twice.
func (d *dues) count(watermark gridloom.Millis) int {
	if d.next > watermark {
		return 0
	}
	n := 0
	for at, list := range d.at {
		if at <= watermark {
			n += len(list)
		}
	}
	return n
}

// take removes the lists that are due at the watermark and calls f for each series in
// them, earliest first, with the watermark that it is listed for.
func (d *dues) take(watermark gridloom.Millis, f func(at gridloom.Millis, i uint32)) {
	if d.next > watermark {
		return
	}
	var passed []gridloom.Millis
	for at := range d.at { // windows that are open, and their bridging limits: mostly a few
		if at <= watermark {
			passed = append(passed, at)
		}
	}
	slices.Sort(passed)
	for _, at := range passed {
		list := d.at[at]
		delete(d.at, at)
		for _, i := range list {
			f(at, i)
		}
	}
	d.next = math.MaxInt64
	for at := range d.at {
		d.next = min(d.next, at)
	}
}

// manyPanes is how many panes a series holds in a backlog, when they are not looked through for each
// reading any more: nearly all are open.
const manyPanes = 256

// noteState keeps the count of open panes and the list of dues up to date after the
// state of series i has changed.
func (p *partition) noteState(i uint32, s *series) {
	st := p.table.peek(i)
	open := uint32(st.Panes())
	if open <= manyPanes {
		open = uint32(st.OpenPanes())
	}
	p.openPanes += int(open) - int(s.open)
	s.open = open
	if open == 0 {
		return
	}
	if due := s.window.Due(s.kind, st); due < s.due {
		s.due = due
		p.dues.add(due, i)
	}
}
