package aggregate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/pane"
)

const (
	maxSweep        = 1000 // files that one round deletes
	retainManifests = 3    // besides the head's: what `gridloom repair head` falls back on
)

// sweeper deletes the files of one partition that nobody needs, while its owner owns it.
// What may go is decided by protocol.Sweep.
type sweeper struct {
	p       *partition
	began   time.Time // after the claim
	orphans int       // that the metrics know of
}

// runSweep sweeps until ctx ends. It begins after the claim.
func (p *partition) runSweep(ctx context.Context) {
	if p.cfg.SweepEvery < 0 {
		return
	}
	s := newSweeper(p)
	defer s.forget()
	for sleep(ctx, p.cfg.SweepEvery) {
		if err := s.round(ctx); err != nil && ctx.Err() == nil {
			p.metrics.sweeps.failed.Inc()
			p.logger.Warn("files were not swept", "err", err)
		}
	}
}

func newSweeper(p *partition) *sweeper { return &sweeper{p: p, began: p.cfg.Clock()} }

// round looks at every file of the partition once, and deletes some of those that may go.
func (s *sweeper) round(ctx context.Context) error {
	p := s.p
	shown := p.shown.Load()
	if shown == nil {
		return nil
	}
	// A file that was swept although it is named would be lost: look again who owns this.
	head, _, err := p.heads.LoadHead(ctx, p.id)
	if err != nil {
		return err
	}
	if err := protocol.Stands(&shown.head, &head); err != nil {
		p.tellFenced(err)
		return nil
	}
	dropped := p.takeDropped() // before the files are listed: one that is not there then is gone
	gone := map[string]bool{}
	defer func() {
		p.giveDropped(slices.DeleteFunc(dropped, func(d superseded) bool { return gone[d.path] }))
	}()
	list, err := p.store.Files(ctx, p.cfg.Generation, p.id)
	if err != nil {
		return err
	}
	files := s.files(list, dropped, gone)
	sweep := s.sweep(shown.head.Epoch, files)
	may := func(f *file) bool { return sweep.Verdict(&f.File).Deletes() }
	if slices.ContainsFunc(files, func(f file) bool { return may(&f) || !f.Dropped && f.Epoch < sweep.Epoch }) {
		if err := s.markNamed(ctx, shown, files); err != nil {
			return err
		}
	}
	defer func() { s.count(files, &sweep, gone) }()
	budget := maxSweep
	for i := range files {
		f := &files[i]
		if !may(f) {
			continue
		}
		if budget--; budget < 0 {
			break // the next round goes on
		}
		if err := p.store.Delete(ctx, f.info.Path); err != nil && !errors.Is(err, gridloom.ErrNotFound) {
			return fmt.Errorf("%s: %w", f.info.Path, err)
		}
		gone[f.info.Path] = true
		p.metrics.sweeps.deleted(f.name.Kind, sweep.Verdict(&f.File), f.info.Bytes)
		p.cfg.Fault("sweep.deleted")
	}
	p.metrics.sweeps.last.SetToCurrentTime()
	return nil
}

// tellFenced has the loop end because a head of another owner was seen. Else an owner to
// which nothing comes that it would commit never hears that it was superseded, and where
// the other has gone by then, everybody takes it for the owner that it is not.
func (p *partition) tellFenced(err error) {
	select {
	case p.fenced <- fmt.Errorf("partition %d: %w", p.id, err):
	default: // it knows
	}
}

// file is a stored file and what is decided by.
type file struct {
	protocol.File
	info pane.FileInfo
	name pane.Name
}

// files says of each file that is ours what is known of it; what somebody else put there
// is left alone. Of dropped, those that are not there are noted in gone.
func (s *sweeper) files(list []pane.FileInfo, dropped []superseded, gone map[string]bool) []file {
	now := s.p.cfg.Clock()
	since := make(map[string]time.Time, len(dropped))
	for _, d := range dropped {
		since[d.path] = d.at
		gone[d.path] = true // unless it is found
	}
	files := make([]file, 0, len(list))
	for _, info := range list {
		name, ok := pane.ParseName(info.Path)
		if !ok {
			continue
		}
		f := file{info: info, name: name, File: protocol.File{Epoch: name.Epoch, Age: now.Sub(info.Modified)}}
		if at, ok := since[info.Path]; ok {
			f.Dropped, f.Since = true, now.Sub(at)
			delete(gone, info.Path)
		}
		files = append(files, f)
	}
	return files
}

// sweep says what is known beside the files.
func (s *sweeper) sweep(epoch uint64, files []file) protocol.Sweep {
	sweep := protocol.Sweep{Epoch: epoch, Owned: s.p.cfg.Clock().Sub(s.began), Lease: s.p.cfg.ReaderLease}
	if s.p.cfg.Alone {
		sweep.Owned = max(sweep.Owned, sweep.Lease)
	}
	for i := range files {
		sweep.TopEpoch = max(sweep.TopEpoch, files[i].Epoch)
	}
	return sweep
}

// markNamed marks the files that the manifest of shown and the newest ones before it
// name, and these. A manifest that cannot be read names nothing that anybody could use,
// and is kept.
func (s *sweeper) markNamed(ctx context.Context, shown *committed, files []file) error {
	named := map[string]bool{shown.head.Manifest.Path: true}
	mark := func(path string, _ *pane.Segment) { named[path] = true }
	if err := s.p.store.Tree(ctx, shown.manifest, mark); err != nil {
		return err
	}
	before := newestManifests(files)
	for kept := 0; kept < retainManifests && len(before) > 0; before = before[1:] {
		path := before[0].info.Path
		if path == shown.head.Manifest.Path {
			continue
		}
		named[path] = true
		m, err := s.p.store.PeekManifest(ctx, path)
		if err == nil {
			err = s.p.store.Tree(ctx, m, mark)
		}
		switch {
		case err == nil:
			kept++
		case !errors.Is(err, gridloom.ErrCorrupt) && !errors.Is(err, gridloom.ErrNotFound):
			return err
		}
	}
	for i := range files {
		files[i].Named = named[files[i].info.Path]
	}
	return nil
}

// newestManifests returns the manifests among files, newest first, those that were never
// swapped in included.
func newestManifests(files []file) []*file {
	var list []*file
	for i := range files {
		if files[i].name.Kind == "manifest" {
			list = append(list, &files[i])
		}
	}
	slices.SortFunc(list, func(a, b *file) int {
		return cmp.Or(cmp.Compare(b.Epoch, a.Epoch), cmp.Compare(b.name.Seq, a.name.Seq), b.info.Modified.Compare(a.info.Modified))
	})
	return list
}

// count tells the metrics how many files of earlier owners wait to be deleted.
func (s *sweeper) count(files []file, sweep *protocol.Sweep, gone map[string]bool) {
	n := 0
	for i := range files {
		if f := &files[i]; f.Epoch < sweep.Epoch && !f.Named && !f.Dropped && !gone[f.info.Path] {
			n++
		}
	}
	s.p.metrics.sweeps.orphans.Add(float64(n - s.orphans))
	s.orphans = n
}

// forget takes what this sweeper counted out of the metrics.
func (s *sweeper) forget() { s.p.metrics.sweeps.orphans.Sub(float64(s.orphans)) }
