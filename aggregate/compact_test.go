package aggregate

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// segments lists what the committed manifest names, raw and panes, with the levels.
func (r *rig) segments() (list []pane.Segment) {
	r.t.Helper()
	h, _, err := r.heads.LoadHead(r.t.Context(), 0)
	if err != nil || h.Manifest.Path == "" {
		r.t.Fatalf("head %+v, %v", h, err)
	}
	store := pane.NewStore(r.disk, pane.StoreOptions{})
	m, err := store.ReadManifest(r.t.Context(), h.Manifest)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, kind := range []pane.Kind{pane.KindRaw, pane.KindPane} {
		for seg, err := range store.Segments(r.t.Context(), m, kind, pane.Selector{}) {
			if err != nil {
				r.t.Fatal(err)
			}
			list = append(list, seg)
		}
	}
	return list
}

// commitLoad commits n frames of a load, each by itself.
func (r *rig) commitLoad(l *load, n int) {
	r.t.Helper()
	for range n {
		r.now.Store(int64(max(gridloom.Millis(r.now.Load()), l.at)))
		r.append(l.frame())
		last, _ := r.log.LastSequence(r.t.Context(), 0)
		await(r.t, "a commit", func() bool { return r.state().CommittedSeq > last })
	}
}

// TestSegmentsBecomeFew: what weeks of commits have left ends as few segments of the
// higher levels, which answer as the many did, and the manifest before it is dropped.
func TestSegmentsBecomeFew(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	l := newLoad(11, testStart)
	r.commitLoad(l, 50) // some 8 hours
	r.check("before")
	before, many := r.view(), r.segments()
	r.stop()
	r.now.Add(int64(2 * gridloom.Day))
	r.start(func(c *Config) { c.CompactEvery, c.MergeFiles = time.Millisecond, 8 })
	var few []pane.Segment
	await(t, "everything is of level 2 or alone", func() bool {
		few = r.segments()
		for _, g := range few {
			if g.Level == levelCommitted {
				return false
			}
		}
		return len(few) <= 8
	})
	if len(many) < 80 {
		t.Fatalf("%d segments before, the test shows nothing", len(many))
	}
	if diff := cmp.Diff(before.readings, r.view().readings); diff != "" {
		t.Errorf("readings differ (-before +after):\n%.2000s", diff)
	}
	if diff := cmp.Diff(before.panes, r.view().panes); diff != "" {
		t.Errorf("panes differ (-before +after):\n%.2000s", diff)
	}
	p := r.worker.owned(0)
	list := p.takeDropped()
	p.giveDropped(list)
	gone := map[string]bool{}
	for _, d := range list {
		gone[d.path] = true
	}
	for _, g := range r.segments() { // as they are now: a merge may have come since
		if gone[g.Path] {
			t.Errorf("%s is named and dropped", g.Path)
		}
	}
	for _, g := range many {
		if !gone[g.Path] {
			t.Errorf("%s is neither named nor dropped", g.Path)
		}
	}
	m := p.metrics.merges
	if n := testutil.ToFloat64(m.inputs.WithLabelValues("raw")); n < 50 {
		t.Errorf("%v raw inputs are counted", n)
	}
	r.check("after") // late readings are refolded from carries that lie in merged segments
	r.commitLoad(l, 10)
	r.check("going on")
	r.stop()
}

// TestMergeOfWhatIsNotListedAnyMoreIsThrownAway lets an edit take an input away while
// the merge of it runs.
func TestMergeOfWhatIsNotListedAnyMoreIsThrownAway(t *testing.T) {
	r := newRig(t, testStart)
	merged, goOn := make(chan struct{}), make(chan struct{})
	first := true
	r.start(func(c *Config) {
		c.CompactEvery, c.MergeFiles = time.Millisecond, 4
		c.Fault = func(point string) {
			if point == "compact.merged" && first {
				first = false
				close(merged)
				<-goOn
			}
		}
	})
	l := newLoad(3, testStart)
	r.commitLoad(l, 6)
	<-merged
	p := r.worker.owned(0)
	gone := r.segments()[0].Path // the oldest raw segment, an input of the first merge
	done := make(chan struct{})
	p.edits <- &edit{
		amend: func(ctx context.Context, m *pane.Manifest) ([]string, error) {
			dropped, _, err := p.store.Replace(ctx, m, []string{gone}, nil)
			return dropped, err
		},
		done: func() { close(done) },
	}
	<-done
	close(goOn)
	thrown := p.metrics.merges.thrownAway.WithLabelValues("raw")
	await(t, "the merge is thrown away", func() bool { return testutil.ToFloat64(thrown) == 1 })
	for _, g := range r.segments() {
		if g.Kind == pane.KindRaw && g.MinSeq == 1 {
			t.Errorf("the rows of %s came back in %s", gone, g.Path)
		}
	}
	r.crash() // the log and the segments tell different stories now
}

// TestDamageStopsMergingAroundItAlone: a segment that is not what was written is named
// in the log and left; the others are merged and commits go on.
func TestDamageStopsMergingAroundItAlone(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	l := newLoad(5, testStart)
	r.commitLoad(l, 9)
	var raw []pane.Segment
	for _, g := range r.segments() {
		if g.Kind == pane.KindRaw {
			raw = append(raw, g)
		}
	}
	r.stop()
	bad := raw[4]
	if err := os.Truncate(r.dir+"/"+bad.Path, bad.Bytes-1); err != nil {
		t.Fatal(err)
	}
	r.now.Add(int64(2 * gridloom.Hour))
	var said lockedText
	r.start(func(c *Config) {
		c.CompactEvery, c.Logger = time.Millisecond, slog.New(slog.NewTextHandler(&said, nil))
	})
	await(t, "the file is named", func() bool { return strings.Contains(said.String(), bad.Path) })
	await(t, "what is around it is merged", func() bool {
		var levels []int
		for _, g := range r.segments() {
			if g.Kind == pane.KindRaw {
				levels = append(levels, g.Level)
			}
		}
		for _, n := range levels[1:] {
			if n == levelCommitted && len(levels) > 4 {
				return false
			}
		}
		return fmt.Sprint(levels) != fmt.Sprint(make([]int, len(levels)))
	})
	r.append(oneReading(t, gridloom.Millis(r.now.Load()), 1))
	last, _ := r.log.LastSequence(t.Context(), 0)
	await(t, "commits go on", func() bool { return r.state().CommittedSeq > last })
	r.stop()
}

// lockedText gathers what several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestAMergeThatFailsIsNotTriedAtOnce: a full disk must not be asked without a pause, not
// even after a merge that went well, which no pause follows.
func TestAMergeThatFailsIsNotTriedAtOnce(t *testing.T) {
	f := func(pause, every, want time.Duration) {
		t.Helper()
		if got := afterFailure(pause, every); got != want {
			t.Errorf("afterFailure(%s, %s) = %s, want %s", pause, every, got, want)
		}
	}
	f(0, 5*time.Second, 5*time.Second)
	f(5*time.Second, 5*time.Second, 10*time.Second)
	f(40*time.Second, 5*time.Second, time.Minute)
	f(time.Minute, 5*time.Second, time.Minute)
	f(0, 2*time.Minute, 2*time.Minute)
}
