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
// put replaces. A put that creates the first head replaces none, or what a removed
// one has left behind.
//
// Stored does not tell a put from its repetition, and need not: both carry one
// commit id and one expected revision, so at most one of them is ever stored.
func ReadBack(mine *gridloom.Head, expected uint64, create bool, there *gridloom.Head, revision uint64) Outcome {
	switch {
	case there == nil && create:
		return Again
	case there == nil:
		return Fenced
	case there.CommitID == mine.CommitID:
		return Stored
	case revision == expected:
		return Again
	}
	return Fenced
}
