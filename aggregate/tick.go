package aggregate

import (
	"context"

	"github.com/gridloom/gridloom/internal/wire"
)

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
