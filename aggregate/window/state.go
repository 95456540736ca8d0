package window

import (
	"math"
	"unsafe"

	"github.com/gridloom/gridloom"
)

// State is what one series keeps: the zero value has seen nothing. It holds no
// readings, but the newest one, what crosses its bound, and the accumulators of the
// panes that can still change. A State must not be copied and both copies used.
//
// It is what AddNext touches: two cache lines of 64 bytes, so that states can lie close together.
type State struct {
	serial string          // of newest
	order  gridloom.Order  // of newest
	next   gridloom.Millis // the least start that is in order
	cur    tally           // of the newest pane; its start is 0 if there is none

	*cold // nil: nothing is in it; level makes one
}

// cold is what AddNext does not touch, and addOpening the first line of.
type cold struct {
	ends  ends          // of the newest pane
	older []accumulator // panes before the newest, by start

	// With ahead in State.cur.flags the rest of newest and last are as they were before AddNext: see level.
	last      point // counters: accepted; gauges: any
	newest    newest
	bound     gridloom.Millis // panes before it are final unless refolded; 0: none is
	length    gridloom.Millis // of newest
	watermark gridloom.Millis // of the last Close
	run       *run            // counters: what is undecided
	reach     []span          // intervals that cross a window's bound and end after bound, by start and length
	base      stand           // as the series stands at bound

	_ [16]byte // to 256
}

// None of these shares a pair of cache lines with another one beside it.
var (
	_ [0]struct{} = [unsafe.Sizeof(State{}) ^ 128]struct{}{}
	_ [0]struct{} = [unsafe.Sizeof(cold{}) ^ 256]struct{}{}
	_ [0]struct{} = [unsafe.Sizeof(accumulator{}) ^ 128]struct{}{}
	_ [0]struct{} = [unsafe.Offsetof(cold{}.last) ^ 64]struct{}{}
)

// newest is the winner of the identity that starts last; of intervals that start at
// once the longest. Its order, serial and length stand in State.
type newest struct {
	start       gridloom.Millis
	value       int64
	quality     gridloom.Quality
	known, void bool
}

// level makes s whole: newest and last tell of what AddNext has taken in.
func (s *State) level() {
	if s.cold == nil {
		s.cold = new(cold)
	}
	p, n := &s.cur, &s.newest
	if p.flags&ahead == 0 {
		return
	}
	p.flags &^= ahead
	n.start, n.value, n.quality = p.start+gridloom.Millis(p.lastAt), p.last, p.lastQuality
	if s.length > 0 { // an interval's
		s.length = s.next - n.start
	}
	if s.last.known {
		s.last.at, s.last.value, s.last.quality = n.start, n.value, n.quality
	}
}

// point is a reading at an instant that the next one is compared with.
type point struct {
	serial  string
	at      gridloom.Millis
	value   int64
	quality gridloom.Quality
	known   bool
}

// span is an interval reading.
type span struct {
	start, length gridloom.Millis
	value         int64
	quality       gridloom.Quality
}

func (i *span) end() gridloom.Millis { return i.start + i.length }

// Info tells of a reading.
type Info struct {
	Start, Length gridloom.Millis
	Value         int64 // 0 if Void
	Void          bool
	Quality       gridloom.Quality
	Order         gridloom.Order
	Serial        string
}

// Reset makes s as if it had seen nothing. It keeps the memory of a few accumulators.
func (s *State) Reset() {
	if s.cold != nil {
		older := s.older[:0]
		if cap(older) > keptOlder {
			older = nil
		}
		clear(s.older)
		*s.cold = cold{older: older}
	}
	*s = State{cold: s.cold}
}

// keptOlder is how many panes before the newest a series in steady flow has.
const keptOlder = 1

// Last returns the newest reading of the series, the winner of its identity; ok is
// false if none was seen.
func (s *State) Last() (i Info, ok bool) {
	s.level()
	n := &s.newest
	i = Info{n.start, s.length, n.value, n.void, n.quality, s.order, s.serial}
	return i, n.known
}

// Bound returns the start of the oldest window that a reading in order can still
// change; MinInt64 if any. Panes before it were emitted and are final unless
// the series is refolded.
func (s *State) Bound() gridloom.Millis {
	if s.cold == nil || s.bound == 0 {
		return math.MinInt64
	}
	return s.bound
}

// Carry returns the encoded carry-in at Bound: what Refold needs to know of the
// readings before it.
func (s *State) Carry() []byte {
	s.level()
	b := carry{s.base, reachingPast(s.reach, s.bound)}
	return b.append(nil, s.bound)
}

// Panes returns the number of panes that s holds, emitted or not.
func (s *State) Panes() int {
	if s.cur.start == 0 {
		return 0
	}
	return len(s.older) + 1
}

// nth returns a pane by its place.
func (s *State) nth(i int) gathered {
	if i < len(s.older) {
		return s.older[i].gathered()
	}
	return s.newestPane()
}

func (s *State) newestPane() gathered { return gathered{&s.cur, &s.ends} }

// OpenPanes returns the number of panes that Close has not emitted as they are.
func (s *State) OpenPanes() int {
	n := 0
	for i := range s.Panes() {
		if s.nth(i).flags&emitted == 0 {
			n++
		}
	}
	return n
}

// Bytes returns about how much memory s takes, without the serials, which it shares
// with the readings they came with.
func (s *State) Bytes() int {
	s.level()
	n := int(unsafe.Sizeof(*s)+unsafe.Sizeof(*s.cold)) + cap(s.older)*int(unsafe.Sizeof(accumulator{})) + cap(s.reach)*int(unsafe.Sizeof(span{}))
	if s.run != nil {
		n += int(unsafe.Sizeof(run{}))
	}
	return n
}
