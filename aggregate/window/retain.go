package window

import (
	"fmt"

	"github.com/gridloom/gridloom"
)

// Freeze forgets the panes that start before at, the start of a UTC day whose readings
// before are about to go: nothing changes those panes any more, and a refold starts from at or
// later. It does nothing if the bound is there already. All of the panes were emitted as they are, or it panics.
func (c *Config) Freeze(k gridloom.Kind, s *State, at gridloom.Millis) {
	s.level()
	if s.bound >= at {
		return
	}
	n := 0
	for n < s.Panes() && s.nth(n).start < at {
		if s.nth(n).flags&emitted == 0 {
			panic(fmt.Sprintf("window: freeze at %s, and the pane of %s is open; watermark %s, bound %s", at, s.nth(n).start, s.watermark, s.bound))
		}
		n++
	}
	s.forget(k, n, at)
}

// CarryFrom returns what is carried over the start of the day at, given the carry of the
// series' first pane from there on, or of its State, which stands at bound: nothing starts
// between the two. A carry of which that cannot be true is gridloom.ErrCorrupt.
func CarryFrom(k gridloom.Kind, carry []byte, bound, at gridloom.Millis) ([]byte, error) {
	b, err := decodeCarry(k, carry, bound)
	if err != nil || len(carry) == 0 {
		return nil, err
	}
	between := b.day != 0 || b.last.known && b.last.at >= at || b.run != nil && b.run.lastAt >= at
	for i := range b.reach {
		between = between || bound != at && b.reach[i].end() > at
	}
	if between {
		return nil, fmt.Errorf("%w: the carry at %s tells of readings since %s, and no pane is stored from there on", gridloom.ErrCorrupt, bound, at)
	}
	return b.append(nil, at), nil
}
