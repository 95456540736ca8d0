package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stage is a part of the pipeline that runs until it is told to stop. Stages stop
// one after the other, in the order of the data: what a stage has taken is
// finished while the stages behind it still run.
type stage struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// startStage runs f in a goroutine of its own. If f ends before it is stopped, the
// whole pipeline fails with its error.
func startStage(name string, fail context.CancelCauseFunc, f func(context.Context) error) *stage {
	ctx, cancel := context.WithCancel(context.Background())
	s := &stage{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		err := f(ctx)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		s.err = fmt.Errorf("%s: %w", name, err)
		fail(s.err)
	}()
	return s
}

// errLate marks a stage that did not stop in its time. It goes on until the process ends.
var errLate = errors.New("did not stop in time")

// stop ends the stage and waits for it, at most for limit; then it is errLate.
func (s *stage) stop(limit time.Duration) error {
	s.cancel()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-s.done:
		return s.err
	case <-t.C:
		return fmt.Errorf("%s %w", s.name, errLate)
	}
}
