package aggregate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

// duesHold reports a series that the lists of dues have lost: nothing may be due before
// the list it stands in, and what is counted as open must be.
func (p *partition) duesHold() error {
	open := 0
	for i := range uint32(p.table.len()) {
		s := p.table.at(i)
		open += p.table.peek(i).OpenPanes()
		due := p.cfg.Window.Due(s.kind, p.table.peek(i))
		if due == math.MaxInt64 {
			continue
		}
		if s.due > due || s.due < p.dues.next || !slices.Contains(p.dues.at[s.due], i) {
			return fmt.Errorf("series %d is due at %d, listed for %d, next is %d", i, due, s.due, p.dues.next)
		}
	}
	if open != p.openPanes {
		return fmt.Errorf("%d panes are open, %d counted", open, p.openPanes)
	}
	return nil
}

// checkDues looks at the lists of the running partition.
func (r *rig) checkDues(when string) {
	r.t.Helper()
	_, err := ask(r.t.Context(), r.worker, 0, func(p *partition) (struct{}, error) { return struct{}{}, p.duesHold() })
	if err != nil && !errors.Is(err, gridloom.ErrUnavailable) {
		r.t.Fatalf("%s: %v", when, err)
	}
}

// TestACommitVisitsOnlyWhatIsDue: what a series has stood in the lists for goes as its
// windows close.
func TestACommitVisitsOnlyWhatIsDue(t *testing.T) {
	r := newRig(t, testStart)
	r.start(func(c *Config) { c.CommitEvery = time.Millisecond })
	for i := range int64(200) {
		at := testStart + gridloom.Millis(i)*10*gridloom.Minute
		r.now.Store(int64(at))
		r.append(oneReading(t, at, 1000*i))
	}
	r.check("after a day and a half")
	lists, err := ask(t.Context(), r.worker, 0, func(p *partition) (int, error) {
		n := 0
		for _, l := range p.dues.at {
			n += len(l)
		}
		return n, nil
	})
	if err != nil || lists > 30 {
		t.Fatalf("%d entries are listed for a few series, %v", lists, err)
	}
	r.stop()
}

// TestDuesFollowUndecidedReadings: a counter falls, and what follows decides over
// panes that began before. The lists must hold after every reading.
func TestDuesFollowUndecidedReadings(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 20 {
		r := newRig(t, testStart)
		r.start(nil)
		at, v := testStart, int64(1_000_000)
		for range 60 {
			at += gridloom.Millis(1+rng.IntN(12)) * gridloom.Minute
			if rng.IntN(12) == 0 {
				at += gridloom.Millis(rng.IntN(180)) * gridloom.Minute
			}
			r.now.Store(int64(at))
			switch rng.IntN(6) {
			case 0:
				v = rng.Int64N(v + 1)
			case 1:
				v += 500_000
			default:
				v += 10
			}
			r.append(oneReading(t, at, v))
			r.view() // has read it
			r.checkDues(at.String())
		}
		r.check("at the end")
		r.stop()
	}
}
