package spool

import (
	"fmt"

	"github.com/gridloom/gridloom"
)

// Append stores records in this order and gives them their indexes: all of them or, with
// an error, none. ErrFull says that there is no room; another error of kind
// ErrUnavailable that the disk is full or failing. The caller keeps what was not
// taken and may try again.
func (s *Spool) Append(records []Record) error {
	need := int64(0)
	for i := range records {
		if err := records[i].check(); err != nil {
			return err
		}
		need += int64(records[i].size())
	}
	if len(records) == 0 {
		return nil
	}
	if err := s.makeRoom(need); err != nil {
		return err
	}
	if s.active == nil {
		if err := s.begin(); err != nil {
			return err
		}
	}
	// The last segment and its size change in this goroutine only.
	s.mu.Lock()
	g, next := s.segments[len(s.segments)-1], s.next
	s.mu.Unlock()
	s.buf = s.buf[:0]
	var readings uint64
	for i := range records {
		records[i].Index = next + uint64(i)
		s.buf = appendRecord(s.buf, &records[i])
		readings += uint64(records[i].Readings)
	}
	if _, err := s.active.Write(s.buf); err != nil {
		if s.active.Truncate(g.size) != nil {
			s.abandon()
		}
		return fmt.Errorf("%w: spool: write %s: %w", gridloom.ErrUnavailable, g.path, err)
	}
	s.dirty = true
	if s.syncEach {
		if err := s.sync(); err != nil {
			// What reached the disk is unknown: best nothing, else a later record of the
			// same index, in a newer file, counts.
			_ = s.active.Truncate(g.size)
			s.abandon()
			return err
		}
	}
	s.mu.Lock()
	g.size += int64(len(s.buf))
	g.readings += readings
	s.next += uint64(len(records))
	g.next = s.next
	s.stats.Appended += readings
	full := g.size >= s.segmentBytes
	s.mu.Unlock()
	signal(s.ready)
	if full {
		if err := s.finish(); err != nil { // the records are taken: that they may not be durable is for the log
			s.log.Error("spool cannot sync a full file", "file", g.path, "err", err)
		}
	}
	return nil
}

// Sync makes what was appended durable. After an error it is unknown what is; the
// spool goes on in a new file.
func (s *Spool) Sync() error {
	if !s.dirty {
		return nil
	}
	if err := s.sync(); err != nil {
		s.abandon()
		return err
	}
	return nil
}

func (s *Spool) sync() error {
	if err := s.active.Sync(); err != nil {
		return fmt.Errorf("%w: spool: fsync in %s: %w", gridloom.ErrUnavailable, s.dir, err)
	}
	s.dirty = false
	s.mu.Lock()
	s.stats.Syncs++
	s.mu.Unlock()
	return nil
}

// makeRoom lets need bytes fit.
func (s *Spool) makeRoom(need int64) error {
	for {
		s.mu.Lock()
		var bytes int64
		for _, g := range s.segments {
			bytes += g.size
		}
		fits := bytes+need <= s.maxBytes
		// A last file that is read to its end need not wait until it has grown.
		spent := s.open && s.acked.index == s.next
		drop := s.dropOldest && len(s.segments) > 0 && need <= s.maxBytes
		s.mu.Unlock()
		switch {
		case fits:
			return nil
		case spent || drop && len(s.segments) == 1 && s.active != nil:
			if err := s.finish(); err != nil {
				return err
			}
			s.mu.Lock()
			s.removeAcked()
			s.mu.Unlock()
		case drop:
			if err := s.drop(); err != nil {
				return err
			}
		default:
			return ErrFull
		}
	}
}

// drop gives up the oldest segment.
func (s *Spool) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.segments[0]
	if err := s.discard(g); err != nil {
		return fmt.Errorf("%w: spool: drop the oldest readings: %w", gridloom.ErrUnavailable, err)
	}
	s.segments = s.segments[1:]
	s.stats.Dropped += g.readings - g.acked
	if s.acked.index < g.next {
		s.acked = s.start()
	}
	s.log.Warn("spool is full and drops its oldest readings", "file", g.path, "count", g.readings-g.acked)
	return nil
}

// start returns the position before the oldest record.
func (s *Spool) start() position {
	if len(s.segments) == 0 {
		return position{index: s.next}
	}
	return position{index: s.segments[0].first, first: s.segments[0].first}
}

// begin makes a new segment. Its name is durable before anything in it counts.
func (s *Spool) begin() error {
	s.mu.Lock()
	g := &segment{path: s.path(segmentName(s.next)), first: s.next, next: s.next}
	s.mu.Unlock()
	f, err := s.fs.OpenFile(g.path, openAppend, 0o600)
	if err == nil {
		if err = s.fs.SyncDir(s.dir); err != nil {
			_ = f.Close()
			_ = s.fs.Remove(g.path)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: spool: %w", gridloom.ErrUnavailable, err)
	}
	s.active, s.dirty = f, false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments, s.open = append(s.segments, g), true
	if s.acked.index == s.next {
		s.acked = position{index: g.first, first: g.first}
	}
	return nil
}

// finish closes the last segment.
func (s *Spool) finish() error {
	err := s.Sync()
	s.abandon()
	return err
}

// abandon closes the last segment without syncing it.
func (s *Spool) abandon() {
	if s.active == nil {
		return
	}
	_ = s.active.Close()
	s.active, s.dirty = nil, false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = false
	if n := len(s.segments) - 1; s.segments[n].first == s.segments[n].next { // nothing in it; its name will be used again
		_ = s.fs.Remove(s.segments[n].path)
		s.segments = s.segments[:n]
		if s.acked.index == s.next {
			s.acked = s.start()
			s.acked.index = s.next
		}
	}
}
