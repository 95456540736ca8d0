package protocol

import "time"

// Sweep is what the owner of a partition knows when it looks for files to delete.
type Sweep struct {
	Epoch    uint64        // of the owner's head, which nobody else has moved
	TopEpoch uint64        // the greatest of any file of the partition in the store
	Owned    time.Duration // since the owner claimed, by a clock that does not step
	Lease    time.Duration // longer than any query takes
}

// File is one file of the partition.
type File struct {
	Epoch   uint64        // of the owner that wrote it
	Age     time.Duration // by the wall clock, so perhaps wrong; negative: from the future
	Named   bool          // by a retained manifest: the owner's, and the newest ones before it; or it is one of those
	Dropped bool          // a commit of this owner has passed that names it no more
	Since   time.Duration // that commit passed, by a clock that does not step
}

// A Verdict says whether a file may be deleted, and if not, why.
type Verdict int

// Verdicts on a file.
const (
	Halted  Verdict = iota // the store holds an epoch above the head's: somebody else knows more
	Named                  // it is in use
	Making                 // of this epoch or a later one, and never dropped: perhaps part of a commit to come
	Leased                 // a query that began before may still read it
	Dropped                // may be deleted: this owner replaced it a lease ago
	Orphan                 // may be deleted: an earlier owner left it, and no manifest names it
)

// Verdict decides over one file. Of an earlier epoch is what this owner's first manifest
// named, and what it did not name. The latter was superseded before the claim or never
// used, and nobody will ever name it again: the owners of earlier epochs cannot commit,
// later ones begin with this owner's manifest. A query that began before the claim may
// read it, so it waits for a lease from there, and for the file's age, which tells only
// of clocks that went wrong: either alone would do.
func (s *Sweep) Verdict(f *File) Verdict {
	switch {
	case s.TopEpoch > s.Epoch:
		return Halted
	case f.Named:
		return Named
	case f.Dropped && f.Since >= s.Lease:
		return Dropped
	case f.Dropped:
		return Leased
	case f.Epoch >= s.Epoch:
		return Making
	case s.Owned < s.Lease || f.Age < s.Lease:
		return Leased
	}
	return Orphan
}

// Deletes reports whether the file may be deleted.
func (v Verdict) Deletes() bool { return v == Dropped || v == Orphan }

// String returns the word for v in metrics and for people.
func (v Verdict) String() string {
	return [...]string{"halted", "named", "making", "leased", "dropped", "orphan"}[v]
}
