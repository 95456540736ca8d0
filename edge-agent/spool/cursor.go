package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/wire"
)

const cursorName = "cursor"

// SaveCursor writes how far the acknowledgements have come, if that has changed.
// It is not fsynced: a lost or old cursor means that batches are sent again.
func (s *Spool) SaveCursor() error {
	s.mu.Lock()
	index, saved := s.acked.index, s.saved
	s.mu.Unlock()
	if index == saved {
		return nil
	}
	text := strconv.FormatUint(index, 10)
	if err := writeFile(s.fs, s.path(cursorName), fmt.Appendf(nil, "%s %08x\n", text, wire.CRC([]byte(text))), false); err != nil {
		return err
	}
	s.mu.Lock()
	s.saved = index
	s.mu.Unlock()
	return nil
}

// loadCursor returns the index of the first record that is not acknowledged, 0 if that is not known.
func (s *Spool) loadCursor() uint64 {
	index, err := s.readCursor()
	if err != nil {
		s.log.Warn("spool cursor cannot be read: all that the spool holds is sent again", "err", err)
		return 0
	}
	return index
}

// readCursor returns what the cursor file says, 0 if there is none.
func (s *Spool) readCursor() (uint64, error) {
	path := s.path(cursorName)
	data, err := blob.ReadFile(s.fs, path, 100)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	text, check, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	index, err := strconv.ParseUint(text, 10, 64)
	if err != nil || check != fmt.Sprintf("%08x", wire.CRC([]byte(text))) {
		return 0, fmt.Errorf("%w: %s holds %q, not a position", gridloom.ErrCorrupt, path, data)
	}
	return index, nil
}
