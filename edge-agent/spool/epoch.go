package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

const epochName = "epoch"

// LoadEpoch returns the epoch that the agent used last, 0 if there was none.
// ErrCorrupt names a file that does not hold one.
func LoadEpoch(fsys blob.FS, dir string) (uint32, error) {
	path := filepath.Join(dir, epochName)
	data, err := blob.ReadFile(fsys, path, 100)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	epoch, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%w: %s holds %q, not an epoch", gridloom.ErrCorrupt, path, data)
	}
	return uint32(epoch), nil
}

// SaveEpoch stores an epoch. It is durable when SaveEpoch returns.
func SaveEpoch(fsys blob.FS, dir string, epoch uint32) error {
	return writeFile(fsys, filepath.Join(dir, epochName), fmt.Appendf(nil, "%d\n", epoch), true)
}

// SaveFile replaces a small file beside the spool. It is durable when SaveFile returns.
func SaveFile(fsys blob.FS, path string, data []byte) error { return writeFile(fsys, path, data, true) }
