package sim

import (
	"context"
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/aggregate/protocol"
)

// simHeads is the compare-and-set register of every partition.
type simHeads struct {
	w        *world
	revision uint64
	kept     [partitions][]headAt // what there was, oldest first; the last one counts
}

type headAt struct {
	head     gridloom.Head
	revision uint64
}

var _ aggregate.Heads = (*simHeads)(nil)

// Committable finds room on the disk.
func (h *simHeads) Committable() error { return nil }

// LoadHead may be answered by a follower: a claim that begins with an old head is
// refused at its swap.
func (h *simHeads) LoadHead(_ context.Context, partition int) (gridloom.Head, uint64, error) {
	list := h.kept[partition]
	switch n := len(list); {
	case h.w.chance(h.w.rates.heads / 2):
		return gridloom.Head{}, 0, errNetwork
	case n == 0:
		return gridloom.Head{}, 0, fmt.Errorf("head %d: %w", partition, gridloom.ErrNotFound)
	case n > 1 && h.w.chance(h.w.rates.stale):
		h.w.stats.Stale++
		at := list[max(0, n-2-h.w.rnd.IntN(3))]
		return at.head, at.revision, nil
	}
	at := h.current(partition)
	return at.head, at.revision, nil
}

// current is what the leader holds; the zero value if there is no head yet.
func (h *simHeads) current(partition int) headAt {
	if n := len(h.kept[partition]); n > 0 {
		return h.kept[partition][n-1]
	}
	return headAt{}
}

// CreateHead puts the first head.
func (h *simHeads) CreateHead(ctx context.Context, v gridloom.Head) (uint64, error) {
	return h.SwapHead(ctx, v, 0)
}

// SwapHead puts a head as package stream does: what stands there tells what became of a
// put whose answer was a conflict or did not come.
func (h *simHeads) SwapHead(_ context.Context, v gridloom.Head, revision uint64) (uint64, error) {
	w := h.w
	for range 3 { // then its time is over
		switch {
		case w.chance(w.rates.heads): // lost on the way
		case w.chance(w.rates.heads): // stored, and the answer is lost
			w.stats.Ambiguous++
			h.put(v, revision)
		case w.chance(w.rates.heads): // it comes later, if it still may
			w.comesLate(func() { h.put(v, revision) })
		default:
			if rev, ok := h.put(v, revision); ok {
				if w.chance(w.rates.heads) { // and once more, as a repeated message
					h.put(v, revision)
				}
				return rev, nil
			}
		}
		if w.chance(w.rates.heads) {
			continue // the question is lost as well
		}
		at := h.current(v.Partition)
		var there *gridloom.Head
		if at.revision > 0 {
			there = &at.head
		}
		switch protocol.ReadBack(&v, revision, there, at.revision) {
		case protocol.Stored:
			return at.revision, nil
		case protocol.Fenced:
			return 0, fmt.Errorf("head %d: %w: epoch %d belongs to %s", v.Partition, gridloom.ErrFenced, at.head.Epoch, at.head.Owner)
		case protocol.Again:
		}
	}
	return 0, fmt.Errorf("swap head %d: %w: not known whether it is stored", v.Partition, gridloom.ErrUnavailable)
}

// put is one message to the register.
func (h *simHeads) put(v gridloom.Head, revision uint64) (uint64, bool) {
	at := h.current(v.Partition)
	if at.revision != revision && !h.w.broken.heads() {
		return 0, false
	}
	h.w.note("head %d moves: epoch %d of %s to %d, commit %s, manifest %s %08x", v.Partition, v.Epoch, v.Owner, v.NextSeq, v.CommitID, v.Manifest.Path, v.Manifest.CRC)
	if old := at.head; at.revision > 0 && (v.NextSeq < old.NextSeq || v.Epoch < old.Epoch || v.LogTime < old.LogTime || v.LastRef.Seq < old.LastRef.Seq) {
		h.w.fail("the head of partition %d went back from epoch %d at %d to epoch %d at %d", v.Partition, old.Epoch, old.NextSeq, v.Epoch, v.NextSeq)
	}
	if old := at.head; at.revision > 0 && (v.Owner != old.Owner && v.Epoch != old.Epoch+1 || v.Owner == old.Owner && v.Epoch > old.Epoch+1) {
		h.w.fail("the head of partition %d goes from %s in epoch %d to %s in epoch %d: every claim adds one", v.Partition, old.Owner, old.Epoch, v.Owner, v.Epoch)
	}
	if v.Manifest != at.head.Manifest {
		h.w.ledger.committed(&v)
	}
	h.revision++
	h.kept[v.Partition] = append(h.kept[v.Partition], headAt{v, h.revision})
	return h.revision, true
}
