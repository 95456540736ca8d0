package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
)

// JetStream switches itself off, until a restart, when the disk is really full. So
// appends stop before: while less than the reserve is free. Heads are small and
// what they name empties the log, so they go on down to a part of the reserve.
const (
	reserveMost    = 2 << 30 // of max(10 %, 2 GiB) …
	reserveShare   = 10      // … one tenth of the file system, …
	reserveCeiling = 4       // … but at most a quarter of it
	commitPart     = 4       // commits stop at a quarter of the reserve
	reopenPart     = 10      // appends come back at the reserve and a tenth

	roomPoll = 500 * time.Millisecond
)

// Disk is the file system under an embedded server's store.
type Disk struct {
	Dir string // "" means that the log is elsewhere: its disk is not watched
	// Statfs returns what is free for this process and the size, in bytes; nil asks the system.
	Statfs func(dir string) (free, total int64, err error)
	Poll   time.Duration // 0 means 500 ms
}

func (d *Disk) fill() error {
	if d.Statfs == nil {
		d.Statfs = statfs
	}
	if d.Poll == 0 {
		d.Poll = roomPoll
	}
	if d.Dir == "" {
		return nil
	}
	if _, _, err := d.Statfs(d.Dir); err != nil {
		return fmt.Errorf("%w: read the free space of %s: %w", gridloom.ErrInvalid, d.Dir, err)
	}
	return nil
}

// Reserve returns how many bytes are kept free on a file system of total bytes:
// max(10 %, 2 GiB), but at most 25 %.
func Reserve(total int64) int64 {
	return min(max(total/reserveShare, reserveMost), total/reserveCeiling)
}

// The states of a room, rising.
const (
	roomOpen      = iota
	roomNoAppends // appends stop
	roomNoCommits // commits and heads stop too
)

// room keeps part of the disk free. Safe for concurrent use.
type room struct {
	disk Disk
	log  *slog.Logger
	met  *metrics

	state   atomic.Int32
	free    atomic.Int64
	size    atomic.Int64
	looking sync.Mutex
}

func newRoom(d Disk, log *slog.Logger, met *metrics) *room {
	r := &room{disk: d, log: log, met: met}
	r.look()
	return r
}

// run looks at the disk until ctx ends.
func (r *room) run(ctx context.Context) {
	if r.disk.Dir == "" {
		return
	}
	for wait(ctx, r.disk.Poll) {
		r.look()
	}
}

// total returns the size of the file system, 0 if it is not watched.
func (r *room) total() int64 { return r.size.Load() }

// look reads the free space and sets the state. What cannot be read changes nothing.
func (r *room) look() {
	if r.disk.Dir == "" {
		return
	}
	r.looking.Lock()
	defer r.looking.Unlock()
	free, total, err := r.disk.Statfs(r.disk.Dir)
	if err != nil || total <= 0 {
		r.met.statfsFailures.Inc()
		return
	}
	r.free.Store(free)
	r.size.Store(total)
	was := r.state.Load()
	now := nextState(was, free, Reserve(total))
	r.state.Store(now)
	r.met.diskFree.Set(float64(free))
	r.met.diskReserve.Set(float64(Reserve(total)))
	r.met.closed.Set(float64(now))
	switch {
	case now > was:
		r.log.Error("the disk is nearly full: the log takes no more", "err", r.problem(now))
	case now < was && now == roomOpen:
		r.log.Info("the disk has room again: the log goes on")
	}
}

// nextState applies the thresholds, with a step back only a tenth above each, so
// that a disk at the edge does not flap.
func nextState(was int32, free, reserve int64) int32 {
	commits := reserve / commitPart
	switch {
	case free < commits, was == roomNoCommits && free < commits+commits/reopenPart:
		return roomNoCommits
	case free < reserve, was >= roomNoAppends && free < reserve+reserve/reopenPart:
		return roomNoAppends
	}
	return roomOpen
}

// forAppend returns ErrUnavailable while the reserve is not free, or would not be
// after bytes more. It looks at the disk each time: that costs about a microsecond
// of an append's fsync, and somebody else's file can take a reserve within a poll.
func (r *room) forAppend(bytes int) error {
	if r.disk.Dir == "" {
		return nil
	}
	r.look()
	if st := r.state.Load(); st >= roomNoAppends {
		return r.problem(st)
	}
	if r.free.Load()-int64(bytes) < Reserve(r.total()) {
		return r.problem(roomNoAppends)
	}
	return nil
}

// forCommit returns ErrUnavailable while even heads must wait.
func (r *room) forCommit(int) error {
	r.look()
	if st := r.state.Load(); st >= roomNoCommits {
		return r.problem(st)
	}
	return nil
}

// problem is the line for an operator.
func (r *room) problem(state int32) error {
	reserve := Reserve(r.total())
	what, need := "the log takes nothing", reserve+reserve/reopenPart
	if state >= roomNoCommits {
		what = "the log takes nothing and nothing is committed"
	}
	return fmt.Errorf("%w: %s: the disk of %s has %s free and %s must stay free: delete files or enlarge the disk; it goes on by itself at %s",
		gridloom.ErrUnavailable, what, r.disk.Dir, size(r.free.Load()), size(reserve), size(need))
}

// size formats bytes for a person.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit && i < 4 {
		v /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTP"[i])
}
