package blob

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the part of package os on which stored files depend: OS{} in production,
// faultfs.FS where a test takes the power away. Names are operating system paths.
// Errors are those of package os: errors.Is works with fs.ErrNotExist,
// fs.ErrExist and syscall.ENOSPC. All methods may be called at once.
//
// What survives a power loss: the content of a file up to its last Sync, and the
// names in a directory up to its last SyncDir. Sync of a file promises nothing
// about its name, and SyncDir nothing about the files' contents.
type FS interface { //nolint:interfacebloat // a file system has these operations; each is one of package os
	// OpenFile opens a file. flag is built of os.O_RDONLY, O_WRONLY, O_RDWR, O_CREATE, O_EXCL, O_TRUNC and O_APPEND.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Mkdir makes one directory, whose parent exists. MkdirAll makes more and durable ones.
	Mkdir(name string, perm fs.FileMode) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// Link gives a file a second name; fs.ErrExist if the name is taken.
	Link(name, newName string) error
	// Rename replaces newName if it is there.
	Rename(name, newName string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// SyncDir makes the names in a directory durable: those added, changed and removed.
	SyncDir(name string) error
}

// File is an open file of an FS. With O_APPEND each Write goes to the end. One
// goroutine may write while others use ReadAt.
type File interface { //nolint:interfacebloat // *os.File, cut down
	io.Reader
	io.ReaderAt
	io.Writer
	io.Closer
	// Sync makes the content and size durable. After a failed Sync it is unknown
	// what is stored, even if a second Sync succeeds: write it again elsewhere.
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

// OS is the FS of the operating system.
type OS struct{}

var _ FS = OS{}

// OpenFile implements FS.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil { // a nil *os.File must not become a non-nil File
		return nil, err
	}
	return f, nil
}

// Mkdir implements FS.
func (OS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat implements FS.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Link implements FS.
func (OS) Link(name, newName string) error { return os.Link(name, newName) }

// Rename implements FS.
func (OS) Rename(name, newName string) error { return os.Rename(name, newName) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// MkdirAll makes dir and its missing parents, and makes each new name durable by
// syncing the directory that it stands in. So is the name of the first directory that
// is there already: whoever made it may have ended before he synced it.
func MkdirAll(fsys FS, dir string, perm fs.FileMode) error {
	dir = filepath.Clean(dir)
	if info, err := fsys.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("is a file, not a directory")}
		}
		if err := fsys.SyncDir(filepath.Dir(dir)); !cannotHold(err) {
			return err
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent == dir {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrNotExist}
	}
	if err := MkdirAll(fsys, parent, perm); err != nil {
		return err
	}
	if err := fsys.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}

// cannotHold reports whether a directory that fails to sync so is one in which nothing
// can have been made by us: it may not be opened, or it lies on a file system that is
// read-only or cannot be synced at all, such as squashfs below a mount point.
func cannotHold(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported)
}

// ReadFile returns the whole content of a file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes are more than the limit of %d", info.Size(), limit)}
	}
	data := make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return data[:n], nil
}
