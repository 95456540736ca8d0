package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/gridloom/gridloom"
)

// estimateLook is how far before and after a span its neighbours are looked for.
const estimateLook = 7 * gridloom.Day

// estimateOf fills a span of a series. Readings that are there and do not fit the cadence are withdrawn.
//
// A counter or gauge gets a value at each instant of the cadence, counted from the neighbour before,
// that lies on the straight line from that to the neighbour after, rounded down. An interval register
// gets intervals of the cadence from the end of the neighbour before on, each with the mean of the two neighbours.
func (s *Server) estimateOf(ctx context.Context, e *editForm) ([]change, error) {
	id := e.registers[0]
	kind := id.Info().Kind
	if kind == gridloom.Event {
		return nil, badField("register", id.String()+" counts events, which cannot be estimated")
	}
	there, err := s.counting(ctx, e.meter, e.registers, max(e.from-estimateLook, gridloom.MinInstant), e.to+estimateLook)
	if err != nil {
		return nil, err
	}
	lo, _ := slices.BinarySearchFunc(there, e.from, func(r gridloom.Reading, at gridloom.Millis) int { return int(r.Start - at) })
	hi, _ := slices.BinarySearchFunc(there, e.to, func(r gridloom.Reading, at gridloom.Millis) int { return int(r.Start - at) })
	switch {
	case lo == 0:
		return nil, badField("from", "there is no reading in the 7 days before it to estimate from")
	case hi == len(there):
		return nil, badField("to", "there is no reading in the 7 days from it on to estimate to")
	}
	a, b := &there[lo-1], &there[hi]
	if kind == gridloom.Counter && b.Value < a.Value {
		return nil, badField("from", fmt.Sprintf("the register falls from %s at %s to %s at %s: estimate up to where it falls, and from there on",
			appendDecimal(nil, a.Value, thousandths), a.Start, appendDecimal(nil, b.Value, thousandths), b.Start))
	}
	if e.cadence == 0 {
		if e.cadence = cadenceOf(kind, there[:lo], a); e.cadence == 0 {
			return nil, badField("cadence", `is missing, and the readings before from do not tell it: say it, such as "15m"`)
		}
	}
	inside := there[lo:hi]
	var changes []change
	put := func(start, length gridloom.Millis, value int64) {
		r := gridloom.Reading{
			Meter: e.meter, Register: id, Start: start, Length: length, Value: value,
			Quality: gridloom.Edited | gridloom.EstimatedLinear, Order: editOrder, Serial: a.Serial,
		}
		c := change{row: r}
		if n := slices.IndexFunc(inside, func(o gridloom.Reading) bool { return o.Start == start && o.Length == length }); n >= 0 {
			before := inside[n]
			c.before = &before
			inside = slices.Delete(inside, n, n+1)
		}
		changes = append(changes, c)
	}
	first := a.Start + e.cadence
	if kind == gridloom.Interval {
		first = a.Start + a.Length
	}
	if late := e.from - first; late > 0 {
		first += (late + e.cadence - 1) / e.cadence * e.cadence
	}
	for at := first; at < e.to; at += e.cadence {
		if len(changes)+len(inside) > maxEditReadings {
			return nil, badField("from", fmt.Sprintf("the span has more than %d readings, as many as an edit has at most: make several", maxEditReadings))
		}
		if kind != gridloom.Interval {
			put(at, 0, a.Value+gridloom.Share(b.Value-a.Value, b.Start-a.Start, 0, at-a.Start))
			continue
		}
		if at+e.cadence > b.Start {
			break // it would reach over the neighbour
		}
		put(at, e.cadence, gridloom.Share(a.Value+b.Value, 2, 0, 1))
	}
	for i := range inside {
		changes = append(changes, voidOf(&inside[i]))
	}
	if len(changes) == 0 {
		return nil, badField("from", fmt.Sprintf("no instant of the cadence of %s lies between from and to", spanString(e.cadence)))
	}
	return changes, nil
}

// cadenceOf returns the distance that readings before a span mostly have, of intervals their
// length; 0 if there are too few to tell.
func cadenceOf(kind gridloom.Kind, before []gridloom.Reading, a *gridloom.Reading) gridloom.Millis {
	if kind == gridloom.Interval {
		return a.Length
	}
	const look = 50
	before = before[max(0, len(before)-look):]
	times := map[gridloom.Millis]int{}
	var best gridloom.Millis
	for i := 1; i < len(before); i++ {
		d := before[i].Start - before[i-1].Start
		if d < gridloom.Second {
			continue
		}
		if times[d]++; times[d] > times[best] || times[d] == times[best] && d < best {
			best = d
		}
	}
	return best
}
