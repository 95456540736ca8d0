package aggregate

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
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
