package device

import (
	"fmt"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
)

// Trust says how good an instant of the device's own clock is.
type Trust uint8

// The grades of an own instant. Given is not of the own clock at all.
const (
	Given    Trust = iota // the source brought the time with it
	Good                  // the clock is set
	Doubtful              // the clock runs, but nothing has set it: CLOCK_SUSPECT
	Undated               // the instant counts from boot, see BootBase
)

// BootBase is the instant that stands for the boot of the device in readings
// that are not dated yet: 2000-01-01T00:00:00Z, the earliest instant that a
// reading can have.
const BootBase = gridloom.MinInstant

// Stamp says how the instants of readings are to be taken.
type Stamp struct {
	Trust Trust
	Boot  string // the boot that Undated instants count from
}

// ClockFloor is an instant that a set clock has passed: 2024-01-01T00:00:00Z.
const ClockFloor gridloom.Millis = 1_704_067_200_000

// ClockMode says what is asked before the system's clock is believed.
type ClockMode uint8

// The modes.
const (
	ClockAuto  ClockMode = iota // past ClockFloor, and on Linux the kernel calls it synchronised
	ClockTrust                  // nothing
)

// ParseClockMode reads "auto" or "trust".
func ParseClockMode(s string) (ClockMode, error) {
	switch s {
	case "auto":
		return ClockAuto, nil
	case "trust":
		return ClockTrust, nil
	}
	return 0, fmt.Errorf("%w: clock %q: want auto or trust", gridloom.ErrInvalid, s)
}

// Clock tells the device's own time and whether that can be believed. Its
// functions may be replaced before it is used; it is safe for concurrent use.
//
// A clock past the floor that the kernel does not call synchronised is Undated
// for Wait from boot, in the hope that something sets it, and Doubtful from then
// on: a machine without a time service must not hold its readings for ever.
type Clock struct {
	Mode ClockMode
	Wait time.Duration // since boot; DefaultClockWait if 0

	Now    func() time.Time
	Uptime func() time.Duration // since boot, suspended time included
	Boot   string               // names this boot of the device
	Synced func() bool          // what the kernel says
}

// DefaultClockWait is how long after boot a running clock is given to become synchronised.
const DefaultClockWait = 5 * time.Minute

// NewClock returns the system's clock.
func NewClock(mode ClockMode) *Clock {
	c := &Clock{Mode: mode, Now: time.Now}
	c.askSystem()
	if c.Boot == "" { // a restart of the process then counts as one of the device
		c.Boot = "process" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	return c
}

// Trust returns how good the clock is now: Good, Doubtful or Undated.
func (c *Clock) Trust() Trust {
	if c.Mode == ClockTrust {
		return Good
	}
	wait := c.Wait
	if wait == 0 {
		wait = DefaultClockWait
	}
	switch {
	case gridloom.MillisOf(c.Now()) < ClockFloor:
		return Undated
	case c.Synced():
		return Good
	case c.Uptime() < wait:
		return Undated
	}
	return Doubtful
}

// Stamp returns the instant now and how to take it.
func (c *Clock) Stamp() (gridloom.Millis, Stamp) {
	switch t := c.Trust(); t {
	case Undated:
		return BootBase + gridloom.SpanOf(c.Uptime()), Stamp{Undated, c.Boot}
	default:
		return gridloom.MillisOf(c.Now()), Stamp{Trust: t}
	}
}

// Offset returns what to add to an Undated instant of this boot to date it by the clock as it is now.
func (c *Clock) Offset() gridloom.Millis {
	return gridloom.MillisOf(c.Now()) - gridloom.SpanOf(c.Uptime()) - BootBase
}
