package blob

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// Store keeps immutable files. A path is relative, with forward slashes, of parts
// made of letters, digits and "-_.=" that do not start with a dot: CheckPath. All
// methods may be called at once. Errors wrap ErrNotFound (no such file),
// ErrInvalid (a bad or taken path) or ErrUnavailable (disk full, I/O error), and
// name the path.
type Store interface {
	// Put stores a file under a path that was never used before. When it returns
	// nil the file survives a power loss. When it fails the file is absent or
	// whole; try again under another path. data is not kept.
	Put(ctx context.Context, path string, data []byte) error
	// Get returns a whole file; the bytes are the caller's.
	Get(ctx context.Context, path string) ([]byte, error)
	// List returns the files whose path starts with prefix, sorted by path.
	List(ctx context.Context, prefix string) ([]Info, error)
	// Delete removes a file. After a power loss it may be back.
	Delete(ctx context.Context, path string) error
}

// Info describes a stored file.
type Info struct {
	Path     string    `json:"path"`
	Bytes    int64     `json:"bytes"`
	Modified time.Time `json:"modified"`
}

// MaxFileBytes bounds a stored file.
const MaxFileBytes = 1 << 30

// maxPath bounds a path's length in bytes.
const maxPath = 512

// CheckPath accepts the paths that a Store takes, or fails with ErrInvalid.
func CheckPath(path string) error {
	if path == "" || len(path) > maxPath {
		return fmt.Errorf("%w: path %q: want 1 to %d bytes", gridloom.ErrInvalid, path, maxPath)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part[0] == '.' {
			return fmt.Errorf("%w: path %q: a part is empty or starts with a dot", gridloom.ErrInvalid, path)
		}
		for _, c := range []byte(part) {
			if !isPathByte(c) {
				return fmt.Errorf("%w: path %q: byte %q is not allowed", gridloom.ErrInvalid, path, c)
			}
		}
	}
	return nil
}

func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.=", c) >= 0
}
