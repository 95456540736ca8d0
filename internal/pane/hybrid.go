package pane

import (
	"encoding/binary"
	"errors"
)

// errShort says that a column's encoded bytes end before its rows do, or say what cannot be.
var errShort = errors.New("a column's pages do not hold what their headers say")

// decodeHybrid reads len(dst) integers below limit in Parquet's hybrid of
// run-length and bit packing, of the given width in bits, after passing over skip.
func decodeHybrid(dst []int32, skip, width int, limit uint32, src []byte) error {
	if width < 0 || width > 32 {
		return errShort
	}
	for len(dst) > 0 {
		header, n := binary.Uvarint(src)
		if n <= 0 {
			return errShort
		}
		src = src[n:]
		var used, took int
		var err error
		if header&1 == 0 {
			used, took, err = runOf(dst, &skip, header>>1, width, limit, src)
		} else {
			used, took, err = packed(dst, &skip, header>>1, width, limit, src)
		}
		if err != nil {
			return err
		}
		src, dst = src[used:], dst[took:]
	}
	return nil
}

// runOf reads one value that stands for count rows.
func runOf(dst []int32, skip *int, count uint64, width int, limit uint32, src []byte) (used, took int, err error) {
	used = (width + 7) / 8
	if len(src) < used || count == 0 {
		return 0, 0, errShort
	}
	var v uint32
	for i := range used {
		v |= uint32(src[i]) << (8 * i)
	}
	if v >= limit {
		return 0, 0, errShort
	}
	if count <= uint64(*skip) {
		*skip -= int(count)
		return used, 0, nil
	}
	took = int(min(count-uint64(*skip), uint64(len(dst))))
	*skip = 0
	for i := range dst[:took] {
		dst[i] = int32(v)
	}
	return used, took, nil
}

// packed reads groups of 8 values. The last group may be padded.
func packed(dst []int32, skip *int, groups uint64, width int, limit uint32, src []byte) (used, took int, err error) {
	if groups == 0 || width > 0 && groups > uint64(len(src))/uint64(width)+1 || groups > 1<<31 {
		return 0, 0, errShort
	}
	used = int(groups) * width
	count := int(groups) * 8
	if *skip >= count {
		if used > len(src) {
			return 0, 0, errShort
		}
		*skip -= count
		return used, 0, nil
	}
	took = min(count-*skip, len(dst))
	first := *skip * width
	*skip = 0
	if (first+took*width+7)/8 > len(src) {
		return 0, 0, errShort
	}
	if err := unpack(dst[:took], first, width, limit, src); err != nil {
		return 0, 0, err
	}
	return min(used, len(src)), took, nil // some writers cut the padding of the last group
}

// unpack reads len(dst) values of width bits from bit first of src, which holds them.
func unpack(dst []int32, first, width int, limit uint32, src []byte) error {
	mask := uint64(1)<<width - 1
	bit := first
	var greatest uint32
	for i := range dst {
		at := bit >> 3
		var word uint64
		if at+8 <= len(src) {
			word = binary.LittleEndian.Uint64(src[at:])
		} else {
			for j, b := range src[min(at, len(src)):] {
				word |= uint64(b) << (8 * j)
			}
		}
		v := uint32(word >> (bit & 7) & mask)
		greatest = max(greatest, v)
		dst[i] = int32(v)
		bit += width
	}
	if len(dst) > 0 && greatest >= limit {
		return errShort
	}
	return nil
}
