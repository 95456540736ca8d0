//go:build unix

package natsd

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gridloom/gridloom"
)

// lock is a flock on a file of the store: the NATS server has none of its own, and
// two servers on one store write over each other. The kernel drops it when the
// process dies.
type lock struct{ f *os.File }

func lockDir(dir string) (*lock, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("%w: open the log's lock: %w", gridloom.ErrUnavailable, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: the log in %s is in use by another process: stop that one, or start with another directory", gridloom.ErrUnavailable, dir)
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return l.f.Close() }
