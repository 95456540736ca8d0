// Package faultfs is a file system in memory that forgets what was not synced. A
// test runs its subject on it, takes the power away between any two operations,
// and looks at what is left.
//
// FS (faultfs.go) holds the tree and its operations, file.go the open files,
// power.go the power loss, and inject.go the ways to let an operation fail: at the
// n-th change, with ENOSPC, half written. Damage (inject.go) flips and cuts bytes
// as a bad disk does.
//
//	fsys := faultfs.New()
//	fsys.Inject(faultfs.PowerLossAt(7, nil)) // the 7th changing operation does not happen, nor any after it
//	err := subject(fsys)                     // fails with ErrPowerLost
//	fsys.Restart()                           // what was not synced is gone
//	check(fsys)
package faultfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gridloom/gridloom/internal/blob"
)

// FS implements blob.FS in memory, with a root directory "/"; a relative name is
// taken from there. Create one with New. Safe for concurrent use.
type FS struct {
	mu     sync.Mutex
	root   *node
	boot   int // counts restarts: files opened before the last one are dead
	lost   bool
	inject func(Op) error
	ops    int // changing operations so far
	clock  int64
}

var _ blob.FS = (*FS)(nil)

// node is a file or a directory, as the running system sees it and as the disk has it.
type node struct {
	dir      bool
	modified time.Time

	data   []byte // file: what a read returns
	stable []byte // file: what a power loss leaves
	dirty  int    // file: data[:dirty] equals stable[:dirty]

	names       map[string]*node // directory: what a lookup finds
	stableNames map[string]*node // directory: what a power loss leaves
}

func newDir() *node {
	return &node{dir: true, names: map[string]*node{}, stableNames: map[string]*node{}}
}

// New returns an empty file system.
func New() *FS { return &FS{root: newDir()} }

// now is a clock that moves by one second with each change: tests see distinct,
// reproducible times from 2020-01-01T00:00:00Z on.
func (f *FS) now() time.Time {
	f.clock++
	return time.Unix(1_577_836_800+f.clock, 0).UTC()
}

func split(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean("/"+name)), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

// find returns the node of a name.
func (f *FS) find(name string) (*node, error) {
	n := f.root
	for _, part := range split(name) {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		next := n.names[part]
		if next == nil {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent returns the directory that name stands in, and its last part.
func (f *FS) parent(name string) (*node, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	d, err := f.find(strings.Join(parts[:len(parts)-1], "/"))
	if err != nil {
		return nil, "", err
	}
	if !d.dir {
		return nil, "", syscall.ENOTDIR
	}
	return d, parts[len(parts)-1], nil
}

// OpenFile implements blob.FS. Opening is a changing operation only if it creates or truncates.
func (f *FS) OpenFile(name string, flag int, _ fs.FileMode) (blob.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	missing := errors.Is(err, fs.ErrNotExist)
	kind := Open
	if (missing && flag&os.O_CREATE != 0) || (err == nil && flag&os.O_TRUNC != 0) {
		kind = Create
	}
	if err := f.step(kind, name); err != nil {
		return nil, fail("open", name, err)
	}
	switch {
	case missing && flag&os.O_CREATE != 0:
		d, base, err := f.parent(name)
		if err != nil {
			return nil, fail("open", name, err)
		}
		n = &node{modified: f.now()}
		d.names[base] = n
	case err != nil:
		return nil, fail("open", name, err)
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, fail("open", name, fs.ErrExist)
	case n.dir && flag&(os.O_WRONLY|os.O_RDWR) != 0:
		return nil, fail("open", name, syscall.EISDIR)
	case flag&os.O_TRUNC != 0:
		n.cut(0)
	}
	return &file{fs: f, node: n, name: name, flag: flag, boot: f.boot}, nil
}

// Mkdir implements blob.FS.
func (f *FS) Mkdir(name string, _ fs.FileMode) error {
	return f.change(Mkdir, name, func(d *node, base string) error {
		if d.names[base] != nil {
			return fs.ErrExist
		}
		d.names[base] = newDir()
		return nil
	})
}

// Remove implements blob.FS.
func (f *FS) Remove(name string) error {
	return f.change(Remove, name, func(d *node, base string) error {
		n := d.names[base]
		if n == nil {
			return fs.ErrNotExist
		}
		if n.dir && len(n.names) > 0 {
			return syscall.ENOTEMPTY
		}
		delete(d.names, base)
		return nil
	})
}

// Link implements blob.FS.
func (f *FS) Link(name, newName string) error {
	return f.change(Link, newName, func(d *node, base string) error {
		n, err := f.find(name)
		if err != nil {
			return err
		}
		if d.names[base] != nil {
			return fs.ErrExist
		}
		d.names[base] = n
		return nil
	})
}

// Rename implements blob.FS.
func (f *FS) Rename(name, newName string) error {
	return f.change(Rename, newName, func(d *node, base string) error {
		from, old, err := f.parent(name)
		if err != nil {
			return err
		}
		n := from.names[old]
		if n == nil {
			return fs.ErrNotExist
		}
		delete(from.names, old)
		d.names[base] = n
		return nil
	})
}

// change runs one changing operation on the directory that name stands in.
func (f *FS) change(kind Kind, name string, do func(d *node, base string) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(kind, name); err != nil {
		return fail(string(kind), name, err)
	}
	d, base, err := f.parent(name)
	if err == nil {
		err = do(d, base)
	}
	return fail(string(kind), name, err)
}

// SyncDir implements blob.FS.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(SyncDir, name); err != nil {
		return fail("syncdir", name, err)
	}
	n, err := f.find(name)
	if err != nil {
		return fail("syncdir", name, err)
	}
	if !n.dir {
		return fail("syncdir", name, syscall.ENOTDIR)
	}
	n.stableNames = maps.Clone(n.names)
	return nil
}

// ReadDir implements blob.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(Read, name); err != nil {
		return nil, fail("readdir", name, err)
	}
	n, err := f.find(name)
	if err != nil {
		return nil, fail("readdir", name, err)
	}
	if !n.dir {
		return nil, fail("readdir", name, syscall.ENOTDIR)
	}
	entries := make([]fs.DirEntry, 0, len(n.names))
	for _, base := range slices.Sorted(maps.Keys(n.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(infoOf(base, n.names[base])))
	}
	return entries, nil
}

// Stat implements blob.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(Read, name); err != nil {
		return nil, fail("stat", name, err)
	}
	n, err := f.find(name)
	if err != nil {
		return nil, fail("stat", name, err)
	}
	return infoOf(filepath.Base(name), n), nil
}

// Files returns the paths of all files below the root, sorted, as a lookup finds them now.
func (f *FS) Files() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var paths []string
	var walk func(prefix string, n *node)
	walk = func(prefix string, n *node) {
		for base, child := range n.names {
			if child.dir {
				walk(prefix+"/"+base, child)
				continue
			}
			paths = append(paths, prefix+"/"+base)
		}
	}
	walk("", f.root)
	slices.Sort(paths)
	return paths
}

func fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
