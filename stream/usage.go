package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

// alarmPercent of the log's size or of the disk: somebody should look.
const alarmPercent = 70

// How often the log's state is read for metrics, identity and Purge.
const watchPoll = 2 * time.Second

// Usage is how full things are.
type Usage struct {
	Frames        uint64 `json:"frames"`
	Bytes         int64  `json:"bytes"`
	MaxBytes      int64  `json:"max_bytes"`
	FirstSequence uint64 `json:"first_sequence"`
	LastSequence  uint64 `json:"last_sequence"`

	RejectBytes    int64  `json:"reject_bytes"`
	RejectsDropped uint64 `json:"rejects_dropped"` // messages of rejects that fell out

	DiskFree    int64 `json:"disk_free"`    // 0 with DiskTotal 0: not watched
	DiskTotal   int64 `json:"disk_total"`   // bytes
	DiskReserve int64 `json:"disk_reserve"` // bytes kept free

	Alarm   bool   `json:"alarm"`             // log or disk at 70 %
	Problem string `json:"problem,omitempty"` // why nothing is appended now
}

// Usage asks the log how full it is.
func (s *Stream) Usage(ctx context.Context) (Usage, error) {
	greatest := s.greatest.Load()
	info, err := s.frames.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Usage{}, s.setForeign(fmt.Errorf("%w: stream %s is gone", gridloom.ErrCorrupt, LogName))
	}
	if err != nil {
		return Usage{}, kindOf("log usage", err)
	}
	if !info.Created.Equal(s.layout.Created) {
		return Usage{}, s.setForeign(fmt.Errorf("%w: stream %s was replaced: it was created %s, the one that was joined %s", gridloom.ErrCorrupt, LogName, info.Created, s.layout.Created))
	}
	if info.State.LastSeq < greatest {
		return Usage{}, s.setForeign(fmt.Errorf("%w: the log ends at %d, but %d was stored: it was rolled back", gridloom.ErrCorrupt, info.State.LastSeq, greatest))
	}
	rejects, err := s.rejects.Info(ctx)
	if err != nil {
		return Usage{}, kindOf("rejects usage", err)
	}
	s.curve.add(&info.State)
	return s.usageOf(info, rejects), nil
}

func (s *Stream) usageOf(info, rejects *jetstream.StreamInfo) Usage {
	u := Usage{
		Frames: info.State.Msgs, Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes,
		FirstSequence: info.State.FirstSeq, LastSequence: info.State.LastSeq,
		RejectBytes: int64(rejects.State.Bytes),
		DiskFree:    s.room.free.Load(), DiskTotal: s.room.total(), DiskReserve: Reserve(s.room.total()),
	}
	if rejects.State.FirstSeq > 1 {
		u.RejectsDropped = rejects.State.FirstSeq - 1
	}
	u.Alarm = atAlarm(u.Bytes, u.MaxBytes) || atAlarm(u.DiskTotal-u.DiskFree, u.DiskTotal)
	if err := s.Writable(); err != nil {
		u.Problem = err.Error()
	}
	s.met.logBytes.Set(float64(u.Bytes))
	s.met.logMaxBytes.Set(float64(u.MaxBytes))
	s.met.rejectsFallen.Set(float64(u.RejectsDropped))
	return u
}

func atAlarm(used, of int64) bool { return of > 0 && used >= of/100*alarmPercent }

// Writable returns nil while frames are taken, else why not: ErrUnavailable for want
// of disk, ErrCorrupt if the log is not the one that was joined. It asks nobody:
// /readyz and a tick's owner may call it often. A log that is full by its own limit
// shows only in Append.
func (s *Stream) Writable() error {
	if err := s.foreign.Load(); err != nil {
		return *err
	}
	return s.room.forAppend(0)
}

// Committable returns nil while an owner may write segments and swap heads:
// ErrUnavailable once the disk is down to the last part of the reserve.
func (s *Stream) Committable() error { return s.room.forCommit(0) }

// watch reads the usage for as long as s lives.
func (s *Stream) watch(ctx context.Context) {
	alarm := false
	for wait(ctx, watchPoll) {
		try, cancel := context.WithTimeout(ctx, watchPoll)
		u, err := s.Usage(try)
		cancel()
		if err != nil {
			s.met.watchFailures.Inc()
			continue
		}
		if u.Alarm && !alarm {
			s.log.Warn("the log or its disk is more than 70 % full", "count", u.Bytes, "err", fmt.Sprintf("log %s of %s, disk %s free of %s", size(u.Bytes), size(u.MaxBytes), size(u.DiskFree), size(u.DiskTotal)))
		}
		alarm = u.Alarm
	}
}
