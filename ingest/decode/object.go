package decode

import (
	"bytes"
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// key is a word of the format in a reading object or an envelope; from keyRegisters
// on it is a register, of id key - keyRegisters.
type key uint16

const (
	keyUnknown key = iota
	keyMeter
	keyAt
	keyTS
	keyLength
	keyUnit
	keySerial
	keyQuality
	keyRegister
	keyValue
	keyAgent // from here on, of a message only
	keyEpoch
	keySeq
	keyReadings
	keyRegisters
)

var keyNames = [keyRegisters]string{
	"", "meter", "at", "ts", "length", "unit", "serial", "quality", "register", "value",
	"agent", "epoch", "seq", "readings",
}

// wordOf returns the key called name that is not a register.
func wordOf(name []byte) key {
	switch string(name) {
	case "meter":
		return keyMeter
	case "at":
		return keyAt
	case "ts":
		return keyTS
	case "length":
		return keyLength
	case "unit":
		return keyUnit
	case "serial":
		return keySerial
	case "quality":
		return keyQuality
	case "register":
		return keyRegister
	case "value":
		return keyValue
	case "agent":
		return keyAgent
	case "epoch":
		return keyEpoch
	case "seq":
		return keySeq
	case "readings":
		return keyReadings
	}
	return keyUnknown
}

// predicted is a key as the last object wrote it at this place, with its quotes,
// colon and blanks. Objects of a message are alike: comparing beats parsing.
type predicted struct {
	raw [30]byte
	n   uint8
	key key
}

// object is one reading object while its keys are gathered. They come in any
// order, so that nothing is known before the last.
type object struct {
	keys     uint32 // bit of every word that was given
	meter    uint32
	start    gridloom.Millis
	length   gridloom.Millis
	unit     []byte
	serial   uint32
	quality  gridloom.Quality
	register gridloom.RegisterID
	value    number // of "value"
	values   []value
	bad      Bad // the first thing that spoils the whole object; its place is a key
}

// value is a register's value in a flat object.
type value struct {
	id gridloom.RegisterID
	number
}

// spoil notes what makes all of o bad; the first such thing stands.
func (o *object) spoil(reason, place, detail string) {
	if o.bad.Reason == "" {
		o.bad = Bad{reason, detail, place}
	}
}

// object gathers the object that opens here into o. It returns false if the syntax
// is broken or the message refused.
func (d *Decoder) object(o *object, top bool) bool {
	*o = object{values: o.values[:0]}
	d.text = d.text[:0]
	d.i++
	d.blanks()
	if d.next('}') {
		return true
	}
	for n := 0; ; n++ {
		k, name, ok := d.key(n)
		if !ok {
			return false
		}
		switch {
		case k >= keyRegisters:
			v, ok := d.numberValue()
			if !ok {
				return false
			}
			o.values = append(o.values, value{gridloom.RegisterID(k - keyRegisters), v})
		case k == keyUnknown || k >= keyAgent && !top:
			if !d.skip(0) {
				return false
			}
			if k != keyUnknown {
				name = []byte(keyNames[k])
			}
			at := clip(string(bytes.ToValidUTF8(name, []byte("\uFFFD"))))
			d.bads = append(d.bads, Bad{wire.Register, fmt.Sprintf("%q is no register of the catalog and no other key of a reading", at), d.place(at)})
			o.keys |= 1 << keyUnknown // reported: the object is not empty
			if d.tooMany() {
				return false
			}
		default:
			if !d.word(o, k) {
				return false
			}
		}
		d.blanks()
		if d.next('}') {
			return true
		}
		if !d.next(',') {
			return d.fail("want , or } after a value")
		}
		d.blanks()
	}
}

// key reads the n-th key of an object with its colon. name is set for unknown ones.
func (d *Decoder) key(n int) (k key, name []byte, ok bool) {
	if n < len(d.shape) {
		s := &d.shape[n]
		if end := d.i + int(s.n); end <= len(d.p) && string(d.p[d.i:end]) == string(s.raw[:s.n]) {
			d.i = end
			d.blanks() // it may have more of them than the last one had
			return s.key, nil, true
		}
	}
	if d.i >= len(d.p) || d.p[d.i] != '"' {
		return 0, nil, d.fail("want a key in quotes")
	}
	begin := d.i
	name, ok = d.str()
	if !ok {
		return 0, nil, false
	}
	d.blanks()
	if !d.next(':') {
		return 0, nil, d.fail("want : after a key")
	}
	d.blanks()
	k = wordOf(name)
	if k == keyUnknown {
		if id, ok := wire.FindRegister(name); ok {
			k = keyRegisters + key(id)
		}
	}
	if k != keyUnknown && n < maxPredicted {
		for len(d.shape) <= n {
			d.shape = append(d.shape, predicted{raw: [30]byte{0}, n: 1}) // a byte that no key begins with
		}
		s := &d.shape[n]
		if raw := d.p[begin:d.i]; len(raw) <= len(s.raw) {
			s.n, s.key = uint8(copy(s.raw[:], raw)), k
		}
	}
	return k, name, true
}

// maxPredicted is how many keys of an object are predicted.
const maxPredicted = 64

// word decodes the value of a key that is not a register.
func (d *Decoder) word(o *object, k key) bool {
	bit := uint32(1) << k
	if k >= keyAgent {
		if d.envelope.keys&bit != 0 {
			d.refuse(wire.Syntax, keyNames[k], fmt.Sprintf("the message has %q twice", keyNames[k]))
			return false
		}
		d.envelope.keys |= bit
		return d.envelopeKey(k)
	}
	if o.keys&bit != 0 {
		o.spoil(wire.Syntax, keyNames[k], fmt.Sprintf("the reading has %q twice", keyNames[k]))
	}
	o.keys |= bit
	switch k {
	case keyAt, keyTS:
		return d.at(o, k)
	case keyLength:
		return d.length(o)
	case keyQuality:
		return d.quality(o)
	case keyValue:
		var ok bool
		o.value, ok = d.numberValue()
		return ok
	}
	if d.null() { // as if it were not there
		o.keys &^= bit
		return true
	}
	s, ok, good := d.stringValue()
	if !good {
		return false
	}
	d.name(o, k, s, ok)
	return true
}
