package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
)

// A frame that cannot be stored is offered again after these pauses, doubling.
const (
	firstPause = 25 * time.Millisecond
	lastPause  = time.Second
)

// run stores what gathers in l, a frame at a time, until the bridge closes and
// nothing is left, or ctx ends.
func (l *lane) run(ctx context.Context) {
	closing := false
	for {
		l.takeTurn(ctx)
		f := l.seal(closing)
		if f != nil {
			l.commit(ctx, f)
			l.spare = f
			continue
		}
		l.giveTurn()
		if closing {
			return
		}
		select {
		case <-l.wake:
		case <-l.bridge.closing:
			closing = true
		}
	}
}

// takeTurn waits until l may store a frame. A log that stores one frame after the
// other gains nothing from a second one that waits inside it: that one is sealed,
// and whatever arrives meanwhile waits for the frame behind it as well. So lanes take
// turns and seal late: a burst over four partitions has half of its answers after 3
// to 4 fsyncs instead of 6 to 7 (TestFramesAreSealedWhenTheirTurnComes).
func (l *lane) takeTurn(ctx context.Context) {
	if l.bridge.turns == nil || l.partition == rejectsLane {
		return
	}
	select {
	case l.bridge.turns <- struct{}{}: // who waits longest is next
		l.turn = true
	case <-ctx.Done(): // the attempt to store will fail, and say so
	}
}

// giveTurn lets another lane store, if l has the turn.
func (l *lane) giveTurn() {
	if l.turn {
		l.turn = false
		<-l.bridge.turns
	}
}

// commit stores f, gives the turn on and settles the messages of f.
func (l *lane) commit(ctx context.Context, f *openFrame) {
	b := l.bridge
	start := time.Now()
	var err error
	if l.partition == rejectsLane {
		err = l.persist(ctx, func(ctx context.Context) error { return b.store.AppendRejects(ctx, f.rejects) })
	} else {
		err = l.persist(ctx, func(ctx context.Context) error {
			_, err := b.log.Append(ctx, l.partition, l.buf)
			return err
		})
	}
	l.giveTurn()
	l.outcome(f, err, time.Since(start))
}

// outcome settles the messages of f by what became of it, and leaves f empty.
func (l *lane) outcome(f *openFrame, err error, took time.Duration) {
	m := l.bridge.metrics
	if err == nil {
		m.frameStored(l, f, took)
	} else {
		m.withheld.Add(float64(len(f.tickets)))
	}
	l.settle(f, err != nil)
	f.reset()
}

// persist calls try until it succeeds, fails for good, or OutageWait has passed.
// The state of the lane and one log line per change of it come from here.
func (l *lane) persist(ctx context.Context, try func(context.Context) error) error {
	b := l.bridge
	var deadline time.Time
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		attempt, cancel := context.WithTimeout(ctx, b.cfg.AppendTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			l.setProblem(nil)
			return nil
		}
		l.setProblem(err)
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(b.cfg.OutageWait)
		}
		if !mayPass(err) || ctx.Err() != nil || !now.Add(pause).Before(deadline) {
			return err
		}
		l.giveTurn() // another partition may do better
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		l.takeTurn(ctx)
	}
}

// mayPass reports whether it makes sense to offer the same frame again.
func mayPass(err error) bool {
	return errors.Is(err, gridloom.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// setProblem notes that storing works (nil) or why it does not, and logs a change.
func (l *lane) setProblem(err error) {
	b := l.bridge
	was := l.problem.Load()
	switch {
	case err == nil && was != nil:
		l.problem.Store(nil)
		b.metrics.unavailable.Add(-1)
		b.cfg.Logger.Info("log answers again", "partition", l.name)
	case err != nil:
		text := fmt.Sprintf("partition %s cannot be stored: %v", l.name, err)
		l.problem.Store(&text)
		if was == nil {
			b.metrics.unavailable.Add(1)
			b.cfg.Logger.Warn("log does not store: answers are withheld", "partition", l.name, "err", err)
		}
	}
}

// settle answers the messages of f, which is stored or has failed, unless another
// frame still holds a part of them. Senders are told to send once, after all.
func (l *lane) settle(f *openFrame, failed bool) {
	var bytes int64
	for i := range f.tickets {
		t := &f.tickets[i]
		o := t.outcome
		if failed {
			o = withheld
		}
		if m := t.many; m != nil {
			if failed {
				m.failed.Store(true)
			}
			if m.left.Add(-1) > 0 {
				continue
			}
			if m.failed.Load() {
				o = withheld
			}
		}
		bytes += t.bytes
		if t.from.answer(t.tag, o) {
			l.senders = append(l.senders, t.from)
		}
	}
	for _, s := range l.senders {
		s.send()
	}
	clear(l.senders)
	l.senders = l.senders[:0]
	l.bridge.budget.give(bytes)
}

// finish answers one message that needs nothing stored any more.
func (b *Bridge) finish(t ticket) {
	o := t.outcome
	if t.many != nil && t.many.failed.Load() {
		o = withheld
	}
	if t.from.answer(t.tag, o) {
		t.from.send()
	}
	b.budget.give(t.bytes)
}

// outcomeOf is the answer to a message in which nothing was good.
func outcomeOf(reason string) outcome {
	switch reason {
	case "TOPIC":
		return badTopic
	default:
		return badPayload
	}
}

// moreBad is added to the last reject that is kept of a message with more.
func moreBad(n int) string { return "; and " + strconv.Itoa(n) + " more in this message" }
