package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// Options describes a spool. The zero value of a field is what its comment says.
type Options struct {
	Dir          string // made if it is missing
	FS           blob.FS
	MaxBytes     int64 // of all segment files, at least 64 KiB; DefaultMaxBytes
	SegmentBytes int64 // a file is closed when it has grown past this; MaxBytes/16 within 16 KiB and 4 MiB
	DropOldest   bool  // when full, drop the oldest segment; else Append refuses
	// SyncEach makes Append return only when the records are fsynced. Without it the
	// caller calls Sync, and a power loss takes what was appended since.
	SyncEach bool
	Logger   *slog.Logger // none
}

// DefaultMaxBytes is what a spool may take of the disk.
const DefaultMaxBytes = 64 << 20

// ErrFull is an Append for which there is no room. It is of kind ErrUnavailable.
var ErrFull = fmt.Errorf("%w: the spool is full", gridloom.ErrUnavailable)

const (
	openReplace = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	openAppend  = os.O_RDWR | os.O_CREATE | os.O_TRUNC | os.O_APPEND
)

// Spool is a bounded queue of records on disk. One goroutine may call Append,
// Sync and Close; another one uses its Readers, Ack and SaveCursor; Stats, Ready
// and Room are for any.
type Spool struct {
	dir          string
	fs           blob.FS
	maxBytes     int64
	segmentBytes int64
	dropOldest   bool
	syncEach     bool
	log          *slog.Logger
	unlock       func() error

	// The writer's own.
	active blob.File // of the last segment; nil if the next Append makes a new one
	dirty  bool      // has what was not synced
	found  bool      // Open has seen a segment
	buf    []byte

	ready, room chan struct{} // capacity 1: something to read; something was freed

	mu       sync.Mutex
	segments []*segment // oldest first
	open     bool       // the last segment may grow
	next     uint64     // index of the next record
	acked    position   // everything before it is acknowledged
	saved    uint64     // acked.index in the cursor file
	held     []HeldBoot // found by Open
	maxEpoch uint32     // found by Open
	stats    Stats
}

// Stats of a spool since Open, but for the first group.
type Stats struct {
	Records  uint64 // waiting for acknowledgement
	Readings uint64 // in them
	Bytes    int64  // of the files

	Appended     uint64 // readings
	Acknowledged uint64 // readings
	Dropped      uint64 // readings, given up for newer ones
	Damaged      uint64 // records that could not be read; their readings are lost
	TornBytes    int64  // cut off the end of the newest file
	Syncs        uint64
}

// Open reads the spool in o.Dir, or begins one. What it finds damaged it names in
// the log and counts; only a directory that cannot be read or written, or that
// another process uses (ErrUnavailable), is an error.
func Open(o Options) (*Spool, error) {
	if o.FS == nil {
		o.FS = blob.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < 64<<10 {
		return nil, fmt.Errorf("%w: spool of %d bytes: want at least 65536", gridloom.ErrInvalid, o.MaxBytes)
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = min(max(o.MaxBytes/16, 16<<10), 4<<20)
	}
	s := &Spool{
		dir: o.Dir, fs: o.FS, maxBytes: o.MaxBytes, segmentBytes: o.SegmentBytes,
		dropOldest: o.DropOldest, syncEach: o.SyncEach, log: o.Logger,
		ready: make(chan struct{}, 1), room: make(chan struct{}, 1), next: 1,
		unlock: func() error { return nil },
	}
	if err := blob.MkdirAll(s.fs, s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool %s: %w", s.dir, err)
	}
	if _, onDisk := s.fs.(blob.OS); onDisk {
		unlock, err := lockDir(s.dir)
		if err != nil {
			return nil, err
		}
		s.unlock = unlock
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool %s: %w", s.dir, err), s.unlock())
	}
	return s, nil
}

// HeldBoot is a boot of the device from which records wait to be dated.
type HeldBoot struct {
	Boot string
	Last gridloom.Millis // At of its last record
}

// HeldBoots returns the boots of the Held records that Open found, in their order.
func (s *Spool) HeldBoots() []HeldBoot { return s.held }

// MaxEpoch returns the greatest epoch of the records that Open found, 0 if there were none.
func (s *Spool) MaxEpoch() uint32 { return s.maxEpoch }

// Dir returns the directory that the spool lies in.
func (s *Spool) Dir() string { return s.dir }

// Ready is signalled when there is more to read.
func (s *Spool) Ready() <-chan struct{} { return s.ready }

// Room is signalled when acknowledgements have made room.
func (s *Spool) Room() <-chan struct{} { return s.room }

// Stats returns what is in the spool and what went through it.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Records = s.next - max(s.acked.index, s.first())
	for _, g := range s.segments {
		st.Readings += g.readings - g.acked
		st.Bytes += g.size
	}
	return st
}

// first returns the index of the oldest record.
func (s *Spool) first() uint64 {
	if len(s.segments) == 0 {
		return s.next
	}
	return s.segments[0].first
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close syncs what was appended, saves the cursor and lets the directory go.
func (s *Spool) Close() error {
	err := s.Sync()
	if s.active != nil {
		err = errors.Join(err, s.active.Close())
		s.active = nil
	}
	return errors.Join(err, s.SaveCursor(), s.unlock())
}

// path returns the path of a file of the spool.
func (s *Spool) path(name string) string { return filepath.Join(s.dir, name) }

// LossWindow says to a person what a power loss takes when the spool is synced
// so often (0: before a reading counts as taken) and batches are sealed at age.
func LossWindow(sync, age time.Duration) string {
	if sync == 0 {
		return "no reading that the spool has taken"
	}
	return fmt.Sprintf("readings of the last %s, unless they were acknowledged", sync+age)
}
