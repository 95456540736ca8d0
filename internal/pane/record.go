package pane

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/gridloom/gridloom"
)

// Record is what a frame of kind registry or edit says beside readings: a body about what
// key names. A later record of a key takes the place of the earlier ones from its sequence on;
// none is ever dropped. docs/format/segment.md.
type Record struct {
	Key      string // such as "meter/m1" (RecordKey)
	Sequence uint64 // of the frame
	Place    uint32 // in the frame, from 0
	LoggedAt gridloom.Millis
	Body     []byte // JSON, at most 64 KiB
}

// CompareRecords orders records by key and then as the log has them: the order of segments.
func CompareRecords(a, b *Record) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Place, b.Place))
}

// RecordKey returns the key of records about something of a class, which has no "/" in it:
// "meter", "node". What is about a meter lies in that meter's partition, anything else in the one of its id.
func RecordKey(class, id string) string { return class + "/" + id }

// SplitRecordKey returns the class and the id of a key.
func SplitRecordKey(key string) (class, id string) {
	class, id, _ = strings.Cut(key, "/")
	return class, id
}

// HoldsRecords reports whether segments of this kind hold records.
func (k Kind) HoldsRecords() bool { return k == KindRegistry || k == KindAudit }

// The columns of record segments.
const (
	recordKey = iota
	recordSequence
	recordPlace
	recordLoggedAt
	recordBody
)

func recordFields() []field {
	return []field{
		text("key", dictionary), uint64s("sequence", delta).withBounds(), uint32s("place", delta), instant("logged_at", delta),
		{name: "body", physical: parquet.Types.ByteArray, logical: schema.StringLogicalType{}},
	}
}

// recordGroupBytes bounds the bodies of a row group, which lie in one page.
const recordGroupBytes = 8 << 20

// WriteRecords stores records as a segment of kind registry or audit, sorted as
// CompareRecords has it: level 0 as a commit writes them, above it compressed. It does not keep or change rows. No rows are
// ErrInvalid; a full disk is ErrUnavailable.
func (s *Store) WriteRecords(ctx context.Context, where Where, kind Kind, level int, rows []Record) (Segment, error) {
	seg := Segment{Kind: kind, Level: level, Rows: int64(len(rows)), Epoch: where.Epoch}
	return s.writeRows(ctx, where, seg, func(w *writer, seg *Segment) ([]byte, error) {
		order := make([]*Record, len(rows))
		for i := range rows {
			order[i] = &rows[i]
		}
		slices.SortFunc(order, CompareRecords)
		seg.describeRecords(order)
		return w.encodeRecords(where, kind, level, order)
	})
}

// describeRecords sets what a manifest says of sorted records: keys stand where the meters of other segments do.
func (g *Segment) describeRecords(order []*Record) {
	keys := make([]string, 0, len(order))
	for _, r := range order {
		g.widen(r.Sequence, r.LoggedAt, r.LoggedAt, r.LoggedAt+1)
		if n := len(keys); n == 0 || keys[n-1] != r.Key {
			keys = append(keys, r.Key)
		}
	}
	g.setSeries(&arrangement{meters: keys})
}

func (w *writer) encodeRecords(where Where, kind Kind, level int, order []*Record) ([]byte, error) {
	codec := compress.Codecs.Uncompressed
	if level > 0 {
		codec = compress.Codecs.Zstd
	}
	e := &w.encoder
	if err := e.begin(recordFields(), notesOf(kind, where, level), codec); err != nil {
		return nil, err
	}
	var key []string
	var sequence, place, loggedAt []int64
	var body [][]byte
	for len(order) > 0 {
		key, sequence, place, loggedAt, body = key[:0], sequence[:0], place[:0], loggedAt[:0], body[:0]
		bytes := 0
		for len(order) > 0 && len(key) < groupRows && bytes < recordGroupBytes {
			r := order[0]
			order = order[1:]
			key, body = append(key, r.Key), append(body, r.Body)
			sequence, place, loggedAt = append(sequence, int64(r.Sequence)), append(place, int64(r.Place)), append(loggedAt, int64(r.LoggedAt))
			bytes += len(r.Body)
		}
		e.startGroup(len(key))
		e.strings(key)
		e.ints(sequence)
		e.ints(place)
		e.ints(loggedAt)
		e.blobs(body, nil)
	}
	return e.finish(), nil
}

// ReadRecords calls fn for the records of a segment of kind registry or audit that sel's Keys
// and After choose, in file order. The record may be kept. Errors are as with ReadRaw.
func (s *Store) ReadRecords(ctx context.Context, seg Segment, sel Selector, fn func(*Record) error) error {
	return s.readRows(ctx, seg, seg.Kind, &sel, func(data []byte) (tally, error) {
		return decodeRecords(ctx, s.mem, data, &sel, fn)
	})
}

func decodeRecords(ctx context.Context, mem memory.Allocator, data []byte, sel *Selector, fn func(*Record) error) (t tally, err error) {
	var d *decoder
	defer func() {
		if r := recover(); r != nil {
			if d != nil && d.calling {
				panic(r)
			}
			err = libraryPanic(r)
		}
	}()
	if d, err = newDecoder(mem, data, recordFields()); err != nil {
		return t, err
	}
	for i := range d.groups() {
		if err := ctx.Err(); err != nil {
			return t, err
		}
		if err := d.open(i); err != nil {
			return t, err
		}
		t.total += int64(d.rows)
		if d.rows == 0 || !d.mayHoldKey(sel) {
			t.passed++
			continue
		}
		t.groups++
		n, err := d.readRecords(sel, fn)
		t.rows += int64(n)
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// mayHoldKey reports, by its statistics, whether the open row group may hold a record of sel's Keys. False is certain.
func (d *decoder) mayHoldKey(sel *Selector) bool {
	first, last, ok := stringBounds(d.group, recordKey)
	if !ok || sel.Keys == nil {
		return true
	}
	at, _ := slices.BinarySearch(sel.Keys, first)
	return at < len(sel.Keys) && sel.Keys[at] <= last
}

// readRecords hands the chosen rows of the open group to fn; n is how many they were.
func (d *decoder) readRecords(sel *Selector, fn func(*Record) error) (n int, err error) {
	key := make([]int32, d.rows)
	chunk, err := d.chunk(recordKey)
	if err != nil {
		return 0, err
	}
	keys, err := chunk.strings(key, 0, d.rows)
	if err != nil {
		return 0, err
	}
	var columns [recordBody][]int64
	for _, c := range []int{recordSequence, recordPlace, recordLoggedAt} {
		if chunk, err = d.chunk(c); err != nil {
			return 0, err
		}
		columns[c] = make([]int64, d.rows)
		if err := chunk.ints(columns[c], nil, 0, d.rows); err != nil {
			return 0, err
		}
	}
	if chunk, err = d.chunk(recordBody); err != nil {
		return 0, err
	}
	seen := 0
	err = chunk.blobs(0, d.rows, func(i int, body []byte) error {
		seen++
		r := Record{
			Key: keys[key[i]], Sequence: uint64(columns[recordSequence][i]), Place: uint32(columns[recordPlace][i]),
			LoggedAt: gridloom.Millis(columns[recordLoggedAt][i]), Body: body,
		}
		if !sel.choosesRecord(&r) {
			return nil
		}
		n++
		r.Key, r.Body = strings.Clone(r.Key), slices.Clone(body)
		return call(d, fn, &r)
	})
	if err == nil && seen != d.rows {
		err = errShort
	}
	return n, err
}

// choosesRecord reports whether a record is of sel's Keys and comes after After.
func (sel *Selector) choosesRecord(r *Record) bool {
	if r.Sequence <= sel.After {
		return false
	}
	if sel.Keys == nil {
		return true
	}
	_, found := slices.BinarySearch(sel.Keys, r.Key)
	return found
}

// ChooseRecords appends to dst the records of rows that sel's Keys and After choose.
func (sel *Selector) ChooseRecords(dst, rows []Record) []Record {
	for i := range rows {
		if sel.choosesRecord(&rows[i]) {
			dst = append(dst, rows[i])
		}
	}
	return dst
}

// mergeRecords writes the records of inputs into one segment. All of them are in memory meanwhile:
// MergeBytes says how much that is.
func (s *Store) mergeRecords(ctx context.Context, where Where, kind Kind, inputs []Segment, level int) ([]Segment, error) {
	var rows []Record
	for _, seg := range inputs {
		err := s.ReadRecords(ctx, seg, Selector{}, func(r *Record) error { rows = append(rows, *r); return nil })
		if err != nil {
			return nil, err
		}
	}
	seg, err := s.WriteRecords(ctx, where, kind, level, rows)
	if err != nil {
		return nil, err
	}
	return []Segment{seg}, nil
}
