package window

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gridloom/gridloom"
)

// Refold returns the state of a series from a stored carry and all its raw rows from
// there on. bound is the start of the pane that the carry was stored with, or Bound
// and Carry of a State; MinInt64 and an empty carry mean the beginning. rows are all
// raw rows with Start >= bound, in any order: losers, voids, duplicates, undone rows and undos
// included. It may sort them, and drop those that do not compete.
//
// Close and Open then emit every pane from bound on; EmptyPane tells what to do with
// a stored one that is not among them. A carry that is not readable or does not fit
// k and bound is gridloom.ErrCorrupt; a bound that is no window's start or a row before it is
// gridloom.ErrInvalid; an *EarlierError tells that the carry is too late a start.
func (c *Config) Refold(k gridloom.Kind, bound gridloom.Millis, carry []byte, rows []Reading) (State, error) {
	if bound == math.MinInt64 {
		bound = 0
	}
	base, err := decodeCarry(k, carry, bound)
	if err != nil {
		return State{}, err
	}
	if bound < 0 || bound.Floor(c.Width) != bound {
		return State{}, fmt.Errorf("%w: refold from %s, which is not the start of a window of %s", gridloom.ErrInvalid, bound, c.Width.Duration())
	}
	s := State{next: bound, cold: &cold{bound: bound, last: base.last, run: base.run, base: base.stand}}
	sortRows(k, rows)
	if len(rows) > 0 && rows[0].Start < bound {
		return State{}, fmt.Errorf("%w: refold from %s with a reading at %s", gridloom.ErrInvalid, bound, rows[0].Start)
	}
	if k == gridloom.Interval {
		c.refoldIntervals(&s, base.reach, rows)
		return s, nil
	}
	winners := rows[:0] // never overtakes what is read
	for len(rows) > 0 {
		var r Reading
		var ok bool
		if r, rows, ok = resolve(k, rows); !ok {
			continue
		}
		s.see(k, &r)
		switch {
		case r.Void:
		case k == gridloom.Counter:
			winners = append(winners, r)
		default:
			c.take(k, &s, &r)
		}
	}
	if k == gridloom.Counter {
		if err := c.refoldCounter(&s, winners); err != nil {
			return State{}, err
		}
	}
	return s, nil
}

// Replaces tells s, which Refold made, that it takes the place of old: what old has closed
// is closed. Without it AffectedFrom knows of no watermark until the next Close, and a
// late reading before that has to be refolded from the beginning of the series.
func (s *State) Replaces(old *State) {
	s.level()
	old.level()
	s.watermark = max(s.watermark, old.watermark)
}

// Fold emits the panes that rows, all raw rows of a series in any order, give from
// nothing: those closed at the watermark and then the open ones. It may sort rows. This
// is a query as of an earlier time. The pane is valid until emit returns.
func (c *Config) Fold(k gridloom.Kind, rows []Reading, watermark gridloom.Millis, emit func(*gridloom.Pane)) {
	s, err := c.Refold(k, math.MinInt64, nil, rows)
	if err != nil {
		panic(fmt.Sprintf("window: fold of %d readings: %v", len(rows), err)) // no carry, no bound: only a reading before 1970
	}
	c.Open(k, &s, watermark, emit)
}

// sortRows sorts by time and, within an identity, by arrival.
func sortRows(k gridloom.Kind, rows []Reading) {
	order := func(a, b *Reading) int {
		if c := cmp.Compare(a.Start, b.Start); c != 0 {
			return c
		}
		if k == gridloom.Interval {
			if c := cmp.Compare(a.Length, b.Length); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Place, b.Place))
	}
	for i := 1; i < len(rows); i++ {
		if order(&rows[i-1], &rows[i]) > 0 { // rows from segments mostly are in order already
			slices.SortFunc(rows, func(a, b Reading) int { return order(&a, &b) })
			return
		}
	}
}

// resolve returns what the first identity of sorted rows says, and the rows after it:
// the value of the row that wins with the order of that, but the arrival and serial
// of the first row that said the same. A repetition raises the rank of what was said and
// makes it neither later nor another device's. ok is false if no row competes, as all of them were undone:
// then it is as if none of them had come.
func resolve(k gridloom.Kind, rows []Reading) (r Reading, rest []Reading, ok bool) {
	n := 1
	for n < len(rows) && rows[n].Start == rows[0].Start && (k != gridloom.Interval || rows[n].Length == rows[0].Length) {
		n++
	}
	rows, rest = rows[:n], rows[n:]
	if n == 1 && rows[0].Order.Class() != gridloom.ClassUndo {
		return rows[0], rest, true
	}
	if rows = gridloom.Competing(rows, (*Reading).rank); len(rows) == 0 {
		return Reading{}, rest, false
	}
	win := 0
	for i := 1; i < len(rows); i++ {
		if rows[i].rank().Outranks(rows[win].rank()) {
			win = i
		}
	}
	first := 0
	for !rows[first].says(&rows[win]) {
		first++
	}
	r = rows[first]
	r.Order = rows[win].Order
	return r, rest, true
}
