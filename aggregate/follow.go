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
		}
		for err == nil {
			var batch []Frame
			if batch, err = r.Next(ctx); err != nil {
				break
			}
			pause = retryMin
			p.setProblem("log", nil)
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

// wantTick asks for a tick when panes are open and the log has been silent, since
// nothing but frames moves the watermark.
func (p *partition) wantTick() {
	if p.openPanes == 0 && !p.unsaved && !p.mustMove.Load() {
		return
	}
	if now := p.cfg.Clock(); now.Sub(p.lastFrame) >= p.cfg.TickEvery {
		p.lastFrame = now
		select {
		case p.ticks <- struct{}{}:
		default: // one is on its way
		}
	}
}

// runTicker appends the ticks that the loop asks for. A tick that cannot be
// stored is left out: the next one does as well.
func (p *partition) runTicker(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.ticks:
		}
		_, err := p.log.Append(ctx, p.id, p.tickFrame())
		p.setProblem("tick", err)
	}
}

func (p *partition) tickFrame() []byte {
	return wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindTick, Generation: p.cfg.Generation, Partition: p.id}, nil)
}
