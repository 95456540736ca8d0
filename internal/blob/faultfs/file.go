package faultfs

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// file is an open file. It dies with the power.
type file struct {
	fs     *FS
	node   *node
	name   string
	flag   int
	boot   int
	at     int64 // where the next Read or Write without O_APPEND goes
	closed bool
}

// begin locks the file system and tells whether the operation may happen.
func (f *file) begin(kind Kind) error {
	f.fs.mu.Lock()
	if f.closed {
		return fs.ErrClosed
	}
	if f.boot != f.fs.boot {
		return ErrPowerLost
	}
	writable := f.flag&(os.O_WRONLY|os.O_RDWR) != 0
	if (kind == Write || kind == Truncate) && !writable || kind == Read && f.flag&os.O_WRONLY != 0 {
		return fs.ErrPermission
	}
	return f.fs.step(kind, f.name)
}

func (f *file) end() { f.fs.mu.Unlock() }

// Write implements blob.File.
func (f *file) Write(p []byte) (int, error) {
	err := f.begin(Write)
	defer f.end()
	keep := len(p)
	if err != nil {
		keep = min(keep, partial(err))
	}
	if keep > 0 {
		if f.flag&os.O_APPEND != 0 {
			f.at = int64(len(f.node.data))
		}
		f.node.write(p[:keep], int(f.at))
		f.node.modified = f.fs.now()
		f.at += int64(keep)
	}
	return keep, fail("write", f.name, err)
}

// Read implements blob.File.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF { //nolint:errorlint // ReadAt returns io.EOF itself
		err = nil
	}
	return n, err
}

// ReadAt implements blob.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	err := f.begin(Read)
	defer f.end()
	if err != nil {
		return 0, fail("read", f.name, err)
	}
	if off < 0 {
		return 0, fail("read", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(f.node.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Sync implements blob.File.
func (f *file) Sync() error {
	err := f.begin(Sync)
	defer f.end()
	if err != nil {
		return fail("sync", f.name, err)
	}
	f.node.settle()
	return nil
}

// Truncate implements blob.File.
func (f *file) Truncate(size int64) error {
	err := f.begin(Truncate)
	defer f.end()
	if err == nil && size < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return fail("truncate", f.name, err)
	}
	f.node.cut(int(size))
	f.node.modified = f.fs.now()
	return nil
}

// Stat implements blob.File.
func (f *file) Stat() (fs.FileInfo, error) {
	err := f.begin(Stat)
	defer f.end()
	if err != nil {
		return nil, fail("stat", f.name, err)
	}
	return infoOf(filepath.Base(f.name), f.node), nil
}

// Close implements blob.File. It syncs nothing.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fail("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// write puts p at offset at, filling a hole with zeros.
func (n *node) write(p []byte, at int) {
	if at > len(n.data) {
		n.cut(at)
	}
	n.dirty = min(n.dirty, at)
	n.data = append(n.data[:at], append(slices.Clip(p), n.data[min(len(n.data), at+len(p)):]...)...)
}

// cut sets the size.
func (n *node) cut(size int) {
	n.dirty = min(n.dirty, size, len(n.data))
	if size <= len(n.data) {
		n.data = n.data[:size]
		return
	}
	n.data = append(n.data, make([]byte, size-len(n.data))...)
}

// settle makes the content durable. Only what changed is copied, so that a long
// append-only file with a sync per record stays cheap.
func (n *node) settle() {
	n.stable = append(n.stable[:n.dirty], n.data[n.dirty:]...)
	n.dirty = len(n.data)
}

// info is the fs.FileInfo of a node at the time of asking.
type info struct {
	name     string
	size     int64
	dir      bool
	modified time.Time
}

func infoOf(name string, n *node) info {
	return info{name: name, size: int64(len(n.data)), dir: n.dir, modified: n.modified}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
