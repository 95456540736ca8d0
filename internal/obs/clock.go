package obs

import (
	"context"
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
)

// MaxClockStep is how far the wall clock may jump, and how far a frame may lie ahead of it.
const MaxClockStep = 5 * time.Minute

// Clock is where ClockWatch takes its times from; nil means the system's.
type Clock struct {
	Wall func() time.Time              // may be set by anybody
	Boot func() (time.Duration, error) // since boot, suspend included: runs on whatever is set
	Poll time.Duration                 // 0 means 1 s
}

// ClockWatch runs until ctx ends (nil) or the wall clock steps by more than
// MaxClockStep against the time since boot. The error is the one line with which a
// process that dates frames or reads them exits: watermarks come from the wall clock
// of the log, and a restart decides anew whether that clock can be trusted
// (CheckFrame). Slow corrections by NTP and suspend do not count as steps.
func ClockWatch(ctx context.Context, c Clock) error {
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Boot == nil {
		c.Boot = sinceBoot
	}
	if c.Poll == 0 {
		c.Poll = time.Second
	}
	before, err := c.offset()
	if err != nil {
		return err
	}
	tick := time.NewTicker(c.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := c.offset()
		if err != nil {
			return err
		}
		if step := now.Sub(before); step.Abs() > MaxClockStep {
			return fmt.Errorf("%w: the wall clock stepped by %s to %s: check the machine's time, then start again", gridloom.ErrUnavailable, step.Round(time.Second), c.Wall().UTC().Format(time.RFC3339))
		}
		before = now
	}
}

// offset is the instant of boot by the wall clock: it moves only when that is set.
func (c *Clock) offset() (time.Time, error) {
	boot, err := c.Boot()
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: read the time since boot: %w", gridloom.ErrUnavailable, err)
	}
	return c.Wall().Round(0).Add(-boot), nil // Round(0): without Go's own monotonic reading
}

// CheckFrame returns an error if a frame was logged more than MaxClockStep ahead of
// now: the clock was wrong then or is wrong now, and nobody can tell which. It is
// asked for every frame read and, at a start, for the last frame of the log.
func CheckFrame(now, loggedAt gridloom.Millis) error {
	if ahead := loggedAt - now; ahead > gridloom.SpanOf(MaxClockStep) {
		return fmt.Errorf("%w: a frame was logged at %s, %s ahead of this machine's clock: check the machine's time, then start again", gridloom.ErrUnavailable, loggedAt, ahead.Duration().Round(time.Second))
	}
	return nil
}
