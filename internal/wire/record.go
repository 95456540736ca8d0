package wire

import (
	"fmt"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// Bounds of a record.
const (
	MaxRecordKey  = 256      // bytes of UTF-8
	MaxRecordBody = 64 << 10 // bytes
)

// Record is what a frame of kind registry or edit says beside readings: a body, JSON, about
// what key names. Its place in the frame is its number there, from 0.
type Record struct {
	Key  string
	Body []byte
}

// Fields of Records and Record (docs/format/wire.md). Frozen.
const (
	recordsRecord = 1
	recordKey     = 1
	recordBody    = 2
)

// Check returns why a frame cannot hold the record: ErrInvalid.
func (r *Record) Check() error {
	switch {
	case r.Key == "" || len(r.Key) > MaxRecordKey || !utf8.ValidString(r.Key):
		return fmt.Errorf("%w: a record's key has 1 to %d bytes of UTF-8, not %d", gridloom.ErrInvalid, MaxRecordKey, len(r.Key))
	case len(r.Body) == 0 || len(r.Body) > MaxRecordBody:
		return fmt.Errorf("%w: a record's body has 1 to %d bytes, not %d", gridloom.ErrInvalid, MaxRecordBody, len(r.Body))
	}
	return nil
}

// AppendRecord appends one more record to dst, the Opaque of a frame. One that Check refuses is a mistake of the caller.
func AppendRecord(dst []byte, r *Record) []byte {
	dst, record := openBytes(dst, recordsRecord)
	dst = appendString(dst, recordKey, r.Key)
	dst = appendString(dst, recordBody, r.Body)
	return closeBytes(dst, record)
}

// DecodeRecords returns the records of a frame's Opaque. Bodies are parts of it. What is no
// list of good records is ErrCorrupt; of these, what only a newer gridloom knows is ErrNewer.
func DecodeRecords(opaque []byte) (list []Record, err error) {
	var fd field
	for rest := opaque; len(rest) > 0; {
		next, ok := fd.read(rest)
		switch {
		case !ok:
			return nil, corruptRecord(len(list), "cut short")
		case fd.number != recordsRecord:
			return nil, fmt.Errorf("frame: records: field %d: %w", fd.number, ErrNewer)
		case fd.typ != typeBytes:
			return nil, corruptRecord(len(list), "field of another type")
		}
		r, err := decodeRecord(fd.bytes, len(list))
		if err != nil {
			return nil, err
		}
		list, rest = append(list, r), next
	}
	return list, nil
}

func decodeRecord(b []byte, place int) (r Record, err error) {
	var fd field
	for len(b) > 0 {
		rest, ok := fd.read(b)
		if !ok {
			return r, corruptRecord(place, "cut short")
		}
		b = rest
		if fd.number != recordKey && fd.number != recordBody {
			return r, fmt.Errorf("frame: record %d: field %d: %w", place, fd.number, ErrNewer)
		}
		if fd.typ != typeBytes {
			return r, corruptRecord(place, "field of another type")
		}
		if fd.number == recordKey {
			r.Key = string(fd.bytes)
		} else {
			r.Body = fd.bytes
		}
	}
	if why := r.Check(); why != nil {
		return r, corruptRecord(place, why.Error())
	}
	return r, nil
}

func corruptRecord(place int, why string) error {
	return fmt.Errorf("%w: frame: record %d: %s", gridloom.ErrCorrupt, place, why)
}
