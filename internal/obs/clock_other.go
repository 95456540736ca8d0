//go:build !linux

package obs

import "time"

var began = time.Now()

// sinceBoot counts from the process's start by Go's monotonic clock; on systems
// where that stands still during suspend, waking up looks like a step.
func sinceBoot() (time.Duration, error) { return time.Since(began), nil }
