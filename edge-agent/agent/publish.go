package agent

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	cursorEvery = time.Second // how often the acknowledged position is written: what was acknowledged since is sent again after a crash
	clockPoll   = time.Second // how often a batch that waits for the clock is tried again
)

// publisher sends what the spool holds. It counts a batch as acknowledged only
// when all batches before it are.
type publisher struct {
	a       *Agent
	epoch   uint32        // told in the state message
	drained chan struct{} // capacity 1: nothing is in flight and nothing more is in the spool

	failing bool // the last attempt to connect failed, and the log says so

	connected  atomic.Bool
	connects   atomic.Uint64
	published  atomic.Uint64 // batches, those sent again included
	oldest     atomic.Int64  // At of the oldest batch that is not acknowledged; 0 unknown
	cursorFail bool
}

func (p *publisher) open(a *Agent) {
	p.a, p.drained, p.epoch = a, make(chan struct{}, 1), a.sealer.epoch
}

// run connects and publishes until ctx is done.
func (p *publisher) run(ctx context.Context) {
	defer p.saveCursor()
	for failures := 0; ctx.Err() == nil; {
		p.peek()
		s, err := p.a.connect(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if !p.failing {
				p.failing = true
				p.a.log.Warn("no connection: readings stay in the spool", "server", p.a.server.Redacted(), "err", err)
			}
			failures++
			p.backoff(ctx, failures)
			continue
		}
		p.failing = false
		p.connects.Add(1)
		p.connected.Store(true)
		p.a.log.Info("connected", "server", p.a.server.Redacted(), "epoch", p.epoch)
		acked, err := p.serve(ctx, s)
		p.connected.Store(false)
		if ctx.Err() != nil {
			s.close(p.a.state("offline"))
			return
		}
		s.close(nil)
		p.saveCursor()
		p.a.log.Warn("connection lost", "server", p.a.server.Redacted(), "err", err)
		failures++
		if acked > 0 {
			failures = 1
		}
		p.backoff(ctx, failures)
	}
}

// backoff waits a random time up to a bound that doubles with each failure: full
// jitter, so that a thousand agents do not come back at once.
func (p *publisher) backoff(ctx context.Context, failures int) {
	bound := p.a.cfg.BackoffMin << min(failures-1, 20)
	if bound <= 0 || bound > p.a.cfg.BackoffMax {
		bound = p.a.cfg.BackoffMax
	}
	t := time.NewTimer(rand.N(bound + 1))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// serve publishes over one connection until it is lost or ctx is done, and
// returns how many batches were acknowledged.
func (p *publisher) serve(ctx context.Context, s *session) (acked int, err error) {
	sp := p.a.spool
	fl := p.takeOff()
	defer fl.end()
	var (
		hello = p.a.state("online") // to be sent
		retry <-chan time.Time      // when to ask the spool again after a failure
	)
	cursor := time.NewTicker(cursorEvery)
	defer cursor.Stop()
	late := time.NewTimer(p.a.cfg.AckTimeout)
	defer late.Stop()
	for {
		if hello == nil && retry == nil {
			switch err := fl.fill(); {
			case err == nil:
			case errors.Is(err, errUndated):
				retry = time.After(clockPoll)
			default: // the disk
				return acked, err // a new connection reads anew from the first batch that is not acknowledged
			}
		}
		if hello == nil && fl.landed() {
			signal(p.drained)
		}
		next := cmp.Or(hello, fl.next)
		var out chan<- *flight
		if next != nil {
			out = s.out
		}
		var headDone <-chan struct{}
		if head := fl.oldest(); head != nil && head.token != nil {
			headDone = head.token.Done()
		}
		select {
		case out <- next:
			if next == hello {
				hello = nil // the state message: nothing waits for it
				continue
			}
			if fl.oldest() == nil {
				late.Reset(p.a.cfg.AckTimeout)
			}
			fl.sent()
		case t := <-s.sent:
			t.flight.token = t.token
			if err := t.token.Error(); err != nil {
				return acked, err
			}
		case <-headDone:
			if err := s.acknowledged(fl.oldest()); err != nil {
				return acked, err
			}
			fl.acknowledged()
			acked++
			late.Reset(p.a.cfg.AckTimeout)
		case <-sp.Ready():
			fl.atEnd = false
		case <-retry:
			retry = nil
		case <-cursor.C:
			p.saveCursor()
		case <-late.C:
			if fl.oldest() != nil {
				return acked, errors.New("a batch was not acknowledged in time")
			}
			late.Reset(p.a.cfg.AckTimeout)
		case err := <-s.lost:
			return acked, err
		case <-ctx.Done():
			return acked, ctx.Err()
		}
	}
}

// peek finds out how old the oldest batch is, for the status line.
func (p *publisher) peek() {
	r := p.a.spool.Reader()
	defer r.Close()
	if rec, err := r.Next(); err == nil {
		p.oldest.Store(int64(rec.At))
	}
}

func (p *publisher) saveCursor() {
	err := p.a.spool.SaveCursor()
	if err != nil && !p.cursorFail {
		p.a.log.Warn("acknowledged position cannot be written: after a restart more is sent again", "err", err)
	}
	p.cursorFail = err != nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
