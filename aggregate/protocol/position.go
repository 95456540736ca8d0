package protocol

import (
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
)

// Position is how far a partition has read the log, and what proves that the log is
// still the one it was read from.
type Position struct {
	Created time.Time         // of the stream that was read; zero: nothing was read yet
	Next    uint64            // first sequence not read, at least 1
	Last    gridloom.FrameRef // the partition's last frame before Next
	LogTime gridloom.Millis   // greatest log time of its frames before Next
}

// PositionOf returns the position of a head. ErrCorrupt: no head can say that.
func PositionOf(h *gridloom.Head) (Position, error) {
	p := Position{Created: h.StreamCreated, Next: max(h.NextSeq, 1), Last: h.LastRef, LogTime: h.LogTime}
	if p.Last.Seq >= p.Next {
		return p, fmt.Errorf("%w: head of partition %d: last_ref %d is not before next_seq %d", gridloom.ErrCorrupt, h.Partition, p.Last.Seq, h.NextSeq)
	}
	if p.Created.IsZero() && p.Next > 1 {
		return p, fmt.Errorf("%w: head of partition %d has read to %d but names no stream", gridloom.ErrCorrupt, h.Partition, h.NextSeq)
	}
	return p, nil
}

// Read moves the position past a frame that was read.
func (p *Position) Read(frame gridloom.FrameRef) {
	p.Next, p.Last = frame.Seq+1, frame
}

// Log is what a log says of itself.
type Log struct {
	Created           time.Time
	FirstSeq, LastSeq uint64 // of the frames it holds, over all partitions; FirstSeq is LastSeq+1 if it holds none
}

// VerifyLog makes sure that a log can be the one that was read up to p: the same
// stream, not shorter, and nothing unread purged. It is asked at every claim and
// before every consumer is made, and VerifyLast after it. ErrCorrupt: it is another
// one; the partition must stop, for what it would read next is not what follows.
func VerifyLog(p Position, l Log) error {
	switch {
	case !p.Created.IsZero() && !l.Created.Equal(p.Created):
		return fmt.Errorf("%w: the head was read from a stream created %s, this one was created %s", gridloom.ErrCorrupt, p.Created.Format(time.RFC3339Nano), l.Created.Format(time.RFC3339Nano))
	case l.LastSeq < p.Next-1:
		return fmt.Errorf("%w: the log ends at sequence %d, but it was read to %d: it was rolled back", gridloom.ErrCorrupt, l.LastSeq, p.Next-1)
	case p.Last.Seq == 0 && l.FirstSeq > p.Next:
		return fmt.Errorf("%w: frames before sequence %d were purged, but it was read only to %d", gridloom.ErrCorrupt, l.FirstSeq, p.Next-1)
	}
	return nil
}

// VerifyLast makes sure that the frame which was read last is still in the log as it
// was: crc is of the bytes that the log holds at p.Last.Seq, found whether it holds
// any. It is not asked for a position that has no last frame. As the log is purged
// from its beginning, nothing after that frame is gone either.
func VerifyLast(p Position, found bool, crc uint32, l Log) error {
	if !found {
		return fmt.Errorf("%w: the last frame read, sequence %d, is not in the log any more (it begins at %d)", gridloom.ErrCorrupt, p.Last.Seq, l.FirstSeq)
	}
	if crc != p.Last.CRC {
		return fmt.Errorf("%w: the last frame read, sequence %d, has crc %08x, it had %08x", gridloom.ErrCorrupt, p.Last.Seq, crc, p.Last.CRC)
	}
	return nil
}
