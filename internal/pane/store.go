package pane

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"runtime/debug"
	"strings"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
)

// StoreOptions are the settings of a Store; the zero value is good.
type StoreOptions struct {
	CacheBytes   int64                 // of verified files kept in memory; 0 is DefaultCacheBytes or 1/8 of GOMEMLIMIT, less than 0 none
	SegmentBytes int                   // about where a merge begins another segment; 0 is DefaultSegmentBytes
	NewName      func() string         // makes the names of files unique: lower-case letters and digits; nil: random
	Registerer   prometheus.Registerer // nil: no metrics
}

// DefaultCacheBytes is what a Store keeps in memory unless told otherwise, or an eighth of
// GOMEMLIMIT if that is less.
const DefaultCacheBytes = 64 << 20

// maxPooledBytes bounds the file after which a writer's memory is kept: that of a commit at
// its bound, not a snapshot of everything.
const maxPooledBytes = 8 << 20

// maxCachedWrite bounds the file of which a copy is kept as it is written: copying all
// that a busy owner commits was 7 % of its CPU.
const maxCachedWrite = 1 << 20

// Store writes and reads the segments and manifests of all partitions. Safe for
// concurrent use.
type Store struct {
	blobs   blob.Store
	segment int // StoreOptions.SegmentBytes
	newName func() string
	cache   cache
	metrics *metrics
	mem     memory.Allocator
	writers writerPool
}

// NewStore returns a Store of the files of b.
func NewStore(b blob.Store, opt StoreOptions) *Store {
	s := &Store{blobs: b, mem: memory.NewGoAllocator()}
	s.segment = cmp.Or(opt.SegmentBytes, DefaultSegmentBytes)
	if s.newName = opt.NewName; s.newName == nil {
		s.newName = func() string { return strings.ToLower(rand.Text()[:13]) }
	}
	s.cache.max = opt.CacheBytes
	if opt.CacheBytes == 0 {
		s.cache.max = min(DefaultCacheBytes, debug.SetMemoryLimit(-1)/8) // -1 only asks
	}
	s.metrics = newMetrics(opt.Registerer, &s.cache, &s.writers)
	return s
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// prefix is where the files of a partition lie.
func prefix(generation uint32, partition int) string {
	return fmt.Sprintf("g%d/p%d/", generation, partition)
}

// Files returns all files of a partition, sorted by path, those of older epochs
// and those that no manifest names included.
func (s *Store) Files(ctx context.Context, generation uint32, partition int) ([]FileInfo, error) {
	return s.blobs.List(ctx, prefix(generation, partition))
}

// Delete removes a file that nobody names or reads any more.
func (s *Store) Delete(ctx context.Context, path string) error { return s.blobs.Delete(ctx, path) }

// put stores a file under a name that was never used and never will be again. It does not keep data.
func (s *Store) put(ctx context.Context, where Where, kind string, seq uint64, ending string, data []byte) (gridloom.FileRef, error) {
	name := Name{where, kind, seq}.path(s.newName() + "." + ending)
	if err := s.blobs.Put(ctx, name, data); err != nil {
		return gridloom.FileRef{}, err
	}
	ref := gridloom.FileRef{Path: name, CRC: crc32.Checksum(data, castagnoli)}
	// What was just committed is asked for soon, but a snapshot only by the next owner.
	if kind != string(KindSnapshot) && s.cache.wantsWritten(len(data)) {
		s.cache.put(name, ref.CRC, bytes.Clone(data))
	}
	s.metrics.written.WithLabelValues(kind).Inc()
	s.metrics.writtenBytes.WithLabelValues(kind).Add(float64(len(data)))
	return ref, nil
}

// fetch returns the bytes of a file, which nobody may change, after checking them.
func (s *Store) fetch(ctx context.Context, kind string, ref gridloom.FileRef) ([]byte, error) {
	if data, ok := s.cache.get(ref.Path, ref.CRC); ok {
		s.metrics.cached.Inc()
		return data, nil
	}
	data, err := s.load(ctx, kind, ref)
	if err == nil {
		s.cache.put(ref.Path, ref.CRC, data)
	}
	return data, err
}

// load reads a file and checks it.
func (s *Store) load(ctx context.Context, kind string, ref gridloom.FileRef) ([]byte, error) {
	data, err := s.blobs.Get(ctx, ref.Path)
	if err != nil {
		if errors.Is(err, gridloom.ErrNotFound) {
			s.metrics.refused.Inc()
			return nil, fmt.Errorf("%s %s is listed but gone; restore it from a backup of the store: %w", kind, ref.Path, err)
		}
		return nil, err
	}
	if crc := crc32.Checksum(data, castagnoli); crc != ref.CRC {
		return nil, s.refuse(kind, ref.Path, fmt.Errorf("crc is %08x, want %08x (%d bytes)", crc, ref.CRC, len(data)))
	}
	s.metrics.read.WithLabelValues(kind).Inc()
	s.metrics.readBytes.WithLabelValues(kind).Add(float64(len(data)))
	return data, nil
}

// Check reads a segment's file, past the cache, and compares it with its crc.
func (s *Store) Check(ctx context.Context, seg Segment) error {
	_, err := s.load(ctx, string(seg.Kind), gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
	return err
}

// fetchOnce is fetch for a file that is read through and not asked for again: it
// leaves what the cache holds there.
func (s *Store) fetchOnce(ctx context.Context, kind string, ref gridloom.FileRef) ([]byte, error) {
	if data, ok := s.cache.get(ref.Path, ref.CRC); ok {
		s.metrics.cached.Inc()
		return data, nil
	}
	return s.load(ctx, kind, ref)
}

// refuse names a file that is not what was written, and what to do.
func (s *Store) refuse(kind, name string, why error) error {
	s.metrics.refused.Inc()
	return fmt.Errorf("%w: %s %s: %w; leave it where it is, check the disk, restore the file from a backup of the store",
		gridloom.ErrCorrupt, kind, name, why)
}

// setSeries fills in what an arrangement knows.
func (g *Segment) setSeries(a *arrangement) {
	g.Registers = a.registers
	if len(a.meters) == 0 {
		return
	}
	g.MinMeter, g.MaxMeter = strings.Clone(a.meters[0]), strings.Clone(a.meters[len(a.meters)-1])
	g.Meters = newFilter(a.meters)
}

// writeRows builds a segment's bytes and stores them.
func (s *Store) writeRows(ctx context.Context, where Where, seg Segment, build func(*writer, *Segment) ([]byte, error)) (Segment, error) {
	if seg.Rows == 0 && seg.Kind != KindSnapshot {
		return Segment{}, fmt.Errorf("%w: a %s segment without rows", gridloom.ErrInvalid, seg.Kind)
	}
	if err := ctx.Err(); err != nil {
		return Segment{}, err
	}
	pooled := seg.Kind != KindSnapshot // of every series, and seldom: its memory would lie idle
	w := &writer{}
	if pooled {
		w = s.writers.get()
	}
	data, err := guard(func() ([]byte, error) { return build(w, &seg) })
	if err != nil {
		return Segment{}, fmt.Errorf("encode %s segment of partition %d: %w", seg.Kind, where.Partition, err)
	}
	size := int64(len(data))
	ref, err := s.put(ctx, where, string(seg.Kind), seg.MinSeq, "parquet", data)
	if err != nil {
		return Segment{}, err
	}
	if pooled && size <= maxPooledBytes { // and not after a failure: a panic may have left anything in it
		s.writers.put(w)
	}
	seg.Path, seg.CRC, seg.Bytes = ref.Path, ref.CRC, size
	return seg, nil
}

// readRows hands a segment's verified bytes to decode, unless the segment cannot
// hold rows of sel; nil is a reader of everything.
func (s *Store) readRows(ctx context.Context, seg Segment, kind Kind, sel *Selector, decode func(data []byte) (tally, error)) error {
	if seg.Kind != kind {
		return fmt.Errorf("%w: %s is a %s segment, not %s", gridloom.ErrInvalid, seg.Path, seg.Kind, kind)
	}
	if sel != nil && !seg.MayHold(sel) {
		return nil
	}
	data, err := s.fetch(ctx, string(kind), gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
	if err != nil {
		return err
	}
	t, err := decode(data)
	s.metrics.rows.Add(float64(t.rows))
	s.metrics.groups.Add(float64(t.groups))
	s.metrics.passed.Add(float64(t.passed))
	var stop stop
	switch {
	case err == nil && t.total != seg.Rows:
		return s.refuse(string(kind), seg.Path, fmt.Errorf("%d rows, want %d", t.total, seg.Rows))
	case err == nil:
		return nil
	case errors.As(err, &stop):
		return stop.err
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return s.refuse(string(kind), seg.Path, err)
	}
}

// tally counts what a reader did.
type tally struct {
	total          int64 // rows of the file
	rows           int64 // decoded
	groups, passed int
}

// stop carries an error of a caller's function out of the decoder.
type stop struct{ err error }

func (s stop) Error() string { return s.err.Error() }
func (s stop) Unwrap() error { return s.err }

// call hands a row to a caller's function.
func call[T any](d *decoder, fn func(*T) error, row *T) error {
	d.calling = true
	err := fn(row)
	d.calling = false
	if err != nil {
		return stop{err}
	}
	return nil
}

// decodeGroups calls do with the chosen rows of every row group that may hold some.
// A panic of the Parquet library, which damaged files provoke, becomes an error;
// one of the caller's function stays a panic.
func decodeGroups(ctx context.Context, mem memory.Allocator, data []byte, fields []field, sel *Selector, timed bool,
	do func(*decoder, *chosen) error,
) (t tally, err error) {
	var d *decoder
	defer func() {
		if r := recover(); r != nil {
			if d != nil && d.calling {
				panic(r)
			}
			err = libraryPanic(r)
		}
	}()
	if d, err = newDecoder(mem, data, fields); err != nil {
		return t, err
	}
	var c chosen
	for i := range d.groups() {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		if err := d.open(i); err != nil {
			return t, err
		}
		t.total += int64(d.rows)
		if d.rows == 0 || !d.mayHold(sel, timed) {
			t.passed++
			continue
		}
		t.groups++
		if err := d.choose(&c, sel, timed); err != nil {
			return t, err
		}
		if c.empty() {
			continue
		}
		t.rows += int64(c.hi - c.lo)
		if err := do(d, &c); err != nil {
			return t, err
		}
	}
	return t, nil
}

// guard turns a panic of the Parquet library into an error.
func guard(do func() ([]byte, error)) (data []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = libraryPanic(r)
		}
	}()
	return do()
}

func libraryPanic(r any) error {
	return fmt.Errorf("parquet library: %v (%s)", r, culprit(debug.Stack()))
}

// culprit returns the place that a stack says panicked.
func culprit(stack []byte) string {
	_, after, _ := strings.Cut(string(stack), "panic(")
	lines := strings.SplitN(after, "\n", 5)
	if len(lines) < 4 {
		return "unknown place"
	}
	return path.Base(strings.TrimSpace(lines[3]))
}

// notesOf is what a segment says of itself.
func notesOf(kind Kind, where Where, level int) []note {
	version := FormatVersion
	if kind == KindRaw && level > 0 {
		version = ToldOnceVersion
	}
	return []note{
		{"gridloom.format", fmt.Sprint(version)},
		{"gridloom.kind", string(kind)},
		{"gridloom.level", fmt.Sprint(level)},
		{"gridloom.generation", fmt.Sprint(where.Generation)},
		{"gridloom.partition", fmt.Sprint(where.Partition)},
		{"gridloom.epoch", fmt.Sprint(where.Epoch)},
	}
}
