package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// runRepair restores what `gridloom repair` can restore: heads.
func runRepair(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "head" {
		return fmt.Errorf("%w: repair what? gridloom repair head [--data DIR]", errUsage)
	}
	fs := flag.NewFlagSet("gridloom repair head", flag.ContinueOnError)
	data := fs.String("data", "./gridloom-data", "data `directory`; no role may run on it")
	var n natsConfig
	n.addFlags(fs, "", "; without it the log is the directory's own")
	if err := parseFlags(fs, args[1:], stderr); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%w: repair head takes no arguments, and got %q", errUsage, fs.Arg(0))
	}
	dir, err := lockExisting(*data)
	if err != nil {
		return err
	}
	defer dir.close()
	return repairHeads(ctx, dir, n, stdout)
}

// repairHeads writes a head for every partition that has files but no head, from
// the newest manifest whose segments are all there. Any manifest is a right fold
// of the log up to its position, also one that was never swapped in, so the one
// that has read furthest is the best.
func repairHeads(ctx context.Context, dir *dataDir, n natsConfig, stdout io.Writer) error {
	s, closeLog, err := openLog(ctx, dir, n)
	if err != nil {
		return err
	}
	defer closeLog()
	disk, err := blob.OpenDir(dir.sub("store"), blob.OS{})
	if err != nil {
		return err
	}
	found, err := newestManifests(ctx, pane.NewStore(disk, pane.StoreOptions{}), disk)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintf(stdout, "the store of %s holds no manifest: there is no head to restore\n", dir.path)
		return nil
	}
	restored := 0
	for _, f := range found {
		id := f.manifest.Head.Partition
		_, rev, err := s.LoadHead(ctx, id)
		if err == nil {
			fmt.Fprintf(stdout, "partition %d has its head: left as it is\n", id)
			continue
		}
		if !errors.Is(err, gridloom.ErrNotFound) {
			return err
		}
		h := f.manifest.Head
		h.Manifest = f.ref
		h.Epoch = f.topEpoch + 1
		h.Owner, h.CommitID = "repair", "repair-"+strconv.FormatUint(h.Epoch, 10)
		if rev == 0 {
			_, err = s.CreateHead(ctx, h)
		} else { // of the head that was removed
			_, err = s.SwapHead(ctx, h, rev)
		}
		if err != nil {
			return fmt.Errorf("partition %d: %w", id, err)
		}
		fmt.Fprintf(stdout, "partition %d restored from %s: epoch %d, next sequence %d\n", id, f.ref.Path, h.Epoch, h.NextSeq)
		restored++
	}
	fmt.Fprintf(stdout, "%d heads restored; start gridloom again\n", restored)
	return nil
}

// foundManifest is the newest whole manifest of one partition.
type foundManifest struct {
	ref      gridloom.FileRef
	manifest *pane.Manifest
	topEpoch uint64 // the greatest epoch that any file of the partition names
}

// newestManifests finds, for each partition in the store, the manifest that has
// read furthest and whose segments are all there.
func newestManifests(ctx context.Context, store *pane.Store, disk blob.Store) ([]foundManifest, error) {
	files, err := disk.List(ctx, "")
	if err != nil {
		return nil, err
	}
	type place struct{ generation, partition string }
	there := map[string]bool{}
	top := map[place]uint64{}
	manifests := map[place][]string{}
	for _, f := range files {
		there[f.Path] = true
		parts := strings.Split(f.Path, "/") // g1/p0/e3/manifest-….json
		if len(parts) != 4 || len(parts[2]) < 2 {
			continue
		}
		at := place{parts[0], parts[1]}
		if e, err := strconv.ParseUint(parts[2][1:], 10, 64); err == nil {
			top[at] = max(top[at], e)
		}
		if strings.HasPrefix(parts[3], "manifest-") && path.Ext(parts[3]) == ".json" {
			manifests[at] = append(manifests[at], f.Path)
		}
	}
	var out []foundManifest
	for at, paths := range manifests {
		var best *foundManifest
		for _, p := range paths {
			data, err := disk.Get(ctx, p)
			if err != nil {
				return nil, err
			}
			ref := gridloom.FileRef{Path: p, CRC: wire.CRC(data)}
			m, err := store.ReadManifest(ctx, ref)
			if err != nil || !complete(ctx, store, m, there) {
				continue
			}
			if best == nil || m.Head.NextSeq > best.manifest.Head.NextSeq || m.Head.NextSeq == best.manifest.Head.NextSeq && m.Head.Epoch > best.manifest.Head.Epoch {
				best = &foundManifest{ref, m, top[at]}
			}
		}
		if best == nil {
			return nil, fmt.Errorf("%w: none of the %d manifests of %s/%s is whole with all its segments: restore the store from a backup", gridloom.ErrCorrupt, len(paths), at.generation, at.partition)
		}
		out = append(out, *best)
	}
	slices.SortFunc(out, func(a, b foundManifest) int { return a.manifest.Head.Partition - b.manifest.Head.Partition })
	return out, nil
}

// complete reports whether every file that a manifest names is in the store.
func complete(ctx context.Context, store *pane.Store, m *pane.Manifest, there map[string]bool) bool {
	if m.Snapshot != nil && !there[m.Snapshot.Path] {
		return false
	}
	for _, kind := range []pane.Kind{pane.KindRaw, pane.KindPane, pane.KindExpired, pane.KindRegistry, pane.KindAudit} {
		for seg, err := range store.Segments(ctx, m, kind, pane.Selector{}) {
			if err != nil || !there[seg.Path] {
				return false
			}
		}
	}
	return true
}
