package aggregate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/wire"
)

// editor edits what a load has sent: it sets and voids readings, and undoes its edits.
type editor struct {
	l     *load
	edits []madeEdit // not undone
	undos int
}

type madeEdit struct {
	sequence uint64
	rows     []gridloom.Reading
}

// frame makes the frame of an edit, or of an undo: then made is nil.
func (e *editor) frame() (frame []byte, made []gridloom.Reading) {
	l := e.l
	var rows []gridloom.Reading
	if len(e.edits) > 0 && l.rnd.IntN(5) < 2 {
		n := l.rnd.IntN(len(e.edits))
		for _, r := range e.edits[n].rows {
			r.Order, r.Void, r.Value = gridloom.NewUndo(e.edits[n].sequence), true, 0
			rows = append(rows, r)
		}
		e.edits = slices.Delete(e.edits, n, n+1)
		e.undos++
	} else {
		meter := l.sent[l.rnd.IntN(len(l.sent))].Meter
		said := slices.DeleteFunc(slices.Clone(l.sent), func(r gridloom.Reading) bool { return r.Meter != meter })
		seen := map[gridloom.Identity]bool{}
		for range 1 + l.rnd.IntN(6) {
			r := said[len(said)-1-l.rnd.IntN(min(len(said), 1+l.rnd.IntN(40)))]
			switch l.rnd.IntN(5) {
			case 0:
				r.Void, r.Value = true, 0
			case 1: // as it was
			case 2:
				r.Start += gridloom.Millis(1+l.rnd.IntN(20)) * gridloom.Minute
			default:
				r.Void, r.Value = false, r.Value+int64(l.rnd.IntN(5)*1000)
			}
			r.Order, r.Quality, r.Agent = gridloom.NewOrder(gridloom.ClassEdit, 0, 0), gridloom.Edited, ""
			if !seen[r.Identity()] {
				seen[r.Identity()] = true
				rows = append(rows, r)
			}
		}
		made = rows
	}
	var c wire.Columns
	c.Reset()
	for i := range rows {
		c.AppendReading(&rows[i])
	}
	return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindEdit, Generation: 1}, &c), made
}

// agrees makes the frame of a device that says what an edit has said: it counts once that is undone.
func (e *editor) agrees() []byte {
	var c wire.Columns
	c.Reset()
	e.l.seq++
	for _, r := range e.edits[e.l.rnd.IntN(len(e.edits))].rows {
		r.Order, r.Agent = gridloom.NewOrder(gridloom.ClassDevice, 3, e.l.seq), "gw"
		c.AppendReading(&r)
	}
	return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c)
}

// seenAt is what was answered once.
type seenAt struct {
	at    gridloom.Millis // log time
	panes map[string]gridloom.Pane
	read  map[gridloom.Identity]gridloom.Reading
}

// TestEditsAndUndos has people edit what devices say, and undo it, while the owner
// crashes, restarts and merges. Panes and readings are those of the definition; and what was
// answered at any time can be told again afterwards from what is stored.
func TestEditsAndUndos(t *testing.T) {
	points := []string{"", "commit.raw", "commit.panes", "commit.snapshot", "commit.manifest", "commit.swapped", "compact.merged", "compact.edited"}
	seeds := 20
	if testing.Short() {
		seeds = 5
	}
	var edits, undos atomic.Int64
	t.Cleanup(func() { // after the subtests
		if e, u := edits.Load(), undos.Load(); e < int64(seeds) || u < int64(seeds)/2 {
			t.Errorf("%d edits and %d undos in %d runs", e, u, seeds)
		}
	})
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			const t0 = gridloom.Millis(1_770_000_000_000)
			r := newRig(t, t0)
			l := newLoad(seed, t0)
			rnd := rand.New(rand.NewPCG(seed, 2))
			e := &editor{l: l}
			var seen []seenAt
			look := func(when string) {
				r.check(when)
				v := r.view()
				s := seenAt{v.logTime, map[string]gridloom.Pane{}, v.readings}
				for k, p := range v.panes {
					s.panes[k] = clean(p)
				}
				seen = append(seen, s)
				r.now.Add(1) // what comes next is logged later
				l.at++
			}
			made := 0
			for life := range 5 {
				point := points[rnd.IntN(len(points))]
				var once atomic.Bool
				hit := make(chan struct{})
				files := 2 + rnd.IntN(4)
				r.start(func(c *Config) {
					hasty(c)
					c.MergeFiles = files
					c.Fault = func(p string) {
						if p == point && once.CompareAndSwap(false, true) {
							r.put.closed.Store(true)
							r.heads.closed.Store(true)
							r.log.closed.Store(true)
							close(hit)
						}
					}
				})
				crashed := false
				for range 5 + rnd.IntN(20) {
					r.now.Store(int64(max(gridloom.Millis(r.now.Load()), l.at)))
					frame, rows := l.frame(), []gridloom.Reading(nil)
					isEdit := len(l.sent) > 5 && rnd.IntN(3) == 0
					if isEdit {
						frame, rows = e.frame()
					} else if len(e.edits) > 0 && rnd.IntN(5) == 0 {
						frame = e.agrees()
					}
					seq, err := r.log.Append(t.Context(), 0, frame)
					if err != nil {
						crashed = true
						break
					}
					if rows != nil {
						made++
						e.edits = append(e.edits, madeEdit{seq, rows})
					}
					if rnd.IntN(3) == 0 {
						last, _ := r.log.LastSequence(t.Context(), 0)
						await(t, "a commit", func() bool { return once.Load() || r.state().CommittedSeq > last })
					}
					if rnd.IntN(4) == 0 && point == "" {
						look(fmt.Sprint("life ", life))
					}
				}
				switch {
				case crashed || once.Load():
					<-hit
					r.stop()
				case rnd.IntN(2) == 0 || point != "":
					r.crash()
				default:
					look("before release")
					r.stop()
				}
			}
			r.start(hasty)
			look("in the end")
			await(t, "only what is named is left", func() bool { return len(r.unnamed()) == 0 })
			look("swept")
			r.asOf(seen)
			r.stop()
			r.start(nil)
			look("after a restart")
			r.asOf(seen)
			r.stop()
			edits.Add(int64(made))
			undos.Add(int64(e.undos))
		})
	}
}

// asOf folds what is stored and was logged by then, and compares it with what was seen then.
func (r *rig) asOf(seen []seenAt) {
	r.t.Helper()
	v := r.view()
	for _, s := range seen {
		rows := slices.DeleteFunc(slices.Collect(maps.Values(v.rows)), func(x gridloom.Reading) bool { return x.LoggedAt > s.at })
		if diff := gocmp.Diff(s.panes, foldRows(rows, s.at, func(gridloom.Series) window.Config { return testWindow })); diff != "" {
			r.t.Fatalf("as of %s (-then +now):\n%.4000s", s.at, diff)
		}
		now := winnersOf(rows)
		for id, x := range s.read {
			if y, ok := now[id]; !ok || !x.SameValue(&y) || x.Order != y.Order {
				r.t.Fatalf("as of %s: %v is %+v, was %+v", s.at, id, y, x)
			}
		}
		if len(now) != len(s.read) {
			r.t.Fatalf("as of %s: %d readings, then %d", s.at, len(now), len(s.read))
		}
	}
}

// wantReadings returns the winner of every identity in the log.
func (r *rig) wantReadings() map[gridloom.Identity]gridloom.Reading {
	var rows []gridloom.Reading
	var c wire.Columns
	r.log.mu.Lock() // the owner may append a tick
	defer r.log.mu.Unlock()
	for i := range r.log.frames {
		if r.log.part[i] != r.partition {
			continue
		}
		if _, err := wire.DecodeFrame(r.log.frames[i].Data, &c); err != nil {
			r.t.Fatal(err)
		}
		for j := range c.Len() {
			x := c.Reading(j)
			x.Sequence, x.Place = r.log.frames[i].Sequence, uint32(j)
			rows = append(rows, x)
		}
	}
	return winnersOf(rows)
}

// competing is the rule for undos as a user is told it: the rows of an edit that an undo names do not count.
func competing(rows []gridloom.Reading) []gridloom.Reading {
	undone := map[uint64]bool{}
	for _, x := range rows {
		if x.Order>>60 == 9 {
			undone[uint64(x.Order)&^(15<<60)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(x gridloom.Reading) bool {
		return x.Order>>60 == 9 || x.Order>>60 == 8 && undone[x.Sequence]
	})
}

// winnersOf returns the row that counts of each identity: the one of the greatest order, and of
// these the last to be logged.
func winnersOf(rows []gridloom.Reading) map[gridloom.Identity]gridloom.Reading {
	out := map[gridloom.Identity]gridloom.Reading{}
	for _, x := range competing(rows) {
		old, ok := out[x.Identity()]
		later := x.Sequence > old.Sequence || x.Sequence == old.Sequence && x.Place > old.Place
		if !ok || x.Order > old.Order || x.Order == old.Order && later {
			out[x.Identity()] = x
		}
	}
	return out
}

// foldRows folds what competes among rows at once, at a log time; windowOf says how a series is folded.
func foldRows(rows []gridloom.Reading, logTime gridloom.Millis, windowOf func(gridloom.Series) window.Config) map[string]gridloom.Pane {
	bySeries := map[gridloom.Series][]window.Reading{}
	for _, x := range competing(rows) {
		k := gridloom.Series{Meter: x.Meter, Register: x.Register}
		bySeries[k] = append(bySeries[k], window.Reading{
			Start: x.Start, Length: x.Length, Value: x.Value, Void: x.Void, Quality: x.Quality,
			Order: x.Order, Sequence: x.Sequence, Place: x.Place, LoggedAt: x.LoggedAt, Serial: x.Serial,
		})
	}
	out := map[string]gridloom.Pane{}
	for k, rows := range bySeries {
		w := windowOf(k)
		w.Fold(k.Register.Info().Kind, rows, logTime-testWindow.Lateness, func(p *gridloom.Pane) {
			p.Meter, p.Register = k.Meter, k.Register
			out[fmt.Sprint(p.Meter, p.Register, int64(p.Start))] = clean(*p)
		})
	}
	return out
}

// TestSeriesTellsWhatCountsAfterAnUndo: the list of meters shows the newest reading that counts, though
// nobody has asked for anything else since the undo came.
func TestSeriesTellsWhatCountsAfterAnUndo(t *testing.T) {
	const t0 = gridloom.Millis(1_770_000_000_000)
	r := newRig(t, t0+gridloom.Hour)
	r.start(func(c *Config) { c.CommitEvery = 0 })
	defer r.stop()
	power, _ := gridloom.RegisterByName("power_import")
	tell := func(kind wire.Kind, order gridloom.Order, start gridloom.Millis, value int64) uint64 {
		var c wire.Columns
		c.Reset()
		_, undoes := order.Undoes()
		c.AppendReading(&gridloom.Reading{Meter: "m", Register: power, Start: start, Value: value, Void: undoes, Order: order})
		seq, err := r.log.Append(t.Context(), 0, wire.AppendFrame(nil, wire.FrameInfo{Kind: kind, Generation: 1}, &c))
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	last := func(at gridloom.Millis, want int64) {
		t.Helper()
		list, err := r.worker.Series(t.Context(), 0)
		if err != nil || len(list) != 1 || list[0].LastAt != at || list[0].LastValue != want || list[0].LastVoid {
			t.Errorf("Series = %+v, %v; want %d at %s", list, err, want, at)
		}
	}
	device := func(seq uint32) gridloom.Order { return gridloom.NewOrder(gridloom.ClassDevice, 1, seq) }
	edit := gridloom.NewOrder(gridloom.ClassEdit, 0, 0)
	tell(wire.KindReadings, device(1), t0, 100)
	first := tell(wire.KindEdit, edit, t0, 500)
	tell(wire.KindReadings, device(2), t0, 120)
	last(t0, 500)
	ahead := tell(wire.KindEdit, edit, t0+gridloom.Minute, 700)
	last(t0+gridloom.Minute, 700)
	tell(wire.KindEdit, gridloom.NewUndo(ahead), t0+gridloom.Minute, 0)
	last(t0, 500)
	tell(wire.KindEdit, gridloom.NewUndo(first), t0, 0)
	last(t0, 120)
}

// TestAnEditThatWasUndoneIsMadeAgain: the newest reading of a series lies in a window that no reading in order can change. It is
// edited and the edit undone before anything is folded anew, which leaves the panes as they are. The same edit, made once more, counts.
func TestAnEditThatWasUndoneIsMadeAgain(t *testing.T) {
	const t0 = gridloom.Millis(1_770_000_000_000)
	interval, _ := gridloom.RegisterByName("energy_import_interval")
	r := newRig(t, t0)
	tell := func(kind wire.Kind, order gridloom.Order, value int64) uint64 {
		var c wire.Columns
		c.Reset()
		_, undoes := order.Undoes()
		c.AppendReading(&gridloom.Reading{Meter: "m", Register: interval, Start: t0, Length: 30 * gridloom.Minute, Value: value, Void: undoes, Order: order})
		seq, err := r.log.Append(t.Context(), 0, wire.AppendFrame(nil, wire.FrameInfo{Kind: kind, Generation: 1}, &c))
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	r.start(nil)
	tell(wire.KindReadings, gridloom.NewOrder(gridloom.ClassDevice, 1, 1), 5000)
	r.now.Add(int64(3 * gridloom.Hour))
	last := tell(wire.KindReadings, gridloom.NewOrder(gridloom.ClassDevice, 1, 1), 5000) // a duplicate that moves the watermark
	await(t, "a commit", func() bool { return r.state().CommittedSeq > last })
	r.stop()
	r.start(func(c *Config) { c.CommitEvery = time.Hour })
	edit := gridloom.NewOrder(gridloom.ClassEdit, 0, 0)
	tell(wire.KindEdit, gridloom.NewUndo(tell(wire.KindEdit, edit, 4000)), 0)
	r.check("undone")
	tell(wire.KindEdit, edit, 4000)
	r.check("edited again")
	var energy int64
	for _, p := range r.view().panes {
		energy += p.Energy
	}
	if energy != 4000 {
		t.Errorf("%d mWh, want the 4,000 of the edit", energy)
	}
	r.stop()
}
