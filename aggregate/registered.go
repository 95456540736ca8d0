package aggregate

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/registry"
)

// A record of the registry is in force from its sequence on for all panes of its meter, also old
// ones: each series that it concerns is folded anew from its beginning. That is done in steps, a few
// series with each commit. Until its turn comes a series is folded on as before, wholly, and its state, its
// panes and the carries in them fit one another; a snapshot says by which limits it was folded.

// unsureDials stand in a snapshot for a series that is folded as the registry has it while its stored panes may not
// be: it is folded anew.
const unsureDials = 255

// limits are what the registry can say of how a series is folded; zero is the default.
type limits struct {
	dials  int
	rating int64
}

// registerLimits are the limits of one register of a meter.
type registerLimits struct {
	register gridloom.RegisterID
	limits
}

// registered is what an owner knows of the registry: of each meter that is in its partition's
// records the version that holds, and the limits in it.
type registered struct {
	meters  map[string]heldMeter
	configs map[limits]*window.Config // one for all series with the same limits
}

type heldMeter struct {
	version registry.Version // without its entry
	limits  []registerLimits
}

// forgetRegistry empties it.
func (p *partition) forgetRegistry() {
	p.metrics.outdated.Sub(float64(len(p.outdated)))
	p.registry = registered{meters: map[string]heldMeter{}, configs: map[limits]*window.Config{{}: &p.cfg.Window}}
	p.outdated = nil
}

// config returns the arithmetic of limits.
func (p *partition) config(l limits) *window.Config {
	c := p.registry.configs[l]
	if c == nil {
		w := p.cfg.Window.Limited(l.dials, l.rating)
		c = &w
		p.registry.configs[l] = c
	}
	return c
}

// configOf returns the arithmetic of a series as the registry has it now.
func (p *partition) configOf(meter string, reg gridloom.RegisterID) *window.Config {
	for _, l := range p.registry.meters[meter].limits {
		if l.register == reg {
			return p.config(l.limits)
		}
	}
	return &p.cfg.Window
}

// know takes a record in and returns the id of the meter that it is about; ok is false if it is about
// none, or does not count.
func (p *partition) know(r *pane.Record) (meter string, ok bool, err error) {
	class, id := pane.SplitRecordKey(r.Key)
	if class != registry.ClassMeter {
		return "", false, nil
	}
	before := p.registry.meters[id]
	v, counts, err := before.version.Next(r.Sequence, r.LoggedAt, r.Body)
	if err != nil || !counts {
		return "", false, err
	}
	held := heldMeter{version: v}
	held.version.Entry = nil
	if v.Exists() {
		m, err := registry.ParseMeter(v.Entry)
		if err != nil {
			return "", false, fmt.Errorf("%w: meter %q: %s: was it written by a newer gridloom?", gridloom.ErrCorrupt, id, err.Error())
		}
		for name, of := range m.Registers {
			if reg, ok := gridloom.RegisterByName(name); ok && (of.Dials != 0 || of.Rating != 0) {
				held.limits = append(held.limits, registerLimits{reg, limits{of.Dials, int64(of.Rating)}})
			}
		}
	}
	p.registry.meters[id] = held
	return id, true, nil
}

// register takes a record of the log in: series that it concerns wait from then on to be folded anew.
func (p *partition) register(r *pane.Record) error {
	meter, ok, err := p.know(r)
	if err != nil {
		return fmt.Errorf("frame %d of partition %d: %w", r.Sequence, p.id, err)
	}
	if ok {
		p.table.matching([]string{meter}, nil, func(i uint32, _ *series) { p.outdate(i) })
	}
	return nil
}

// outdate lists a series that is not folded as the registry has it.
func (p *partition) outdate(i uint32) {
	s := p.table.at(i)
	if !s.outdated && s.window != p.configOf(p.table.meterName(i), s.register) {
		s.outdated = true
		p.outdated = append(p.outdated, i)
		p.metrics.outdated.Inc()
	}
}

// Bounds of the series that a commit folds anew because of the registry, beside Config.Reconfigure: so many at
// once, and no more once they had that many panes, which stay in memory until the commit. A year of quarters of an hour of a
// series are 35,000 panes, 13 MB.
const (
	reconfigureAtOnce = 4
	reconfiguredPanes = 1 << 16
)

// reconfigureSome folds some of the waiting series anew.
func (p *partition) reconfigureSome() error {
	for panes, series := 0, 0; len(p.outdated) > 0 && panes < reconfiguredPanes && series < p.cfg.Reconfigure; {
		some := p.outdated[:min(reconfigureAtOnce, p.cfg.Reconfigure-series, len(p.outdated))]
		series += len(some)
		n, err := p.reconfigure(some)
		if err != nil {
			return err
		}
		panes += n
		p.outdated = p.outdated[len(some):]
	}
	return nil
}

// reconfigureAsked folds those anew that are asked for by name, if they are few.
func (p *partition) reconfigureAsked(sel *pane.Selector) error {
	if len(p.outdated) == 0 || sel.Meters == nil || sel.Only == pane.KindRaw {
		return nil
	}
	var some []uint32
	p.table.matching(sel.Meters, sel.Registers, func(i uint32, s *series) {
		if s.outdated {
			some = append(some, i)
		}
	})
	if len(some) > reconfigureAtOnce {
		return nil
	}
	_, err := p.reconfigure(some)
	p.outdated = slices.DeleteFunc(p.outdated, func(i uint32) bool { return !p.table.at(i).outdated })
	return err
}

// reconfigure folds series anew as the registry has them, and returns how many panes of them are stored. After a
// failure they are refolded with the next commit.
func (p *partition) reconfigure(list []uint32) (panes int, err error) {
	from := gridloom.Millis(math.MinInt64)
	if p.bounds.RawFrom > 0 {
		from = p.bounds.RawFrom // panes before are final
	}
	var meters []string
	for _, i := range list {
		s := p.table.at(i)
		if !s.outdated {
			continue
		}
		s.outdated = false
		p.metrics.outdated.Dec()
		c := p.configOf(p.table.meterName(i), s.register)
		if c == s.window && !s.unsure {
			continue // it has changed back
		}
		s.window, s.unsure = c, false
		p.awaitRefold(i, stretch{from, math.MaxInt64}).behind = true
		meters = append(meters, p.table.meterName(i))
	}
	if len(meters) == 0 {
		return 0, nil
	}
	slices.Sort(meters)
	err = p.refold(slices.Compact(meters), nil)
	for _, i := range list {
		if w := p.table.at(i).wait; w != nil {
			panes += len(w.stored)
		}
	}
	return panes, err
}

// restoreRegistry reads what the records that are committed say.
func (p *partition) restoreRegistry(ctx context.Context) error {
	return p.eachRecord(ctx, pane.KindRegistry, pane.Selector{}, func(r *pane.Record) error {
		_, _, err := p.know(r) // of a key they come as the log has them, in segment after segment
		return err
	})
}

// restoreWindow tells by which limits the state of a series was folded that a snapshot holds.
func (p *partition) restoreWindow(i uint32, l limits) {
	s := p.table.at(i)
	if l.dials == unsureDials {
		p.doubt(i)
		return
	}
	if l.rating == p.cfg.Window.Rating {
		l.rating = 0
	}
	s.window = p.config(l)
	p.outdate(i)
}

// outdateSince lists the series from one on that no snapshot holds and whose meter has a record since it: they may have
// been folded, and their panes stored, as it was before.
func (p *partition) outdateSince(first uint32, snapshot uint64) {
	for i := first; i < uint32(p.table.len()); i++ {
		if p.registry.meters[p.table.meterName(i)].version.Number <= snapshot {
			continue
		}
		p.doubt(i)
	}
}

// doubt lists a series whose stored panes may not be what the registry says.
func (p *partition) doubt(i uint32) {
	s := p.table.at(i)
	if s.unsure = true; !s.outdated {
		s.outdated = true
		p.outdated = append(p.outdated, i)
		p.metrics.outdated.Inc()
	}
}
