package aggregate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// ranked is a frame with one reading of m0's counter, said with an order.
func ranked(t *testing.T, at gridloom.Millis, value int64, seq uint32) []byte {
	t.Helper()
	id, ok := gridloom.RegisterByName("energy_import")
	if !ok {
		t.Fatal("no energy_import in the catalog")
	}
	var c wire.Columns
	c.Reset()
	c.AppendReading(&gridloom.Reading{Meter: "m0", Register: id, Start: at, Value: value, Order: gridloom.Order(seq)})
	return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c)
}

// TestARowThatOnlyRanksInARefoldIsRemembered: the newest reading is said again with
// a higher order while its series waits for a refold that changes nothing. What
// comes afterwards must be judged against that order, not against the old one.
func TestARowThatOnlyRanksInARefoldIsRemembered(t *testing.T) {
	r := newRig(t, testStart)
	r.start(func(c *Config) { c.CommitEvery = time.Hour })
	newest := testStart + 10*gridloom.Minute
	r.now.Store(int64(newest))
	for _, x := range []struct {
		at    gridloom.Millis
		value int64
		seq   uint32
	}{
		{testStart, 1000, 3},
		{newest, 2000, 3},
		{testStart, 1000, 2}, // a duplicate out of order: the series waits
		{newest, 2000, 5},    // ranks only
	} {
		r.append(ranked(t, x.at, x.value, x.seq))
	}
	r.check("the newest reading ranks higher")
	r.append(ranked(t, newest, 4000, 4)) // loses
	r.check("a lower order loses")
	r.append(ranked(t, newest, 4000, 6)) // wins
	r.check("a higher order wins")
	r.stop()
}

// failingBlob fails to read files whose path contains a word, while it is told to.
type failingBlob struct {
	blob.Store
	word atomic.Pointer[string]
	hits atomic.Int32
}

func (b *failingBlob) Get(ctx context.Context, path string) ([]byte, error) {
	if w := b.word.Load(); w != nil && strings.Contains(path, *w) {
		b.hits.Add(1)
		return nil, fmt.Errorf("%w: read %s: too many open files", gridloom.ErrUnavailable, path)
	}
	return b.Store.Get(ctx, path)
}

// TestARefoldThatFailedIsDoneAgain: the store cannot be read for a moment in the
// middle of a refold. The late reading is in the panes afterwards, and counts once.
func TestARefoldThatFailedIsDoneAgain(t *testing.T) {
	r := newRig(t, testStart)
	disk := &failingBlob{Store: r.disk}
	r.disk = disk
	r.start(nil)
	for i := range int64(40) {
		at := testStart + gridloom.Millis(i)*15*gridloom.Minute
		r.now.Store(int64(at))
		r.append(oneReading(t, at, 1000*i))
	}
	r.check("in order")
	r.stop()
	for i, word := range []string{"/pane-", "/raw-"} {
		r.start(func(c *Config) { c.CommitEvery = time.Hour }) // with nothing in its cache
		r.check("restarted")
		disk.hits.Store(0)
		disk.word.Store(&word)
		late := testStart + gridloom.Millis(61+i)*gridloom.Minute
		r.append(oneReading(t, late, 4100+int64(i)))
		last, _ := r.log.LastSequence(t.Context(), 0)
		await(t, "the late reading is read", func() bool { return r.state().NextSeq > last })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := r.worker.Tail(ctx, 0, pane.Selector{})
		cancel()
		if err == nil || disk.hits.Load() == 0 {
			t.Fatalf("Tail = %v after %d failures to read %s, want a failure", err, disk.hits.Load(), word)
		}
		disk.word.Store(nil)
		r.check("after a refold that could not read " + word)
		r.stop()
	}
}

// TestARefoldAfterARestatementTellsEachPaneOnce: a late reading has restated a stretch of the past,
// and before that is committed a correction has the series refolded from before it. The state tells of
// that stretch then.
func TestARefoldAfterARestatementTellsEachPaneOnce(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	const quarters = 3 * 96
	at := func(i int) gridloom.Millis { return testStart + gridloom.Millis(i)*15*gridloom.Minute }
	for i := range quarters {
		r.now.Store(int64(at(i)))
		r.append(ranked(t, at(i), 1000*int64(i), 1))
	}
	last, _ := r.log.LastSequence(t.Context(), 0)
	await(t, "everything is committed", func() bool { return r.state().CommittedSeq > last })
	r.stop()
	r.start(func(c *Config) { c.CommitEvery = time.Hour })
	r.check("restarted")
	r.now.Store(int64(at(quarters) + gridloom.Day)) // all windows are closed
	lastDay := at(quarters - 1).Floor(gridloom.Day)
	late := lastDay + 67*gridloom.Minute
	r.append(ranked(t, late, 1000*int64((late-testStart)/(15*gridloom.Minute))+500, 1))
	r.check("a late reading")
	m := r.worker.metrics
	if n := testutil.ToFloat64(m.restated); n != 1 {
		t.Fatalf("%v stretches restated, want 1", n)
	}
	r.append(ranked(t, at(quarters-1), 1000*quarters, 2))
	r.check("a correction of the newest")
	if n := testutil.ToFloat64(m.refolds); n != 1 {
		t.Fatalf("%v series refolded, want 1", n)
	}
	r.stop()
}

// TestACommitRefoldsItsSeriesInSteps: hundreds of series wait for a refold, and the store is so slow that
// a commit takes a few of them at a time. All of them are in it.
func TestACommitRefoldsItsSeriesInSteps(t *testing.T) {
	r := newRig(t, testStart)
	const meters = 2000
	said := func(at gridloom.Millis, value int64) []byte {
		var c wire.Columns
		c.Reset()
		id, _ := gridloom.RegisterByName("energy_import")
		for m := range meters {
			c.AppendReading(&gridloom.Reading{Meter: fmt.Sprintf("m%d", m), Register: id, Start: at, Value: value})
		}
		return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c)
	}
	var tick atomic.Int64
	slow := func() time.Time { return time.UnixMilli(0).Add(time.Duration(tick.Add(1)) * 2 * refoldStep) }
	r.start(func(c *Config) { c.CommitEvery, c.SnapshotEvery = time.Hour, time.Hour })
	for i := range int64(4) {
		at := testStart + gridloom.Millis(i)*15*gridloom.Minute
		r.now.Store(int64(at))
		r.append(said(at, 1000*i))
	}
	r.stop()
	r.start(func(c *Config) { c.CommitEvery, c.SnapshotEvery, c.Clock = time.Second, time.Hour, slow })
	r.append(said(testStart+7*gridloom.Minute, 100))
	p := r.worker.slots[0].Load()
	disk, err := blob.OpenDir(t.TempDir(), blob.OS{})
	if err != nil {
		t.Fatal(err)
	}
	m := NewMachine(Config{Generation: 1, Partitions: 1, Window: testWindow, Now: func() gridloom.Millis { return gridloom.Millis(r.now.Load()) }, Clock: slow}, 0, r.log, newMemHeads(), pane.NewStore(disk, pane.StoreOptions{}))
	if err := m.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.log.frames {
		if err := m.Feed(f); err != nil {
			t.Fatal(err)
		}
	}
	var left []int
	for more := true; more; left = append(left, len(m.p.disordered)) {
		var err error
		if more, err = m.p.refoldNext(len(left) > 0); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{1488, 988, 488, 0}; !slices.Equal(left, want) {
		t.Errorf("after each step %d series wait, want %d", left, want)
	}
	await(t, "the late readings are committed", func() bool { return r.state().CommittedSeq == 6 })
	r.check("after a commit in steps")
	var late int
	for _, pn := range r.view().panes {
		if pn.Start == testStart && pn.N == 2 {
			late++
		}
	}
	r.stop()
	if want := meters / refoldSteps; p.refoldLeast != want || p.refoldSize > want {
		t.Errorf("a slow refold takes %d series a step, at least %d; want %d", p.refoldSize, p.refoldLeast, want)
	}
	if late != meters {
		t.Errorf("%d windows tell of the late reading, want %d", late, meters)
	}
}
