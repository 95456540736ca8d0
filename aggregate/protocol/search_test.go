package protocol_test

import (
	"fmt"
	"hash/maphash"
	"slices"
	"time"
)

// A search goes through all states that a model can reach, breadth first, so that the
// first violation it meets has one of the shortest traces.
type search struct {
	states    int
	depth     int
	moves     [kinds]int // taken, of each kind
	finished  int        // states whose head has every frame
	answered  int        // states in which a query was answered in full
	stopped   int        // states in which a partition has stopped
	rewritten int        // compactions that were applied, of different segments
	took      time.Duration
	violation string
	trace     []string
	cut       bool // it has met its limit before the end
}

// reached is how a state was reached first.
type reached struct {
	from int32 // number of the state before
	by   move
}

// run searches until the end, a violation, or limit states (0: no limit).
func run(m *model, limit int) *search {
	begin := time.Now()
	m.rewrites = map[rewriteKey]rewritten{}
	start := state{reg: register{none: true}, log: logState{first: 1}}
	seen := map[digest]struct{}{digestOf(&start): {}}
	path := []reached{{}} // of each state, in the order in which they were met
	level, next := []state{start}, []state(nil)
	at := int32(0) // number of the state whose moves are tried
	r := &search{}
	m.yield = func(by move, s state) {
		r.moves[by.kind]++
		if m.broken == (broken{}) {
			s = canonical(s)
		}
		d := digestOf(&s)
		if _, ok := seen[d]; ok || r.violation != "" {
			return
		}
		seen[d] = struct{}{}
		path = append(path, reached{at, by})
		next = append(next, s)
		r.count(m, &s)
		if r.violation = s.check(); r.violation != "" {
			r.trace = trace(path)
		}
	}
	for len(level) > 0 {
		for i := range level {
			m.moves(level[i])
			at++
			if r.violation != "" || limit > 0 && len(path) >= limit {
				r.states, r.took, r.cut = len(path), time.Since(begin), r.violation == ""
				return r
			}
		}
		level, next = next, level[:0]
		r.depth++
	}
	r.states, r.took = len(path), time.Since(begin)
	for _, w := range m.rewrites {
		if w.ok {
			r.rewritten++
		}
	}
	return r
}

// digest tells states apart. It is 128 bits long, so that among the 10 million states of
// a large search two are taken for one with a probability of 1 in 10^24; the states
// themselves would fill the memory.
type digest [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func digestOf(s *state) digest {
	return digest{maphash.Comparable(seeds[0], *s), maphash.Comparable(seeds[1], *s)}
}

// trace tells how the last state of path was reached.
func trace(path []reached) []string {
	var lines []string
	for id := int32(len(path) - 1); id > 0; id = path[id].from {
		lines = append(lines, path[id].by.String())
	}
	slices.Reverse(lines)
	return lines
}

func (r *search) count(m *model, s *state) {
	if !s.reg.none && s.reg.head.next == m.frames+1 {
		r.finished++
	}
	if s.ended > 0 {
		r.answered++
	}
	if s.own[0].phase == stopped || s.own[1].phase == stopped {
		r.stopped++
	}
}

func (r *search) String() string {
	return fmt.Sprintf("%d states, %d moves deep, in %s", r.states, r.depth, r.took.Round(time.Millisecond))
}
