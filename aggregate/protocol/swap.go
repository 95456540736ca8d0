package protocol

import "github.com/gridloom/gridloom"

// Outcome is what became of a put of a head.
type Outcome uint8

// The outcomes of a put.
const (
	Stored Outcome = iota + 1 // it is the head
	Again                     // not stored yet, and it may still be: repeat it as it was
	Fenced                    // another head was first, or the head is gone: drop all state
)

// ReadBack decides a put of mine whose answer was a conflict or was lost, from the
// head that is there now (nil: none) at revision. expected is the revision that the
// put replaces; that of a key without a head is 0, or what the removal of one left
// behind. A head that was removed since the put was decided on is never replaced: by
// then the store may hold files of it.
//
// Stored does not tell a put from its repetition, and need not: both carry one
// commit id and one expected revision, so at most one of them is ever stored.
func ReadBack(mine *gridloom.Head, expected uint64, there *gridloom.Head, revision uint64) Outcome {
	switch {
	case there != nil && there.CommitID == mine.CommitID:
		return Stored
	case revision == expected:
		return Again
	}
	return Fenced
}
