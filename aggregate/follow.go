package aggregate

import (
	"context"
	"errors"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// pump reads the log from a head's position on and hands frames to the loop. When the log is unavailable it
// follows anew from the last frame that it handed over.
func (p *partition) pump(ctx context.Context, at gridloom.Head) error {
	pause := retryMin
	for {
		r, err := p.log.Follow(ctx, p.id, at)
		if err == nil {
			p.logKnown.Store(true)
			p.setProblem("log", nil) // now: the next frame may be hours away
		}
		for err == nil {
			var batch []Frame
			if batch, err = r.Next(ctx); err != nil {
				break
			}
			pause = retryMin
			last := &batch[len(batch)-1]
			ref := gridloom.FrameRef{Seq: last.Sequence, CRC: wire.CRC(last.Data)}
			select {
			case <-ctx.Done():
				r.Close()
				return nil
			case p.frames <- batch:
			}
			at.NextSeq, at.LastRef = ref.Seq+1, ref
		}
		if r != nil {
			r.Close()
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no failure
		}
		if !errors.Is(err, gridloom.ErrUnavailable) {
			p.logLost.Store(&err)
			return err
		}
		p.setProblem("log", err)
		p.metrics.retries.Inc()
		if !sleep(ctx, pause) {
			return nil
		}
		pause = min(2*pause, retryMax)
	}
}

// place is the head that says how far the partition has been read: Follow goes on from there.
func (p *partition) place() gridloom.Head {
	at := p.head
	at.NextSeq, at.LastRef = p.nextSeq, p.lastRef
	return at
}
