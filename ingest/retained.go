package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gridloom/gridloom"
)

// Bounds of what is retained. One agent retains one small state.
const (
	maxRetained      = 50_000
	maxRetainedBytes = 16 << 20
)

// retainPause is how long changes gather before the file is written again.
const retainPause = 200 * time.Millisecond

// retainedFormat is the version of the file.
const retainedFormat = 1

// retainedMessage is one retained message.
type retainedMessage struct {
	Topic   string          `json:"topic"`
	Payload []byte          `json:"payload"` // empty: nothing is retained on Topic
	QoS     byte            `json:"qos,omitempty"`
	At      gridloom.Millis `json:"at"`
	Expires gridloom.Millis `json:"expires,omitempty"` // 0 for never
	V5      bool            `json:"v5,omitempty"`
}

// retained keeps the retained messages over a restart, in one small file that is
// replaced as a whole. It is behind what the broker retains by up to retainPause;
// a graceful stop leaves nothing behind. Safe for concurrent use.
type retained struct {
	path   string // "" keeps nothing over a restart
	logger *slog.Logger
	dirty  chan struct{} // holds one: there are changes

	mu    sync.Mutex
	byKey map[string]retainedMessage
	bytes int
}

// retainedFile is the file's content.
type retainedFile struct {
	Format   int               `json:"format"`
	Messages []retainedMessage `json:"messages"`
}

// openRetained reads the file at path, which need not exist. A file that cannot be
// read is ErrCorrupt and names itself: removing it loses the agents' last states only.
func openRetained(path string, logger *slog.Logger) (*retained, error) {
	r := &retained{path: path, logger: logger, dirty: make(chan struct{}, 1), byKey: make(map[string]retainedMessage)}
	if path == "" {
		return r, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read retained messages: %w", gridloom.ErrUnavailable, err)
	}
	var f retainedFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: retained messages %s: %w: remove the file to go on without the agents' last states", gridloom.ErrCorrupt, path, err)
	}
	if f.Format != retainedFormat {
		return nil, fmt.Errorf("%w: retained messages %s: format %d, want %d", gridloom.ErrCorrupt, path, f.Format, retainedFormat)
	}
	for _, m := range f.Messages {
		if r.fits(m.Topic, len(m.Payload)) {
			r.put(m)
		}
	}
	return r, nil
}

// fits reports whether a message of n bytes may be retained on topic.
func (r *retained) fits(topic string, n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.byKey[topic]
	if n == 0 || ok && n <= len(old.Payload) {
		return true
	}
	if !ok {
		if len(r.byKey) >= maxRetained {
			return false
		}
		n += len(topic)
	}
	return r.bytes+n-len(old.Payload) <= maxRetainedBytes
}

// set retains m, or with an empty payload nothing, on its topic.
func (r *retained) set(m retainedMessage) {
	r.mu.Lock()
	r.put(m)
	r.mu.Unlock()
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

func (r *retained) put(m retainedMessage) {
	if old, ok := r.byKey[m.Topic]; ok {
		r.bytes -= len(old.Payload) + len(m.Topic)
		delete(r.byKey, m.Topic)
	}
	if len(m.Payload) > 0 {
		r.byKey[m.Topic] = m
		r.bytes += len(m.Payload) + len(m.Topic)
	}
}

// all returns what is retained and has not expired, by topic.
func (r *retained) all() []retainedMessage {
	now := gridloom.MillisOf(time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]retainedMessage, 0, len(r.byKey))
	for _, m := range r.byKey {
		if m.Expires == 0 || m.Expires > now {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b retainedMessage) int { return cmp.Compare(a.Topic, b.Topic) })
	return out
}

// run writes changes until ctx ends, and then once more.
func (r *retained) run(ctx context.Context) {
	failing := false
	save := func() {
		err := r.save()
		if err != nil && !failing {
			r.logger.Warn("retained messages are not saved", "err", err)
		} else if err == nil && failing {
			r.logger.Info("retained messages are saved again")
		}
		failing = err != nil
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			save()
			return
		}
		select {
		case <-r.dirty:
			save()
			pause.Reset(retainPause)
		case <-ctx.Done():
			save()
			return
		}
	}
}

// save replaces the file: temporary file, fsync, rename, fsync of the directory.
func (r *retained) save() error {
	if r.path == "" {
		return nil
	}
	data, err := json.Marshal(retainedFile{Format: retainedFormat, Messages: r.all()})
	if err != nil {
		return err
	}
	tmp := r.path + ".tmp"
	if err := writeSynced(tmp, data); err != nil {
		return err
	}
	if err := os.Rename(tmp, r.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(r.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
