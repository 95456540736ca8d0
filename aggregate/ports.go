package aggregate

import (
	"context"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/members"
	"github.com/gridloom/gridloom/internal/pane"
)

// Frame is one message of a partition's log.
type Frame struct {
	Sequence uint64
	LoggedAt gridloom.Millis // its stored timestamp
	Data     []byte          // owned by the receiver
}

// Reader delivers the frames of one partition in order, from a verified place on.
// Next blocks for at least one frame. It fails with ErrCorrupt if the log is not
// the one that was read before, and with ErrUnavailable if the log is down.
type Reader interface {
	Next(ctx context.Context) ([]Frame, error)
	Close()
}

// Log is what an owner needs of the log. Append stores a tick.
type Log interface { //nolint:interfacebloat // one log; splitting it would name the same thing twice
	Follow(ctx context.Context, partition int, head gridloom.Head) (Reader, error)
	LastSequence(ctx context.Context, partition int) (uint64, error)
	// LastFrame names the frame of LastSequence; the zero value if there is none.
	LastFrame(ctx context.Context, partition int) (gridloom.FrameRef, error)
	Append(ctx context.Context, partition int, frame []byte) (uint64, error)
	Purge(ctx context.Context, heads map[int]gridloom.Head) error
	// Pinned names the partitions whose heads keep Purge from going on.
	Pinned(ctx context.Context, heads map[int]gridloom.Head) ([]int, error)
}

// Heads is the compare-and-set register of every partition. LoadHead fails with
// ErrNotFound where there is none, and tells the revision that a removed one has left,
// for SwapHead; else CreateHead makes the first. SwapHead fails with ErrFenced when another
// owner was first, and succeeds when the stored head turns out to be this one.
type Heads interface {
	LoadHead(ctx context.Context, partition int) (gridloom.Head, uint64, error)
	CreateHead(ctx context.Context, h gridloom.Head) (uint64, error)
	SwapHead(ctx context.Context, h gridloom.Head, revision uint64) (uint64, error)
	Committable() error // ErrUnavailable while the disk has no room for segments
}

// Peers carries what processes that share partitions say of themselves. It may lose
// beats or bring them late. Beats brings those of this process too.
type Peers interface {
	Say(beat members.Beat) error
	Beats() <-chan members.Beat
}

// interface checks of what the package gives to others stand with their users:
// query.Owners is implemented by Worker.
var _ interface {
	Tail(ctx context.Context, partition int, sel pane.Selector) (*pane.Tail, error)
	Series(ctx context.Context, partition int) ([]pane.SeriesInfo, error)
	Status(ctx context.Context) ([]pane.Status, error)
} = (*Worker)(nil)
