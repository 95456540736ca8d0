//go:build race

package sim

// underRace: the race detector makes a world five times slower and has nothing to find
// in one goroutine. A part of the seeds has to do; make test runs all of them without it.
const underRace = true
