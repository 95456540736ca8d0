package pane

import (
	"encoding/binary"
	"math/bits"
)

// widthOf returns how many bits an index below n takes.
func widthOf(n int) int { return bits.Len(uint(max(n-1, 0))) }

// appendHybrid appends index, whose values take width bits, in Parquet's hybrid of
// run-length and bit packing. Runs of 8 and more become runs, the rest is packed.
func appendHybrid(dst []byte, index []int32, width int) []byte {
	first := 0 // of what waits to be packed
	for i := 0; i < len(index); {
		v := index[i]
		end := i + 1
		for end < len(index) && index[end] == v {
			end++
		}
		// What waits is filled up to a multiple of 8 from the run.
		pad := -(i - first) & 7
		if end-i-pad < 8 {
			i = end
			continue
		}
		i += pad
		dst = appendPacked(dst, index[first:i], width)
		dst = appendRun(dst, end-i, v, width)
		i, first = end, end
	}
	return appendPacked(dst, index[first:], width)
}

// appendRun appends n times v.
func appendRun(dst []byte, n int, v int32, width int) []byte {
	dst = binary.AppendUvarint(dst, uint64(n)<<1)
	for b := 0; b < width; b += 8 {
		dst = append(dst, byte(v>>b))
	}
	return dst
}

// appendPacked appends values in groups of 8, the last one filled up with zeroes.
func appendPacked(dst []byte, values []int32, width int) []byte {
	if len(values) == 0 {
		return dst
	}
	groups := (len(values) + 7) / 8
	dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
	end := len(dst) + groups*width
	var word uint64
	have := 0
	for _, v := range values {
		word |= uint64(uint32(v)) << have
		have += width
		if have >= 32 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(word))
			word >>= 32
			have -= 32
		}
	}
	for ; have > 0; have -= 8 {
		dst = append(dst, byte(word))
		word >>= 8
	}
	for len(dst) < end {
		dst = append(dst, 0)
	}
	return dst
}

// appendLevels appends the definition levels of a nullable column: 1 where present.
func appendLevels(dst []byte, present []bool) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	// Presence comes in long runs, or in none: the same hybrid, of one bit.
	first := 0
	for i := 0; i < len(present); {
		v := present[i]
		end := i + 1
		for end < len(present) && present[end] == v {
			end++
		}
		pad := -(i - first) & 7
		if end-i-pad < 8 {
			i = end
			continue
		}
		i += pad
		dst = appendBits(dst, present[first:i], true)
		level := int32(0)
		if v {
			level = 1
		}
		dst = appendRun(dst, end-i, level, 1)
		i, first = end, end
	}
	dst = appendBits(dst, present[first:], true)
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// appendBits appends values as bits, with the head of a packed run or without.
func appendBits(dst []byte, values []bool, head bool) []byte {
	if len(values) == 0 {
		return dst
	}
	if head {
		dst = binary.AppendUvarint(dst, uint64((len(values)+7)/8)<<1|1)
	}
	for len(values) > 0 {
		var b byte
		for i, v := range values[:min(8, len(values))] {
			if v {
				b |= 1 << i
			}
		}
		dst = append(dst, b)
		values = values[min(8, len(values)):]
	}
	return dst
}
