package aggregate

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

const testStart = gridloom.Millis(1_769_999_400_000) // 02:30Z, a window's start

// oneReading is a frame with one reading of meter m0.
func oneReading(t *testing.T, at gridloom.Millis, value int64) []byte {
	t.Helper()
	id, ok := gridloom.RegisterByName("energy_import")
	if !ok {
		t.Fatal("no energy_import in the catalog")
	}
	var c wire.Columns
	c.Reset()
	c.AppendReading(&gridloom.Reading{Meter: "m0", Register: id, Start: at, Value: value})
	return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1}, &c)
}

// await polls until ok holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited 30 s in vain: %s", what)
		case <-tick.C:
		}
	}
}

func (r *rig) state() pane.Status {
	r.t.Helper()
	list, err := r.worker.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return list[0]
}

// TestHeldOwnerIsFenced holds an owner at each point of its commit while another
// claims the partition and commits, then lets it go on: its commit is not accepted
// and its tail is not served. GRIDLOOM_HOLD=15s holds it for as long by the clock.
func TestHeldOwnerIsFenced(t *testing.T) {
	hold, _ := time.ParseDuration(os.Getenv("GRIDLOOM_HOLD")) // none: until the other has committed
	for _, point := range []string{"commit.raw", "commit.panes", "commit.snapshot", "commit.manifest"} {
		t.Run(point, func(t *testing.T) {
			r := newRig(t, testStart)
			held, letGo := make(chan struct{}), make(chan struct{})
			var once sync.Once
			r.start(func(c *Config) {
				c.Owner = "old"
				c.Fault = func(p string) {
					if p == point {
						once.Do(func() { close(held); <-letGo })
					}
				}
			})
			old, oldDone, oldCancel := r.worker, r.done, r.cancel
			oldState := func() pane.Status {
				list, err := old.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return list[0]
			}
			at, value := testStart, int64(1000)
			next := func() {
				at, value = at+10*gridloom.Minute, value+1000
				r.now.Store(int64(at))
				r.append(oneReading(t, at, value))
			}
			await(t, "the old owner passes "+point, func() bool {
				next()
				select {
				case <-held:
					return true
				default:
					return false
				}
			})
			r.start(func(c *Config) { c.Owner = "new" })
			next()
			last, _ := r.log.LastSequence(t.Context(), 0)
			await(t, "the new owner commits", func() bool { return r.state().CommittedSeq > last })
			if hold > 0 {
				<-time.After(hold)
			}
			headBefore, revBefore, err := r.heads.LoadHead(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			close(letGo)
			await(t, "the old owner notices", func() bool { return oldState().State == "fenced" })
			head, rev, err := r.heads.LoadHead(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if head != headBefore || rev != revBefore || head.Owner != "new" {
				t.Errorf("head after the release is %+v at %d, want the new owner's %+v at %d", head, rev, headBefore, revBefore)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if tl, err := old.Tail(ctx, 0, pane.Selector{}); !errors.Is(err, gridloom.ErrUnavailable) {
				t.Errorf("the fenced owner's Tail = %+v, %v, want ErrUnavailable", tl, err)
			}
			r.check("served by the new owner")
			r.stop()
			oldCancel()
			if err := <-oldDone; err != nil {
				t.Errorf("the old owner's Run: %v", err)
			}
		})
	}
}

func (r *rig) append(frame []byte) {
	r.t.Helper()
	if _, err := r.log.Append(r.t.Context(), 0, frame); err != nil {
		r.t.Fatal(err)
	}
}

func TestTicksCloseThePanesOfASilentPartition(t *testing.T) {
	r := newRig(t, testStart)
	r.start(func(c *Config) { c.TickEvery = 5 * time.Millisecond })
	r.append(oneReading(t, testStart, 1000))
	r.append(oneReading(t, testStart+15*gridloom.Minute, 3000))
	await(t, "the first pane is open", func() bool { return r.state().NextSeq >= 3 })
	r.now.Add(int64(26 * gridloom.Minute)) // the log's clock: past the first window and the lateness
	await(t, "a tick closes and commits the first pane", func() bool {
		for _, p := range r.view().panes {
			if p.Closed && p.Energy == 2000 && r.state().CommittedSeq > 3 {
				return true
			}
		}
		return false
	})
	r.stop()
}

func TestAHeadLostWithFilesThereStopsThePartition(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	r.append(oneReading(t, testStart, 1000))
	await(t, "a commit", func() bool { return r.state().CommittedSeq == 2 })
	r.stop()
	r.heads = newMemHeads()
	r.start(nil)
	await(t, "the partition stops", func() bool { return r.state().State == "stopped" })
	if p := r.state().Problem; !strings.Contains(p, "gridloom repair head") {
		t.Errorf("problem %q does not say how to mend it", p)
	}
	if _, _, err := r.heads.LoadHead(t.Context(), 0); !errors.Is(err, gridloom.ErrNotFound) {
		t.Errorf("a head was made although the store has files: %v", err)
	}
	r.stop()
}

func TestAFrameFromTheFutureStopsTheProcess(t *testing.T) {
	r := newRig(t, testStart)
	r.start(func(c *Config) { c.Now = func() gridloom.Millis { return testStart - 6*gridloom.Minute } })
	r.append(oneReading(t, testStart, 1000))
	if err := <-r.done; err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("Run = %v, want an error that tells to set the clock", err)
	}
	r.cancel()
}

func TestAnUnknownKindStopsThePartitionWithoutSkipping(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	r.append(wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindTick + 1, Generation: 1}, nil))
	r.append(oneReading(t, testStart, 1000))
	await(t, "the partition stops", func() bool { return r.state().State == "stopped" })
	if st := r.state(); st.NextSeq > 1 || !strings.Contains(st.Problem, "frame 1") {
		t.Errorf("status %+v, want to stand before frame 1 and to name it", st)
	}
	r.stop()
}

func TestDamagedRecordsStopThePartitionWithoutSkipping(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	r.append(wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindRegistry, Generation: 1, Opaque: []byte{1}}, nil))
	r.append(oneReading(t, testStart, 1000))
	await(t, "the partition stops", func() bool { return r.state().State == "stopped" })
	if st := r.state(); st.NextSeq > 1 || !strings.Contains(st.Problem, "frame 1") || !strings.Contains(st.Problem, "record 0") {
		t.Errorf("status %+v, want to stand before frame 1 and to name it and its record", st)
	}
	r.stop()
}

func TestADamagedFrameStopsThePartition(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	f := oneReading(t, testStart, 1000)
	f[len(f)/2] ^= 0x40
	f = f[:len(f)-1]
	r.append(f)
	await(t, "the partition stops", func() bool { return r.state().State == "stopped" })
	r.stop()
}

func TestDuplicatesAreCountedOnceInTheManifest(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	for range 3 { // no order: the same value again is a duplicate
		r.append(oneReading(t, testStart, 1000))
		r.append(oneReading(t, testStart+gridloom.Minute, 2000))
	}
	await(t, "a commit of all", func() bool { return r.state().CommittedSeq == 7 })
	r.stop()
	h, _, err := r.heads.LoadHead(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := pane.NewStore(r.disk, pane.StoreOptions{}).ReadManifest(t.Context(), h.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if m.Counts.Readings != 2 || m.Counts.Duplicates != 4 {
		t.Errorf("counts %+v, want 2 readings and 4 duplicates", m.Counts)
	}
}

// TestAReleasedPartitionRefusesAtOnce: a query that comes while the process stops must
// not wait for an owner that is gone, and hold up the stop.
func TestAReleasedPartitionRefusesAtOnce(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	r.append(oneReading(t, testStart, 1000))
	await(t, "a commit", func() bool { return r.state().CommittedSeq == 2 })
	r.stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := r.worker.Tail(ctx, 0, pane.Selector{}); !errors.Is(err, gridloom.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("Tail after the release = %v, want ErrUnavailable at once", err)
	}
}

// TestAnAnswerHoldsWhatTheLogHeld: what the log has stored when a question is asked,
// and a device has got its PUBACK for, is in the answer, however soon it comes.
// TestAnOwnerAnswersWhileItsLastCommitIsSaved holds the last commit of an owner that was told
// to end: it still tells of what is stored meanwhile, which the next owner reads from the log.
func TestAnOwnerAnswersWhileItsLastCommitIsSaved(t *testing.T) {
	r := newRig(t, testStart)
	held, letGo := make(chan struct{}), make(chan struct{})
	r.start(func(c *Config) {
		c.CommitEvery, c.SnapshotEvery = time.Hour, time.Hour // none but the last
		c.Fault = func(p string) {
			if p == "commit.snapshot" {
				close(held)
				<-letGo
			}
		}
	})
	r.append(oneReading(t, testStart, 1000))
	await(t, "the reading is read", func() bool { return r.state().NextSeq >= 2 })
	r.cancel()
	select {
	case <-held:
	case <-time.After(30 * time.Second):
		t.Fatal("no last commit after 30 s")
	}
	r.append(oneReading(t, testStart+gridloom.Minute, 2000))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	tl, err := r.worker.Tail(ctx, 0, pane.Selector{})
	if err != nil {
		t.Fatalf("an owner that ends answers with %v", err)
	}
	if len(tl.Readings) != 2 {
		t.Errorf("it tells of %d readings, want 2", len(tl.Readings))
	}
	close(letGo)
	if err := <-r.done; err != nil {
		t.Fatalf("Run: %v", err)
	}
	h, _, err := r.heads.LoadHead(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if h.NextSeq != 2 || h.Manifest.Path == "" {
		t.Errorf("the last commit left %+v, want the position after the first reading", h)
	}
	r.start(nil)
	r.check("served by the next owner")
	r.stop()
}

func TestAnAnswerHoldsWhatTheLogHeld(t *testing.T) {
	r := newRig(t, testStart)
	r.start(nil)
	for i := range int64(200) {
		r.append(oneReading(t, testStart+gridloom.Millis(i), i))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		tl, err := r.worker.Tail(ctx, 0, pane.Selector{})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if last, _ := r.log.LastSequence(t.Context(), 0); tl.NextSeq != last+1 {
			t.Fatalf("the answer goes to %d, and the log held frame %d when it was asked for", tl.NextSeq, last)
		}
	}
	r.stop()
}
