package aggregate

import (
	"context"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// An edit is what compaction, retention or sweeping want of the manifest. Only the
// owner changes it: the loop takes one edit at a time from partition.edits and the next
// commit, which starts as soon as none is in flight, carries it.
type edit struct {
	// amend changes the manifest that the commit is about to write, which holds the
	// commit's own segments already. It runs beside the loop, once for each commit, and
	// again after a failure that may pass. What it changes of m's slices it copies before.
	// It returns the files of this epoch that no manifest names from now on.
	amend func(ctx context.Context, m *pane.Manifest) (dropped []string, err error)
	// bounds is where retention moves to with that commit, at the latest; zero: nowhere.
	bounds pane.Bounds
	// done is called by the loop when the commit has passed; not at all if the partition
	// is lost or released before. It must not block.
	done func()
}

// maxDropped bounds the list of dropped files. What falls out is swept by the
// partition's next owner, as are all files of older epochs that no manifest names.
const maxDropped = 64 << 10

// committed is what the last commit left, for those who work beside the loop.
type committed struct {
	head     gridloom.Head
	manifest *pane.Manifest // not changed any more
}

// publishCommit shows what was committed and lists the files that it superseded: the
// manifest and the snapshot before it, and what an edit dropped. The list stays in
// memory, as a manifest that named every manifest before it would only grow.
func (p *partition) publishCommit(c *commit) {
	p.shown.Store(&committed{p.head, p.manifest})
	if c.before.Path != "" {
		p.drops(c.before.Path)
	}
	if c.snapped != nil && c.base.Snapshot != nil {
		p.drops(c.base.Snapshot.Path)
	}
	p.drops(c.dropped...)
}

// superseded is a file that no manifest names any more.
type superseded struct {
	path string
	at   time.Time // since when, by cfg.Clock: its monotonic reading does not step
}

// drops lists files that no commit of this owner names from now on.
func (p *partition) drops(paths ...string) {
	now := p.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range paths {
		p.dropped = append(p.dropped, superseded{path, now})
	}
	if n := len(p.dropped) - maxDropped; n > 0 {
		p.dropped = append(p.dropped[:0], p.dropped[n:]...)
	}
}

// takeDropped hands the list of superseded files over, oldest first. Who takes it gives
// back with giveDropped what he has not deleted.
func (p *partition) takeDropped() []superseded {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.dropped
	p.dropped = nil
	return list
}

// giveDropped puts what is left of a list back before what has come since.
func (p *partition) giveDropped(list []superseded) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped = append(list, p.dropped...)
}
