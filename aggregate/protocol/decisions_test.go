package protocol_test

import (
	"errors"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

func TestReadBack(t *testing.T) {
	f := func(name string, there *gridloom.Head, revision uint64, want protocol.Outcome) {
		t.Helper()
		mine := gridloom.Head{Epoch: 3, CommitID: "mine"}
		if got := protocol.ReadBack(&mine, 7, there, revision); got != want {
			t.Errorf("%s: outcome %d, want %d", name, got, want)
		}
	}
	f("stored", &gridloom.Head{CommitID: "mine"}, 8, protocol.Stored)
	f("nothing has come yet", &gridloom.Head{CommitID: "the one before"}, 7, protocol.Again)
	f("another was first", &gridloom.Head{Epoch: 3, CommitID: "other"}, 8, protocol.Fenced)
	f("the head was removed", nil, 8, protocol.Fenced)
	f("it was removed before, and nothing has come yet", nil, 7, protocol.Again)
}

func TestMayAnswer(t *testing.T) {
	frame := func(seq uint64, crc uint32) gridloom.FrameRef { return gridloom.FrameRef{Seq: seq, CRC: crc} }
	f := func(name string, trail protocol.Trail, next uint64, last gridloom.FrameRef, want bool, wantErr error) {
		t.Helper()
		if got, err := protocol.MayAnswer(&trail, next, last); got != want || !errors.Is(err, wantErr) {
			t.Errorf("%s: %t, %v, want %t, %v", name, got, err, want, wantErr)
		}
	}
	read := func(from gridloom.FrameRef, seqs ...uint64) protocol.Trail {
		trail := protocol.TrailFrom(from)
		for _, seq := range seqs {
			trail.Read(frame(seq, 1))
		}
		return trail
	}
	f("an empty log", read(frame(0, 0)), 1, frame(0, 0), true, nil)
	f("it was empty when asked", read(frame(0, 0), 3), 4, frame(0, 0), true, nil)
	f("all is read", read(frame(2, 1), 3, 5), 6, frame(5, 1), true, nil)
	f("all was read at the claim", read(frame(2, 1)), 3, frame(2, 1), true, nil)
	f("more has been read since", read(frame(2, 1), 3, 5), 6, frame(3, 1), true, nil)
	f("not yet read", read(frame(2, 1), 3, 5), 6, frame(6, 1), false, nil)
	f("another frame is there", read(frame(2, 1), 3, 5), 6, frame(5, 2), false, gridloom.ErrCorrupt)
	f("another frame is there, and more was read", read(frame(2, 1), 3, 5), 6, frame(3, 2), false, gridloom.ErrCorrupt)
	f("a frame that was never there", read(frame(2, 1), 3, 5), 6, frame(4, 1), false, gridloom.ErrCorrupt)
	f("before what is known", read(frame(2, 1), 3), 4, frame(1, 1), false, protocol.ErrOvertaken)
	f("the log is empty, but was read", read(frame(2, 1), 3), 4, frame(0, 0), false, protocol.ErrOvertaken)

	// However long the trail, what has left it is not guessed.
	long := read(frame(0, 0))
	for seq := uint64(1); seq <= 1000; seq++ {
		long.Read(frame(seq, 1))
	}
	f("the last", long, 1001, frame(1000, 1), true, nil)
	f("a late one", long, 1001, frame(950, 1), true, nil)
	f("long ago", long, 1001, frame(1, 1), false, protocol.ErrOvertaken)
	f("long ago, and another", long, 1001, frame(1, 2), false, protocol.ErrOvertaken)
}

// TestStands: a head that began anew bears an old epoch, but another owner.
func TestStands(t *testing.T) {
	f := func(now gridloom.Head, want bool) {
		t.Helper()
		told := gridloom.Head{Epoch: 4, Owner: "a", NextSeq: 10}
		if err := protocol.Stands(&told, &now); (err == nil) != want || err != nil && !errors.Is(err, gridloom.ErrFenced) {
			t.Errorf("answer of %+v under %+v: %v, want it to stand: %t", told, now, err, want)
		}
	}
	f(gridloom.Head{Epoch: 4, Owner: "a", NextSeq: 12}, true) // it has committed since
	f(gridloom.Head{Epoch: 5, Owner: "b", NextSeq: 10}, false)
	f(gridloom.Head{Epoch: 4, Owner: "b", NextSeq: 1}, false)
}
