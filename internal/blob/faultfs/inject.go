package faultfs

import (
	"errors"
	"math/rand/v2"
	"slices"
)

// Kind names an operation.
type Kind string

// The operations. All but Open, Read and Stat change something.
const (
	Open     Kind = "open"
	Create   Kind = "create"
	Read     Kind = "read" // also ReadDir and FS.Stat
	Stat     Kind = "stat" // of an open file
	Write    Kind = "write"
	Sync     Kind = "sync"
	Truncate Kind = "truncate"
	Mkdir    Kind = "mkdir"
	Link     Kind = "link"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	SyncDir  Kind = "syncdir"
)

// Changes reports whether operations of this kind change something.
func (k Kind) Changes() bool { return k != Open && k != Read && k != Stat }

// Op is an operation that is about to happen.
type Op struct {
	Kind Kind
	Name string // as the caller gave it; of Link and Rename the new name
	N    int    // counts changing operations since New, from 1; of another operation: those before it
}

// Partial is an error that lets the first Bytes bytes of a Write happen before it fails with Err.
type Partial struct {
	Bytes int
	Err   error
}

func (p *Partial) Error() string { return p.Err.Error() }

// Unwrap returns Err.
func (p *Partial) Unwrap() error { return p.Err }

func partial(err error) int {
	if p, ok := errors.AsType[*Partial](err); ok {
		return p.Bytes
	}
	return 0
}

// powerLoss is the fault that turns the power off.
type powerLoss struct{ chance *rand.Rand }

func (powerLoss) Error() string { return ErrPowerLost.Error() }

// Inject calls fault before every operation; an error that it returns is the
// operation's, which then does not happen. nil takes the fault away. fault runs
// under the file system's lock and must not call it.
func (f *FS) Inject(fault func(Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inject = fault
}

// Ops returns the number of changing operations so far: run the subject once
// without a fault to learn how many places there are to break it.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// FailAt is a fault that lets the n-th changing operation from now fail with err.
func FailAt(n int, err error) func(Op) error {
	return func(op Op) error {
		if op.Kind.Changes() {
			n--
			if n == 0 {
				return err
			}
		}
		return nil
	}
}

// FailFrom is a fault that lets the n-th changing operation from now and all
// after it fail with err, but for Remove: a disk that is full.
func FailFrom(n int, err error) func(Op) error {
	return func(op Op) error {
		if op.Kind.Changes() {
			n--
			if n <= 0 && op.Kind != Remove {
				return err
			}
		}
		return nil
	}
}

// PowerLossAt is a fault that turns the power off instead of the n-th changing
// operation from now. chance is that of PowerOff.
func PowerLossAt(n int, chance *rand.Rand) func(Op) error {
	return func(op Op) error {
		if op.Kind.Changes() {
			n--
			if n == 0 {
				return powerLoss{chance}
			}
		}
		return nil
	}
}

// step is called with the lock held before each operation.
func (f *FS) step(kind Kind, name string) error {
	if f.lost {
		return ErrPowerLost
	}
	if kind.Changes() {
		f.ops++
	}
	if f.inject == nil {
		return nil
	}
	err := f.inject(Op{Kind: kind, Name: name, N: f.ops})
	if loss, ok := errors.AsType[powerLoss](err); ok {
		f.powerOff(loss.chance)
		return ErrPowerLost
	}
	return err
}

// Damage replaces a file's content by what change returns, in memory and on the
// disk at once: a flipped bit, a lost end. change gets a copy.
func (f *FS) Damage(name string, change func([]byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err != nil {
		return fail("damage", name, err)
	}
	n.data = change(slices.Clone(n.data))
	n.stable = slices.Clone(n.data)
	n.dirty = len(n.data)
	return nil
}
