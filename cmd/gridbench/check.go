package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/gridloom/gridloom"
)

// A checker compares what was acknowledged with what the REST API serves.
type checker struct {
	api     *api
	width   gridloom.Millis
	bridge  gridloom.Millis
	acked   []entry
	unacked []entry           // may have been stored or not
	edits   map[string][]edit // of each meter, those that count in the end
	notes   io.Writer         // where the first differences are described
	noted   int
	found   findings
	trail   editFindings
}

// findings are what a checker counts. All but the first two must be 0.
type findings struct {
	Readings   int64 `json:"checked_readings"` // identities acknowledged
	Panes      int64 `json:"checked_panes"`
	Lost       int64 `json:"lost"`       // acknowledged and not served
	Duplicated int64 `json:"duplicated"` // served more than once
	Altered    int64 `json:"altered"`    // served with a value that does not win
	Unsent     int64 `json:"unsent"`     // served and never sent
	WrongPanes int64 `json:"wrong_panes"`
}

func (f *findings) clean() bool {
	return f.Lost+f.Duplicated+f.Altered+f.Unsent+f.WrongPanes == 0
}

// maxNotes bounds how many differences are described.
const maxNotes = 20

func (c *checker) note(format string, args ...any) {
	if c.noted++; c.noted <= maxNotes {
		fmt.Fprintf(c.notes, "  "+format+"\n", args...)
	}
}

// metersPerQuery bounds one question; an answer has some ten thousand rows.
const metersPerQuery = 4

// candidate is what an identity may be served as.
type candidate struct {
	value  int64
	order  gridloom.Order
	sure   bool    // acknowledged at least once
	others []int64 // values of unacknowledged readings that would win if they were stored
	served int
	got    int64

	withdrawn bool // by an edit
}

type seriesKey struct {
	meter    string
	register gridloom.RegisterID
}

type spot struct{ start, length gridloom.Millis }

// run checks every meter. It sorts acked and unacked.
func (c *checker) run(ctx context.Context) error {
	byMeter := func(a, b entry) int { return cmp.Compare(a.meter, b.meter) }
	slices.SortFunc(c.acked, byMeter)
	slices.SortFunc(c.unacked, byMeter)
	acked, unacked := c.acked, c.unacked
	for len(acked) > 0 || len(unacked) > 0 {
		var meters []string
		group := map[seriesKey]map[spot]*candidate{}
		for len(meters) < metersPerQuery && (len(acked) > 0 || len(unacked) > 0) {
			m := firstMeter(acked, unacked)
			meters = append(meters, m)
			var mine []entry
			mine, acked = cut(acked, m)
			for _, e := range mine {
				promise(group, e)
			}
			mine, unacked = cut(unacked, m)
			for _, e := range mine {
				perhaps(group, e)
			}
			if err := c.overlay(m, group); err != nil {
				return err
			}
		}
		if err := c.checkMeters(ctx, meters, group); err != nil {
			return err
		}
	}
	return nil
}

func firstMeter(a, b []entry) string {
	if len(a) == 0 || len(b) > 0 && b[0].meter < a[0].meter {
		return b[0].meter
	}
	return a[0].meter
}

// cut splits off the entries of meter m, which come first if there are any.
func cut(es []entry, m string) (mine, rest []entry) {
	n := 0
	for n < len(es) && es[n].meter == m {
		n++
	}
	return es[:n], es[n:]
}

func candidateOf(group map[seriesKey]map[spot]*candidate, e entry) (*candidate, bool) {
	k := seriesKey{e.meter, e.register}
	if group[k] == nil {
		group[k] = map[spot]*candidate{}
	}
	at := spot{e.start, e.length}
	c, ok := group[k][at]
	if !ok {
		c = &candidate{}
		group[k][at] = c
	}
	return c, ok
}

// promise enters an acknowledged reading: of one identity the highest order wins.
func promise(group map[seriesKey]map[spot]*candidate, e entry) {
	c, known := candidateOf(group, e)
	if !known || e.order >= c.order {
		c.value, c.order = e.value, e.order
	}
	c.sure = true
}

// perhaps enters a reading that may have been stored. All promises must be in.
func perhaps(group map[seriesKey]map[spot]*candidate, e entry) {
	c, known := candidateOf(group, e)
	if known && c.sure && e.order < c.order {
		return
	}
	c.others = append(c.others, e.value)
}

func (c *checker) checkMeters(ctx context.Context, meters []string, group map[seriesKey]map[spot]*candidate) error {
	from, to := gridloom.Millis(1<<62), gridloom.Millis(0)
	for _, spots := range group {
		for at := range spots {
			from, to = min(from, at.start), max(to, at.start+at.length+1)
		}
	}
	// A window beyond both ends, to see what should not be there.
	from, to = from.Floor(c.width)-c.width, to.Floor(c.width)+2*c.width
	if err := c.readReadings(ctx, meters, from, to, group); err != nil {
		return err
	}
	panes := map[seriesKey]map[gridloom.Millis]*expected{}
	for k, spots := range group {
		panes[k] = expectWindows(k.register.Info().Kind, c.width, c.bridge, c.points(k, spots))
		c.found.Panes += int64(len(panes[k]))
	}
	return c.readWindows(ctx, meters, from, to, panes)
}

// readReadings marks what is served and counts what should not be.
func (c *checker) readReadings(ctx context.Context, meters []string, from, to gridloom.Millis, group map[seriesKey]map[spot]*candidate) error {
	return rows(ctx, c.api, "/api/v1/readings", selectMeters(meters, from, to), func(r *servedReading) error {
		k, at, err := r.identity()
		if err != nil {
			return err
		}
		value, err := parseThousandths(r.Value.String())
		if err != nil {
			return err
		}
		want := group[k][at]
		if want == nil {
			c.found.Unsent++
			c.note("never sent: %s %s %s length %q value %s", r.Meter, r.Register, at.start, r.Length, r.Value)
			return nil
		}
		want.served++
		want.got = value
		switch {
		case want.withdrawn:
			c.found.Altered++
			c.note("withdrawn by an edit and served: %s %s %s", r.Meter, r.Register, at.start)
		case want.served == 2:
			c.found.Duplicated++
			c.note("served twice: %s %s %s", r.Meter, r.Register, at.start)
		case want.sure && value == want.value, slices.Contains(want.others, value):
		default:
			c.found.Altered++
			c.note("altered: %s %s %s is %s, was acknowledged as %s", r.Meter, r.Register, at.start, r.Value, thousandths(want.value))
		}
		return nil
	})
}

// points returns what counts of a series, and counts what is lost.
func (c *checker) points(k seriesKey, spots map[spot]*candidate) []point {
	ps := make([]point, 0, len(spots))
	for at, want := range spots {
		value := want.value
		switch {
		case want.withdrawn, want.served == 0 && !want.sure:
			continue
		case want.served == 0:
			c.found.Lost++
			c.note("lost: %s %s %s value %s order %s", k.meter, k.register, at.start, thousandths(want.value), want.order)
		case slices.Contains(want.others, want.got):
			value = want.got
		}
		if want.sure {
			c.found.Readings++
		}
		ps = append(ps, point{at.start, at.length, value})
	}
	return ps
}

// readWindows compares every window that is served with what it should be.
func (c *checker) readWindows(ctx context.Context, meters []string, from, to gridloom.Millis, want map[seriesKey]map[gridloom.Millis]*expected) error {
	err := rows(ctx, c.api, "/api/v1/windows", selectMeters(meters, from, to), func(r *servedWindow) error {
		k, err := keyOf(r.Meter, r.Register)
		if err != nil {
			return err
		}
		start, err := gridloom.ParseInstant(r.Start)
		if err != nil {
			return err
		}
		e := want[k][start]
		delete(want[k], start)
		if e == nil {
			c.found.WrongPanes++
			c.note("window that should not be there, or is served twice: %s %s %s %+v", r.Meter, r.Register, start, *r)
			return nil
		}
		if wrong := e.differsFrom(k.register.Info().Kind, r); wrong != "" {
			c.found.WrongPanes++
			c.note("window %s %s %s: %s", r.Meter, r.Register, start, wrong)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for k, panes := range want {
		for start, e := range panes {
			c.found.WrongPanes++
			c.note("window is missing: %s %s %s %+v", k.meter, k.register, start, *e)
		}
	}
	return nil
}
