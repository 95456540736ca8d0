package protocol

import (
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
)

// FirstNeeded is the first sequence that a partition still needs of the log: the
// frame that proves the log to its next owner, or where it has none, where that one
// will read on.
func FirstNeeded(h *gridloom.Head) uint64 {
	next := max(h.NextSeq, 1)
	if h.LastRef.Seq == 0 {
		return next
	}
	return min(h.LastRef.Seq, next)
}

// PurgeBound moves bound, the first sequence that a purge leaves, back to what the
// partition of h needs. h must have been loaded since bound was chosen, and every
// partition be asked. A head that moves afterwards only needs less. ErrCorrupt: h is
// of another stream than the one created at created, and nothing may be purged.
func PurgeBound(bound uint64, h *gridloom.Head, created time.Time) (uint64, error) {
	if !h.StreamCreated.Equal(created) {
		return 0, fmt.Errorf("%w: purge: head of partition %d is of a stream created %s", gridloom.ErrCorrupt, h.Partition, h.StreamCreated)
	}
	return min(bound, FirstNeeded(h)), nil
}
