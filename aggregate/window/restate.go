package window

import (
	"bytes"
	"fmt"

	"github.com/gridloom/gridloom"
)

// Checkpoint is a carry that is stored, with the instant that it belongs to: of the first
// pane of a series on a UTC day, or of a State at its Bound.
type Checkpoint struct {
	Start gridloom.Millis
	Carry []byte
}

// Lookahead is how far after a pane's end a reading can lie that decides it.
func (c *Config) Lookahead() gridloom.Millis { return c.Bridge + c.Width }

// Restate folds a stretch of a series' past anew and emits its panes, in time order and all
// closed, up to the first checkpoint at which what is carried over is what was carried over
// before: what follows cannot have changed. It returns where that is; ok is false,
// and nothing was emitted, if it is at none of them, or if a pane before it might still be open
// at the watermark.
//
// bound and carry are where it starts, as for Refold, and rows all raw rows with
// bound <= Start < end. Checkpoints rise, and come after every row that was not there
// when they were stored. A pane that is emitted is valid until emit returns; its Carry may be kept.
func (c *Config) Restate(k gridloom.Kind, bound gridloom.Millis, carry []byte, rows []Reading, end, watermark gridloom.Millis, checkpoints []Checkpoint, emit func(*gridloom.Pane)) (agreed gridloom.Millis, ok bool, err error) {
	for i := range rows {
		if rows[i].Start >= end {
			return 0, false, fmt.Errorf("%w: restate up to %s with a reading at %s", gridloom.ErrInvalid, end, rows[i].Start)
		}
	}
	s, err := c.Refold(k, bound, carry, rows)
	if err != nil {
		return 0, false, err
	}
	n := 0
	for i := range checkpoints {
		at := checkpoints[i].Start
		if at+c.Lookahead() > end || at+c.Bridge > watermark {
			break // a reading at end or after may decide a pane before it, or it is open
		}
		for n < s.Panes() && s.nth(n).start < at {
			n++
		}
		b := s.carryBefore(k, n, at)
		// What is undecided there is decided by what follows, in the panes before it.
		if b.run != nil || !bytes.Equal(b.append(nil, at), checkpoints[i].Carry) {
			continue
		}
		var p gridloom.Pane
		for j := range n {
			c.fill(k, &s, j, watermark, &p)
			emit(&p)
		}
		return at, true, nil
	}
	return 0, false, nil
}
