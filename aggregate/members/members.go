// Package members decides who should own which partition. It is liveness alone: what
// it says may be wrong, late or different in two processes, and nothing is lost by it,
// because only a claim of the head makes an owner (package aggregate).
//
// Targets (targets.go) spreads partitions over nodes, the same in every process that
// knows the same nodes. Decide (decide.go) tells one process what to claim and what to
// give up, from what it has heard of the others. Both are pure: no clock, no I/O, no goroutine.
package members

import "time"

// Silence is how long an owner may be silent before others take what it held.
const Silence = 3 * time.Second

// Deaf is how long a process may not hear its own beats before it takes itself for cut
// off: then the others' silence means nothing, until it has listened for Silence again.
const Deaf = 1500 * time.Millisecond

// Settle is how long the live nodes must have been the same before a partition is handed
// over to a node whose turn it is: a node that comes and goes moves nothing.
const Settle = time.Second

// Introduction is how long a newcomer waits for the others to say that they are there.
const Introduction = 150 * time.Millisecond

// Beat is what a process says of itself every half second, and at once when it
// changes.
type Beat struct {
	Node    string `json:"node"`  // stable name
	Owner   string `json:"owner"` // one start of one process, as in the heads
	Leaving bool   `json:"leaving,omitempty"`
	Gone    bool   `json:"gone,omitempty"`  // the last beat: what it still held is free
	Hello   bool   `json:"hello,omitempty"` // a newcomer: answer at once
	Deaf    bool   `json:"deaf,omitempty"`  // it is heard, but does not hear even itself: it cannot act

	// Holds has the epoch of each partition that is owned, or 0 while it is being claimed.
	Holds map[int]uint64 `json:"holds,omitempty"`
	// Released has the epoch of each partition whose head still names Owner but which it
	// has given up with a last commit.
	Released map[int]uint64 `json:"released,omitempty"`
}

// Member is the last beat of a process and when it was heard.
type Member struct {
	Beat
	First, Last time.Time
	Cut         time.Time // since when it says that it is deaf; zero: it hears
}
