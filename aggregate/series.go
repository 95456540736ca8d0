package aggregate

import (
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// series is what the owner holds of one register of one meter.
type series struct {
	meter    uint32 // index into table.meters
	register gridloom.RegisterID
	kind     gridloom.Kind
	state    window.State

	// pending are readings that came out of order and wait for a refold. They are
	// not yet known to be new: a refold drops the duplicates among them.
	pending []gridloom.Reading
	// refoldFrom is the earliest instant whose panes the pending readings may change.
	refoldFrom gridloom.Millis
	// behind marks that rows which are in segments or in the tail came out of order, during
	// a restart or before a refold that failed, so that the state must be refolded although
	// nothing is pending.
	behind bool

	// stored are the panes that a refold found in the store from its bound on: what
	// Close emits is written only if it differs. empty are those that no longer
	// exist; they supersede the stored ones. Both live until the next commit.
	stored map[gridloom.Millis]gridloom.Pane
	empty  []gridloom.Pane
}

// needsRefold reports whether the state does not yet tell of every reading.
func (s *series) needsRefold() bool { return len(s.pending) > 0 || s.behind }

// table holds the series of one partition and interns their names.
type table struct {
	meters  []string
	meterAt map[string]uint32
	byMeter [][]uint32 // series of each meter, in order of first appearance
	series  []series
	names   map[string]string // serials and agents
}

func newTable() *table {
	return &table{meterAt: map[string]uint32{}, names: map[string]string{"": ""}}
}

// meter returns the index of a meter's id, which it copies when it is new.
func (t *table) meter(id string) uint32 {
	i, ok := t.meterAt[id]
	if !ok {
		id = strings.Clone(id)
		i = uint32(len(t.meters))
		t.meters = append(t.meters, id)
		t.byMeter = append(t.byMeter, nil)
		t.meterAt[id] = i
	}
	return i
}

// find returns the index of a series, which it adds when it is new.
func (t *table) find(meter uint32, reg gridloom.RegisterID) uint32 {
	for _, i := range t.byMeter[meter] {
		if t.series[i].register == reg {
			return i
		}
	}
	i := uint32(len(t.series))
	t.series = append(t.series, series{meter: meter, register: reg, kind: reg.Info().Kind})
	t.byMeter[meter] = append(t.byMeter[meter], i)
	return i
}

// intern returns one copy of a serial or agent.
func (t *table) intern(s string) string {
	if v, ok := t.names[s]; ok {
		return v
	}
	s = strings.Clone(s)
	t.names[s] = s
	return s
}

// indexOf returns the place of a series of this table.
func (t *table) indexOf(s *series) uint32 {
	return t.find(s.meter, s.register)
}

// matching calls f for every series that a selector's meters and registers choose.
func (t *table) matching(meters []string, registers []gridloom.RegisterID, f func(*series)) {
	want := func(s *series) bool {
		return registers == nil || slices.Contains(registers, s.register)
	}
	if meters == nil {
		for i := range t.series {
			if want(&t.series[i]) {
				f(&t.series[i])
			}
		}
		return
	}
	for _, m := range meters {
		i, ok := t.meterAt[m]
		if !ok {
			continue
		}
		for _, j := range t.byMeter[i] {
			if want(&t.series[j]) {
				f(&t.series[j])
			}
		}
	}
}
