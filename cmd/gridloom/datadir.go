package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gridloom/gridloom"
)

// dirFormat is the version of the data directory's layout that this build writes.
const dirFormat = 1

// dataDir is a locked data directory:
//
//	gridloom.json       format and window settings, written once
//	lock                held by `gridloom up`, or shared by all roles that run on the directory
//	run.json            addresses and pid of `gridloom up`
//	run/ROLE-NAME.lock  held by that process of a role
//	run/ROLE-NAME.json  its addresses and pid
//	log/                the embedded NATS server's store: log, heads, rejects
//	store/              segments and manifests
//	retained.json       retained messages, of a role's ingest in ingest-NAME/
type dataDir struct {
	path  string
	locks []*os.File
	run   string // file that tells where the process serves, below path
	meta  dirMeta
}

// dirMeta is gridloom.json.
type dirMeta struct {
	Format  int    `json:"format"`
	Window  string `json:"window"` // "15m0s"
	Created string `json:"created"`
	Node    string `json:"node"` // stable name of this installation, in heads
}

// openRoleDir makes or opens the data directory of a process and locks its part of
// it. Every error is one line that says what is wrong and how to mend it.
func openRoleDir(c *config) (*dataDir, error) {
	if c.role == roleUp {
		return openDataDir(c.data, c.window)
	}
	d := &dataDir{path: c.data}
	err := d.makeWritable()
	if err == nil {
		err = d.lockFile("lock", syscall.LOCK_SH, func() error {
			return fmt.Errorf("data directory %s is in use by gridloom up%s, which runs every role itself: stop it or choose another directory with --data", c.data, whoRuns(c.data))
		})
	}
	if err == nil {
		_, err = d.make("run")
	}
	if err == nil {
		own := filepath.Join("run", string(c.role)+"-"+c.name)
		d.run = own + ".json"
		err = d.lockFile(own+".lock", syscall.LOCK_EX, func() error {
			return fmt.Errorf("%s %s runs on data directory %s already%s: stop it or choose another --name", c.role, c.name, c.data, pidIn(d.sub(d.run)))
		})
	}
	return d.open(c.window, err)
}

// openDataDir makes or opens a data directory and locks it for one process.
func openDataDir(path string, window time.Duration) (*dataDir, error) {
	d := &dataDir{path: path, run: "run.json"}
	err := d.makeWritable()
	if err == nil {
		err = d.lockFile("lock", syscall.LOCK_EX, func() error {
			return fmt.Errorf("data directory %s is in use by another process%s: stop it or choose another directory with --data", path, whoRuns(path))
		})
	}
	return d.open(window, err)
}

// open reads what a locked directory holds, unless locking failed.
func (d *dataDir) open(window time.Duration, err error) (*dataDir, error) {
	if err == nil {
		err = d.readMeta(window)
	}
	if err == nil {
		err = d.probe()
	}
	if err != nil {
		d.unlock()
		return nil, err
	}
	os.Remove(d.sub(d.run)) // of one that was killed
	return d, nil
}

// makeWritable makes the directory.
func (d *dataDir) makeWritable() error {
	if err := os.MkdirAll(d.path, 0o755); err != nil {
		return fmt.Errorf("data directory %s: %w: choose another with --data", d.path, reason(err))
	}
	return nil
}

// make makes a directory below and returns its path.
func (d *dataDir) make(name string) (string, error) {
	path := d.sub(name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("data directory %s is not writable: %w: mend its permissions or choose another with --data", d.path, reason(err))
	}
	return path, nil
}

// lockFile locks a file for as long as d is open, or fails with what taken says.
func (d *dataDir) lockFile(name string, how int, taken func() error) error {
	lock, err := os.OpenFile(d.sub(name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("data directory %s is not writable: %w: mend its permissions or choose another with --data", d.path, reason(err))
	}
	if err := syscall.Flock(int(lock.Fd()), how|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return taken()
		}
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	d.locks = append(d.locks, lock)
	return nil
}

func (d *dataDir) unlock() {
	for _, lock := range d.locks {
		lock.Close()
	}
}

// readMeta reads gridloom.json, or writes it in a new directory. Window 0 takes what
// is there, or in a new one the default.
func (d *dataDir) readMeta(window time.Duration) error {
	name := filepath.Join(d.path, "gridloom.json")
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		host, _ := os.Hostname() // "" is a name as good as any
		width := window
		if width == 0 {
			width = gridloom.DefaultWidth.Duration()
		}
		d.meta = dirMeta{Format: dirFormat, Window: width.String(), Created: time.Now().UTC().Format(time.RFC3339), Node: host}
		err = createFileSync(name, d.meta)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("data directory %s: %w: free some space or choose another with --data", d.path, reason(err))
		}
		data, err = os.ReadFile(name) // another role was first
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w", d.path, reason(err))
	}
	if err := json.Unmarshal(data, &d.meta); err != nil {
		return fmt.Errorf("%s is damaged (%w): restore it from a backup; it holds format, window and node of this directory", name, err)
	}
	if d.meta.Format > dirFormat {
		return fmt.Errorf("data directory %s has format %d, this gridloom knows up to %d: start a newer gridloom, or choose another directory with --data", d.path, d.meta.Format, dirFormat)
	}
	have, err := time.ParseDuration(d.meta.Window)
	if err != nil || window != 0 && have != window {
		return fmt.Errorf("data directory %s was made with --window %s, and this start asks for %s: start with --window %s, or with a new directory",
			d.path, d.meta.Window, window, d.meta.Window)
	}
	return nil
}

// probeBytes is more than what a start writes before it serves.
const probeBytes = 256 << 10

// probe fails if not even a start finds room. The log keeps a reserve for itself
// (stream.Reserve), but somebody else's files may have taken that too.
func (d *dataDir) probe() error {
	f, err := os.CreateTemp(d.path, "probe-*.tmp")
	if err == nil {
		defer os.Remove(f.Name())
		_, err = f.Write(make([]byte, probeBytes))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w: free some space or choose another with --data", d.path, reason(err))
	}
	return nil
}

// sub returns a path below the directory.
func (d *dataDir) sub(name string) string { return filepath.Join(d.path, name) }

// announce tells where the process serves, once everything does.
func (d *dataDir) announce(r runInfo) error { return writeFileSync(d.sub(d.run), r) }

// runInfo is run.json, or run/ROLE-NAME.json: where a process serves.
type runInfo struct {
	PID  int    `json:"pid"`
	Role string `json:"role,omitempty"` // "" for up
	Name string `json:"name,omitempty"`
	MQTT string `json:"mqtt,omitempty"`
	HTTP string `json:"http"`
}

// close gives the directory back.
func (d *dataDir) close() {
	os.Remove(d.sub(d.run)) // stale at worst
	d.unlock()
}

// runFiles lists the files below a data directory that say who serves where, those
// of processes that were killed among them.
func runFiles(path string) []string {
	files, err := filepath.Glob(filepath.Join(path, "run", "*.json"))
	if err != nil {
		return nil // only for a path that is a broken pattern
	}
	return append([]string{filepath.Join(path, "run.json")}, files...)
}

// readRun reads such a file; ok is false if it is not there or not whole.
func readRun(file string) (r runInfo, ok bool) {
	data, err := os.ReadFile(file)
	return r, err == nil && json.Unmarshal(data, &r) == nil
}

// whoRuns names the processes that hold a directory, where they tell.
func whoRuns(path string) string {
	var pids []string
	for _, file := range runFiles(path) {
		if r, ok := readRun(file); ok {
			pids = append(pids, strings.TrimSpace(fmt.Sprintf("%s %s pid %d", r.Role, r.Name, r.PID)))
		}
	}
	if pids == nil {
		return ""
	}
	return " (" + strings.Join(pids, ", ") + ")"
}

// pidIn names the process that a file tells of.
func pidIn(file string) string {
	r, ok := readRun(file)
	if !ok {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", r.PID)
}

// createFileSync writes a small JSON file that is not there yet, whole at any time. It
// fails with fs.ErrExist if it is there: of several at once one succeeds.
func createFileSync(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+"-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), name)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// writeFileSync replaces a small JSON file so that it is whole at any time.
func writeFileSync(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := name + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// reason strips the operation from a file error: the line has named the file already.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// window returns the directory's window width.
func (d *dataDir) window() gridloom.Millis {
	w, _ := time.ParseDuration(d.meta.Window) // checked by readMeta
	return gridloom.SpanOf(w)
}
