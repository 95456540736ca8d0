package pane

import (
	"encoding/binary"
	"math/bits"
)

// Parquet's DELTA_BINARY_PACKED: differences, less the least of their block, in as
// many bits as the greatest of a miniblock needs.
const (
	deltaBlock    = 128
	deltaMini     = 32
	deltaPerBlock = deltaBlock / deltaMini
	maxDeltaBlock = 1 << 16 // that is read
	maxDeltaMinis = 1 << 9
)

// appendDelta appends values as integers of 64 bits or of 32.
func appendDelta(dst []byte, values []int64, narrow bool) []byte {
	dst = binary.AppendUvarint(dst, deltaBlock)
	dst = binary.AppendUvarint(dst, deltaPerBlock)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return binary.AppendVarint(dst, 0)
	}
	last := values[0]
	if narrow {
		last = int64(int32(last))
	}
	dst = binary.AppendVarint(dst, last)
	var block [deltaBlock]int64
	for rest := values[1:]; len(rest) > 0; {
		n := min(deltaBlock, len(rest))
		least := int64(0)
		for i, v := range rest[:n] {
			d := v - last
			last = v
			if narrow {
				d = int64(int32(d))
			}
			if i == 0 || d < least {
				least = d
			}
			block[i] = d
		}
		dst = appendDeltaBlock(dst, block[:n], least)
		rest = rest[n:]
	}
	return dst
}

func appendDeltaBlock(dst []byte, deltas []int64, least int64) []byte {
	dst = binary.AppendVarint(dst, least)
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for m := range deltaPerBlock {
		lo := m * deltaMini
		if lo >= len(deltas) {
			break // miniblocks without values take no bytes
		}
		mini := deltas[lo:min(lo+deltaMini, len(deltas))]
		var all uint64
		for i := range mini {
			mini[i] -= least // modulo 2^64, and not negative: least is the least
			all |= uint64(mini[i])
		}
		width := bits.Len64(all)
		dst[at+m] = byte(width)
		end := len(dst) + deltaMini/8*width
		dst = appendWords(dst, mini, width)
		for len(dst) < end {
			dst = append(dst, 0)
		}
	}
	return dst
}

// appendWords packs values of up to 64 bits.
func appendWords(dst []byte, values []int64, width int) []byte {
	var word uint64
	have := 0
	for _, v := range values {
		word |= uint64(v) << have
		if have += width; have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, word)
			have -= 64
			word = 0
			if have > 0 {
				word = uint64(v) >> (width - have)
			}
		}
	}
	for ; have > 0; have -= 8 {
		dst = append(dst, byte(word))
		word >>= 8
	}
	return dst
}

// decodeDelta reads len(dst) integers after passing over skip. Integers of 32 bits
// are unsigned here, as all of our columns of that width are.
func decodeDelta(dst []int64, skip int, narrow bool, src []byte) error {
	d := thrift{src: src} // for its varints
	block, minis, count := d.unsigned(), d.unsigned(), d.unsigned()
	first := d.unsigned()
	if d.bad || block == 0 || block > maxDeltaBlock || block%128 != 0 || minis == 0 || minis > maxDeltaMinis || block%(minis*32) != 0 ||
		count < uint64(skip)+uint64(len(dst)) {
		return errShort
	}
	if len(dst) == 0 {
		return nil
	}
	size := int(block / minis)
	value := int64(first>>1) ^ -int64(first&1)
	at := -skip // of the next value in dst
	put := func(v int64) {
		if at >= 0 && at < len(dst) {
			if narrow {
				v = int64(uint32(v))
			}
			dst[at] = v
		}
		at++
	}
	put(value)
	for at < len(dst) {
		raw := d.unsigned()
		least := int64(raw>>1) ^ -int64(raw&1)
		if d.bad || uint64(len(d.src)) < minis {
			return errShort
		}
		widths := d.src[:minis]
		d.src = d.src[minis:]
		for _, w := range widths {
			if at >= len(dst) {
				break
			}
			width := int(w)
			need := size / 8 * width
			if width > 64 || need > len(d.src) {
				return errShort
			}
			for i := range min(size, len(dst)-at) {
				value += least + int64(wordAt(d.src, i*width, width))
				put(value)
			}
			d.src = d.src[need:]
		}
	}
	return nil
}

// wordAt returns the width bits from a bit of src on, which holds them.
func wordAt(src []byte, bit, width int) uint64 {
	if width == 0 {
		return 0
	}
	at, shift := bit>>3, bit&7
	var word uint64
	if at+8 <= len(src) {
		word = binary.LittleEndian.Uint64(src[at:])
	} else {
		for i, b := range src[at:] {
			word |= uint64(b) << (8 * i)
		}
	}
	word >>= shift
	if shift+width > 64 {
		word |= uint64(src[at+8]) << (64 - shift)
	}
	if width == 64 {
		return word
	}
	return word & (1<<width - 1)
}
