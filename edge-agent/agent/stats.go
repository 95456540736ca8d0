package agent

import (
	"context"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/device"
)

// Stats is what an agent has done since New. Counts are readings, but where said.
type Stats struct {
	Read         uint64 // from the source
	Bad          uint64 // rows or lines of the source that were left out
	Spooled      uint64 // in the spool, not acknowledged
	Acknowledged uint64
	Refused      uint64 // no room, or the disk failed
	Dropped      uint64 // given up for newer ones
	Damaged      uint64 // batches of the spool that could not be read

	SpoolBytes int64
	Published  uint64        // batches, those sent again included
	Connects   uint64        // successful ones
	Connected  bool          // now
	Lag        time.Duration // age of the oldest batch that is not acknowledged
	Epoch      uint32
	Ended      bool // the source has nothing more
}

// Stats may be called at any time, by any goroutine.
func (a *Agent) Stats() Stats {
	in, sp := a.source.Counts(), a.spool.Stats()
	st := Stats{
		Read: in.Readings, Bad: in.Bad,
		Spooled: sp.Readings, Acknowledged: sp.Acknowledged, Refused: a.refused.Load(), Dropped: sp.Dropped, Damaged: sp.Damaged,
		SpoolBytes: sp.Bytes, Published: a.publisher.published.Load(), Connects: a.publisher.connects.Load(),
		Connected: a.publisher.connected.Load(), Epoch: a.publisher.epoch, Ended: a.ended.Load(),
	}
	// A batch from before the clock was set has no age yet.
	if at := gridloom.Millis(a.publisher.oldest.Load()); sp.Records > 0 && at >= device.ClockFloor {
		st.Lag = max(0, (gridloom.MillisOf(a.cfg.Clock.Now()) - at).Duration())
	}
	return st
}

// statusLines logs a line per StatusEvery.
func (a *Agent) statusLines(ctx context.Context) {
	t := time.NewTicker(a.cfg.StatusEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			st := a.Stats()
			a.log.Info("status", "connected", st.Connected, "read", st.Read, "bad", st.Bad, "spooled", st.Spooled, "acknowledged", st.Acknowledged,
				"refused", st.Refused, "dropped", st.Dropped, "lag", st.Lag.Round(time.Millisecond).String(), "spool_bytes", st.SpoolBytes)
		case <-ctx.Done():
			return
		}
	}
}
