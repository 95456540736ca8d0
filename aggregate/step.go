package aggregate

import (
	"context"
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/pane"
)

// Machine owns one partition without goroutines: whoever drives it decides when each
// step happens and what happens in between. The steps are those of a Worker's loop,
// which internal/sim so puts into every order, with every failure. It is used by one
// goroutine.
//
// An error that wraps gridloom.ErrUnavailable leaves the step to be repeated; after
// any other the machine is of no more use.
type Machine struct {
	p     *partition
	saved *commitResult // the commit in flight, once its head is swapped in
	taken *commit       // the commit in flight

	compactor compactor
	merged    *replacement // waits for a commit that carries it
	retainer  retainer
	expiry    *expiry // waits for a commit that carries it
	sweeper   *sweeper
}

// NewMachine returns a machine of one partition of cfg.
func NewMachine(cfg Config, partition int, log Log, heads Heads, store *pane.Store) *Machine {
	p := New(cfg, log, heads, store).owned(partition)
	return &Machine{p: p, compactor: compactor{p: p, skip: map[string]bool{}}, retainer: retainer{p: p}}
}

// Acquire claims the partition and restores what its last commit left.
func (m *Machine) Acquire(ctx context.Context) error {
	if err := m.p.acquire(ctx); err != nil {
		return err
	}
	m.sweeper = newSweeper(m.p)
	return nil
}

// Head is the head as this machine last swapped it.
func (m *Machine) Head() gridloom.Head { return m.p.head }

// Place says how far the log has been read: the next frame is one that Follow delivers from there.
func (m *Machine) Place() gridloom.Head { return m.p.place() }

// Feed folds the next frame of the partition's log in.
func (m *Machine) Feed(f Frame) error {
	m.p.batch = []Frame{f}
	return m.p.applyNext()
}

// Tick is the frame that a partition with open panes gets when its log is silent; nil if it needs none.
func (m *Machine) Tick() []byte {
	if m.p.openPanes == 0 {
		return nil
	}
	return m.p.tickFrame()
}

// Prepare freezes the tail for a commit, a last one if final. It reports whether there
// is one in flight now, which Save and then Finish complete; it does nothing while
// there was one before.
func (m *Machine) Prepare(final bool) (bool, error) {
	if m.taken != nil {
		return true, nil
	}
	c, err := m.p.prepare(final)
	m.taken = c
	return c != nil, err
}

// Prepared reports whether a commit is in flight.
func (m *Machine) Prepared() bool { return m.taken != nil }

// Save makes one attempt to store the commit in flight and to swap the head. In a
// Worker it runs beside the loop.
func (m *Machine) Save(ctx context.Context) error {
	if m.taken == nil || m.saved != nil {
		return nil
	}
	revision, err := m.p.save(ctx, m.taken)
	if err == nil {
		m.saved = &commitResult{c: m.taken, revision: revision}
	}
	return err
}

// Saved reports whether the head of the commit in flight is swapped in.
func (m *Machine) Saved() bool { return m.saved != nil }

// Finish takes the outcome of a saved commit into the state.
func (m *Machine) Finish() error {
	if m.saved == nil {
		return nil
	}
	r := *m.saved
	m.taken, m.saved = nil, nil
	if err := m.p.finishCommit(r); err != nil {
		return err
	}
	if merged := m.merged; merged != nil && r.c.edit == merged.edit {
		m.merged = nil
		_ = merged.outcome() // what came to nothing is merged again
	}
	if e := m.expiry; e != nil && r.c.edit == e.edit {
		m.expiry = nil
		if e.outcome() == nil { // what was not dropped is tried again
			m.p.cfg.Fault("retain.edited")
		}
	}
	return nil
}

// Merge writes the merge that is due, if there is one and no other waits for a commit,
// and lets the next Prepare carry it. In a Worker it runs beside the loop. It reports
// whether there was one. Any error leaves the machine as it was.
func (m *Machine) Merge(ctx context.Context) (bool, error) {
	if m.merged != nil || m.p.edit != nil {
		return false, nil
	}
	j, ok, err := m.compactor.next(ctx)
	if err != nil || !ok {
		return false, err
	}
	outputs, err := m.compactor.write(ctx, j)
	if err != nil {
		return false, err
	}
	m.merged = m.p.replacing(j, outputs)
	m.p.edit = m.merged.edit
	return true, nil
}

// Retain finds what is past retention, if no other edit waits for a commit, and lets the next
// Prepare carry it out. In a Worker it runs beside the loop. It reports whether there
// was something. Any error leaves the machine as it was.
func (m *Machine) Retain(ctx context.Context) (bool, error) {
	if m.p.edit != nil {
		return false, nil
	}
	bounds, ok, err := m.retainer.next(ctx)
	if err != nil || !ok {
		return false, err
	}
	m.expiry = m.p.expiring(bounds)
	m.p.edit = m.expiry.edit
	return true, nil
}

// Expired lists the readings whose time was past retention and that are not committed yet.
func (m *Machine) Expired() (list []gridloom.Reading) {
	if m.p.frozen != nil {
		list = append(list, m.p.frozen.expired...)
	}
	return append(list, m.p.current.expired...)
}

// Sweep deletes the files that nobody names any more. In a Worker it runs beside the
// loop. Any error leaves the machine as it was.
func (m *Machine) Sweep(ctx context.Context) error { return m.sweeper.round(ctx) }

// Answer answers a question that was asked when goal was the partition's last frame in
// the log. ErrUnavailable: the machine has not read so far yet, or so much further that
// it is to be asked anew. ErrCorrupt: the log was rolled back since it was read.
func (m *Machine) Answer(goal gridloom.FrameRef, sel pane.Selector) (*pane.Tail, error) {
	p := m.p
	ok, err := protocol.MayAnswer(&p.trail, p.nextSeq, goal)
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", p.id, err)
	}
	if !ok || !p.caughtUp {
		return nil, fmt.Errorf("%w: partition %d is read to %d, asked for %d", gridloom.ErrUnavailable, p.id, p.nextSeq, max(goal.Seq, p.goal))
	}
	return p.answer(sel)
}
