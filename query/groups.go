package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
)

// groupSum is what the series of one group say together in one step.
type groupSum struct {
	value      gridloom.Int128 // sum, or least or greatest, of the series' values; docs/api.md says which value
	valued     uint32          // series that have one
	series     uint32          // series with a pane here
	n          int64
	coverage   gridloom.Millis // of all series
	least      int64           // of all readings
	greatest   int64
	computedAt gridloom.Millis
	quality    gridloom.Quality
	open       bool // some pane is not closed
	extremes   bool // least and greatest are known
}

// chunkSteps is how many steps are kept side by side at most: a day of 15-minute
// windows and a bit, so that a short query of a long series stays small.
const chunkSteps = 128

// group is one line of an answer with group_by.
type group struct {
	meter    string               // of byMeter
	register gridloom.RegisterID  // of byRegister; of byMeter one of the group, for kind and unit
	chunks   map[int64][]groupSum // by place of the first step, divided by chunkSteps
}

// groups joins the steps of many series. Rows come in the order (register, meter,
// start), so a group by register is handed on as soon as the next begins, and one by
// meter if there is but one register; else groups by meter are held until the end.
type groups struct {
	by     grouping
	agg    aggregation
	grid   *grid
	bands  *banded // nil, or what tells the band of each pane: then each step has a place for each band
	single bool    // of all panes the register is the same
	most   int64   // sums held at once
	held   int64
	emit   func(g *group, step gridloom.Window, band int, s *groupSum) error
	named  map[string]*group // byMeter, of several registers
	last   *group
	recent struct {
		chunk int64
		sums  []groupSum
	}
}

func (g *groups) take(p *gridloom.Pane) error {
	if err := g.enter(p); err != nil {
		return err
	}
	place := g.grid.number(p.Start)
	if g.bands != nil {
		place = place*g.perStep() + int64(g.bands.band)
	}
	sums, err := g.chunk(place / chunkSteps)
	if err != nil {
		return err
	}
	sums[place%chunkSteps].add(p, g.agg)
	return nil
}

// perStep returns how many places a step has.
func (g *groups) perStep() int64 {
	if g.bands == nil {
		return 1
	}
	return int64(len(g.bands.sums))
}

// enter makes the group of p the last one.
func (g *groups) enter(p *gridloom.Pane) error {
	if last := g.last; last != nil && (g.by == byRegister && last.register == p.Register || g.by == byMeter && last.meter == p.Meter) {
		return nil
	}
	if err := g.handLast(); err != nil {
		return err
	}
	if g.last = g.named[p.Meter]; g.last == nil {
		g.last = &group{register: p.Register, chunks: map[int64][]groupSum{}}
		if g.by == byMeter {
			g.last.meter = strings.Clone(p.Meter)
		}
		if g.mixed() {
			g.named[g.last.meter] = g.last
		}
	}
	g.recent.sums = nil
	return nil
}

// mixed reports whether rows of a group may come between those of another.
func (g *groups) mixed() bool { return g.by == byMeter && !g.single }

// handLast hands on the group at hand if it is complete.
func (g *groups) handLast() error {
	if g.last == nil || g.mixed() {
		return nil
	}
	g.held = 0
	return g.hand(g.last)
}

func (g *groups) chunk(i int64) ([]groupSum, error) {
	if g.recent.sums != nil && g.recent.chunk == i {
		return g.recent.sums, nil
	}
	sums := g.last.chunks[i]
	if sums == nil {
		size := min(chunkSteps, g.grid.len()*g.perStep()-i*chunkSteps)
		if g.held += size; g.held > max(g.most, chunkSteps) {
			return nil, overLimit("step", fmt.Sprintf("more than %d steps of all groups would be held in memory", g.most),
				"ask for a longer step, a shorter span or fewer meters")
		}
		sums = make([]groupSum, size)
		g.last.chunks[i] = sums
	}
	g.recent.chunk, g.recent.sums = i, sums
	return sums, nil
}

func (s *groupSum) add(p *gridloom.Pane, agg aggregation) {
	s.series++
	s.n += int64(p.N)
	s.coverage += p.Coverage
	s.quality |= p.Quality
	s.open = s.open || !p.Closed
	s.computedAt = max(s.computedAt, p.ComputedAt)
	if p.N > 0 {
		if !s.extremes {
			s.least, s.greatest, s.extremes = p.Min, p.Max, true
		}
		s.least, s.greatest = min(s.least, p.Min), max(s.greatest, p.Max)
	}
	v, ok := measure(p)
	if !ok {
		return
	}
	s.valued++
	switch {
	case agg == aggSum || agg == aggAvg:
		s.value = s.value.Add(gridloom.MulInt64(v, 1))
	case s.valued == 1 || agg == aggMin && v < int64(s.value.Lo) || agg == aggMax && v > int64(s.value.Lo):
		s.value = gridloom.MulInt64(v, 1)
	}
}

// measure returns the one value that a pane brings into its group: the energy of a
// counter or interval register, the time-weighted mean of a gauge, the sum of an
// event register. ok is false if it has none.
func measure(p *gridloom.Pane) (v int64, ok bool) {
	switch p.Register.Info().Kind {
	case gridloom.Counter, gridloom.Interval:
		return p.Energy, p.HasEnergy
	case gridloom.Gauge:
		return timeWeightedMean(p)
	case gridloom.Event:
		return p.Sum, p.N > 0
	}
	return 0, false
}

// timeWeightedMean returns a gauge's mean over what is covered, in thousandths, rounded half to even.
func timeWeightedMean(p *gridloom.Pane) (mean int64, ok bool) {
	if p.Coverage <= 0 {
		return 0, false
	}
	return roundDiv(p.TimeWeighted, int64(p.Coverage)), true
}

// result returns the group's value for agg; ok is false if no series had one.
func (s *groupSum) result(agg aggregation) (v int64, ok bool) {
	if s.valued == 0 {
		return 0, false
	}
	if agg == aggAvg {
		return roundDiv(s.value, int64(s.valued)), true
	}
	v, fits := clamp(s.value)
	if !fits {
		s.quality |= gridloom.Range
	}
	return v, true
}

func (g *groups) end() error {
	if err := g.handLast(); err != nil {
		return err
	}
	names := make([]string, 0, len(g.named))
	for name := range g.named {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := g.hand(g.named[name]); err != nil {
			return err
		}
	}
	return nil
}

// hand emits the steps of one group in time order.
func (g *groups) hand(one *group) error {
	places := make([]int64, 0, len(one.chunks))
	for i := range one.chunks {
		places = append(places, i)
	}
	slices.Sort(places)
	for _, c := range places {
		sums := one.chunks[c]
		for i := range sums {
			if sums[i].series == 0 {
				continue
			}
			place := c*chunkSteps + int64(i)
			if err := g.emit(one, g.grid.step(place/g.perStep()), int(place%g.perStep()), &sums[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
