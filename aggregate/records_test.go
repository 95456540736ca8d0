package aggregate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// someRecords makes the records of a frame.
func (l *load) someRecords() (opaque []byte) {
	for range l.rnd.IntN(4) {
		key := pane.RecordKey("meter", fmt.Sprint("m", l.rnd.IntN(3)))
		if l.rnd.IntN(4) == 0 {
			key = pane.RecordKey("node", fmt.Sprint("T", l.rnd.IntN(3)))
		}
		opaque = wire.AppendRecord(opaque, &wire.Record{Key: key, Body: fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, l.rnd.Uint64(), bytes.Repeat([]byte{'x'}, l.rnd.IntN(300)))})
	}
	return opaque
}

// recordsSeen returns what a query finds: the records of the manifest that the owner's answer names, under those of its tail.
func (r *rig) recordsSeen(ctx context.Context) (seen records) {
	r.t.Helper()
	for i, kind := range recordKinds {
		tl, err := r.worker.Tail(ctx, r.partition, pane.Selector{Only: kind})
		if err != nil {
			r.t.Fatalf("Tail of %s: %v", kind, err)
		}
		if len(tl.Readings)+len(tl.Panes) > 0 {
			r.t.Fatalf("asked for %s, the owner tells %d readings and %d panes", kind, len(tl.Readings), len(tl.Panes))
		}
		if tl.Head.Manifest.Path != "" {
			store := pane.NewStore(r.disk, pane.StoreOptions{})
			m, err := store.ReadManifest(ctx, tl.Head.Manifest)
			if err != nil {
				r.t.Fatal(err)
			}
			p := &partition{store: store, manifest: m}
			err = p.eachRecord(ctx, kind, pane.Selector{}, func(x *pane.Record) error { seen[i] = append(seen[i], *x); return nil })
			if err != nil {
				r.t.Fatal(err)
			}
		}
		seen[i] = append(seen[i], tl.Records...)
	}
	return seen
}

// at is a record's place.
type recordAt struct {
	kind pane.Kind
	row  rowAt
}

// checkRecords: every record of the log is there once, as it was written.
func (r *rig) checkRecords(when string, v *view) {
	r.t.Helper()
	want := map[recordAt]pane.Record{}
	var c wire.Columns
	var logTime gridloom.Millis
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	for i := range r.log.frames {
		f := &r.log.frames[i]
		if r.log.part[i] != r.partition {
			continue
		}
		info, err := wire.DecodeFrame(f.Data, &c)
		if err != nil {
			r.t.Fatal(err)
		}
		logTime = max(logTime, f.LoggedAt)
		list, err := wire.DecodeRecords(info.Opaque)
		if err != nil {
			r.t.Fatal(err)
		}
		kind := pane.KindAudit
		if info.Kind == wire.KindRegistry {
			kind = pane.KindRegistry
		}
		for place, x := range list {
			at := recordAt{kind, rowAt{f.Sequence, uint32(place)}}
			want[at] = pane.Record{Key: x.Key, Sequence: f.Sequence, Place: uint32(place), LoggedAt: logTime, Body: x.Body}
		}
	}
	got := map[recordAt]pane.Record{}
	for i, kind := range recordKinds {
		for _, x := range v.records[i] {
			at := recordAt{kind, rowAt{x.Sequence, x.Place}}
			if _, twice := got[at]; twice {
				r.t.Fatalf("%s: the %s record %d of frame %d is there twice", when, kind, x.Place, x.Sequence)
			}
			got[at] = x
		}
	}
	if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(recordAt{}, rowAt{})); diff != "" {
		r.t.Fatalf("%s: records differ from the log's (-want +got):\n%.4000s", when, diff)
	}
}

// TestRecordsSurviveACrashAtEveryPoint kills the owner at each point that it names, while records,
// edits with records and readings come in, and starts it again: each record is there once,
// with the sequence that its writer was told.
func TestRecordsSurviveACrashAtEveryPoint(t *testing.T) {
	for _, point := range []string{
		"claim.loaded", "claim.swapped", "commit.raw", "commit.panes", "commit.registry", "commit.audit", "commit.snapshot", "commit.manifest",
		"commit.swapped", "compact.merged", "compact.edited", "sweep.deleted",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, testStart)
			l := newLoad(5, testStart)
			l.records = true
			for life := range 3 {
				hit := make(chan struct{})
				var passed atomic.Int64
				nth := int64(1 + life%2)
				if strings.HasPrefix(point, "claim") { // it comes but once in a life
					nth = 1
				}
				r.log.closed.Store(false)
				for range 8 { // nobody reads these before the start
					r.append(l.frame())
				}
				r.start(func(c *Config) {
					hasty(c)
					c.Fault = func(p string) {
						if p == point && passed.Add(1) == nth {
							r.put.closed.Store(true)
							r.heads.closed.Store(true)
							r.log.closed.Store(true)
							close(hit)
						}
					}
				})
				crashed := false
				for frames := 0; !crashed; frames++ {
					if frames == 500 {
						t.Fatalf("%s was not passed %d times in %d frames", point, nth, frames)
					}
					r.now.Store(int64(max(gridloom.Millis(r.now.Load()), l.at)))
					_, err := r.log.Append(t.Context(), 0, l.frame())
					last, _ := r.log.LastSequence(t.Context(), 0)
					await(t, "a commit or the crash", func() bool {
						select {
						case <-hit:
							crashed = true
						default:
						}
						return crashed || err == nil && r.state().CommittedSeq > last
					})
				}
				r.stop()
				r.start(hasty)
				r.check(fmt.Sprint("after the crash of life ", life))
				r.stop()
			}
			if n := len(r.recordsInLog()); n < 10 {
				t.Errorf("%d records: too few to show anything", n)
			}
		})
	}
}

// recordsInLog lists the bodies of all records of the log.
func (r *rig) recordsInLog() (bodies []string) {
	var c wire.Columns
	for i := range r.log.frames {
		info, err := wire.DecodeFrame(r.log.frames[i].Data, &c)
		if err != nil {
			r.t.Fatal(err)
		}
		list, err := wire.DecodeRecords(info.Opaque)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, x := range list {
			bodies = append(bodies, string(x.Body))
		}
	}
	return bodies
}

// someChanges makes the records of a registry frame: entries of meters and nodes, deletions, and changes under a condition
// that holds or does not.
func (l *load) someChanges() (opaque []byte) {
	for range l.rnd.IntN(4) {
		key, entry := fmt.Sprint("meter/m", l.rnd.IntN(3)), map[string]any{}
		if l.rnd.IntN(4) == 0 {
			key, entry["kind"] = fmt.Sprint("node/T", l.rnd.IntN(3)), "transformer"
		} else if l.rnd.IntN(4) > 0 {
			entry["registers"] = map[string]any{"energy_import": map[string]any{"rating": 1 + l.rnd.IntN(50), "dials": 3 + l.rnd.IntN(6)}}
		}
		change := map[string]any{"entry": entry}
		if l.rnd.IntN(6) == 0 {
			change = map[string]any{"deleted": true}
		}
		if l.rnd.IntN(3) == 0 {
			change["if"] = l.rnd.IntN(int(l.seq) + 2)
		}
		body, err := json.Marshal(change)
		if err != nil {
			panic(err)
		}
		opaque = wire.AppendRecord(opaque, &wire.Record{Key: key, Body: body})
	}
	return opaque
}

// windowInLog returns how a series is to be folded after all of the log, told by hand from what its registry frames say.
func (r *rig) windowInLog(s gridloom.Series) window.Config {
	w := testWindow
	held := 0 // the version that holds, 0 if there is no entry
	var c wire.Columns
	for i := range r.log.frames {
		if r.log.part[i] != r.partition {
			continue
		}
		info, err := wire.DecodeFrame(r.log.frames[i].Data, &c)
		if err != nil {
			r.t.Fatal(err)
		}
		if info.Kind != wire.KindRegistry {
			continue
		}
		list, err := wire.DecodeRecords(info.Opaque)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, x := range list {
			var body struct {
				If      *int
				Deleted bool
				Entry   struct {
					Registers map[string]struct{ Dials, Rating int }
				}
			}
			if err := json.Unmarshal(x.Body, &body); err != nil {
				r.t.Fatal(err)
			}
			if x.Key != "meter/"+s.Meter || body.If != nil && *body.If != held {
				continue
			}
			if held = int(r.log.frames[i].Sequence); body.Deleted {
				held = 0
			}
			of := body.Entry.Registers[s.Register.Info().Alias]
			w.Dials, w.Rating = of.Dials, int64(of.Rating)*1000
		}
	}
	return w
}

// awaitRegistry waits until every series is folded as the registry has it, or was told to stop.
func (r *rig) awaitRegistry() {
	r.t.Helper()
	if r.worker == nil {
		return
	}
	r.viewable()
	await(r.t, "the registry is in force", func() bool { return testutil.ToFloat64(r.worker.metrics.outdated) == 0 })
}

// viewable waits until the owner has read all of the log.
func (r *rig) viewable() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	last, _ := r.log.LastSequence(ctx, r.partition)
	for {
		tl, err := r.worker.Tail(ctx, r.partition, pane.Selector{Only: pane.KindRegistry})
		if err != nil {
			r.t.Fatalf("Tail: %v", err)
		}
		if tl.NextSeq > last {
			return
		}
	}
}

// TestARecordIsInForceForAllPanes: readings come first and the registry after them, or the other way round, or between: in the
// end the panes are the same, also those of long ago, in the store and in the tail; and asked by name they are so at once.
func TestARecordIsInForceForAllPanes(t *testing.T) {
	change := func(rating int) []byte {
		body := fmt.Sprintf(`{"entry":{"registers":{"energy_import":{"rating":%d}}}}`, rating)
		return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindRegistry, Generation: 1, Opaque: wire.AppendRecord(nil, &wire.Record{Key: "meter/m0", Body: []byte(body)})}, nil)
	}
	var want map[string]gridloom.Pane
	for at := range 5 {
		r := newRig(t, testStart)
		r.start(nil)
		for i := range 4 {
			if i == at {
				r.append(change(3))
			}
			for k := range 20 {
				h := gridloom.Millis(20*i + k)
				r.now.Store(int64(testStart + h*gridloom.Hour))
				r.append(oneReading(t, testStart+h*gridloom.Hour, int64(5000*h)))
			}
			last, _ := r.log.LastSequence(t.Context(), 0)
			await(t, "a commit", func() bool { return r.state().CommittedSeq > last })
		}
		if at == 4 {
			r.append(change(100))
			r.append(change(3))
		}
		tl, err := r.worker.Tail(t.Context(), 0, pane.Selector{Meters: []string{"m0"}})
		if err != nil {
			t.Fatal(err)
		}
		if n := testutil.ToFloat64(r.worker.metrics.outdated); n != 0 || at == 4 && len(tl.Panes) < 70 {
			t.Errorf("record after %d readings: asked by name, %v series wait, and the tail tells %d panes", 20*at, n, len(tl.Panes))
		}
		r.check(fmt.Sprint("record after ", 20*at))
		got := map[string]gridloom.Pane{}
		ranges := 0
		for k, p := range r.view().panes {
			if got[k] = clean(p); p.Quality&gridloom.Range != 0 {
				ranges++
			}
		}
		if want == nil {
			want = got
		}
		if diff := gocmp.Diff(want, got); diff != "" || ranges < 70 {
			t.Errorf("record after %d readings: %d panes beyond the rating, %.1000s", 20*at, ranges, diff)
		}
		r.stop()
	}
}

// TestDialsOfTheRegistrySayWhereARegisterWrapped: a register of five digits falls to near zero. It has started again, until the
// registry tells its dials.
func TestDialsOfTheRegistrySayWhereARegisterWrapped(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	for i, wh := range []int64{99_900, 50, 51, 52, 53} {
		at := testStart + gridloom.Millis(i)*15*gridloom.Minute
		r.now.Store(int64(at))
		r.append(oneReading(t, at, wh*1000))
	}
	energy := func() (sum int64) {
		for _, p := range r.view().panes {
			sum += p.Energy
		}
		return sum
	}
	r.check("before")
	if e := energy(); e != 3_000 {
		t.Errorf("without dials %d mWh, want 3 Wh", e)
	}
	body := []byte(`{"entry":{"registers":{"energy_import":{"dials":5}}}}`)
	r.append(wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindRegistry, Generation: 1, Opaque: wire.AppendRecord(nil, &wire.Record{Key: "meter/m0", Body: body})}, nil))
	r.check("after")
	if e := energy(); e != 153_000 {
		t.Errorf("with five dials %d mWh, want 153 Wh", e)
	}
	r.stop()
}

// TestStepsOfARegistryChangeSurviveACrash: an owner is killed when it has folded one of five series anew, and its successor after the
// next; snapshots are taken with each commit, with none, or from the second owner on. In the end all are folded with the registry.
func TestStepsOfARegistryChangeSurviveACrash(t *testing.T) {
	id, _ := gridloom.RegisterByName("energy_import")
	for name, snapshots := range map[string][2]time.Duration{"always": {1, 1}, "never": {time.Hour, time.Hour}, "later": {time.Hour, 1}, "once": {1, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testStart)
			var c wire.Columns
			c.Reset()
			var opaque []byte
			for m := range 5 {
				meter := fmt.Sprint("m", m)
				opaque = wire.AppendRecord(opaque, &wire.Record{Key: pane.RecordKey("meter", meter), Body: []byte(`{"entry":{"registers":{"energy_import":{"rating":3,"dials":6}}}}`)})
				for h := range gridloom.Millis(30) {
					c.AppendReading(&gridloom.Reading{Meter: meter, Register: id, Start: testStart + h*gridloom.Hour, Value: int64(h) * 5000})
				}
			}
			r.now.Store(int64(testStart + 30*gridloom.Hour))
			for life, every := range snapshots {
				hit := make(chan struct{})
				var armed, once atomic.Bool
				r.start(func(c *Config) {
					c.Reconfigure, c.SnapshotEvery = 1, every
					c.Fault = func(p string) {
						if p == "commit.swapped" && armed.Load() && once.CompareAndSwap(false, true) {
							r.put.closed.Store(true)
							r.heads.closed.Store(true)
							r.log.closed.Store(true)
							close(hit)
						}
					}
				})
				if life == 0 {
					r.append(wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c))
					await(t, "a commit", func() bool { return r.state().CommittedSeq > 1 })
					armed.Store(true)
					r.append(wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindRegistry, Generation: 1, Opaque: opaque}, nil))
				}
				armed.Store(true)
				await(t, "the kill", func() bool { return once.Load() })
				<-hit
				if n := testutil.ToFloat64(r.worker.metrics.outdated); n < 2 {
					t.Errorf("life %d: killed with %v series to go: too few to show anything", life, n)
				}
				r.stop()
			}
			r.start(func(c *Config) { c.Reconfigure = 1 })
			r.check("in the end")
			r.stop()
		})
	}
}
