package window

import (
	"math"
	"unsafe"

	"github.com/gridloom/gridloom"
)

// State is what one series keeps: the zero value has seen nothing. It holds no
// readings, but the newest one, what crosses its bound, and the accumulators of the
// panes that can still change. A State must not be copied and both copies used.
type State struct {
	// What Add touches comes first, in two or three cache lines.
	next   gridloom.Millis // the least start that is in order
	bound  gridloom.Millis // panes before it are final unless refolded; 0: none is
	last   point           // counters: accepted; gauges: any
	panes  []accumulator   // by start
	newest newest

	run       *run            // counters: undecided readings after last
	watermark gridloom.Millis // of the last Close
	base      carry           // as the series stands at bound; its reach is in reach
	reach     []span          // intervals that cross a window's bound and end after bound, by start and length
}

// newest is the winner of the identity that starts last; of intervals that start at
// once the longest.
type newest struct {
	start, length gridloom.Millis
	value         int64
	order         gridloom.Order
	quality       gridloom.Quality
	known, void   bool
	serial        string
}

// point is a reading at an instant that the next one is compared with.
type point struct {
	at      gridloom.Millis
	value   int64
	quality gridloom.Quality
	known   bool
	serial  string
}

// run sums up consecutive counter readings that fell below the last accepted one.
type run struct {
	count      uint64
	firstAt    gridloom.Millis
	firstValue int64
	lastAt     gridloom.Millis
	lastValue  int64
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
	panes := s.panes[:0]
	if cap(panes) > keptAccumulators {
		panes = nil
	}
	clear(s.panes)
	*s = State{panes: panes}
}

// keptAccumulators is how many a series in steady flow has.
const keptAccumulators = 2

// Last returns the newest reading of the series, the winner of its identity; ok is
// false if none was seen.
func (s *State) Last() (i Info, ok bool) {
	n := &s.newest
	i = Info{n.start, n.length, n.value, n.void, n.quality, n.order, n.serial}
	return i, n.known
}

// Bound returns the start of the oldest window that a reading in order can still
// change; MinInt64 if any. Panes before it were emitted and are final unless
// the series is refolded.
func (s *State) Bound() gridloom.Millis {
	if s.bound == 0 {
		return math.MinInt64
	}
	return s.bound
}

// Carry returns the encoded carry-in at Bound: what Refold needs to know of the
// readings before it.
func (s *State) Carry() []byte {
	b := s.base
	b.reach = reachingPast(s.reach, s.bound)
	return b.append(nil, s.bound)
}

// Panes returns the number of panes that s holds, emitted or not.
func (s *State) Panes() int { return len(s.panes) }

// OpenPanes returns the number of panes that Close has not emitted as they are.
func (s *State) OpenPanes() int {
	n := 0
	for i := range s.panes {
		if s.panes[i].flags&emitted == 0 {
			n++
		}
	}
	return n
}

// Bytes returns about how much memory s takes, without the serials, which it shares
// with the readings they came with.
func (s *State) Bytes() int {
	n := int(unsafe.Sizeof(*s)) + cap(s.panes)*int(unsafe.Sizeof(accumulator{})) + cap(s.reach)*int(unsafe.Sizeof(span{}))
	if s.run != nil {
		n += int(unsafe.Sizeof(run{}))
	}
	return n
}
