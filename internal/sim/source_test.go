package sim

import (
	"github.com/gridloom/gridloom"
)

// source makes up readings of a small neighbourhood: mostly in order, some late, doubled,
// corrected or withdrawn; counters, gauges and intervals; now and then another device
// hangs at the meter, or a reading lies in the future.
type source struct {
	w      *world
	meters []string
	spoken []gridloom.Reading // taken by the spool: for repetitions
}

const maxSpoken = 64

var worldRegisters = func() (ids []gridloom.RegisterID) {
	for _, n := range []string{"energy_import", "power_import", "energy_import_interval", "power_failures"} {
		id, ok := gridloom.RegisterByName(n)
		if !ok {
			panic("no register " + n)
		}
		ids = append(ids, id)
	}
	return ids
}()

func newSource(w *world, station string) source {
	return source{w: w, meters: []string{station + "-a", station + "-b", "shared"}}
}

// remember notes readings that may be repeated or corrected.
func (s *source) remember(readings []gridloom.Reading) {
	s.spoken = append(s.spoken, readings...)
	if n := len(s.spoken) - maxSpoken; n > 0 {
		s.spoken = append(s.spoken[:0], s.spoken[n:]...)
	}
}

// next makes a few readings by the device's clock.
func (s *source) next(now gridloom.Millis) []gridloom.Reading {
	rnd := s.w.rnd
	list := make([]gridloom.Reading, 0, 8)
	for range 1 + rnd.IntN(8) {
		if len(s.spoken) > 0 && s.w.chance(s.w.rates.delay) {
			list = append(list, s.again(pick(s.w, s.spoken)))
			continue
		}
		r := gridloom.Reading{Meter: pick(s.w, s.meters), Register: pick(s.w, worldRegisters)}
		r.Start = (now - gridloom.Millis(rnd.IntN(3))*gridloom.Second).Floor(gridloom.Second)
		switch {
		case s.w.chance(s.w.rates.delay): // late
			r.Start -= gridloom.Millis(rnd.IntN(200)) * gridloom.Minute
		case s.w.brief && rnd.IntN(12) == 0: // from a device that was cut off for days
			r.Start -= gridloom.Millis(rnd.IntN(4*24*60)) * gridloom.Minute
		case rnd.IntN(30) == 0: // from a clock that was wrong
			r.Start += gridloom.Millis(rnd.IntN(90)) * gridloom.Minute
		}
		if rnd.IntN(40) == 0 {
			r.Serial = "exchanged"
		}
		switch r.Register.Info().Kind {
		case gridloom.Counter:
			r.Value = int64(r.Start-worldStart+gridloom.Day)/1000*7 + int64(rnd.IntN(50))
		case gridloom.Interval:
			r.Length = []gridloom.Millis{5, 15, 30}[rnd.IntN(3)] * gridloom.Minute
			r.Start -= r.Length
			r.Value = int64(rnd.IntN(2_000_000))
		default:
			r.Value = int64(rnd.IntN(2_000_000))
		}
		list = append(list, r)
	}
	return list
}

// again is a reading as it was, corrected or withdrawn.
func (s *source) again(r gridloom.Reading) gridloom.Reading {
	r.Order, r.Sequence, r.Place, r.LoggedAt = 0, 0, 0, 0
	switch s.w.rnd.IntN(6) {
	case 0, 1:
		r.Value, r.Void = r.Value+int64(s.w.rnd.IntN(3)*1000), false
	case 2:
		r.Value, r.Void = 0, true
	}
	return r
}
