package stream

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/gridloom/gridloom"
)

// TestGuardTellsOneComparison: who asks while a comparison is noted hears of the one
// before or of this one, never that nothing is wrong because half of it was there.
func TestGuardTellsOneComparison(t *testing.T) {
	lost := fmt.Errorf("%w: rolled back", gridloom.ErrCorrupt)
	g := &Guard{s: &Stream{nc: new(nats.Conn)}, parts: make([]guarded, 1)}
	connection := g.s.connection()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				g.parts[0].note(connection-1, nil) // it was right over the connection before
				g.parts[0].note(connection, lost)
			}
		}
	})
	for range 200_000 {
		if err := g.Problem(0); err == nil {
			t.Error("the partition takes readings")
			break
		}
	}
	close(done)
	wg.Wait()
}
