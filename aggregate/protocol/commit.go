package protocol

import "github.com/gridloom/gridloom"

// Commit returns the head that moves position and result together: h, which is the
// one last swapped, at position to and with manifest. commitID must never have been
// used before. A commit that writes its manifest later passes none and sets it then.
func Commit(h gridloom.Head, to Position, manifest gridloom.FileRef, commitID string) gridloom.Head {
	h.CommitID = commitID
	h.NextSeq, h.LastRef, h.LogTime = to.Next, to.Last, to.LogTime
	h.Manifest = manifest
	return h
}
