package window

import "github.com/gridloom/gridloom"

// A counter's register only rises, by no more than its connection can carry. A reading that
// breaks this is an event of the register, or a mistake, and mostly only what follows tells
// which. judge decides as far as the readings up to now allow; docs/registers.md has pictures.

// A run of readings below the accepted one, or a rise beyond the limit, is undecided until it has
// so many readings over such a time.
const (
	runReadings = 3
	runTime     = 15 * gridloom.Minute
)

// limitTime is the shortest time that a limit is for: registers are read in steps, and more often
// than they step.
const limitTime = 15 * gridloom.Minute

// resetTime bounds the use that a register which started again may show, and how long afterwards
// it may be found not to have.
const resetTime = gridloom.Day

// Registers wrap at a power of ten of what their display shows, kWh or m³: 10^6 of our units.
const (
	leastWrap = 1_000_000_000         // 3 digits
	mostWrap  = 1_000_000_000_000_000 // 9 digits
)

// verdict says what a reading of a counter is, as far as the readings up to it tell.
type verdict uint8

const (
	begins    verdict = iota // the first one: accepted, no energy
	rises                    // accepted: what it rose by is energy
	exchanged                // accepted: the first of another device, no energy
	held                     // below the accepted one: shown, and counts for nothing as yet

	// These decide what the readings before it were, which the panes do not tell yet.
	returns  // accepted, and the run before it was a glitch
	restarts // the run is of a register that started again from zero
	wraps    // the run is of a register that wrapped
	retracts // accepted, and what rose too far before it, or seemed to start again, was a glitch
)

// decides reports whether a verdict changes what the readings before it are.
func (v verdict) decides() bool { return v >= returns }

// run is what is undecided after some readings: consecutive ones below the accepted one or, if up,
// the accepted ones from one on that rose beyond the limit or, if reset too, from which on the register
// has started again. The count of those below starts again with a reading that falls.
type run struct {
	count      uint64
	firstAt    gridloom.Millis
	firstValue int64
	lastAt     gridloom.Millis
	lastValue  int64

	up, reset bool
	last      point // the accepted reading after all of it
	from      point // if up: the accepted one before it
}

// ripe reports whether a run can be decided.
func (u *run) ripe() bool { return u.count >= runReadings && u.lastAt-u.firstAt >= runTime }

// with returns the run with one more reading.
func (u *run) with(r *Reading) run {
	n := *u
	n.count++
	n.lastAt, n.lastValue = r.Start, r.Value
	return n
}

func runOf(r *Reading) run {
	return run{count: 1, firstAt: r.Start, firstValue: r.Value, lastAt: r.Start, lastValue: r.Value}
}

// limit returns how much can flow in a time.
func (c *Config) limit(span gridloom.Millis) int64 {
	rating := c.Rating
	if rating == 0 {
		rating = DefaultRating
	}
	span = max(span, limitTime)
	hours := int64(span / gridloom.Hour)
	if hours >= 2*gridloom.MaxValue/rating {
		return 2 * gridloom.MaxValue // no two readings differ by more
	}
	return hours*rating + gridloom.Share(rating, gridloom.Hour, 0, span%gridloom.Hour)
}

// risesTooFar reports whether a rise is beyond the limit of the shortest time; a fall, which is
// a huge rise here, is.
func (c *Config) risesTooFar(rise uint64) bool {
	const perHour = uint64(gridloom.Hour / limitTime)
	return rise > uint64(c.Rating)/perHour && (c.Rating != 0 || rise > DefaultRating/perHour)
}

// judge says what r is after an accepted reading, if there is one, and a run, if one is open; next
// is the run that is open after r, with a count of 0 if none is.
func (c *Config) judge(last *point, open *run, r *Reading) (v verdict, next run) {
	switch {
	case !last.known:
		return begins, next
	case last.serial != "" && r.Serial != "" && last.serial != r.Serial:
		return exchanged, next
	case open != nil && !open.up:
		return c.judgeRun(last, open, r)
	case open != nil && open.isBack(c, last, r):
		return retracts, next
	case r.Value < last.value:
		return held, runOf(r)
	case open != nil && open.goesOn(c, last, r):
		return rises, open.with(r)
	}
	return rises, c.watch(last, r)
}

// isBack reports whether r shows a register where it can be if what is accepted since open.from is wrong.
func (u *run) isBack(c *Config, last *point, r *Reading) bool {
	if u.reset {
		// In a day a small register can pass all of its values at the rating, which no use keeps up for so long.
		return r.Value >= last.value && r.Start-u.firstAt <= resetTime && !c.follows(last, r) &&
			r.Value >= u.from.value && r.Value-u.from.value <= max(c.limit(0), c.limit(r.Start-u.from.at)/10)
	}
	return r.Value < last.value && c.follows(&u.from, r)
}

// goesOn reports whether the accepted readings are still watched after r, which does not fall.
func (u *run) goesOn(c *Config, last *point, r *Reading) bool {
	if u.reset {
		return r.Start-u.firstAt <= resetTime && c.follows(last, r)
	}
	next := u.with(r)
	return !next.ripe()
}

// judgeRun judges a reading after readings below the accepted one.
func (c *Config) judgeRun(last *point, open *run, r *Reading) (verdict, run) {
	if r.Value >= last.value {
		if !open.ripe() && c.follows(last, r) && !c.follows(&point{at: open.lastAt, value: open.lastValue}, r) {
			return returns, run{}
		}
		return rises, c.watch(last, r)
	}
	if !c.follows(&point{at: open.lastAt, value: open.lastValue}, r) {
		return held, runOf(r)
	}
	next := open.with(r)
	if open.ripe() || !next.ripe() {
		return held, next
	}
	if wrapOf(c, last, next.firstAt, next.firstValue) > 0 {
		return wraps, run{}
	}
	if v := next.firstValue; v < (last.value+1)/2 && v <= c.limit(min(next.firstAt-last.at, resetTime)) {
		next.up, next.reset, next.from = true, true, *last
		return restarts, next
	}
	return held, next
}

// follows reports whether r can be what a register shows that stood at a.
func (c *Config) follows(a *point, r *Reading) bool {
	return r.Value >= a.value && r.Value-a.value <= c.limit(r.Start-a.at)
}

// watch returns the run that a rise beyond the limit opens.
func (c *Config) watch(last *point, r *Reading) (next run) {
	if r.Value-last.value <= c.limit(r.Start-last.at) {
		return next
	}
	next = runOf(r)
	next.up, next.from = true, *last
	return next
}

// wrapOf returns where a register wrapped that stood at last and showed a value afterwards; 0 if
// it did not: it must have been within 5 % of a power of ten, show little, and what is between must be able to have flowed.
func wrapOf(c *Config, last *point, at gridloom.Millis, value int64) int64 {
	least, most := int64(leastWrap), int64(mostWrap)
	if c.Dials > 0 {
		least = wrapAt(c.Dials)
		most = least
	}
	for w := least; w <= most; w *= 10 {
		if last.value < w && last.value >= w-w/20 && value >= 0 && value <= w/20 && w-last.value+value <= c.limit(at-last.at) {
			return w
		}
	}
	return 0
}

// wrapAt returns where a register of so many dials wraps.
func wrapAt(dials int) int64 {
	w := int64(1000)
	for range min(dials, 12) {
		w *= 10
	}
	return w
}
