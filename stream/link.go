package stream

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"
)

// errLost is why a request ends when the connection that carried it is gone.
var errLost = errors.New("the connection to NATS was lost before the answer came")

// link is one connection's life. A request whose connection is gone gets no answer any
// more, but the client would wait for it until its time-out: 10 s in which a partition
// takes nothing, after a restart of NATS that takes one.
type link struct {
	life context.Context //nolint:containedctx // it stands for the connection: done when that is lost
	end  context.CancelCauseFunc
}

func newLink() *link {
	life, end := context.WithCancelCause(context.Background())
	return &link{life, end}
}

// watchLink ends the requests in flight whenever the connection is lost, until ctx ends.
func (s *Stream) watchLink(ctx context.Context, changes chan nats.Status) {
	defer s.nc.RemoveStatusListener(changes)
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				return
			}
			// What is sent from now on fails by itself until there is a new connection.
			s.link.Swap(newLink()).end(errLost)
		}
	}
}

// linked returns a context that ends with ctx, or with the connection as it is now.
func (s *Stream) linked(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := s.link.Load()
	stop := context.AfterFunc(l.life, func() { cancel(context.Cause(l.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// causeOf returns why ctx ended, if that is why err came.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errLost) {
		return cause
	}
	return err
}

// again tells of new connections, where link tells of the loss: a server that was away has
// forgotten its consumers, which can be made anew only when it is back.
type again struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed at the next new connection.
func (a *again) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ch == nil {
		a.ch = make(chan struct{})
	}
	return a.ch
}

func (a *again) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ch != nil {
		close(a.ch)
		a.ch = nil
	}
}
