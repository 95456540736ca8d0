package wire

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Wire types of Protocol Buffers.
const (
	typeVarint = 0
	typeI64    = 1
	typeBytes  = 2
	typeI32    = 5
)

// maxVarint is the length of the longest varint.
const maxVarint = 10

// zigzag maps small numbers of either sign to small unsigned ones.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// unzigzag is its inverse.
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// putUvarint writes v at the start of b, which must hold maxVarint bytes, and
// returns its length.
func putUvarint(b []byte, v uint64) int {
	_ = b[maxVarint-1]
	if v < 1<<7 {
		b[0] = byte(v)
		return 1
	}
	if v >= 1<<56 {
		return binary.PutUvarint(b, v)
	}
	binary.LittleEndian.PutUint64(b, spread(v))
	return sizeUvarint(v)
}

// appendUvarint is binary.AppendUvarint without a branch on the length.
func appendUvarint(b []byte, v uint64) []byte {
	n := len(b)
	if cap(b)-n < maxVarint {
		b = slices.Grow(b, max(maxVarint, n))
	}
	return b[:n+putUvarint(b[n:n+maxVarint], v)]
}

// sizeUvarint returns the length of v as a varint: bits/7 rounded up, 1 for 0.
func sizeUvarint(v uint64) int { return (bits.Len64(v|1)*9 + 64) >> 6 }

// spread returns the varint of v < 2^56 as a little-endian word, of which the first
// sizeUvarint(v) bytes count. It takes no branch on the length: those of
// neighbouring deltas are too mixed for a processor to guess (BenchmarkFrameEncode).
func spread(v uint64) uint64 {
	more := uint64(0x8080_8080_8080_8080) >> (8 * (9 - sizeUvarint(v)))
	v = v&0x0000_0000_0fff_ffff | v&0x00ff_ffff_f000_0000<<4
	v = v&0x0000_3fff_0000_3fff | v&0x0fff_c000_0fff_c000<<2
	v = v&0x007f_007f_007f_007f | v&0x3f80_3f80_3f80_3f80<<1
	return v | more // continuation bits of all bytes but the last
}

// uvarint reads a varint at the start of b and returns its length, 0 if b does not
// start with one that fits 64 bits.
func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return uvarintLong(b)
}

// uvarintLong is uvarint for any length.
func uvarintLong(b []byte) (uint64, int) {
	if len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		if stop := ^w & 0x8080_8080_8080_8080; stop != 0 {
			return gather(w, stop), bits.TrailingZeros64(stop)/8 + 1
		}
	}
	v, n := binary.Uvarint(b)
	return v, max(n, 0)
}

// gather is the inverse of spread: the varint at the start of word w, whose bytes
// without a continuation bit are marked in stop.
func gather(w, stop uint64) uint64 {
	w &= stop ^ (stop - 1) // up to and with the last byte
	w = w&0x007f_007f_007f_007f | w&0x7f00_7f00_7f00_7f00>>1
	w = w&0x0000_3fff_0000_3fff | w&0x3fff_0000_3fff_0000>>2
	return w&0x0000_0000_0fff_ffff | w&0x0fff_ffff_0000_0000>>4
}

// appendTag appends the key of a field.
func appendTag(dst []byte, field, wireType int) []byte {
	return binary.AppendUvarint(dst, uint64(field)<<3|uint64(wireType))
}

// appendUint appends a varint field.
func appendUint(dst []byte, field int, v uint64) []byte {
	return binary.AppendUvarint(appendTag(dst, field, typeVarint), v)
}

// appendString appends a length-delimited field.
func appendString[T string | []byte](dst []byte, field int, s T) []byte {
	dst = binary.AppendUvarint(appendTag(dst, field, typeBytes), uint64(len(s)))
	return append(dst, s...)
}

// openBytes begins a length-delimited field whose length is not known yet;
// closeBytes ends it, given the length of dst that openBytes returned.
func openBytes(dst []byte, field int) ([]byte, int) {
	dst = append(appendTag(dst, field, typeBytes), 0)
	return dst, len(dst)
}

// closeBytes fills in the length. Most fields are shorter than 128 bytes or long
// enough that moving them by a byte or two is nothing beside having written them.
func closeBytes(dst []byte, start int) []byte {
	n := len(dst) - start
	extra := (bits.Len64(uint64(n)|1)+6)/7 - 1
	if extra > 0 {
		dst = append(dst, make([]byte, extra)...)
		copy(dst[start+extra:], dst[start:start+n])
	}
	binary.PutUvarint(dst[start-1:], uint64(n))
	return dst
}

// field is one field of a message: a number for the varint type, else bytes.
type field struct {
	number int
	typ    int
	num    uint64
	bytes  []byte
}

// read reads the field at the start of b and returns what follows it. ok is false
// where b is not the beginning of a field that it holds wholly. Fixed-width fields
// come back as bytes; groups are refused.
func (f *field) read(b []byte) (rest []byte, ok bool) {
	// Most fields have a key and a length, or a number, of one byte each.
	if len(b) >= 2 && b[0] < 0x80 && b[1] < 0x80 && b[0] >= 8 {
		f.number, f.typ = int(b[0]>>3), int(b[0]&7)
		if f.typ == typeVarint {
			f.num = uint64(b[1])
			return b[2:], true
		}
		if end := 2 + int(b[1]); f.typ == typeBytes && end <= len(b) {
			f.bytes = b[2:end]
			return b[end:], true
		}
	}
	return f.readLong(b)
}

// readLong is read for every field.
func (f *field) readLong(b []byte) (rest []byte, ok bool) {
	key, n := uvarint(b)
	if n == 0 || key>>3 == 0 || key>>3 >= 1<<29 {
		return b, false
	}
	b = b[n:]
	f.number, f.typ = int(key>>3), int(key&7)
	var size uint64
	switch f.typ {
	case typeVarint:
		f.num, n = uvarint(b)
		return b[n:], n > 0
	case typeBytes:
		size, n = uvarint(b)
		if n == 0 {
			return b, false
		}
		b = b[n:]
	case typeI64:
		size = 8
	case typeI32:
		size = 4
	default:
		return b, false
	}
	if size > uint64(len(b)) {
		return b, false
	}
	f.bytes = b[:size]
	return b[size:], true
}

// countVarints returns how many varints b holds; ok is false if the last is cut.
func countVarints(b []byte) (n int, ok bool) {
	rest := b
	for len(rest) >= 8 {
		n += bits.OnesCount64(^binary.LittleEndian.Uint64(rest) & 0x8080_8080_8080_8080)
		rest = rest[8:]
	}
	for _, c := range rest {
		if c < 0x80 {
			n++
		}
	}
	return n, len(b) == 0 || b[len(b)-1] < 0x80
}
