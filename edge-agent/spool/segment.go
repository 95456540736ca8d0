package spool

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom/internal/blob"
)

// segment is one file. Its name is the index of its first record.
type segment struct {
	path  string
	first uint64 // index of its first record
	next  uint64 // one above its last
	size  int64  // bytes up to the end of its last record
	holes []hole // found damaged; the file is kept aside instead of removed

	readings uint64 // in all its records
	acked    uint64 // of them in records that were acknowledged
}

const (
	segmentSuffix = ".spool"
	damagedSuffix = ".damaged"
	// keptDamaged bounds how many damaged files are kept aside for a person to look at.
	keptDamaged = 4
)

func segmentName(first uint64) string { return fmt.Sprintf("%016x%s", first, segmentSuffix) }

// parseSegmentName is the reverse of segmentName.
func parseSegmentName(name string) (first uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	first, err := strconv.ParseUint(hex, 16, 64)
	return first, err == nil
}

// position is a place between two records.
type position struct {
	index  uint64 // of the record that follows
	first  uint64 // names the segment it lies in
	offset int64
}

// discard removes a segment's file, or keeps it aside if it was damaged.
func (s *Spool) discard(g *segment) error {
	if len(g.holes) == 0 {
		return s.fs.Remove(g.path)
	}
	kept, err := s.list(damagedSuffix)
	if err != nil {
		return err
	}
	for ; len(kept) >= keptDamaged; kept = kept[1:] {
		if err := s.fs.Remove(filepath.Join(s.dir, kept[0])); err != nil {
			return err
		}
	}
	return s.fs.Rename(g.path, g.path+damagedSuffix)
}

// list returns the names in the directory that end so, sorted.
func (s *Spool) list(suffix string) ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// writeFile replaces a small file atomically: after a power loss the old or the
// new content is there. It is durable when writeFile returns if sync is set.
func writeFile(fsys blob.FS, path string, data []byte, sync bool) (err error) {
	temp := path + ".new"
	f, err := fsys.OpenFile(temp, openReplace, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fsys.Rename(temp, path)
	}
	if err == nil && sync {
		err = fsys.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = fsys.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
