package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/internal/pane"
)

// owner is a process that has claimed a partition and takes it for its own, whoever has
// claimed it since.
type owner struct {
	w         *world
	name      string
	partition int
	step      gridloom.Millis // its clock against the world's
	machine   *aggregate.Machine
	acquired  bool
	verified  bool // a consumer of the log stands
	fuse      int  // points that it passes before it crashes; 0: it does not
}

// crashed is thrown at a point where a process ends.
type crashed struct{ point string }

func (w *world) newOwner(partition int) *owner {
	o := &owner{w: w, name: w.name(), partition: partition}
	o.machine = aggregate.NewMachine(aggregate.Config{
		Generation: generation, Partitions: partitions, StreamCreated: worldCreated, Window: worldWindow,
		Owner: o.name, Node: "node", NewID: w.name, Fault: o.pass,
		Now: func() gridloom.Millis { return w.now + o.step }, Clock: func() time.Time { return w.now.Time() },
		Retain: w.retention(), SnapshotEvery: 100 * time.Hour, MergeFiles: 4, ReaderLease: w.broken.lease(), Logger: w.logger(o.name),
	}, partition, &w.log, &w.heads, pane.NewStore(&w.blobs, pane.StoreOptions{NewName: w.name}))
	w.owners = append(w.owners, o)
	w.note("owner %s of partition %d starts", o.name, partition)
	return o
}

// pass is called at the points where a crash is of interest.
func (o *owner) pass(point string) {
	if o.fuse > 0 {
		if o.fuse--; o.fuse == 0 {
			panic(crashed{point})
		}
	}
}

// do takes a step and looks after what comes of it. It reports whether the owner is
// still there and the step is done.
func (o *owner) do(what string, step func() error) (done bool) {
	w := o.w
	o.fuse = 0
	if w.chance(w.rates.crash) {
		o.fuse = 1 + w.rnd.IntN(4)
	}
	defer func() {
		o.fuse = 0
		if r := recover(); r != nil {
			c, ok := r.(crashed)
			if !ok {
				panic(r)
			}
			o.gone("crashes at " + c.point)
			w.stats.Crashes++
			done = false
		}
	}()
	err := step()
	switch {
	case err == nil:
		return true
	case errors.Is(err, gridloom.ErrFenced):
		w.stats.Fenced++
		o.gone("is fenced at " + what)
	case errors.Is(err, gridloom.ErrUnavailable):
		w.note("owner %s: %s: %v", o.name, what, err)
	case errors.Is(err, errAhead):
		o.gone("leaves: its clock is behind the log's")
	case o.isZombie() && (errors.Is(err, gridloom.ErrNotFound) || errors.Is(err, gridloom.ErrCorrupt)):
		o.gone("is a zombie whose files are gone: " + err.Error()) // it was fenced already and did not know
	default:
		w.fail("owner %s of partition %d: %s: %v", o.name, o.partition, what, err)
	}
	return false
}

// isZombie reports whether another owner has claimed the partition.
func (o *owner) isZombie() bool {
	return o.machine.Head().Epoch < o.w.heads.current(o.partition).head.Epoch
}

func (o *owner) gone(why string) {
	o.w.note("owner %s of partition %d %s", o.name, o.partition, why)
	for i, other := range o.w.owners {
		if other == o {
			o.w.owners = append(o.w.owners[:i:i], o.w.owners[i+1:]...)
			break
		}
	}
}

func (o *owner) acquire() bool {
	if !o.do("claim", func() error { return o.machine.Acquire(o.w.ctx) }) {
		return false
	}
	o.acquired = true
	o.w.stats.Claims++
	h := o.machine.Head()
	o.w.note("owner %s has partition %d in epoch %d from %d on", o.name, o.partition, h.Epoch, h.NextSeq)
	return true
}

var errAhead = errors.New("the log's clock is ahead")

// read folds in the next frames, n at most; false if there are none.
func (o *owner) read(n int) bool {
	if !o.verified {
		if !o.do("verify", func() error { return o.w.log.verify(o.partition, o.machine.Place()) }) {
			return false
		}
		o.verified = true
	}
	frames := o.w.log.from(o.partition, o.machine.Place().NextSeq)
	if len(frames) > 0 && frames[0].Sequence < o.w.log.first {
		o.verified = false // a consumer that skips is made anew
		return true
	}
	frames = frames[:min(n, len(frames))]
	for i := range frames {
		f := frames[i]
		ok := o.do("frame", func() error {
			err := o.machine.Feed(f)
			if err != nil && f.LoggedAt > o.w.now+o.step+5*gridloom.Minute {
				err = fmt.Errorf("%w: %w", errAhead, err)
			}
			return err
		})
		if !ok {
			return true
		}
	}
	return len(frames) > 0
}

// prepare begins a commit.
func (o *owner) prepare(final bool) bool {
	begun := false
	o.do("prepare", func() (err error) {
		begun, err = o.machine.Prepare(final)
		return err
	})
	return begun
}

// save makes an attempt to complete the commit in flight.
func (o *owner) save() bool {
	if !o.do("save", func() error { return o.machine.Save(o.w.ctx) }) || !o.machine.Saved() {
		return false
	}
	return o.do("finish", func() error {
		o.w.stats.Commits++
		return o.machine.Finish()
	})
}

// merge writes segments anew, which the next commit will name.
func (o *owner) merge() (merged bool) {
	o.do("merge", func() (err error) {
		merged, err = o.machine.Merge(o.w.ctx)
		return err
	})
	if merged {
		o.w.stats.Merges++
		o.w.note("owner %s has merged segments of partition %d", o.name, o.partition)
	}
	return merged
}

// retain has the next commit move the bounds of retention.
func (o *owner) retain() (due bool) {
	o.do("retain", func() (err error) {
		due, err = o.machine.Retain(o.w.ctx)
		return err
	})
	if due {
		o.w.stats.Retained++
		o.w.note("owner %s has found something past retention in partition %d", o.name, o.partition)
	}
	return due
}

// sweep deletes files that nobody names any more.
func (o *owner) sweep() { o.do("sweep", func() error { return o.machine.Sweep(o.w.ctx) }) }

// tick appends a tick to the log.
func (o *owner) tick() bool {
	frame := o.machine.Tick()
	if frame == nil {
		return false
	}
	_, _ = o.w.log.Append(o.w.ctx, o.partition, frame) // one that is not stored is left out
	return true
}
