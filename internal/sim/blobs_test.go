package sim

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// simBlobs is the store. A Put that fails has stored the file or not.
type simBlobs struct {
	w     *world
	files map[string][]byte
	paths []string // sorted
	times map[string]gridloom.Millis
	calm  calmBlobs
}

var _ blob.Store = (*simBlobs)(nil)

// Put implements blob.Store.
func (b *simBlobs) Put(_ context.Context, path string, data []byte) error {
	switch {
	case b.w.chance(b.w.rates.blobs):
		return fmt.Errorf("put %s: %w", path, errNetwork)
	case b.w.chance(b.w.rates.blobs / 4):
		data := append([]byte(nil), data...)
		b.w.comesLate(func() { b.store(path, data) })
		return fmt.Errorf("put %s: %w", path, errNetwork)
	}
	b.store(path, data)
	if b.w.chance(b.w.rates.blobs) {
		b.w.stats.Ambiguous++
		return fmt.Errorf("put %s: %w", path, errNetwork)
	}
	return nil
}

func (b *simBlobs) store(path string, data []byte) {
	if _, taken := b.files[path]; taken {
		b.w.fail("file %s is written twice", path)
	}
	if b.files == nil {
		b.files, b.times = map[string][]byte{}, map[string]gridloom.Millis{}
	}
	b.files[path], b.times[path] = append([]byte(nil), data...), b.w.now
	i := sort.SearchStrings(b.paths, path)
	b.paths = append(b.paths, "")
	copy(b.paths[i+1:], b.paths[i:])
	b.paths[i] = path
}

// Get implements blob.Store.
func (b *simBlobs) Get(_ context.Context, path string) ([]byte, error) {
	if b.w.chance(b.w.rates.blobs / 4) {
		return nil, fmt.Errorf("get %s: %w", path, errNetwork)
	}
	return b.read(path)
}

func (b *simBlobs) read(path string) ([]byte, error) {
	data, ok := b.files[path]
	if !ok {
		return nil, fmt.Errorf("get %s: %w", path, gridloom.ErrNotFound)
	}
	return append([]byte(nil), data...), nil
}

// List implements blob.Store.
func (b *simBlobs) List(_ context.Context, prefix string) (list []blob.Info, err error) {
	if b.w.chance(b.w.rates.blobs) {
		return nil, fmt.Errorf("list %s: %w", prefix, errNetwork)
	}
	for _, p := range b.paths[sort.SearchStrings(b.paths, prefix):] {
		if !strings.HasPrefix(p, prefix) {
			break
		}
		list = append(list, blob.Info{Path: p, Bytes: int64(len(b.files[p])), Modified: b.times[p].Time()})
	}
	return list, nil
}

// Delete implements blob.Store.
func (b *simBlobs) Delete(_ context.Context, path string) error {
	if b.w.chance(b.w.rates.blobs) {
		return fmt.Errorf("delete %s: %w", path, errNetwork)
	}
	i := sort.SearchStrings(b.paths, path)
	if i == len(b.paths) || b.paths[i] != path {
		return fmt.Errorf("delete %s: %w", path, gridloom.ErrNotFound)
	}
	b.w.note("file %s is deleted", path)
	b.w.stats.Swept++
	b.paths = append(b.paths[:i], b.paths[i+1:]...)
	delete(b.files, path)
	return nil
}

// calmBlobs is the store as a query reads it that has all the time it needs.
type calmBlobs struct{ b *simBlobs }

func (c *calmBlobs) Put(context.Context, string, []byte) error { return gridloom.ErrInvalid }

func (c *calmBlobs) Get(_ context.Context, path string) ([]byte, error) { return c.b.read(path) }

func (c *calmBlobs) List(context.Context, string) ([]blob.Info, error) {
	return nil, gridloom.ErrInvalid
}

func (c *calmBlobs) Delete(context.Context, string) error { return gridloom.ErrInvalid }
