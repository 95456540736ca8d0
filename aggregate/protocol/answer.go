package protocol

import (
	"fmt"

	"github.com/gridloom/gridloom"
)

// MayAnswer reports whether an owner that will read next may answer a question whose
// goal is the sequence of the last frame that was in the log when it was asked, or
// for a new owner, when it claimed: what was acknowledged by then is in the answer.
func MayAnswer(next, goal uint64) bool {
	return next > goal
}

// Stands makes sure that an answer given under the head answered may be used: the head
// now, loaded after the answer's manifest was read, is of the same epoch. Until then
// nobody else can have committed, and the sweepers of later epochs had no say over the
// files. ErrFenced: ask again.
func Stands(answered, now *gridloom.Head) error {
	if now.Epoch != answered.Epoch {
		return fmt.Errorf("%w: the owner of epoch %d answered, the head is of epoch %d", gridloom.ErrFenced, answered.Epoch, now.Epoch)
	}
	return nil
}
