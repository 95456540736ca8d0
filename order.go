package gridloom

import "fmt"

// Order ranks the readings of one identity: of those that compete (Competing) the
// greatest (order, sequence, place in the frame) wins. It packs class (4 bits), epoch (32 bits, seconds since
// 2020-01-01T00:00:00Z) and seq (28 bits). 0 is a reading without agent, epoch
// and seq, for which the last to arrive wins.
type Order uint64

// Class is the upper four bits of an Order.
type Class uint8

// The classes, rising in precedence.
const (
	ClassArrival Class = 0 // no agent, epoch and seq: the last to arrive wins
	ClassDevice  Class = 1
	ClassImport  Class = 4
	ClassEdit    Class = 8
	ClassUndo    Class = 9 // says nothing itself, but takes an edit back: NewUndo
)

// MaxSeq is the greatest batch number of one epoch (28 bits). When it is reached the agent starts a new epoch.
const MaxSeq = 1<<28 - 1

// EpochBase is 2020-01-01T00:00:00Z as a Unix second: epoch 0.
const EpochBase = 1_577_836_800

// NewOrder packs class, epoch and seq. Requires class < 16 and seq <= MaxSeq.
func NewOrder(c Class, epoch, seq uint32) Order {
	return Order(c)<<60 | Order(epoch)<<28 | Order(seq&MaxSeq)
}

// Class returns the upper four bits.
func (o Order) Class() Class { return Class(o >> 60) }

// Epoch returns the seconds since EpochBase at which the agent started.
func (o Order) Epoch() uint32 { return uint32(o >> 28) }

// Seq returns the batch number in the epoch.
func (o Order) Seq() uint32 { return uint32(o & MaxSeq) }

// NewUndo returns the order of a row that takes back what an edit, named by its log
// sequence, said of the row's identity (Competing). Requires edit < 2^60.
func NewUndo(edit uint64) Order { return Order(ClassUndo)<<60 | Order(edit&(1<<60-1)) }

// Undoes returns the log sequence of the edit that a row of this order takes back; ok is
// false for every other row.
func (o Order) Undoes() (edit uint64, ok bool) {
	return uint64(o & (1<<60 - 1)), o.Class() == ClassUndo
}

// String formats o as class/epoch/seq, and that of an undo as class/sequence of the edit.
func (o Order) String() string {
	if edit, ok := o.Undoes(); ok {
		return fmt.Sprintf("%d/%d", o.Class(), edit)
	}
	return fmt.Sprintf("%d/%d/%d", o.Class(), o.Epoch(), o.Seq())
}

// EpochAt returns the epoch of an agent that starts at the instant at; 0 before 2020.
func EpochAt(at Millis) uint32 {
	s := int64(at)/1000 - EpochBase
	return uint32(max(0, min(s, 1<<32-1)))
}
