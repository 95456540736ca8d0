package protocol

import (
	"fmt"

	"github.com/gridloom/gridloom"
)

// ErrOvertaken means that an owner has read so much since a question was asked that it
// cannot tell any more whether the log was rolled back before: ask again.
var ErrOvertaken = fmt.Errorf("%w: the question was overtaken", gridloom.ErrUnavailable)

// trailFrames is how many frames may be read between a question's being asked and its
// being heard, which is the time of a message between two goroutines.
const trailFrames = 64

// Trail remembers which frames an owner has read last.
type Trail struct {
	refs [trailFrames]gridloom.FrameRef
	n    int // noted so far; the i-th lies at i modulo trailFrames
}

// TrailFrom returns the trail of an owner that reads on after the frame of a head's
// last_ref, which may be the zero value.
func TrailFrom(last gridloom.FrameRef) Trail {
	var t Trail
	t.Read(last)
	return t
}

// Read notes a frame that was read.
func (t *Trail) Read(frame gridloom.FrameRef) {
	t.refs[t.n%trailFrames] = frame
	t.n++
}

// MayAnswer reports whether an owner that will read next may answer a question which
// was asked when last was the last frame of the partition in the log, the zero FrameRef
// if there was none: everything that was acknowledged by then is in the answer. false:
// it has to read on first.
//
// ErrCorrupt: the owner has read beyond last, but not last. The log was rolled back, and
// what it has got since at the places of frames that were read would never be read:
// the partition must stop. ErrOvertaken: the trail does not reach back to last.
func MayAnswer(t *Trail, next uint64, last gridloom.FrameRef) (bool, error) {
	if last.Seq >= next {
		return false, nil
	}
	for i := t.n - 1; i >= max(0, t.n-trailFrames); i-- {
		switch read := t.refs[i%trailFrames]; {
		case read == last:
			return true, nil
		case read.Seq <= last.Seq:
			return false, fmt.Errorf("%w: frame %d with crc %08x was the last in the log, but what was read there is frame %d with crc %08x: the log was rolled back",
				gridloom.ErrCorrupt, last.Seq, last.CRC, read.Seq, read.CRC)
		}
	}
	return false, ErrOvertaken
}

// Stands makes sure that an answer given under the head answered may be used: the head
// now, loaded after the answer's manifest was read, is of the same epoch and owner.
// Until then nobody else can have committed, and the sweepers of later epochs had no
// say over the files. ErrFenced: ask again.
//
// The epoch alone would do, but for a head that was lost before anything was committed
// under it: the next one begins with epoch 1 again.
func Stands(answered, now *gridloom.Head) error {
	if now.Epoch != answered.Epoch || now.Owner != answered.Owner {
		return fmt.Errorf("%w: the owner of epoch %d, %s, answered, the head is of epoch %d, %s", gridloom.ErrFenced, answered.Epoch, answered.Owner, now.Epoch, now.Owner)
	}
	return nil
}
