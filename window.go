package gridloom

import (
	"fmt"
	"time"
)

// Window is a half-open span of event time [Start, End) on the UTC grid.
type Window struct {
	Start, End Millis
}

// WindowAt returns the window of the given width that at lies in. Requires width > 0.
func WindowAt(at, width Millis) Window {
	s := at.Floor(width)
	return Window{s, s + width}
}

// Contains reports whether at lies in [Start, End).
func (w Window) Contains(at Millis) bool { return w.Start <= at && at < w.End }

// Length returns the span of w in milliseconds.
func (w Window) Length() Millis { return w.End - w.Start }

// String formats w as an ISO 8601 interval.
func (w Window) String() string { return w.Start.String() + "/" + w.End.String() }

// The limits of event time processing; what they do is told in docs/SEMANTICS.md.
const (
	// DefaultWidth is the length of a window.
	DefaultWidth = 15 * Minute
	// DefaultLateness is how long after a window's end its readings still count as in time.
	DefaultLateness = 10 * Minute
	// DefaultBridge is the longest gap between two readings of a counter or gauge
	// over which gridloom interpolates.
	DefaultBridge = 2 * Hour
)

// CheckWidth accepts a window width of 1 minute to 1 hour that divides the hour.
func CheckWidth(d time.Duration) error {
	if d < time.Minute || d > time.Hour || time.Hour%d != 0 || d%time.Minute != 0 {
		return fmt.Errorf("%w: window %s: want 1m to 1h, whole minutes that divide the hour, such as 15m", ErrInvalid, d)
	}
	return nil
}
