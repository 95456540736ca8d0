package spool

import (
	"fmt"
	"os"

	"github.com/gridloom/gridloom/internal/blob"
)

// maxSegmentFile bounds what is read into memory as one segment: the largest
// segment size and a group of records above it.
const maxSegmentFile = 64 << 20

// recover reads all segments and the cursor.
func (s *Spool) recover() error {
	if err := s.sweepNew(); err != nil {
		return err
	}
	names, err := s.list(segmentSuffix)
	if err != nil {
		return err
	}
	var firsts []uint64
	for _, name := range names {
		if first, ok := parseSegmentName(name); ok && first > 0 {
			firsts = append(firsts, first)
		}
	}
	cursor := s.loadCursor()
	for i, first := range firsts {
		limit := uint64(1<<64 - 1)
		if i+1 < len(firsts) {
			limit = firsts[i+1]
		}
		if err := s.recoverSegment(first, limit, cursor); err != nil {
			return err
		}
	}
	s.next = max(s.next, cursor)
	s.acked = s.start()
	s.skipTo(cursor)
	s.saved = cursor
	s.removeAcked()
	if s.acked.index < s.next {
		signal(s.ready)
	}
	return nil
}

// recoverSegment looks at one file. Records from limit on are in the next one too, which counts.
func (s *Spool) recoverSegment(first, limit, cursor uint64) error {
	g := &segment{path: s.path(segmentName(first)), first: first, next: first}
	data, err := blob.ReadFile(s.fs, g.path, maxSegmentFile)
	if err != nil {
		return err
	}
	if first > s.next && s.found {
		s.lost(s.next, first, cursor, g.path, 0)
	}
	s.found = true
	expected := first
	type gap struct {
		from, to uint64
		at       int64
	}
	var gaps []gap
	holes := scan(data, first, func(r *Record, from, to int64) {
		if r.Index >= limit {
			return
		}
		if r.Index > expected {
			gaps = append(gaps, gap{expected, r.Index, g.size})
		}
		g.next, g.size, expected = r.Index+1, to, r.Index+1
		g.readings += uint64(r.Readings)
		s.maxEpoch = max(s.maxEpoch, r.Epoch)
		if r.Index < cursor {
			g.acked += uint64(r.Readings)
		} else if r.Kind == Held {
			s.sawHeld(r)
		}
	})
	for _, h := range holes {
		if h.to < g.size {
			g.holes = append(g.holes, h)
		}
	}
	for _, gap := range gaps {
		s.lost(gap.from, gap.to, cursor, g.path, gap.at)
	}
	if size := int64(len(data)); size > g.size {
		if err := s.cutEnd(g, size, limit); err != nil {
			return err
		}
		if g.next < limit && limit != 1<<64-1 {
			s.lost(g.next, limit, cursor, g.path, g.size)
			g.next = limit
		}
	}
	s.next = max(s.next, g.next)
	if g.size == 0 && len(g.holes) == 0 {
		return s.fs.Remove(g.path)
	}
	s.segments = append(s.segments, g)
	return nil
}

func (s *Spool) sawHeld(r *Record) {
	if n := len(s.held); n == 0 || s.held[n-1].Boot != r.Boot {
		s.held = append(s.held, HeldBoot{Boot: r.Boot})
	}
	s.held[len(s.held)-1].Last = r.At
}

// cutEnd takes care of bytes after a file's last sound record. In the newest file
// they are a write that a crash tore; elsewhere they are damage.
func (s *Spool) cutEnd(g *segment, size int64, limit uint64) error {
	if limit != 1<<64-1 {
		g.holes = append(g.holes, hole{g.size, size})
		return nil
	}
	s.stats.TornBytes += size - g.size
	s.log.Warn("spool ends in a torn record, which is cut off", "file", g.path, "offset", g.size, "bytes", size-g.size)
	f, err := s.fs.OpenFile(g.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(g.size)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cut the torn end off %s: %w", g.path, err)
	}
	return nil
}

// lost names records that are gone, those that were acknowledged before apart.
func (s *Spool) lost(from, to, cursor uint64, path string, at int64) {
	from = max(from, cursor)
	if from >= to {
		return
	}
	s.stats.Damaged += to - from
	s.log.Error("spool records are damaged or missing and left out", "file", path, "offset", at, "count", to-from)
}

// sweepNew removes what was being written when a process ended.
func (s *Spool) sweepNew() error {
	names, err := s.list(".new")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.fs.Remove(s.path(name)); err != nil {
			return err
		}
	}
	return nil
}
