package query

import (
	"fmt"
	"net/http"
	"slices"

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

// checkFirst refuses to tell what a counter counted up to its first reading since the bound of
// retention: whether there was one before, as of that time, nobody knows any more.
func (f *foldSeries) checkFirst() error {
	kept := f.kept(f.meter)
	if kept == 0 || f.register.Info().Kind != gridloom.Counter {
		return nil
	}
	withdrawn := func(at gridloom.Millis) bool {
		return slices.ContainsFunc(f.rows, func(r window.Reading) bool { return r.Start == at && r.Void })
	}
	first := slices.IndexFunc(f.rows, func(r window.Reading) bool { return !r.Void && !withdrawn(r.Start) })
	if first < 0 || f.rows[first].Start < f.from || f.rows[first].Start >= f.to+f.window.Lookahead() {
		return nil
	}
	return overLimit("from", fmt.Sprintf("as_of cannot tell what meter %q counted up to its first reading at %s, as readings before %s are no longer kept",
		f.meter, f.rows[first].Start, kept), "ask from after that reading, or without as_of")
}
