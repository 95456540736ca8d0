package spool

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// Reader reads the records that are not acknowledged, in order, each once. Close
// it. Not safe for concurrent use.
type Reader struct {
	s    *Spool
	at   position
	file blob.File
	path string
}

// Reader returns a reader that begins after the last acknowledged record.
func (s *Spool) Reader() *Reader {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Reader{s: s, at: s.acked}
}

// Next returns the next record, io.EOF if there is none yet. Its payload is the
// caller's. Damaged records are named in the log, counted and left out. Another
// error is of the disk: try again later, with a new Reader.
func (r *Reader) Next() (Record, error) {
	for {
		g, err := r.find()
		if err != nil {
			return Record{}, err
		}
		if skipped := r.skipHoles(&g); skipped {
			continue
		}
		rec, size, err := r.record(g.size - r.at.offset)
		switch {
		case err != nil:
			return Record{}, err
		case size == 0:
			if err := r.resync(&g); err != nil {
				return Record{}, err
			}
			continue
		case rec.Index < r.at.index: // acknowledged before the last start
			r.at.offset += int64(size)
			continue
		}
		r.at.offset += int64(size)
		r.at.index = rec.Index + 1
		rec.end = r.at
		return rec, nil
	}
}

// find returns a copy of the segment that r.at lies in, which is not at its end.
func (r *Reader) find() (segment, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		if g.first < r.at.first || g.first == r.at.first && r.at.offset >= g.size {
			continue
		}
		if g.first > r.at.first || r.at.first == 0 {
			r.at = position{max(g.first, r.at.index), g.first, 0}
			if g.size == 0 {
				continue
			}
		}
		if r.path != g.path {
			r.Close()
			f, err := s.fs.OpenFile(g.path, os.O_RDONLY, 0)
			if err != nil {
				return segment{}, fmt.Errorf("%w: spool: %w", gridloom.ErrUnavailable, err)
			}
			r.file, r.path = f, g.path
		}
		return *g, nil
	}
	return segment{}, io.EOF
}

// skipHoles moves past a part that Open has named as damaged.
func (r *Reader) skipHoles(g *segment) bool {
	for _, h := range g.holes {
		if r.at.offset >= h.from && r.at.offset < h.to {
			r.at.offset = h.to
			return true
		}
	}
	return false
}

// record reads the record at r.at; size is 0 if there is no sound one within limit bytes.
func (r *Reader) record(limit int64) (rec Record, size int, err error) {
	var head [headerBytes]byte
	if limit < headerBytes {
		return rec, 0, nil
	}
	if err := r.read(head[:], r.at.offset); err != nil {
		return rec, 0, err
	}
	size, ok := parseHeader(head[:])
	if !ok || int64(size) > limit {
		return rec, 0, nil
	}
	data := make([]byte, size)
	if err := r.read(data, r.at.offset); err != nil {
		return rec, 0, err
	}
	rec, size, ok = parseRecord(data)
	if !ok {
		return rec, 0, nil
	}
	return rec, size, nil
}

func (r *Reader) read(p []byte, at int64) error {
	if _, err := r.file.ReadAt(p, at); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: spool: read %s: %w", gridloom.ErrUnavailable, r.path, err)
	}
	return nil
}

// resync finds the next sound record after damage that came since Open.
func (r *Reader) resync(g *segment) error {
	data := make([]byte, g.size-r.at.offset)
	if err := r.read(data, r.at.offset); err != nil {
		return err
	}
	from, to, index := r.at.offset, g.size, g.next
	found := false
	scan(data[1:], r.at.index, func(rec *Record, at, _ int64) {
		if !found {
			found, to, index = true, from+1+at, rec.Index
		}
	})
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost(r.at.index, index, 0, g.path, from)
	for _, own := range s.segments {
		if own.first == g.first {
			own.holes = append(own.holes, hole{from, to})
		}
	}
	r.at.offset, r.at.index = to, index
	return nil
}

// Close lets the reader's file go.
func (r *Reader) Close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file, r.path = nil, ""
	}
}

// Ack marks rec, and every record before it, as acknowledged, and removes the
// files that are done with.
func (s *Spool) Ack(rec *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rec.Index < s.acked.index {
		return // dropped meanwhile, or acknowledged before
	}
	for _, g := range s.segments {
		if g.first == rec.end.first {
			g.acked += uint64(rec.Readings)
		}
	}
	s.stats.Acknowledged += uint64(rec.Readings)
	s.acked = rec.end
	s.removeAcked()
}

// Settle marks all that r has gone past as acknowledged. The caller does so when
// Next has returned io.EOF and every record it returned is acknowledged: what is
// left then are damaged records, for which no acknowledgement will come.
func (s *Spool) Settle(r *Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.at.index > s.acked.index {
		s.acked = r.at
		s.removeAcked()
	}
}

// removeAcked removes files that hold nothing but acknowledged records.
func (s *Spool) removeAcked() {
	freed := false
	for len(s.segments) > 0 {
		g := s.segments[0]
		if g.next > s.acked.index || len(s.segments) == 1 && s.open {
			break
		}
		if err := s.discard(g); err != nil {
			s.log.Error("spool cannot remove a file that is done with", "file", g.path, "err", err)
			break
		}
		s.segments = s.segments[1:]
		freed = true
	}
	if freed {
		if s.acked.index >= s.next || len(s.segments) > 0 && s.segments[0].first > s.acked.first {
			at := s.start()
			at.index = max(at.index, s.acked.index)
			s.acked = at
		}
		signal(s.room)
	}
}

// skipTo moves the acknowledged position, at the start of the spool, to a record's index.
func (s *Spool) skipTo(index uint64) {
	s.acked.index = max(s.acked.index, min(index, s.next))
	for _, g := range s.segments {
		if g.next > s.acked.index {
			s.acked.first, s.acked.offset = g.first, 0
			return
		}
	}
}

// Back makes Next return rec, the last record that it returned, once more.
func (r *Reader) Back(rec *Record) {
	r.at.offset -= int64(rec.size())
	r.at.index = rec.Index
}
