// Package device is where an edge agent's readings come from.
//
// A Source (source.go) fills a Chunk with readings whenever it has some. There
// are three: Sim (sim.go, with the households of household.go) makes them up,
// the same for the same seed; Replay (replay.go, its files in replayfile.go, over the rows of csv.go, the
// column map of columns.go and words.go, the instants of layout.go and the lengths of openrow.go) reads files; Lines
// (lines.go, payload.go) reads the JSON payload line by line. Clock (clock.go,
// clock_linux.go) knows whether this device's own time is to be trusted.
//
// Nothing here knows of batches, of the spool or of MQTT.
package device

import (
	"context"

	"github.com/gridloom/gridloom/internal/wire"
)

// Source yields readings. It is used by one goroutine.
type Source interface {
	// Next appends readings to c, which is empty and of c.Limit rows or a few
	// more. It waits until there is at least one and returns sooner than it would
	// have to wait again. io.EOF says that nothing more will come; c may hold
	// readings then too. A bad piece of input is not an error: it is logged, named
	// and counted.
	Next(ctx context.Context, c *Chunk) error
	// Traits says how the source behaves. It does not change.
	Traits() Traits
	// Counts may be called at any time, by any goroutine.
	Counts() Counts
}

// Traits of a source.
type Traits struct {
	// CanWait is true of a source that keeps what is not taken yet, such as a file:
	// a full spool holds it back. What another source says while the spool is full
	// is refused and counted.
	CanWait bool
}

// Counts of a source since its start.
type Counts struct {
	Readings uint64 // handed over
	Bad      uint64 // rows, lines or parts of lines that were left out, each named in the log
}

// Chunk is what a Source hands over in one go. Order and agent of the columns are not set.
type Chunk struct {
	wire.Columns
	// Limit is how many rows are wanted at most.
	Limit int
	// Stamp.Trust is Undated if the instants count from boot and are to be dated
	// later. A source marks what it stamped by a doubtful clock itself.
	Stamp Stamp
}

// Reset empties c and keeps its memory and Limit.
func (c *Chunk) Reset() {
	c.Columns.Reset()
	c.Stamp = Stamp{}
}
