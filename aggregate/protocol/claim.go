package protocol

import (
	"fmt"
	"time"

	"github.com/gridloom/gridloom"
)

// Claimant is who claims a partition: one start of one process on one machine.
type Claimant struct {
	Owner, Node string
}

// First returns the head that a claim creates where there has never been one: epoch
// 1, nothing read of the log that was created at created. Whether it may be created
// says MayCreate.
func First(generation uint32, partition int, created time.Time, who Claimant, commitID string) gridloom.Head {
	return Claim(gridloom.Head{
		Format: gridloom.HeadFormat, Generation: generation, Partition: partition, NextSeq: 1, StreamCreated: created,
	}, who, commitID)
}

// Claim returns the head that takes a partition over from whoever left h: position and
// manifest stay, the epoch rises. commitID must never have been used before.
func Claim(h gridloom.Head, who Claimant, commitID string) gridloom.Head {
	h.Epoch++
	h.Owner, h.Node, h.CommitID = who.Owner, who.Node, commitID
	return h
}

// MayCreate says whether a partition without a head may get a first one: only where
// the store holds none of its files. Where it does, the head was lost, and one that
// begins anew would take every row of the log a second time: ErrCorrupt.
func MayCreate(partition, files int) error {
	if files == 0 {
		return nil
	}
	return fmt.Errorf("%w: the head of partition %d is gone, but the store holds %d files of it: stop every role and run `gridloom repair head`",
		gridloom.ErrCorrupt, partition, files)
}
