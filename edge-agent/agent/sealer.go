package agent

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/wire"
)

// sealer turns gathered rows into records: it gives them the agent's epoch and
// the next seq, for good.
type sealer struct {
	fs    blob.FS
	dir   string
	agent string
	clock *device.Clock
	log   *slog.Logger

	epoch uint32
	seq   uint32 // of the last batch
	saved bool   // the epoch is on disk
}

// maxAhead is how far ingest lets an epoch lie ahead of its clock, in seconds.
const maxAhead = 86_400

// open settles the epoch: above the stored one and every one in the spool, and
// not below the seconds since 2020, if the clock is to be believed.
func (s *sealer) open(cfg *Config, inSpool uint32) error {
	*s = sealer{fs: cfg.FS, dir: cfg.Dir, agent: cfg.Agent, clock: cfg.Clock, log: cfg.Logger}
	stored, err := spool.LoadEpoch(s.fs, s.dir)
	switch {
	case errors.Is(err, gridloom.ErrCorrupt):
		s.log.Error("epoch file is damaged: the clock gives a new epoch", "err", err)
	case err != nil:
		return fmt.Errorf("epoch: %w", err)
	}
	s.epoch = s.above(max(stored, inSpool))
	if err := s.save(); err != nil {
		s.log.Error("epoch cannot be stored: no reading is taken until it can", "err", err)
	}
	return nil
}

// above returns an epoch after last.
func (s *sealer) above(last uint32) uint32 {
	if s.clock.Trust() == device.Undated {
		return last + 1
	}
	now := gridloom.EpochAt(gridloom.MillisOf(s.clock.Now()))
	if last >= now+maxAhead {
		// A clock that was years ahead once made last. Ingest refuses such epochs, so
		// nothing competes with what comes now, and going on from it would be refused too.
		s.log.Error("epoch of an earlier start lies more than a day ahead and is left: was the clock wrong?", "epoch", last)
		return now
	}
	return max(last+1, now)
}

// save makes the epoch durable, before anything is published under it.
func (s *sealer) save() error {
	if s.saved {
		return nil
	}
	if err := spool.SaveEpoch(s.fs, s.dir, s.epoch); err != nil {
		return fmt.Errorf("%w: %w", gridloom.ErrUnavailable, err)
	}
	s.saved = true
	return nil
}

// seal makes a record of rows. An error says that the epoch cannot be stored: no
// seq is used up.
func (s *sealer) seal(rows *wire.Columns, stamp device.Stamp) (spool.Record, error) {
	if s.seq == gridloom.MaxSeq {
		s.epoch, s.seq, s.saved = s.above(s.epoch), 0, false
	}
	if err := s.save(); err != nil {
		return spool.Record{}, err
	}
	s.seq++
	r := spool.Record{Kind: spool.Sealed, Epoch: s.epoch, Seq: s.seq, Readings: uint32(rows.Len())}
	r.At = gridloom.MillisOf(s.clock.Now())
	if stamp.Trust == device.Undated {
		r.Kind, r.Boot = spool.Held, stamp.Boot
		r.At = device.BootBase + gridloom.SpanOf(s.clock.Uptime())
	}
	r.Payload = wire.AppendBatch(nil, &wire.Batch{Agent: s.agent, Epoch: r.Epoch, Seq: r.Seq, HasOrder: true, Columns: rows})
	return r, nil
}
