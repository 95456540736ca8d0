package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gridloom/gridloom"
)

// dirFormat is the version of the data directory's layout that this build writes.
const dirFormat = 1

// dataDir is a locked data directory:
//
//	gridloom.json  format and window settings, written once
//	lock           held by the process that runs on the directory
//	run.json       addresses and pid of that process
//	log/           the embedded NATS server's store: log, heads, rejects
//	store/         segments and manifests
//	broker/        retained messages
type dataDir struct {
	path string
	lock *os.File
	meta dirMeta
}

// dirMeta is gridloom.json.
type dirMeta struct {
	Format  int    `json:"format"`
	Window  string `json:"window"` // "15m0s"
	Created string `json:"created"`
	Node    string `json:"node"` // stable name of this installation, in heads
}

// openDataDir makes or opens a data directory and locks it. Every error is one
// line that says what is wrong and how to mend it.
func openDataDir(path string, window time.Duration) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("data directory %s: %w: choose another with --data", path, reason(err))
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("data directory %s is not writable: %w: mend its permissions or choose another with --data", path, reason(err))
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another process%s: stop it or choose another directory with --data", path, whoRuns(path))
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	d := &dataDir{path: path, lock: lock}
	err = d.readMeta(window)
	if err == nil {
		err = d.probe()
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return d, nil
}

// readMeta reads gridloom.json, or writes it in a new directory.
func (d *dataDir) readMeta(window time.Duration) error {
	name := filepath.Join(d.path, "gridloom.json")
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		host, _ := os.Hostname() // "" is a name as good as any
		d.meta = dirMeta{Format: dirFormat, Window: window.String(), Created: time.Now().UTC().Format(time.RFC3339), Node: host}
		if err := writeFileSync(name, d.meta); err != nil {
			return fmt.Errorf("data directory %s: %w: free some space or choose another with --data", d.path, reason(err))
		}
		return nil
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
	if have, err := time.ParseDuration(d.meta.Window); err != nil || have != window {
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
	name := d.sub("probe.tmp")
	defer os.Remove(name)
	if err := os.WriteFile(name, make([]byte, probeBytes), 0o644); err != nil {
		return fmt.Errorf("data directory %s: %w: free some space or choose another with --data", d.path, reason(err))
	}
	return nil
}

// sub returns a path below the directory.
func (d *dataDir) sub(name string) string { return filepath.Join(d.path, name) }

// announce writes run.json once everything serves.
func (d *dataDir) announce(r runInfo) error { return writeFileSync(d.sub("run.json"), r) }

// runInfo is run.json: where the process that runs on a directory serves.
type runInfo struct {
	PID  int    `json:"pid"`
	MQTT string `json:"mqtt"`
	HTTP string `json:"http"`
}

// close gives the directory back.
func (d *dataDir) close() {
	os.Remove(d.sub("run.json")) // stale at worst
	d.lock.Close()
}

// whoRuns names the process that holds a directory, where run.json tells.
func whoRuns(path string) string {
	var r runInfo
	data, err := os.ReadFile(filepath.Join(path, "run.json"))
	if err != nil || json.Unmarshal(data, &r) != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", r.PID)
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
	dir, err := os.Open(filepath.Dir(name))
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
