package aggregate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// keepDays keeps readings for one day and panes for three, and looks for more all the time.
func keepDays(c *Config) {
	hasty(c)
	c.Retain, c.RetainEvery = Retention{Raw: 24 * time.Hour, Panes: 72 * time.Hour}, time.Millisecond
}

// settled is a view in which everything is committed.
func (r *rig) settled() view {
	r.t.Helper()
	last, _ := r.log.LastSequence(r.t.Context(), 0)
	await(r.t, "a commit of all", func() bool { return r.state().CommittedSeq > last })
	return r.view()
}

// noteExpired remembers the readings that a commit has declared expired, as those that are
// listed are past retention one day themselves.
func (r *rig) noteExpired(h gridloom.Head, note func(*gridloom.Reading)) error {
	if h.Manifest.Path == "" {
		return nil
	}
	store := pane.NewStore(r.disk, pane.StoreOptions{})
	m, err := store.PeekManifest(context.Background(), h.Manifest.Path)
	if err != nil {
		return err
	}
	if n := len(m.Recent); n > 3 {
		m.Recent = m.Recent[n-3:] // of this commit: readings, panes, expired ones
	}
	for _, g := range m.Recent {
		if g.Kind != pane.KindExpired {
			continue
		}
		if err := store.ReadExpired(context.Background(), g, pane.Selector{}, func(x *gridloom.Reading) error { note(x); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// frozenAt reports whether readings after a bound of retention may have changed a pane before it, if
// it was not final: one of the last of a day, or of a counter, what was undecided.
func frozenAt(p *gridloom.Pane, b pane.Bounds) bool {
	at := p.Start
	if p.Register.Info().Kind == gridloom.Counter {
		return at < b.RawFrom
	}
	return at < b.RawFrom && at+testWindow.Width > at.Floor(gridloom.Day)+gridloom.Day-testWindow.Lookahead()
}

// checkRetained checks that every reading of the log is where it belongs, counted once: it is
// served, a duplicate, from before the bound, or expired; and that the panes are the fold of
// all that are not expired.
func (r *rig) checkRetained(when string) view {
	r.t.Helper()
	v := r.settled()
	r.checkDues(when)
	want := r.wantReadings()
	for id, w := range want {
		if id.Start < v.bounds.RawFrom {
			delete(want, id)
			continue
		}
		if g := v.readings[id]; !g.SameValue(&w) || g.Order != w.Order {
			r.t.Fatalf("%s: reading %v is %+v, want %+v; readings are kept from %s", when, id, g, w, v.bounds.RawFrom)
		}
	}
	if len(v.readings) != len(want) {
		r.t.Fatalf("%s: %d readings, want %d", when, len(v.readings), len(want))
	}
	logged := uint64(0)
	var c wire.Columns
	for i := range r.log.frames {
		if _, err := wire.DecodeFrame(r.log.frames[i].Data, &c); err != nil {
			r.t.Fatal(err)
		}
		logged += uint64(c.Len())
	}
	if n := v.counts.Readings + v.counts.Duplicates + v.counts.Expired; n != logged {
		r.t.Fatalf("%s: %+v readings are accounted for, the log has held %d", when, v.counts, logged)
	}
	expired := r.heads.expiredReadings()
	for at, x := range expired {
		if x.Start >= v.bounds.RawFrom {
			r.t.Fatalf("%s: reading %v of %s expired, and readings are kept from %s", when, at, x.Start, v.bounds.RawFrom)
		}
	}
	wantPanes := r.want(expired)
	for k, p := range wantPanes {
		if p.Start < v.bounds.PanesFrom || frozenAt(&p, v.bounds) {
			delete(wantPanes, k)
		}
	}
	got := map[string]gridloom.Pane{}
	for k, p := range v.panes {
		if !frozenAt(&p, v.bounds) {
			got[k] = clean(p)
		}
	}
	if diff := gocmp.Diff(wantPanes, got); diff != "" {
		r.t.Fatalf("%s: panes differ from the fold of what has not expired, with %+v (-want +got):\n%.4000s", when, v.bounds, diff)
	}
	return v
}

// TestRetentionLosesNothingThatIsKept crashes and restarts an owner at random, as
// TestPanesEqualTheFoldOfTheLog does, while weeks pass and readings come up to five days
// late, of which one is kept.
func TestRetentionLosesNothingThatIsKept(t *testing.T) {
	points := []string{"", "", "claim.swapped", "commit.raw", "commit.panes", "commit.expired", "commit.snapshot", "commit.manifest", "commit.swapped", "compact.edited", "retain.edited", "sweep.deleted"}
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	var moves, expired atomic.Int64
	t.Cleanup(func() { // after the subtests
		if m, e := moves.Load(), expired.Load(); m < int64(seeds) || e < int64(seeds) {
			t.Errorf("the bounds moved %d times and %d readings expired in %d runs: retention did not take part", m, e, seeds)
		}
	})
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testStart)
			r.heads.swapped = r.noteExpired
			l := newLoad(seed, testStart)
			l.stride, l.late = 600, 5*24*60
			if seed%2 == 1 {
				l.restarts = 2 * gridloom.Day // as a bound may be where one is undecided
			}
			rnd := rand.New(rand.NewPCG(seed, 5))
			for life := range 6 {
				point := points[rnd.IntN(len(points))]
				hit := make(chan struct{})
				var once atomic.Bool
				nth := int64(1 + rnd.IntN(3))
				var passed atomic.Int64
				r.log.deep = rnd.IntN(4)
				r.start(func(c *Config) {
					keepDays(c)
					c.SnapshotEvery = []time.Duration{time.Millisecond, 20 * time.Millisecond, time.Hour}[rnd.IntN(3)]
					c.Fault = func(p string) {
						if p == "retain.edited" {
							moves.Add(1)
						}
						if p == point && passed.Add(1) == nth && once.CompareAndSwap(false, true) {
							r.put.closed.Store(true)
							r.heads.closed.Store(true)
							r.log.closed.Store(true)
							close(hit)
						}
					}
				})
				crashed := false
				for range 3 + rnd.IntN(25) {
					r.now.Store(int64(max(gridloom.Millis(r.now.Load()), l.at)))
					if _, err := r.log.Append(t.Context(), 0, l.frame()); err != nil {
						crashed = true
						break
					}
					if rnd.IntN(3) == 0 { // let a commit pass, and perhaps a bound move
						last, _ := r.log.LastSequence(t.Context(), 0)
						await(t, "a commit", func() bool { return once.Load() || r.state().CommittedSeq > last })
					}
					if rnd.IntN(6) == 0 && !once.Load() && point == "" {
						r.checkRetained(fmt.Sprint("life ", life))
					}
				}
				switch {
				case crashed || once.Load():
					<-hit
					r.stop()
				case rnd.IntN(2) == 0 || point != "":
					r.crash()
				default:
					r.checkRetained("before release")
					r.stop()
				}
			}
			r.start(keepDays)
			before := r.checkRetained("in the end")
			expired.Add(int64(before.counts.Expired))
			await(t, "nothing is left of what is past", func() bool {
				for _, g := range r.segments() {
					if b := r.view().bounds; b.Passed(&g) {
						return false
					}
				}
				return true
			})
			r.checkRetained("dropped")
			r.stop()
			r.start(nil) // keeps for ever from now on
			after := r.checkRetained("after a restart")
			if before.bounds.Later(after.bounds) != after.bounds {
				t.Errorf("the bounds fell from %+v to %+v", before.bounds, after.bounds)
			}
			r.stop()
		})
	}
}

// TestADayThatWasEmptiedKeepsItsCarry: the only reading of the first days that are kept is withdrawn, and the owner is killed
// before the next snapshot, so that its successor's state knows the reading still. What was carried over the bound of retention
// it finds in the pane that is left empty.
func TestADayThatWasEmptiedKeepsItsCarry(t *testing.T) {
	const day = gridloom.Millis(1_770_000_000_000) / gridloom.Day * gridloom.Day
	interval, _ := gridloom.RegisterByName("energy_import_interval")
	r := newRig(t, day-2*gridloom.Day)
	tell := func(meter string, at gridloom.Millis, value int64, void bool, order gridloom.Order) {
		var c wire.Columns
		c.Reset()
		c.AppendReading(&gridloom.Reading{Meter: meter, Register: interval, Start: at, Length: 20 * gridloom.Minute, Value: value, Void: void, Order: order})
		r.now.Store(max(r.now.Load(), int64(at+gridloom.Hour)))
		if _, err := r.log.Append(t.Context(), 0, wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c)); err != nil {
			t.Fatal(err)
		}
	}
	only := day + 148*gridloom.Minute // into the next window
	r.start(keepDays)
	tell("m", day-2*gridloom.Day, 7000, false, 0)
	r.settled()
	tell("m", only, 5000, false, 1)
	r.settled()
	tell("other", day+36*gridloom.Hour, 1, false, 0) // the clock of the log goes on
	await(t, "the bound of retention", func() bool { return r.view().bounds.RawFrom == day-gridloom.Day })
	r.stop()
	r.start(func(c *Config) { keepDays(c); c.SnapshotEvery = time.Hour })
	tell("m", only, 0, true, 2)
	r.settled()
	r.crash()
	r.start(keepDays)
	r.checkRetained("emptied, and restarted")
	tell("m", only-gridloom.Hour, 3000, false, 1)
	r.checkRetained("a late reading on that day")
	r.stop()
}
