package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// Kind says how a record's payload is to be taken.
type Kind uint8

// The kinds of records.
const (
	Sealed Kind = 1 // a batch as it is published
	Held   Kind = 2 // a batch whose instants count from the boot of Record.Boot
)

// Record is one batch. Agent epoch and seq were given when it was sealed and stay.
type Record struct {
	Index    uint64 // its place in the spool, rising by one; set by Append
	Kind     Kind
	Epoch    uint32
	Seq      uint32
	Readings uint32
	At       gridloom.Millis // when it was sealed; of a Held record counted from the boot as its instants are
	Boot     string          // of a Held record; at most 255 bytes
	Payload  []byte          // at most MaxPayload

	end position
}

// MaxPayload bounds a record's payload: one MQTT packet.
const MaxPayload = 1 << 20

// A record is: marker, CRC-32C of all that follows, length of the body, body;
// little-endian. The body is: index, kind, epoch, seq, readings, at, length
// of boot, boot, payload.
const (
	marker      = "GLs1"
	headerBytes = 12
	fixedBytes  = 8 + 1 + 4 + 4 + 4 + 8 + 1
	maxBody     = fixedBytes + 255 + MaxPayload
)

// size returns how many bytes appendRecord appends.
func (r *Record) size() int { return headerBytes + fixedBytes + len(r.Boot) + len(r.Payload) }

func (r *Record) check() error {
	switch {
	case r.Kind != Sealed && r.Kind != Held:
		return fmt.Errorf("%w: spool record of kind %d", gridloom.ErrInvalid, r.Kind)
	case len(r.Payload) > MaxPayload:
		return fmt.Errorf("%w: spool record of %d bytes: want at most %d", gridloom.ErrInvalid, len(r.Payload), MaxPayload)
	case len(r.Boot) > 255:
		return fmt.Errorf("%w: name of a boot of %d bytes", gridloom.ErrInvalid, len(r.Boot))
	}
	return nil
}

// appendRecord appends r's bytes to dst.
func appendRecord(dst []byte, r *Record) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, marker...)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint32(dst, uint32(fixedBytes+len(r.Boot)+len(r.Payload)))
	dst = le.AppendUint64(dst, r.Index)
	dst = append(dst, byte(r.Kind))
	dst = le.AppendUint32(dst, r.Epoch)
	dst = le.AppendUint32(dst, r.Seq)
	dst = le.AppendUint32(dst, r.Readings)
	dst = le.AppendUint64(dst, uint64(r.At))
	dst = append(dst, byte(len(r.Boot)))
	dst = append(dst, r.Boot...)
	dst = append(dst, r.Payload...)
	le.PutUint32(dst[start+4:], wire.CRC(dst[start+8:]))
	return dst
}

// parseHeader returns the length of the whole record that begins with h; ok is
// false if no record begins so.
func parseHeader(h []byte) (size int, ok bool) {
	if len(h) < headerBytes || string(h[:4]) != marker {
		return 0, false
	}
	body := binary.LittleEndian.Uint32(h[8:])
	if body < fixedBytes || body > maxBody {
		return 0, false
	}
	return headerBytes + int(body), true
}

// parseRecord reads the record that data begins with. Payload points into data.
// ok is false if it is not whole and sound.
func parseRecord(data []byte) (r Record, size int, ok bool) {
	size, ok = parseHeader(data)
	if !ok || size > len(data) {
		return r, 0, false
	}
	data = data[:size]
	le := binary.LittleEndian
	if le.Uint32(data[4:]) != wire.CRC(data[8:]) {
		return r, 0, false
	}
	b := data[headerBytes:]
	r.Index, r.Kind, r.Epoch, r.Seq = le.Uint64(b), Kind(b[8]), le.Uint32(b[9:]), le.Uint32(b[13:])
	r.Readings, r.At = le.Uint32(b[17:]), gridloom.Millis(le.Uint64(b[21:]))
	boot := int(b[29])
	if len(b) < fixedBytes+boot || (r.Kind != Sealed && r.Kind != Held) {
		return r, 0, false
	}
	r.Boot = string(b[fixedBytes : fixedBytes+boot])
	r.Payload = b[fixedBytes+boot:]
	return r, size, true
}

// hole is a part of a file, [from, to), that holds no sound record.
type hole struct{ from, to int64 }

// scan calls fn for each sound record of data whose index is at least first and
// rises, and returns the parts between them. After damage it goes on at the next
// marker that begins a sound record.
func scan(data []byte, first uint64, fn func(r *Record, from, to int64)) (holes []hole) {
	next := first
	at, bad := 0, -1
	for at < len(data) {
		r, size, ok := parseRecord(data[at:])
		if ok && r.Index >= next {
			if bad >= 0 {
				holes = append(holes, hole{int64(bad), int64(at)})
				bad = -1
			}
			fn(&r, int64(at), int64(at+size))
			next = r.Index + 1
			at += size
			continue
		}
		if bad < 0 {
			bad = at
		}
		skip := bytes.Index(data[at+1:], []byte(marker))
		if skip < 0 {
			break
		}
		at += 1 + skip
	}
	if bad >= 0 {
		holes = append(holes, hole{int64(bad), int64(len(data))})
	}
	return holes
}
