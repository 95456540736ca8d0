package aggregate

import (
	"math"
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// series is what the owner holds of one register of one meter.
type series struct {
	wait     *waiting        // nil as long as all its readings come in order
	state    *window.State   // nil while it rests
	window   *window.Config  // by which it is folded; shared
	rest     []byte          // the state as it rests; nil if it has seen nothing. Never changed
	due      gridloom.Millis // the watermark for which dues lists it, MaxInt64 if none
	open     uint32          // panes of the state that Close has not emitted as they are
	register gridloom.RegisterID
	kind     gridloom.Kind
	touched  bool // since the last round of rests
	outdated bool // it waits to be folded anew, because the registry says something else than window
	unsure   bool // and window may be what the registry says, but not what its stored panes were folded by
}

// waiting is what a series holds besides its state from when a reading came out of
// order until the commit after its refold.
type waiting struct {
	// pending are readings that came out of order and wait for a refold. They are
	// not yet known to be new: a refold drops the duplicates among them.
	pending []gridloom.Reading
	// refoldFrom is the earliest instant whose panes the pending readings may change.
	refoldFrom gridloom.Millis
	// late are the stretches that they may change, and those of rows that the state is behind of;
	// merged is how many there were after they were joined.
	late   []stretch
	merged int
	// behind marks that rows which are in segments or in the tail came out of order, during
	// a restart or before a refold that failed, so that the state must be refolded although
	// nothing is pending.
	behind bool

	// stored are the panes that a refold found in the store from its bound on: what
	// Close emits is written only if it differs. empty are those that no longer
	// exist; they supersede the stored ones. Both live until the next commit.
	stored map[gridloom.Millis]gridloom.Pane
	empty  []gridloom.Pane
	// restated are panes of the past that a refold changed and that the state does not tell
	// of, until the next commit.
	restated map[gridloom.Millis]gridloom.Pane
}

// needsRefold reports whether the state does not yet tell of every reading.
func (s *series) needsRefold() bool {
	return s.wait != nil && (len(s.wait.pending) > 0 || s.wait.behind)
}

// isStored reports whether a refold found the pane in the store as it is.
func (s *series) isStored(pn *gridloom.Pane) (old gridloom.Pane, ok bool) {
	if s.wait == nil {
		return old, false
	}
	old, ok = s.wait.stored[pn.Start]
	return old, ok && window.SamePane(&old, pn)
}

// table holds the series of one partition by number and interns their names.
type table struct {
	pane.SeriesTable // what segments tell of them; the first of Names is ""

	meterAt map[string]uint32
	after   []uint32 // of each meter: the one that came after it in the last frame
	byMeter []meterSeries
	pieces  []*piece
	nameAt  map[string]uint32
	states  states

	configOf func(meter string, reg gridloom.RegisterID) *window.Config // of a series that is new
}

// Series lie in pieces that never move: a slice that grows to a million of them is
// copied again and again, and leaves as much behind.
const (
	pieceShift  = 8
	pieceSeries = 1 << pieceShift
)

type piece [pieceSeries]series

// at returns a series, which stays where it is.
func (t *table) at(i uint32) *series { return &t.pieces[i>>pieceShift][i%pieceSeries] }

// len returns the number of series.
func (t *table) len() int { return len(t.MeterOf) }

// inlineSeries is how many series of a meter stand in its entry, which then takes one
// cache line to look at.
const inlineSeries = 5

// meterSeries lists the series of one meter in the order of their appearance.
type meterSeries struct {
	more      []uint32 // after the first ones
	at        [inlineSeries]uint32
	registers [inlineSeries]gridloom.RegisterID
	n         uint16 // of the first ones
}

func newTable(configOf func(meter string, reg gridloom.RegisterID) *window.Config) *table {
	return &table{configOf: configOf, SeriesTable: pane.SeriesTable{Names: []string{""}}, meterAt: map[string]uint32{}, nameAt: map[string]uint32{"": 0}}
}

// meterAfter is meter for an id that comes after meter prev in a frame: an agent tells of
// its meters in the same order again and again, and a guess is cheaper than a map.
func (t *table) meterAfter(prev uint32, id string) uint32 {
	if int(prev) >= len(t.after) {
		return t.meter(id)
	}
	if guess := t.after[prev]; t.Meters[guess] == id {
		return guess
	}
	i := t.meter(id)
	t.after[prev] = i
	return i
}

// meter returns the index of a meter's id, which it copies when it is new.
func (t *table) meter(id string) uint32 {
	i, ok := t.meterAt[id]
	if !ok {
		id = strings.Clone(id)
		i = uint32(len(t.Meters))
		t.Meters = append(t.Meters, id)
		t.byMeter = append(t.byMeter, meterSeries{})
		t.after = append(t.after, i)
		t.meterAt[id] = i
	}
	return i
}

// find returns the index of a series, which it adds when it is new.
func (t *table) find(meter uint32, reg gridloom.RegisterID) uint32 {
	e := &t.byMeter[meter]
	for k := range int(e.n) {
		if e.registers[k] == reg {
			return e.at[k]
		}
	}
	for _, i := range e.more {
		if t.Registers[i] == reg {
			return i
		}
	}
	i := uint32(t.len())
	if int(i) == len(t.pieces)<<pieceShift {
		t.pieces = append(t.pieces, new(piece))
	}
	s := t.at(i)
	s.register, s.kind, s.due, s.window = reg, reg.Info().Kind, math.MaxInt64, t.configOf(t.Meters[meter], reg)
	t.MeterOf, t.Registers = append(t.MeterOf, meter), append(t.Registers, reg)
	if e.n < inlineSeries {
		e.at[e.n], e.registers[e.n] = i, reg
		e.n++
	} else {
		e.more = append(e.more, i)
	}
	return i
}

// intern returns the index of a serial or agent in Names.
func (t *table) intern(s string) uint32 {
	i, ok := t.nameAt[s]
	if !ok {
		s = strings.Clone(s)
		i = uint32(len(t.Names))
		t.Names = append(t.Names, s)
		t.nameAt[s] = i
	}
	return i
}

// meterName returns the meter of a series.
func (t *table) meterName(i uint32) string { return t.Meters[t.MeterOf[i]] }

// matching calls f for every series that a selector's meters and registers choose.
func (t *table) matching(meters []string, registers []gridloom.RegisterID, f func(i uint32, s *series)) {
	visit := func(i uint32) {
		if registers == nil || slices.Contains(registers, t.Registers[i]) {
			f(i, t.at(i))
		}
	}
	if meters == nil {
		for i := range uint32(t.len()) {
			visit(i)
		}
		return
	}
	for _, m := range meters {
		i, ok := t.meterAt[m]
		if !ok {
			continue
		}
		e := &t.byMeter[i]
		for k := range int(e.n) {
			visit(e.at[k])
		}
		for _, j := range e.more {
			visit(j)
		}
	}
}

// chosen marks the series that a selector chooses; nil stands for all of them.
func (t *table) chosen(sel *pane.Selector) []bool {
	if sel.Meters == nil && sel.Registers == nil {
		return nil
	}
	marks := make([]bool, t.len())
	t.matching(sel.Meters, sel.Registers, func(i uint32, _ *series) { marks[i] = true })
	return marks
}
