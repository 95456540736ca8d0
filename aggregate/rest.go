package aggregate

import (
	"bytes"
	"fmt"
	"time"

	"github.com/gridloom/gridloom/aggregate/window"
)

// A series that nothing has come for rests: its state is kept as a snapshot holds it,
// in about a fifth of the memory, until somebody wants it. A fleet that tells of itself
// every quarter of an hour has nearly all of its series at rest; one under load, none.

// maxSpareStates bounds the states that are kept for the next series that wakes.
const maxSpareStates = 1024

// states says which series of a table are awake.
type states struct {
	keep  int           // so many stay awake in any case
	every time.Duration // between two rounds that put series to rest
	last  time.Time     // round

	awake   []uint32
	spare   []*window.State
	scratch window.State // of peek
	buffer  []byte
}

// state returns the state of a series, to be changed. It stays valid until the next
// round of rests.
func (t *table) state(i uint32) *window.State {
	s := t.at(i)
	if s.touched = true; s.state == nil {
		return t.wake(i)
	}
	return s.state
}

// wake gives a resting series its state.
func (t *table) wake(i uint32) *window.State {
	s, a := t.at(i), &t.states
	st := new(window.State)
	if n := len(a.spare); n > 0 {
		st, a.spare = a.spare[n-1], a.spare[:n-1]
	}
	if s.rest != nil {
		decode(st, s.rest)
	}
	s.state, s.rest = st, nil
	a.awake = append(a.awake, i)
	return st
}

// peek returns the state of a series to be looked at, until the next call.
func (t *table) peek(i uint32) *window.State {
	s, st := t.at(i), &t.states.scratch
	switch {
	case s.state != nil:
		return s.state
	case s.rest != nil:
		decode(st, s.rest)
	default:
		st.Reset()
	}
	return st
}

// decode reads a state that this process has encoded, or has checked as it was read.
func decode(st *window.State, rest []byte) {
	if err := st.Decode(rest); err != nil {
		panic(fmt.Sprintf("aggregate: state at rest %x: %v", rest, err))
	}
}

// last returns the newest reading of a series; ok is false if none was seen.
func (t *table) last(i uint32) (info window.Info, ok bool) {
	s := t.at(i)
	switch {
	case s.state != nil:
		return s.state.Last()
	case s.rest != nil:
		return window.DecodeLast(s.rest)
	}
	return info, false
}

// restore gives a series the state that a snapshot holds. An unreadable one is gridloom.ErrCorrupt.
func (t *table) restore(i uint32, state []byte) error {
	if err := t.states.scratch.Decode(state); err != nil {
		return err
	}
	t.at(i).rest = bytes.Clone(state)
	return nil
}

// rest puts the series to rest that nobody has wanted since the last round, if it is
// time for one. States that were handed out are not valid any more.
func (t *table) rest(now time.Time) {
	a := &t.states
	if len(a.awake) <= a.keep || now.Sub(a.last) < a.every {
		return
	}
	a.last = now
	awake := a.awake[:0]
	for _, i := range a.awake {
		s := t.at(i)
		if s.touched || s.wait != nil {
			s.touched = false
			awake = append(awake, i)
			continue
		}
		a.buffer = window.AppendState(a.buffer[:0], s.state)
		s.rest = bytes.Clone(a.buffer)
		if len(a.spare) < maxSpareStates {
			s.state.Reset()
			a.spare = append(a.spare, s.state)
		}
		s.state = nil
	}
	if a.awake = awake; cap(awake) > 2*len(awake)+a.keep {
		a.awake = append(make([]uint32, 0, len(awake)+a.keep), awake...)
	}
}

// seriesCount is what the metrics know of one partition's series.
type seriesCount struct{ all, awake int }

// countSeries tells the metrics what this partition holds.
func (p *partition) countSeries() {
	now := seriesCount{p.table.len(), len(p.table.states.awake)}
	p.metrics.series.Add(float64(now.all - p.countedSeries.all))
	p.metrics.awake.Add(float64(now.awake - p.countedSeries.awake))
	p.countedSeries = now
}
