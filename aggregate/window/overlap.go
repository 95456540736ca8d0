package window

import "github.com/gridloom/gridloom"

// refoldIntervals folds sorted rows and the intervals that reach over the bound. Of
// intervals that overlap only one counts at each instant, the shortest, of equal ones
// the one that starts first; so they are swept in time with a heap of those under way.
func (c *Config) refoldIntervals(s *State, reach []span, rows []Reading) {
	w := sweep{c: c, s: s}
	end := s.next
	for i := range reach {
		c.remember(s, reach[i])
		w.start(reach[i])
		end = max(end, reach[i].end())
	}
	for len(rows) > 0 {
		var r Reading
		var ok bool
		if r, rows, ok = resolve(gridloom.Interval, rows); !ok {
			continue
		}
		s.see(gridloom.Interval, &r)
		end = max(end, s.next)
		if r.Void {
			continue
		}
		w.until(r.Start)
		s.pane(r.Start.Floor(c.Width)).count(c, &r, r.Start+r.span())
		if i := (span{r.Start, r.span(), r.Value, r.Quality}); i.length > 0 {
			c.remember(s, i)
			w.start(i)
		}
	}
	w.until(maxInstant)
	w.flush()
	s.next = end
}

// sweep goes through overlapping intervals in time.
type sweep struct {
	c        *Config
	s        *State
	at       gridloom.Millis
	heap     []span // those under way, the one that counts on top; may hold ended ones below it
	part     span   // what counts since from, not yet spread: a cut by an interval that does not count is none
	from, to gridloom.Millis
}

// start puts an interval under way at its start, which is not before w.at; those that
// reach over the bound may start in any order before it.
func (w *sweep) start(i span) {
	w.at = max(w.at, i.start)
	h := append(w.heap, i)
	for n := len(h) - 1; n > 0; {
		up := (n - 1) / 2
		if !shorter(&h[n], &h[up]) {
			break
		}
		h[n], h[up] = h[up], h[n]
		n = up
	}
	w.heap = h
}

// until lets time pass.
func (w *sweep) until(to gridloom.Millis) {
	for len(w.heap) > 0 && w.at < to {
		top := w.heap[0]
		if top.end() <= w.at {
			w.pop()
			continue
		}
		end := min(top.end(), to)
		w.count(top, w.at, end)
		w.at = end
	}
}

// count lets i count on [from, to).
func (w *sweep) count(i span, from, to gridloom.Millis) {
	if w.part == i && w.to == from {
		w.to = to
		return
	}
	w.flush()
	w.part, w.from, w.to = i, from, to
}

func (w *sweep) flush() {
	if w.part.length > 0 {
		w.c.spread(w.s, w.part, w.from, w.to, gridloom.Derived)
	}
	w.part = span{}
}

func (w *sweep) pop() {
	h := w.heap
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	for n := 0; ; {
		least := n
		for child := 2*n + 1; child <= 2*n+2 && child < last; child++ {
			if shorter(&h[child], &h[least]) {
				least = child
			}
		}
		if least == n {
			break
		}
		h[n], h[least] = h[least], h[n]
		n = least
	}
	w.heap = h
}

// shorter reports whether a counts where both a and b are.
func shorter(a, b *span) bool {
	if a.length != b.length {
		return a.length < b.length
	}
	return a.start < b.start
}
