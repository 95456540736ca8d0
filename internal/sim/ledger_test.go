package sim

import (
	"fmt"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// ledger knows what was said, stored and promised, whatever becomes of it afterwards.
type ledger struct {
	w       *world
	parts   [partitions]truth
	said    map[gridloom.Identity][]gridloom.Reading // by devices, with the order they have given it
	columns wire.Columns
}

// truth is what the log has held of one partition, purged frames included.
type truth struct {
	logTime gridloom.Millis
	series  []gridloom.Series
	rows    map[gridloom.Series][]window.Reading
	held    map[gridloom.Identity][]gridloom.Reading // the same, by identity
	expired map[rowAt]bool                           // rows that a commit has declared expired
	bounds  pane.Bounds                              // of the last commit
	logged  uint64                                   // rows

	promised map[gridloom.Identity]gridloom.Order
	ids      []gridloom.Identity // of promised
}

func (l *ledger) open(w *world) {
	l.w, l.said = w, map[gridloom.Identity][]gridloom.Reading{}
	for p := range l.parts {
		l.parts[p] = truth{
			rows:     map[gridloom.Series][]window.Reading{},
			held:     map[gridloom.Identity][]gridloom.Reading{},
			expired:  map[rowAt]bool{},
			promised: map[gridloom.Identity]gridloom.Order{},
		}
	}
}

// say notes a reading that a device has made.
func (l *ledger) say(r gridloom.Reading) { l.said[r.Identity()] = append(l.said[r.Identity()], r) }

// wasSaid reports whether a device has said so, under this order.
func (l *ledger) wasSaid(r *gridloom.Reading) bool {
	return slices.ContainsFunc(l.said[r.Identity()], func(s gridloom.Reading) bool {
		return s.Order == r.Order && s.SameValue(r) && s.Serial == r.Serial
	})
}

// logged notes the readings of a frame that the log has stored.
func (l *ledger) logged(partition int, f *aggregate.Frame) {
	if _, err := wire.DecodeFrame(f.Data, &l.columns); err != nil {
		l.w.fail("frame %d: %v", f.Sequence, err)
	}
	t := &l.parts[partition]
	t.logTime = max(t.logTime, f.LoggedAt)
	l.w.stats.Readings += l.columns.Len()
	t.logged += uint64(l.columns.Len())
	for i := range l.columns.Len() {
		r := l.columns.Reading(i)
		r.Sequence, r.Place, r.LoggedAt = f.Sequence, uint32(i), t.logTime
		if !l.wasSaid(&r) {
			l.w.fail("frame %d holds %s, which no device has said", f.Sequence, told(&r))
		}
		s := gridloom.Series{Meter: r.Meter, Register: r.Register}
		if t.rows[s] == nil {
			t.series = append(t.series, s)
		}
		t.rows[s] = append(t.rows[s], window.Reading{
			Start: r.Start, Length: r.Length, Value: r.Value, Void: r.Void, Quality: r.Quality, Order: r.Order,
			Sequence: r.Sequence, Place: r.Place, LoggedAt: r.LoggedAt, Serial: r.Serial,
		})
		t.held[r.Identity()] = append(t.held[r.Identity()], r)
	}
}

// committed notes what a commit has declared expired: those that are listed go one day, too.
func (l *ledger) committed(h *gridloom.Head) {
	t := &l.parts[h.Partition]
	m, err := l.w.reader.PeekManifest(l.w.ctx, h.Manifest.Path)
	if err != nil {
		l.w.fail("the head of partition %d names %s: %v", h.Partition, h.Manifest.Path, err)
	}
	b := m.Bounds()
	if t.bounds.Later(b) != b || b.PanesFrom > b.RawFrom || b.RawFrom > h.LogTime {
		l.w.fail("retention of partition %d goes from %+v to %+v at %s", h.Partition, t.bounds, b, h.LogTime)
	}
	t.bounds = b
	const newest = 3 // segments of one commit: readings, panes, expired readings; edits have no records here
	for _, g := range m.Recent[max(0, len(m.Recent)-newest):] {
		if g.Kind != pane.KindExpired {
			continue
		}
		err := l.w.reader.ReadExpired(l.w.ctx, g, pane.Selector{}, func(r *gridloom.Reading) error {
			if r.Start >= b.RawFrom {
				l.w.fail("%s expired, and readings are kept from %s", told(r), b.RawFrom)
			}
			if at := (rowAt{r.Sequence, r.Place}); !t.expired[at] {
				t.expired[at] = true
				l.w.stats.Expired++
			}
			return nil
		})
		if err != nil {
			l.w.fail("partition %d: %v", h.Partition, err)
		}
	}
}

// checkCounts checks that every row of the log was taken once, in one way, once all are committed.
func (l *ledger) checkCounts(h *gridloom.Head) {
	m, err := l.w.reader.PeekManifest(l.w.ctx, h.Manifest.Path)
	if err != nil {
		l.w.fail("the head of partition %d names %s: %v", h.Partition, h.Manifest.Path, err)
	}
	t := &l.parts[h.Partition]
	if c := m.Counts; c.Readings+c.Duplicates+c.Expired != t.logged || c.Expired != uint64(len(t.expired)) {
		l.w.fail("partition %d has taken %+v, the log has held %d rows, and %d have expired", h.Partition, c, t.logged, len(t.expired))
	}
}

// promise notes that a device is being told that a reading is stored.
func (l *ledger) promise(r *gridloom.Reading) {
	t := &l.parts[gridloom.PartitionOf(r.Meter, partitions)]
	id := r.Identity()
	if !slices.ContainsFunc(t.held[id], func(s gridloom.Reading) bool { return !byPerson(s.Order) && s.Order >= r.Order }) {
		l.w.stats.Lost++
		l.w.fail("%s is acknowledged, and the log does not have it", told(r))
	}
	old, known := t.promised[id]
	if !known {
		t.ids = append(t.ids, id)
		l.w.stats.Promised++
	}
	t.promised[id] = max(old, r.Order)
}

// told describes a reading for the trace.
func told(r *gridloom.Reading) string {
	return fmt.Sprintf("%s %s %s+%s = %d (void %t, quality %x, order %s, frame %d place %d)",
		r.Meter, r.Register, r.Start, r.Length.Duration(), r.Value, r.Void, uint32(r.Quality), r.Order, r.Sequence, r.Place)
}
