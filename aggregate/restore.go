package aggregate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// acquire claims and restores the partition once. After an ErrUnavailable it may be
// called again: that is another claim.
func (p *partition) acquire(ctx context.Context) error {
	p.setState("claiming")
	p.withdraw()
	if err := p.claim(ctx); err != nil {
		return err
	}
	p.withdraw = sync.OnceFunc(p.serve(p.id, p.head.Epoch))
	p.setState("restoring")
	if err := p.restore(ctx); err != nil {
		return err
	}
	goal, err := p.log.LastSequence(ctx, p.id)
	if err != nil {
		return err
	}
	now := p.cfg.Clock()
	p.lastCommit, p.lastSnapshot, p.lastFrame = now.Add(-p.turnOf(p.cfg.CommitEvery)), now.Add(-p.turnOf(p.cfg.SnapshotEvery)), now
	p.goal, p.caughtUp = goal, p.nextSeq > goal
	p.setCommitted()
	p.shown.Store(&committed{p.head, p.manifest})
	return nil
}

// turnOf returns the part of a period by which this partition is ahead of the first:
// partitions that commit at one time would keep frames from the disk for as long as all
// of them take, and hold all their snapshots in memory.
func (p *partition) turnOf(period time.Duration) time.Duration {
	return period * time.Duration(p.id) / time.Duration(max(p.cfg.Partitions, 1))
}

// claim takes the partition: it puts the head with a new epoch and owner. Whoever
// held it before fails at his next swap.
func (p *partition) claim(ctx context.Context) error {
	me := protocol.Claimant{Owner: p.cfg.Owner, Node: p.cfg.Node}
	h, rev, err := p.heads.LoadHead(ctx, p.id)
	switch {
	case errors.Is(err, gridloom.ErrNotFound):
		files, ferr := p.store.Files(ctx, p.cfg.Generation, p.id)
		if ferr != nil {
			return fmt.Errorf("look for files of partition %d: %w", p.id, ferr)
		}
		if ferr = protocol.MayCreate(p.id, len(files)); ferr != nil {
			return ferr
		}
		p.cfg.Fault("claim.loaded")
		h = protocol.First(p.cfg.Generation, p.id, p.cfg.StreamCreated, me, p.cfg.NewID())
		if rev == 0 {
			rev, err = p.heads.CreateHead(ctx, h)
		} else { // of a head that was removed: whatever has come there since, fences this one
			rev, err = p.heads.SwapHead(ctx, h, rev)
		}
		if err != nil {
			return fmt.Errorf("create head: %w", err)
		}
	case err != nil:
		return fmt.Errorf("load head: %w", err)
	default:
		if h.Format > gridloom.HeadFormat {
			return fmt.Errorf("%w: the head of partition %d has format %d, this version knows %d: start a newer gridloom", gridloom.ErrInvalid, p.id, h.Format, gridloom.HeadFormat)
		}
		p.cfg.Fault("claim.loaded")
		h = protocol.Claim(h, me, p.cfg.NewID())
		rev, err = p.heads.SwapHead(ctx, h, rev)
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
	}
	p.head, p.revision = h, rev
	p.cfg.Fault("claim.swapped")
	return nil
}

// restore builds the state that the last commit left: manifest, snapshot, and the
// raw rows after the snapshot.
func (p *partition) restore(ctx context.Context) error {
	p.nextSeq, p.lastRef, p.logTime = p.head.NextSeq, p.head.LastRef, p.head.LogTime
	p.trail = protocol.TrailFrom(p.lastRef)
	p.forget()
	p.sinceSnapshot = 0
	w := p.cfg.Window
	if p.head.Manifest.Path == "" {
		p.manifest = &pane.Manifest{Format: pane.ManifestFormat, Width: w.Width, Lateness: w.Lateness, Bridge: w.Bridge}
		return nil
	}
	m, err := p.store.ReadManifest(ctx, p.head.Manifest)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if m.Width != w.Width || m.Lateness != w.Lateness || m.Bridge != w.Bridge {
		return fmt.Errorf("%w: the store was made with windows of %s, lateness %s, bridging limit %s; this start asks for %s, %s, %s: start with those, or with a new data directory",
			gridloom.ErrInvalid, m.Width.Duration(), m.Lateness.Duration(), m.Bridge.Duration(), w.Width.Duration(), w.Lateness.Duration(), w.Bridge.Duration())
	}
	p.manifest, p.bounds = m, m.Bounds()
	if err := p.restoreRegistry(ctx); err != nil {
		return err
	}
	if m.Snapshot != nil {
		err := p.store.ReadSnapshot(ctx, *m.Snapshot, func(row *pane.SnapshotRow) error {
			i := p.table.find(p.table.meter(row.Meter), row.Register)
			if err := p.table.restore(i, row.State); err != nil {
				return fmt.Errorf("state of %s %s in %s: %w", row.Meter, row.Register, m.Snapshot.Path, err)
			}
			p.restoreWindow(i, limits{row.Dials, row.Rating})
			return nil
		})
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
	}
	known := uint32(p.table.len())
	if err := p.replayRaw(ctx, m.SnapshotSeq); err != nil {
		return err
	}
	p.outdateSince(known, m.SnapshotSeq)
	for i := range uint32(p.table.len()) {
		p.noteState(i, p.table.at(i))
	}
	// The commit that this restores wrote every pane up to its position: what the
	// states would emit now is stored already.
	p.closePanes()
	p.metrics.restored.Inc()
	return nil
}

// replayRaw folds the stored rows after the snapshot in, as they stand in the
// segments: by commit, and in one commit by series and time. That is not the order
// of the log, but the panes do not depend on it; what is out of order over commits
// is refolded.
func (p *partition) replayRaw(ctx context.Context, after uint64) error {
	err := p.eachStoredReading(ctx, pane.Selector{After: after}, func(r *gridloom.Reading) {
		if r.Sequence <= after {
			return
		}
		p.sinceSnapshot++
		i := p.table.find(p.table.meter(r.Meter), r.Register)
		s := p.table.at(i)
		row := p.windowReading(r)
		if s.wait == nil && s.window.Add(s.kind, p.table.state(i), &row) != window.Disorder {
			return
		}
		p.awaitRefold(i, p.stretchOf(i, &row)).behind = true
	})
	if err != nil {
		return fmt.Errorf("raw rows after the snapshot: %w", err)
	}
	return p.refold(nil, nil)
}
