package natsd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/gridloom/gridloom"
)

// scan looks at every stream of the store before the server does.
//
// The server (filestore.go writeStreamMeta) writes a stream's meta.inf and then its
// meta.sum, each atomically, at creation and at every update. A crash between the
// two leaves a stream without meta.sum, or with one that does not fit. At the next
// start the server then skips the stream with a warning, and answers 404 for it.
// Worse, creating it again "works": the store adopts the old message blocks and,
// because meta.inf exists, never writes meta.sum, so a thousand publishes are
// acknowledged and the boot after that has no stream.
//
// What the scan does about it never removes a message and never changes meta.inf:
//
//   - meta.inf reads strictly, names its directory, and is not older than meta.sum:
//     exactly what that crash leaves. meta.sum is a function of meta.inf
//     (HighwayHash-64 keyed with SHA-256 of the directory's name): it is written,
//     and the stream comes back with its creation time and all frames, whether or
//     not one was ever acknowledged.
//   - no readable meta.inf and no message bytes: nothing can have been acknowledged.
//     What there is of meta files is removed, so that the stream can be created cleanly.
//   - anything else (a meta.inf that does not read with messages beside it, a
//     meta.sum younger than the meta.inf it does not fit: damage, not a crash):
//     ErrCorrupt that names the directory. The server must not start, or a new
//     stream would be laid over the old frames.
func scan(root string, log *slog.Logger) error {
	dirs, err := filepath.Glob(filepath.Join(root, "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("%w: list the streams below %s: %w", gridloom.ErrInvalid, root, err)
	}
	for _, dir := range dirs {
		// The server marks a stream that is being deleted with a dot and removes it itself.
		if strings.HasPrefix(filepath.Base(dir), ".") {
			continue
		}
		if err := scanStream(dir, log); err != nil {
			return err
		}
	}
	return nil
}

func scanStream(dir string, log *slog.Logger) error {
	inf, sum := filepath.Join(dir, server.JetStreamMetaFile), filepath.Join(dir, server.JetStreamMetaFileSum)
	meta, err := os.ReadFile(inf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: read %s: %w", gridloom.ErrUnavailable, inf, err)
	}
	have, err := os.ReadFile(sum)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: read %s: %w", gridloom.ErrUnavailable, sum, err)
	}
	noSum := err != nil
	want := metaSum(filepath.Base(dir), meta)
	if len(meta) > 0 && !noSum && string(have) == want {
		return nil
	}
	if problem := checkMeta(dir, meta); problem != "" {
		return clearUnborn(dir, problem, log)
	}
	if !noSum && !notOlder(inf, sum) {
		return fmt.Errorf("%w: %s does not fit its checksum in %s: the stream's settings are damaged and its frames are left as they are; restore that file from a backup, or move the whole store away to begin an empty log", gridloom.ErrCorrupt, inf, sum)
	}
	if err := writeSynced(sum, []byte(want)); err != nil {
		return fmt.Errorf("%w: mend %s: %w", gridloom.ErrUnavailable, sum, err)
	}
	log.Warn("mended a stream whose creation a crash cut off", "err", sum)
	return nil
}

// checkMeta says what is wrong with a meta.inf, "" if nothing.
func checkMeta(dir string, meta []byte) string {
	if len(meta) == 0 {
		return "meta.inf is missing or empty"
	}
	var info server.FileStreamInfo
	d := json.NewDecoder(bytes.NewReader(meta))
	d.DisallowUnknownFields()
	if err := d.Decode(&info); err != nil {
		return "meta.inf does not read: " + err.Error()
	}
	if info.Name != filepath.Base(dir) {
		return "meta.inf names another stream: " + info.Name
	}
	return ""
}

// clearUnborn removes the meta files of a stream that holds no message byte, and refuses otherwise.
func clearUnborn(dir, problem string, log *slog.Logger) error {
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	if err != nil {
		return fmt.Errorf("%w: list the blocks of %s: %w", gridloom.ErrInvalid, dir, err)
	}
	for _, b := range blocks {
		if fi, err := os.Stat(b); err != nil || fi.Size() > 0 {
			return fmt.Errorf("%w: stream directory %s holds frames, but %s: nothing was changed; restore meta.inf and meta.sum from a backup, or move the whole store away to begin an empty log", gridloom.ErrCorrupt, dir, problem)
		}
	}
	for _, name := range []string{server.JetStreamMetaFileSum, server.JetStreamMetaFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: clear %s: %w", gridloom.ErrUnavailable, dir, err)
		}
	}
	log.Warn("cleared a stream that a crash left without settings and without frames", "err", dir+": "+problem)
	return nil
}

// metaSum is the content of meta.sum for a meta.inf, as the server computes it.
func metaSum(stream string, meta []byte) string {
	key := sha256.Sum256([]byte(stream))
	sum := highwayhash.Sum64(meta, key[:])
	var b [8]byte
	for i := range b { // highwayhash's digest is little-endian
		b[i] = byte(sum >> (8 * i))
	}
	return hex.EncodeToString(b[:])
}

// notOlder reports whether file a was written at or after file b.
func notOlder(a, b string) bool {
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && !ia.ModTime().Before(ib.ModTime())
}

// writeSynced writes a file beside its place, fsyncs it, renames it and fsyncs the directory.
func writeSynced(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
