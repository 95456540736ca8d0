package aggregate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

var testWindow = window.Config{Width: gridloom.DefaultWidth, Lateness: gridloom.DefaultLateness, Bridge: gridloom.DefaultBridge}

// rig is a partition's surroundings that survive the worker.
type rig struct {
	t     *testing.T
	log   *memLog
	heads *memHeads
	dir   string
	disk  blob.Store
	now   atomic.Int64
	put   *crashBlob
	reads sync.RWMutex // held by who reads the store: the lease of the tests

	partition int // that is looked at

	worker *Worker
	cancel context.CancelFunc
	done   chan error
}

func newRig(t *testing.T, start gridloom.Millis) *rig {
	t.Helper()
	dir := t.TempDir()
	disk, err := blob.OpenDir(dir, blob.OS{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, heads: newMemHeads(), dir: dir, disk: disk}
	r.now.Store(int64(start))
	r.log = newMemLog(func() gridloom.Millis { return gridloom.Millis(r.now.Load()) })
	return r
}

// start runs a worker of one partition until stop or crash.
func (r *rig) start(change func(*Config)) {
	r.t.Helper()
	r.put = &crashBlob{Store: r.disk, reads: &r.reads}
	r.log.closed.Store(false)
	r.heads.closed.Store(false)
	cfg := Config{
		Generation: 1, Partitions: 1, Window: testWindow,
		CommitEvery: time.Millisecond, SnapshotEvery: 20 * time.Millisecond, TickEvery: time.Hour, CompactEvery: -1, SweepEvery: -1,
		RestEvery: 2 * time.Millisecond, AwakeSeries: -1, // series rest and wake all the time
		Now: func() gridloom.Millis { return gridloom.Millis(r.now.Load()) },
	}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.worker = New(cfg, r.log, r.heads, pane.NewStore(r.put, pane.StoreOptions{}))
	r.cancel = cancel
	done := make(chan error, 1)
	r.done = done
	go func(w *Worker) { done <- w.Run(ctx) }(r.worker)
}

// hasty has everything beside the loop done as soon as possible.
func hasty(c *Config) {
	c.CompactEvery, c.SweepEvery = time.Millisecond, time.Millisecond
	c.MergeFiles, c.ReaderLease = 3, time.Nanosecond
}

// unnamed returns the files of earlier epochs that neither the head's manifest names nor
// one of the newest before it.
func (r *rig) unnamed() []string {
	r.t.Helper()
	h, _, err := r.heads.LoadHead(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.reads.RLock()
	defer r.reads.RUnlock()
	list, err := r.disk.List(r.t.Context(), "g1/p0/")
	if err != nil {
		r.t.Fatal(err)
	}
	store := pane.NewStore(r.disk, pane.StoreOptions{})
	type manifest struct {
		path string
		name pane.Name
	}
	var manifests []manifest
	for _, f := range list {
		if n, ok := pane.ParseName(f.Path); ok && n.Kind == "manifest" {
			manifests = append(manifests, manifest{f.Path, n})
		}
	}
	slices.SortFunc(manifests, func(a, b manifest) int {
		return cmp.Or(cmp.Compare(b.name.Epoch, a.name.Epoch), cmp.Compare(b.name.Seq, a.name.Seq))
	})
	named := map[string]bool{}
	mark := func(path string, _ *pane.Segment) { named[path] = true }
	for i, m := range manifests {
		if i > retainManifests+1 && m.path != h.Manifest.Path { // one more: the head's may be among them, and names are not all
			continue
		}
		named[m.path] = true
		of, err := store.PeekManifest(r.t.Context(), m.path)
		if err == nil {
			err = store.Tree(r.t.Context(), of, mark)
		}
		if err != nil && m.path == h.Manifest.Path {
			r.t.Fatal(err)
		}
	}
	var out []string
	for _, f := range list {
		if n, ok := pane.ParseName(f.Path); !ok || n.Epoch < h.Epoch && !named[f.Path] {
			out = append(out, f.Path)
		}
	}
	return out
}

// stop releases the partition.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Fatalf("Run: %v", err)
	}
}

// crash lets nothing that the worker does from now on reach log, heads or store.
func (r *rig) crash() {
	r.put.closed.Store(true)
	r.heads.closed.Store(true)
	r.log.closed.Store(true)
	r.stop()
}

// view is what a query sees: stored panes and readings under the tail's.
type view struct {
	panes    map[string]gridloom.Pane
	readings map[gridloom.Identity]gridloom.Reading
	rows     map[rowAt]gridloom.Reading // all that is stored
	logTime  gridloom.Millis
	bounds   pane.Bounds
	counts   pane.Counts
	records  records // as found: in segments, then in the tail
}

// rowAt is a row's place in the log.
type rowAt struct {
	sequence uint64
	place    uint32
}

func (r *rig) view() view {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	r.reads.RLock()
	defer r.reads.RUnlock()
	last, _ := r.log.LastSequence(ctx, r.partition)
	var tl *pane.Tail
	for {
		var err error
		if tl, err = r.worker.Tail(ctx, r.partition, pane.Selector{}); err != nil {
			r.t.Fatalf("Tail: %v", err)
		}
		if tl.NextSeq > last {
			break
		}
	}
	v := view{panes: map[string]gridloom.Pane{}, rows: map[rowAt]gridloom.Reading{}, logTime: tl.LogTime, bounds: tl.Bounds, records: r.recordsSeen(ctx)}
	key := func(p *gridloom.Pane) string { return fmt.Sprint(p.Meter, p.Register, int64(p.Start)) }
	addReading := func(x *gridloom.Reading) error {
		v.rows[rowAt{x.Sequence, x.Place}] = *x
		return nil
	}
	if tl.Head.Manifest.Path != "" {
		store := pane.NewStore(r.disk, pane.StoreOptions{})
		m, err := store.ReadManifest(ctx, tl.Head.Manifest)
		if err != nil {
			r.t.Fatal(err)
		}
		p := &partition{store: store, manifest: m}
		err = p.eachStoredPane(ctx, pane.Selector{}, pane.AllColumns, func(x *gridloom.Pane) {
			if old, ok := v.panes[key(x)]; !ok || x.Revision >= old.Revision {
				v.panes[key(x)] = *x
			}
		})
		if err == nil {
			err = p.eachSegment(ctx, pane.KindRaw, pane.Selector{}, func(s pane.Segment) error {
				return store.ReadRaw(ctx, s, pane.Selector{}, addReading)
			})
		}
		v.bounds, v.counts = v.bounds.Later(m.Bounds()), m.Counts
		if err != nil {
			r.t.Fatal(err)
		}
	}
	told := map[string]bool{}
	for i := range tl.Panes {
		k := key(&tl.Panes[i])
		if told[k] {
			r.t.Fatalf("the tail tells the pane of %s at %s twice", tl.Panes[i].Meter, tl.Panes[i].Start)
		}
		told[k], v.panes[k] = true, tl.Panes[i]
	}
	for i := range tl.Readings {
		_ = addReading(&tl.Readings[i])
	}
	v.readings = winnersOf(slices.Collect(maps.Values(v.rows)))
	for k, x := range v.panes {
		if window.IsEmpty(&x) || x.Start < v.bounds.PanesFrom {
			delete(v.panes, k)
		}
	}
	maps.DeleteFunc(v.readings, func(id gridloom.Identity, _ gridloom.Reading) bool { return id.Start < v.bounds.RawFrom })
	return v
}

// clean removes what may depend on when commits fell.
func clean(p gridloom.Pane) gridloom.Pane {
	p.Revision, p.ComputedAt = 0, 0
	p.Quality &^= gridloom.Late | gridloom.Historical
	return p
}

// want folds the readings of the whole log at once, but for those that are left out.
func (r *rig) want(leaveOut map[rowAt]gridloom.Reading) map[string]gridloom.Pane {
	var rows []gridloom.Reading
	var c wire.Columns
	var logTime gridloom.Millis
	for i := range r.log.frames {
		f := &r.log.frames[i]
		if r.log.part[i] != r.partition {
			continue
		}
		if _, err := wire.DecodeFrame(f.Data, &c); err != nil {
			r.t.Fatal(err)
		}
		logTime = max(logTime, f.LoggedAt)
		for j := range c.Len() {
			x := c.Reading(j)
			if _, ok := leaveOut[rowAt{f.Sequence, uint32(j)}]; ok {
				continue
			}
			x.Sequence, x.Place, x.LoggedAt = f.Sequence, uint32(j), logTime
			rows = append(rows, x)
		}
	}
	return foldRows(rows, logTime, r.windowInLog)
}

func (r *rig) check(when string) {
	r.t.Helper()
	r.awaitRegistry()
	v := r.view()
	r.checkDues(when)
	r.checkRecords(when, &v)
	wantR := r.wantReadings()
	if len(v.readings) != len(wantR) {
		r.t.Fatalf("%s: %d readings, want %d", when, len(v.readings), len(wantR))
	}
	for id, w := range wantR {
		if g := v.readings[id]; !g.SameValue(&w) || g.Order != w.Order {
			r.t.Fatalf("%s: reading %v is %+v, want %+v", when, id, g, w)
		}
	}
	got := map[string]gridloom.Pane{}
	for k, p := range v.panes {
		got[k] = clean(p)
	}
	if diff := gocmp.Diff(r.want(nil), got); diff != "" {
		if len(diff) > 4000 {
			diff = diff[:4000]
		}
		r.t.Fatalf("%s: panes differ from the fold of the log (-want +got):\n%s", when, diff)
	}
}

// load makes frames of a small neighbourhood: mostly in order, some late, doubled,
// corrected, voided; counters, intervals and gauges.
type load struct {
	rnd  *rand.Rand
	at   gridloom.Millis
	seq  uint32
	regs []gridloom.RegisterID
	sent []gridloom.Reading

	stride int // minutes from frame to frame, at most
	late   int // minutes, at most

	records  bool            // frames of kind registry and edit come between
	restarts gridloom.Millis // counters begin again from zero so often; 0: never
}

func newLoad(seed uint64, at gridloom.Millis) *load {
	l := &load{rnd: rand.New(rand.NewPCG(seed, 7)), at: at, stride: 20, late: 2000}
	for _, n := range []string{"energy_import", "power_import", "energy_import_interval", "power_failures"} {
		id, _ := gridloom.RegisterByName(n)
		l.regs = append(l.regs, id)
	}
	return l
}

func (l *load) frame() []byte {
	var c wire.Columns
	c.Reset()
	info := wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}
	switch {
	case !l.records:
	case l.rnd.IntN(5) == 0:
		info.Kind, info.Opaque = wire.KindRegistry, l.someChanges()
		return wire.AppendFrame(nil, info, nil)
	case l.rnd.IntN(5) == 0:
		info.Kind, info.Opaque = wire.KindEdit, l.someRecords()
	}
	add := func(r gridloom.Reading) {
		r.Agent = "gw"
		c.AppendReading(&r)
	}
	l.seq++
	l.at += gridloom.Millis(l.rnd.IntN(l.stride)) * gridloom.Minute
	for range 1 + l.rnd.IntN(12) {
		r := gridloom.Reading{Meter: fmt.Sprint("m", l.rnd.IntN(3)), Register: l.regs[l.rnd.IntN(len(l.regs))], Start: l.at + gridloom.Millis(l.rnd.IntN(600))*gridloom.Second}
		r.Order = gridloom.NewOrder(gridloom.ClassDevice, 1, l.seq)
		switch l.rnd.IntN(12) {
		case 0, 1: // late
			r.Start -= gridloom.Millis(l.rnd.IntN(l.late)) * gridloom.Minute
		case 2: // doubled or corrected
			if len(l.sent) > 0 {
				r = l.sent[l.rnd.IntN(len(l.sent))]
				if l.rnd.IntN(2) == 0 {
					r.Order = gridloom.NewOrder(gridloom.ClassDevice, 2, l.seq)
					if l.rnd.IntN(2) == 0 {
						r.Value += int64(l.rnd.IntN(3) * 1000)
						r.Void = l.rnd.IntN(4) == 0
						if r.Void {
							r.Value = 0
						}
					}
				}
				add(r)
				continue
			}
		}
		if r.Register.Info().Kind == gridloom.Interval {
			r.Length = []gridloom.Millis{5, 15, 30, 60}[l.rnd.IntN(4)] * gridloom.Minute
		}
		switch r.Register.Info().Kind {
		case gridloom.Counter:
			from := gridloom.Millis(1_700_000_000_000)
			if l.restarts > 0 {
				from = r.Start.Floor(l.restarts)
			}
			r.Value = int64(r.Start-from)/1000*7 + int64(l.rnd.IntN(50))
			switch l.rnd.IntN(25) {
			case 0, 1: // it has started again, or one sample is wrong
				r.Value %= 100_000
			case 2:
				r.Value += 60_000_000
			}
		default:
			r.Value = int64(l.rnd.IntN(2_000_000))
		}
		l.sent = append(l.sent, r)
		add(r)
	}
	return wire.AppendFrame(nil, info, &c)
}

// TestPanesEqualTheFoldOfTheLog crashes, releases and restarts the owner at random
// while frames arrive in and out of order, and compares what a query sees with the
// fold of the whole log. Its segments are merged all the while, at once and few at a time,
// and what nobody names is deleted at once. In the end nothing is left of that.
func TestPanesEqualTheFoldOfTheLog(t *testing.T) {
	points := []string{"", "", "claim.loaded", "claim.swapped", "commit.raw", "commit.panes", "commit.registry", "commit.audit", "commit.snapshot", "commit.manifest", "commit.swapped", "compact.merged", "compact.edited", "sweep.deleted"}
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	var merges, sweeps, restated atomic.Int64
	t.Cleanup(func() { // after the subtests
		if n := restated.Load(); n < int64(seeds) {
			t.Errorf("%d stretches restated in %d runs: late readings refolded everything since", n, seeds)
		}
		if m, s := merges.Load(), sweeps.Load(); m < int64(seeds) || s < int64(seeds) {
			t.Errorf("%d merges and %d deleted files in %d runs: compaction and sweep did not take part", m, s, seeds)
		}
	})
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			const t0 = gridloom.Millis(1_770_000_000_000)
			r := newRig(t, t0)
			l := newLoad(seed, t0)
			l.records = true
			rnd := rand.New(rand.NewPCG(seed, 1))
			for life := range 6 {
				point := points[rnd.IntN(len(points))]
				hit := make(chan struct{})
				var once atomic.Bool
				nth := int64(1 + rnd.IntN(3))
				var passed atomic.Int64
				r.log.deep = rnd.IntN(4)
				files := 2 + rnd.IntN(4)
				r.start(func(c *Config) {
					hasty(c)
					c.MergeFiles = files
					c.Reconfigure = 1 // the others wait for their turn, over crashes too
					c.Fault = func(p string) {
						switch p {
						case "compact.edited":
							merges.Add(1)
						case "sweep.deleted":
							sweeps.Add(1)
						}
						if p == point && passed.Add(1) == nth && once.CompareAndSwap(false, true) {
							r.put.closed.Store(true)
							r.heads.closed.Store(true)
							r.log.closed.Store(true)
							close(hit)
						}
					}
				})
				count := r.worker.metrics.restated
				crashed := false
				for range 3 + rnd.IntN(25) {
					r.now.Store(int64(max(gridloom.Millis(r.now.Load()), l.at)))
					if _, err := r.log.Append(t.Context(), 0, l.frame()); err != nil {
						crashed = true
						break
					}
					if rnd.IntN(3) == 0 { // let a commit and perhaps merges pass
						last, _ := r.log.LastSequence(t.Context(), 0)
						await(t, "a commit", func() bool { return once.Load() || r.state().CommittedSeq > last })
					}
					if rnd.IntN(6) == 0 && !once.Load() && point == "" {
						r.check(fmt.Sprint("life ", life))
					}
				}
				switch {
				case crashed || once.Load():
					<-hit
					r.stop()
				case rnd.IntN(2) == 0 || point != "":
					r.crash()
				default:
					r.check("before release")
					r.stop()
				}
				restated.Add(int64(testutil.ToFloat64(count)))
			}
			r.start(hasty)
			r.check("in the end")
			await(t, "only what is named is left", func() bool { return len(r.unnamed()) == 0 })
			r.check("swept")
			r.stop()
			r.start(nil)
			r.check("after a restart")
			r.stop()
		})
	}
}
