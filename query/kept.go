package query

import (
	"fmt"
	"net/http"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// keptHeader says from when on the rows of an answer are still kept, where it was asked for
// more: what is not there before was dropped, or never was.
const keptHeader = "X-Gridloom-Kept-From"

func boundsOf(m *pane.Manifest) pane.Bounds {
	if m == nil {
		return pane.Bounds{}
	}
	return m.Bounds()
}

// keptFrom returns the latest bound of retention among the partitions of a query.
func keptFrom(snaps []*snapshot, kind pane.Kind) (from gridloom.Millis) {
	for _, snap := range snaps {
		if kind == pane.KindRaw {
			from = max(from, snap.bounds.RawFrom)
		} else {
			from = max(from, snap.bounds.PanesFrom)
		}
	}
	return from
}

func markKept(w http.ResponseWriter, kept, from gridloom.Millis) {
	if from < kept {
		w.Header().Set(keptHeader, kept.String())
	}
}

// rawFrom returns the function from a meter to the bound of its partition's readings.
func (s *Server) rawFrom(snaps []*snapshot) func(meter string) gridloom.Millis {
	if keptFrom(snaps, pane.KindRaw) == 0 {
		return func(string) gridloom.Millis { return 0 }
	}
	at := make([]gridloom.Millis, s.cfg.Partitions)
	for _, snap := range snaps {
		at[snap.partition] = snap.bounds.RawFrom
	}
	return func(meter string) gridloom.Millis { return at[gridloom.PartitionOf(meter, s.cfg.Partitions)] }
}

// asOfMargin is how long after the bound of retention windows must start that are folded from
// readings alone: before that they may lack what was carried over the bound.
func asOfMargin(registers []gridloom.RegisterID, w *window.Config) (margin gridloom.Millis) {
	for kind, chosen := range kindsOf(registers) {
		if !chosen {
			continue
		}
		switch gridloom.Kind(kind) {
		case gridloom.Interval: // one that began before may reach so far
			margin = max(margin, gridloom.MaxInterval+w.Width)
		case gridloom.Gauge: // a value stands for so long
			margin = max(margin, w.Lookahead())
		case gridloom.Counter: // what the first reading is compared with: foldSeries.checkFirst
			margin = max(margin, gridloom.Day)
		case gridloom.Event:
		}
	}
	return margin
}

// checkKept refuses a query as of an earlier time that begins before the readings that it
// needs are kept.
func checkKept(snaps []*snapshot, q *selection) error {
	kept := keptFrom(snaps, pane.KindRaw)
	if q.asOf == 0 || kept == 0 || q.from >= kept+q.margin {
		return nil
	}
	return overLimit("from", fmt.Sprintf("readings before %s are no longer kept, and as_of needs them", kept),
		fmt.Sprintf("ask from %s on, or without as_of", kept+q.margin))
}

// knownReadings are what it takes to judge a counter's readings by themselves: those that decide
// what the first one was (docs/registers.md).
const knownReadings = 4

// checkFirst refuses to tell what a counter counted while nobody knows what its first readings
// since the bound of retention are to be compared with: until a day has passed since the
// first one, and some have come. Those of before, as of that time, are gone.
func (f *foldSeries) checkFirst() error {
	kept := f.kept(f.meter)
	if kept == 0 || f.register.Info().Kind != gridloom.Counter {
		return nil
	}
	withdrawn := map[gridloom.Millis]bool{}
	for i := range f.rows {
		if f.rows[i].Void {
			withdrawn[f.rows[i].Start] = true
		}
	}
	var first, known gridloom.Millis // when that is, at the earliest
	n := 0
	for i := range f.rows { // in time order
		if at := f.rows[i].Start; !withdrawn[at] && at != known {
			if n++; n == 1 {
				first = at
			}
			if known = at; n == knownReadings {
				break
			}
		}
	}
	if n == 0 || first >= f.to+f.window.Lookahead() || n == knownReadings && f.from > known && f.from >= first+gridloom.Day {
		return nil
	}
	return overLimit("from", fmt.Sprintf("as_of cannot judge the first readings of meter %q, from %s on, as readings before %s are no longer kept", f.meter, first, kept),
		"ask from a day after those, or without as_of")
}
