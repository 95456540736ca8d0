package pane

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
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
		deltas := block[:n]
		least := int64(math.MaxInt64)
		for i, v := range rest[:n] {
			d := v - last
			last = v
			if narrow {
				d = int64(int32(d))
			}
			least = min(least, d)
			deltas[i] = d
		}
		clear(block[n:]) // what fills the last miniblock up
		dst = appendDeltaBlock(dst, &block, n, least)
		rest = rest[n:]
	}
	return dst
}

// appendDeltaBlock appends the first n differences of a block.
func appendDeltaBlock(dst []byte, block *[deltaBlock]int64, n int, least int64) []byte {
	dst = binary.AppendVarint(dst, least)
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for m := range (n + deltaMini - 1) / deltaMini { // miniblocks without values take no bytes
		mini := block[m*deltaMini : (m+1)*deltaMini]
		var all uint64
		for i := range mini[:min(deltaMini, n-m*deltaMini)] {
			mini[i] -= least // modulo 2^64, and not negative: least is the least
			all |= uint64(mini[i])
		}
		width := bits.Len64(all)
		dst[at+m] = byte(width)
		dst = appendMini(dst, mini, width)
	}
	return dst
}

// appendMini packs a miniblock, whose values take width bits: words of 64 bits, and
// half a one at the end of an odd width.
func appendMini(dst []byte, mini []int64, width int) []byte {
	at := len(dst)
	dst = slices.Grow(dst, deltaMini/8*width)[:at+deltaMini/8*width]
	var word uint64
	have := 0
	for _, v := range mini {
		word |= uint64(v) << have
		if have += width; have >= 64 {
			binary.LittleEndian.PutUint64(dst[at:], word)
			at += 8
			have -= 64
			word = uint64(v) >> (width - have) // all of it is gone where have is 0: a shift by its width
		}
	}
	if have > 0 {
		binary.LittleEndian.PutUint32(dst[at:], uint32(word))
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
			if at >= 0 && size <= len(dst)-at && need+8 <= len(d.src) && width <= maxFastWidth {
				value = unpackDeltas(dst[at:at+size], d.src, width, value, least)
				if narrow {
					for i := range dst[at : at+size] {
						dst[at+i] = int64(uint32(dst[at+i]))
					}
				}
				at += size
			} else {
				for i := range min(size, len(dst)-at) {
					value += least + int64(wordAt(d.src, i*width, width))
					put(value)
				}
			}
			d.src = d.src[need:]
		}
	}
	return nil
}

// maxFastWidth is how many bits one read of 64 has wherever in a byte they begin.
const maxFastWidth = 57

// unpackDeltas decodes a whole miniblock, behind which 8 more bytes of src can be read.
func unpackDeltas(dst []int64, src []byte, width int, value, least int64) int64 {
	if width == 0 {
		for i := range dst {
			value += least
			dst[i] = value
		}
		return value
	}
	mask := uint64(1)<<width - 1
	bit := 0
	for i := range dst {
		value += least + int64(binary.LittleEndian.Uint64(src[bit>>3:])>>(bit&7)&mask)
		dst[i] = value
		bit += width
	}
	return value
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
