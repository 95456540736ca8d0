package device

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
)

// SimConfig describes a simulated neighbourhood. The zero value of a field is what its comment says.
type SimConfig struct {
	Seed   uint64
	Meters int           // 1..1,000,000; 10
	First  int           // number of the first meter; 1
	Prefix string        // of the meter ids, before a number of 5 digits; "sim-"
	Every  time.Duration // between objects of a meter, on the UTC grid, at least 10 ms; 10 s

	// From, if not zero, starts a virtual clock there instead of the device's own.
	From gridloom.Millis
	// For ends the source after that much of its own time; 0 never.
	For time.Duration
	// Speed of the virtual clock: times real time; 0 as fast as it is taken.
	Speed float64
}

// simSince is the day on which simulated registers begin: 2025-01-01.
const simSince gridloom.Millis = 1_735_689_600_000

// Sim makes up readings of households: an object per meter and Every with
// energy_import, power_import and voltage_l1, and energy_export and power_export
// where there is PV. The same seed, meter and instant give the same values.
type Sim struct {
	cfg     SimConfig
	clock   *Clock
	houses  []*household
	names   []string
	next    gridloom.Millis // instant of the objects that come next; 0 before the first
	meter   int             // whose object of that instant comes next
	end     gridloom.Millis
	started time.Time // of the virtual clock
	pinned  gridloom.Millis
	stamp   Stamp
	count   atomic.Uint64

	imported, exported, powerIn, powerOut, voltage gridloom.RegisterID
}

// NewSim returns a neighbourhood. clock is the device's; it is not used with a virtual clock.
func NewSim(cfg SimConfig, clock *Clock) (*Sim, error) {
	if cfg.Meters == 0 {
		cfg.Meters = 10
	}
	if cfg.First == 0 {
		cfg.First = 1
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "sim-"
	}
	if cfg.Every == 0 {
		cfg.Every = 10 * time.Second
	}
	switch {
	case cfg.Meters < 1 || cfg.Meters > 1_000_000:
		return nil, fmt.Errorf("%w: %d meters: want 1 to 1,000,000", gridloom.ErrInvalid, cfg.Meters)
	case cfg.Every < 10*time.Millisecond || cfg.Every%time.Millisecond != 0:
		return nil, fmt.Errorf("%w: every %s: want whole milliseconds, at least 10ms", gridloom.ErrInvalid, cfg.Every)
	case cfg.Speed < 0 || cfg.For < 0:
		return nil, fmt.Errorf("%w: speed and duration must not be negative", gridloom.ErrInvalid)
	case cfg.Speed > 0 && cfg.From == 0:
		return nil, fmt.Errorf("%w: a speed needs an instant to start from", gridloom.ErrInvalid)
	case cfg.From != 0 && cfg.From < gridloom.MinInstant:
		return nil, fmt.Errorf("%w: from %s is before %s", gridloom.ErrInvalid, cfg.From, gridloom.MinInstant)
	}
	s := &Sim{cfg: cfg, clock: clock}
	since := simSince
	if cfg.From != 0 {
		since = min(since, cfg.From.Floor(gridloom.Day))
	}
	for i := range cfg.Meters {
		s.houses = append(s.houses, newHousehold(cfg.Seed, cfg.First+i, since))
		s.names = append(s.names, fmt.Sprintf("%s%05d", cfg.Prefix, cfg.First+i))
	}
	for alias, id := range map[string]*gridloom.RegisterID{
		"energy_import": &s.imported, "energy_export": &s.exported,
		"power_import": &s.powerIn, "power_export": &s.powerOut, "voltage_l1": &s.voltage,
	} {
		r, ok := gridloom.RegisterByName(alias)
		if !ok {
			panic("device: the catalog lacks " + alias)
		}
		*id = r
	}
	return s, nil
}

// Traits implements Source: only a virtual clock without a speed can wait.
func (s *Sim) Traits() Traits { return Traits{CanWait: s.cfg.From != 0 && s.cfg.Speed == 0} }

// Counts implements Source.
func (s *Sim) Counts() Counts { return Counts{Readings: s.count.Load()} }

// Next implements Source.
func (s *Sim) Next(ctx context.Context, c *Chunk) error {
	if s.meter == 0 {
		if err := s.await(ctx); err != nil {
			return err
		}
	}
	c.Stamp = s.stamp
	before := c.Len()
	profile := s.next
	if s.stamp.Trust == Undated {
		// The households' own time then counts from their first day: it must not
		// start at midnight of the year 2000.
		profile = simSince + s.next - s.pinned
	}
	for c.Len() < c.Limit && s.meter < len(s.houses) {
		s.object(c, profile)
	}
	s.count.Add(uint64(c.Len() - before))
	if s.meter == len(s.houses) {
		s.meter = 0
	}
	return nil
}

// object appends what the next meter shows.
func (s *Sim) object(c *Chunk, profile gridloom.Millis) {
	h, m := s.houses[s.meter], c.AddMeter(s.names[s.meter])
	var q gridloom.Quality
	if s.stamp.Trust == Doubtful {
		q = gridloom.ClockSuspect
	}
	s.meter++
	v := h.at(profile)
	c.Append(m, s.imported, s.next, 0, v.imported, false, q, 0, 0, 0)
	c.Append(m, s.powerIn, s.next, 0, max(v.net, 0), false, q, 0, 0, 0)
	c.Append(m, s.voltage, s.next, 0, v.voltage, false, q, 0, 0, 0)
	if h.solar > 0 {
		c.Append(m, s.exported, s.next, 0, v.exported, false, q, 0, 0, 0)
		c.Append(m, s.powerOut, s.next, 0, max(-v.net, 0), false, q, 0, 0, 0)
	}
}

// await sets s.next to the next instant of the grid and waits until it has come.
func (s *Sim) await(ctx context.Context) error {
	every := gridloom.SpanOf(s.cfg.Every)
	if s.cfg.From != 0 {
		return s.awaitVirtual(ctx, every)
	}
	now, stamp := s.clock.Stamp()
	if s.next == 0 {
		s.pinned = now
		if s.cfg.For > 0 {
			s.end = now + gridloom.SpanOf(s.cfg.For)
		}
	}
	if stamp != s.stamp && s.stamp.Trust == Undated && s.end != 0 {
		s.end += now - s.next // the clock was set: what is left stays about the same
	}
	next := now.Floor(every) + every
	if s.end != 0 && next > s.end {
		return io.EOF
	}
	if err := sleep(ctx, (next - now).Duration()); err != nil {
		return err
	}
	// The clock may have been set while we slept: then its time counts.
	after, stamp := s.clock.Stamp()
	if d := after - next; d > every || d < -every {
		next = after.Floor(every)
	}
	s.next, s.stamp = next, stamp
	return nil
}

func (s *Sim) awaitVirtual(ctx context.Context, every gridloom.Millis) error {
	if s.next == 0 {
		s.started = time.Now()
		s.next = (s.cfg.From + every - 1).Floor(every)
	} else {
		s.next += every
	}
	if s.cfg.For > 0 && s.next >= s.cfg.From+gridloom.SpanOf(s.cfg.For) {
		s.next -= every // stay at the end however often we are asked
		return io.EOF
	}
	if s.cfg.Speed == 0 {
		return ctx.Err()
	}
	due := s.started.Add(time.Duration(float64((s.next - s.cfg.From).Duration()) / s.cfg.Speed))
	return sleep(ctx, time.Until(due))
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
