package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/pane"
)

// snapshot is one consistent state of a partition: what its manifest lists, and the
// rows of its owner's tail on top.
type snapshot struct {
	partition int
	head      gridloom.Head
	manifest  *pane.Manifest // nil: nothing is committed yet
	tail      *pane.Tail     // nil: the owner was silent, and the committed part will do
	watermark gridloom.Millis
	logTime   gridloom.Millis
	bounds    pane.Bounds // how far retention has come
}

// snapshotTries is how often a snapshot is taken anew because the partition changed
// its owner meanwhile, or the owner found that it had lost it.
const snapshotTries = 4

// askAtOnce is how many partitions are asked at the same time: those of a whole
// cluster, so that silent owners are waited for together.
const askAtOnce = 64

// snapshots takes a snapshot of every partition that sel can touch. If an owner is
// silent that is a failure, or with partial the committed part is taken.
func (s *Server) snapshots(ctx context.Context, sel pane.Selector, partial bool) ([]*snapshot, error) {
	byPartition := s.selectors(sel)
	snaps := make([]*snapshot, len(byPartition))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(askAtOnce)
	for i, one := range byPartition {
		g.Go(func() (err error) {
			snaps[i], err = s.snapshot(gctx, one.partition, one.sel, partial)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return snaps, nil
}

// partitionSelector is the part of a selector that one partition can answer.
type partitionSelector struct {
	partition int
	sel       pane.Selector
}

// selectors splits sel by partition, records by their keys and all else by meter; a selector that names none goes to all.
func (s *Server) selectors(sel pane.Selector) (some []partitionSelector) {
	of := func(meter string) int { return gridloom.PartitionOf(meter, s.cfg.Partitions) }
	names := func(sel *pane.Selector) *[]string { return &sel.Meters }
	if sel.Only.HoldsRecords() {
		of = s.partitionOfKey
		names = func(sel *pane.Selector) *[]string { return &sel.Keys }
	}
	named := *names(&sel)
	if named == nil {
		for _, p := range s.allPartitions() {
			some = append(some, partitionSelector{p, sel})
		}
		return some
	}
	*names(&sel) = nil
	for _, name := range named {
		p := of(name)
		i := slices.IndexFunc(some, func(o partitionSelector) bool { return o.partition == p })
		if i < 0 {
			i = len(some)
			some = append(some, partitionSelector{p, sel})
		}
		list := names(&some[i].sel)
		*list = append(*list, name)
	}
	return some
}

func (s *Server) snapshot(ctx context.Context, partition int, sel pane.Selector, partial bool) (*snapshot, error) {
	var err error
	for range snapshotTries {
		var snap *snapshot
		snap, err = s.trySnapshot(ctx, partition, sel, partial)
		if err == nil || !errors.Is(err, gridloom.ErrFenced) {
			return snap, err
		}
		s.metrics.retries.Inc()
	}
	return nil, fmt.Errorf("partition %d: %w: it changed its owner %d times during the query: %s", partition, gridloom.ErrUnavailable, snapshotTries, err.Error())
}

// trySnapshot asks the owner, reads the manifest that it names, and then makes sure
// that it was still the owner. It fails with ErrFenced if it was not.
func (s *Server) trySnapshot(ctx context.Context, partition int, sel pane.Selector, partial bool) (*snapshot, error) {
	octx, cancel := context.WithTimeout(ctx, s.cfg.OwnerWait)
	tail, err := s.owners.Tail(octx, partition, sel)
	cancel()
	switch {
	case err == nil:
	case errors.Is(err, gridloom.ErrFenced), ctx.Err() != nil:
		return nil, fmt.Errorf("partition %d: %w", partition, err)
	case partial:
		return s.committed(ctx, partition)
	default:
		return nil, s.ownerFailed(ctx, partition, err)
	}
	snap := &snapshot{partition: partition, head: tail.Head, tail: tail, watermark: tail.Watermark, logTime: tail.LogTime}
	if snap.manifest, err = s.readManifest(ctx, tail.Head); err != nil {
		return nil, err
	}
	snap.bounds = tail.Bounds.Later(boundsOf(snap.manifest))
	head, _, err := s.heads.LoadHead(ctx, partition)
	if err != nil {
		return nil, fmt.Errorf("partition %d: head: %w", partition, err)
	}
	if err := protocol.Stands(&tail.Head, &head); err != nil {
		return nil, fmt.Errorf("partition %d: %w", partition, err)
	}
	return snap, nil
}

// committed is a snapshot without the owner: what the head names.
func (s *Server) committed(ctx context.Context, partition int) (*snapshot, error) {
	head, _, err := s.heads.LoadHead(ctx, partition)
	if err != nil {
		return nil, fmt.Errorf("partition %d: head: %w", partition, err)
	}
	s.metrics.partial.Inc()
	snap := &snapshot{partition: partition, head: head, watermark: head.LogTime - s.cfg.Window.Lateness, logTime: head.LogTime}
	snap.manifest, err = s.readManifest(ctx, head)
	snap.bounds = boundsOf(snap.manifest)
	return snap, err
}

// readManifest returns the manifest that a head names, nil if it names none yet.
func (s *Server) readManifest(ctx context.Context, h gridloom.Head) (*pane.Manifest, error) {
	if h.Manifest.Path == "" {
		return nil, nil
	}
	m, err := s.store.ReadManifest(ctx, h.Manifest)
	if err != nil {
		return nil, fileFailed(h.Partition, h.Manifest.Path, err)
	}
	return m, nil
}

// fileFailed says which file of which partition could not be read. A file that is
// named and not there is as corrupt as one that is damaged.
func fileFailed(partition int, path string, err error) error {
	if errors.Is(err, gridloom.ErrNotFound) {
		return fmt.Errorf("partition %d: %w: %s is named and not there: %s", partition, gridloom.ErrCorrupt, path, err.Error())
	}
	if strings.Contains(err.Error(), path) {
		return fmt.Errorf("partition %d: %w", partition, err)
	}
	return fmt.Errorf("partition %d: %s: %w", partition, path, err)
}

// isPartial reports whether some owner was silent.
func isPartial(snaps []*snapshot) bool {
	return slices.ContainsFunc(snaps, func(s *snapshot) bool { return s.tail == nil })
}

// watermarks returns the function from a meter to the watermark of its partition.
// With asOf it is the one that was known then.
func (s *Server) watermarks(snaps []*snapshot, asOf gridloom.Millis) func(meter string) gridloom.Millis {
	at := make([]gridloom.Millis, s.cfg.Partitions)
	for _, snap := range snaps {
		at[snap.partition] = snap.watermark
		if asOf != 0 {
			at[snap.partition] = min(asOf, snap.logTime) - s.cfg.Window.Lateness
		}
	}
	return func(meter string) gridloom.Millis { return at[gridloom.PartitionOf(meter, s.cfg.Partitions)] }
}
