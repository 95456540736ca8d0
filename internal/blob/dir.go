package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gridloom/gridloom"
)

// Permissions of what Dir makes: the data of one service, readable by its group.
const (
	dirPerm  = 0o750
	filePerm = 0o640
)

// tempPrefix starts the name of a file that is being written.
const tempPrefix = ".tmp-"

// Dir is a Store in a directory of one process. A file is written under a
// temporary name in its own directory, fsynced, linked to its name (which never
// overwrites), and the directory is fsynced; so is the parent of every directory
// that is made on the way.
type Dir struct {
	root string
	fsys FS

	mu   sync.Mutex
	made map[string]bool // directories that are known to be there and durable
}

var _ Store = (*Dir)(nil)

// OpenDir makes root if it is missing and removes what a Put left that was interrupted
// more than an hour ago.
func OpenDir(root string, fsys FS) (*Dir, error) {
	d := &Dir{root: filepath.Clean(root), fsys: fsys, made: map[string]bool{}}
	if err := MkdirAll(fsys, d.root, dirPerm); err != nil {
		return nil, failure("open store", root, err)
	}
	if err := d.removeTemps(d.root); err != nil {
		return nil, failure("open store", root, err)
	}
	return d, nil
}

// ViewDir is OpenDir for who only reads a root that another process may be writing to: it
// makes and removes nothing. The files that are being written are not listed.
func ViewDir(root string, fsys FS) *Dir {
	return &Dir{root: filepath.Clean(root), fsys: fsys, made: map[string]bool{}}
}

func (d *Dir) removeTemps(dir string) error {
	entries, err := d.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = d.removeTemps(name)
		case strings.HasPrefix(e.Name(), tempPrefix):
			err = d.removeTemp(e, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// staleTemp is the age at which a file that is being written is taken for one that an
// interrupted Put left: other processes may be at work in the same store.
const staleTemp = time.Hour

func (d *Dir) removeTemp(e fs.DirEntry, name string) error {
	info, err := e.Info()
	if err == nil && time.Since(info.ModTime()) >= staleTemp {
		err = d.fsys.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) { // it was finished meanwhile
		return nil
	}
	return err
}

// Put implements Store.
func (d *Dir) Put(ctx context.Context, path string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := CheckPath(path); err != nil {
		return err
	}
	if len(data) > MaxFileBytes {
		return fmt.Errorf("%w: store %s: %d bytes are more than the limit of %d", gridloom.ErrInvalid, path, len(data), MaxFileBytes)
	}
	name := filepath.Join(d.root, filepath.FromSlash(path))
	if err := d.makeDir(filepath.Dir(name)); err != nil {
		return failure("store", path, err)
	}
	return failure("store", path, d.write(name, data))
}

// makeDir makes dir durably, once.
func (d *Dir) makeDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made[dir] {
		return nil
	}
	// A directory may be there and not be durable, made by a process that lost its
	// power before it synced the parent: sync all the way up to the root.
	if err := MkdirAll(d.fsys, dir, dirPerm); err != nil {
		return err
	}
	for up := dir; up != d.root; up = filepath.Dir(up) {
		if err := d.fsys.SyncDir(filepath.Dir(up)); err != nil {
			return err
		}
	}
	d.made[dir] = true
	return nil
}

func (d *Dir) write(name string, data []byte) error {
	dir := filepath.Dir(name)
	temp := filepath.Join(dir, tempPrefix+rand.Text())
	if err := d.writeTemp(temp, data); err != nil {
		_ = d.fsys.Remove(temp) // best effort: OpenDir removes what stays
		return err
	}
	if err := d.link(temp, name); err != nil {
		_ = d.fsys.Remove(temp)
		return err
	}
	return d.fsys.SyncDir(dir)
}

func (d *Dir) writeTemp(temp string, data []byte) error {
	f, err := d.fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// link moves temp to name unless name is taken.
func (d *Dir) link(temp, name string) error {
	err := d.fsys.Link(temp, name)
	if err == nil {
		return d.fsys.Remove(temp)
	}
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	// A file system without hard links. Names are unique, so that the gap between
	// looking and renaming matters only to a caller that breaks that rule.
	if _, err := d.fsys.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, err)
	}
	return d.fsys.Rename(temp, name)
}

// Get implements Store.
func (d *Dir) Get(ctx context.Context, path string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	data, err := ReadFile(d.fsys, filepath.Join(d.root, filepath.FromSlash(path)), MaxFileBytes)
	return data, failure("read", path, err)
}

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix string) ([]Info, error) {
	dir, _ := filepath.Split(filepath.FromSlash(prefix))
	if strings.Contains(prefix, "..") {
		return nil, fmt.Errorf("%w: prefix %q", gridloom.ErrInvalid, prefix)
	}
	var infos []Info
	err := d.walk(ctx, filepath.ToSlash(filepath.Clean("/" + dir))[1:], prefix, &infos)
	if err != nil {
		return nil, failure("list", prefix, err)
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Path, b.Path) })
	return infos, nil
}

// walk appends the files below dir, which may be missing, whose path starts with prefix.
func (d *Dir) walk(ctx context.Context, dir, prefix string, infos *[]Info) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := d.fsys.ReadDir(filepath.Join(d.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := e.Name()
		if dir != "" {
			path = dir + "/" + path
		}
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			if strings.HasPrefix(path+"/", prefix) || strings.HasPrefix(prefix, path+"/") {
				err = d.walk(ctx, path, prefix, infos)
			}
		case strings.HasPrefix(path, prefix):
			var info fs.FileInfo
			info, err = e.Info()
			if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
				err = nil
				continue
			}
			if err == nil {
				*infos = append(*infos, Info{Path: path, Bytes: info.Size(), Modified: info.ModTime()})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Delete implements Store.
func (d *Dir) Delete(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := CheckPath(path); err != nil {
		return err
	}
	return failure("delete", path, d.fsys.Remove(filepath.Join(d.root, filepath.FromSlash(path))))
}

// failure gives an error of the file system its kind and says what to do.
func failure(op, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s %s: %w", gridloom.ErrNotFound, op, path, err)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s %s: the name is taken: %w", gridloom.ErrInvalid, op, path, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s %s: the disk is full, make room: %w", gridloom.ErrUnavailable, op, path, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %s %s: not allowed, check owner and mount: %w", gridloom.ErrUnavailable, op, path, err)
	default:
		return fmt.Errorf("%w: %s %s: %w", gridloom.ErrUnavailable, op, path, err)
	}
}
