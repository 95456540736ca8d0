package window

import (
	"encoding/binary"
	"math"

	"github.com/gridloom/gridloom"
)

// decoder reads the fields of a carry or state one after the other. The first one
// that is not as AppendState writes it sets bad; what is read after it is zero.
type decoder struct {
	b       []byte
	bad     bool
	version byte   // of the state
	serial  string // the last one read: a series mostly has one
}

// maxInstant bounds the instants that are read, so that adding spans cannot overflow: the year 287,396.
const maxInstant = 1 << 53

// maxSerial bounds the serials that are read, in bytes.
const maxSerial = 1 << 10

func (d *decoder) check(ok bool) {
	if !ok {
		d.bad = true
	}
}

func (d *decoder) byte() byte {
	if d.bad || len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	if d.bad {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || (n > 1 && d.b[n-1] == 0) { // cut off, too long, or not the shortest form
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (d *decoder) instant() gridloom.Millis {
	v := d.varint()
	d.check(v >= 0 && v <= maxInstant)
	return gridloom.Millis(v)
}

func (d *decoder) value() int64 {
	v := d.varint()
	d.check(v >= -gridloom.MaxValue && v <= gridloom.MaxValue)
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	d.check(v <= math.MaxUint32)
	return uint32(v)
}

func (d *decoder) quality() gridloom.Quality { return gridloom.Quality(d.uint32()) }

// count reads how many things of at least size bytes follow.
func (d *decoder) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(v)
}

func (d *decoder) string() string {
	n := d.count(1)
	d.check(n <= maxSerial)
	if d.bad {
		return ""
	}
	if string(d.b[:n]) != d.serial && n > 0 {
		d.serial = string(d.b[:n])
	}
	d.b = d.b[n:]
	if n == 0 {
		return ""
	}
	return d.serial
}
