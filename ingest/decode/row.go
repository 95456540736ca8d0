package decode

import (
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// name takes the string s of a key; ok is false if the value was none.
func (d *Decoder) name(o *object, k key, s []byte, ok bool) {
	var err error
	switch {
	case k == keyMeter && ok:
		if o.meter, err = d.out.AddMeterBytes(s); err != nil {
			o.spoil(wire.Meter, "meter", wire.Detail(err))
		}
	case k == keyMeter:
		o.spoil(wire.Meter, "meter", "meter is a string")
	case k == keySerial && ok:
		if o.serial, err = d.out.AddSerialBytes(s); err != nil {
			o.spoil(wire.Serial, "serial", wire.Detail(err))
		}
	case k == keySerial:
		o.spoil(wire.Serial, "serial", "serial is a string")
	case k == keyUnit && ok:
		o.unit = s
	case k == keyUnit:
		o.spoil(wire.Unit, "unit", "unit is a string, such as \"kWh\"")
	case ok: // keyRegister
		if o.register, ok = wire.FindRegister(s); !ok {
			o.spoil(wire.Register, "register", fmt.Sprintf("%q is no register of the catalog", clip(string(s))))
		}
	default:
		o.spoil(wire.Register, "register", "register is a string: an OBIS code or an alias")
	}
}

// at decodes an instant: RFC 3339 or Unix milliseconds.
func (d *Decoder) at(o *object, k key) bool {
	if o.keys&(1<<keyAt|1<<keyTS) == 1<<keyAt|1<<keyTS {
		o.spoil(wire.Syntax, keyNames[k], "the reading has both at and ts")
	}
	if d.i < len(d.p) && d.p[d.i] == '"' {
		s, good := d.str()
		if !good {
			return false
		}
		var ok bool
		if o.start, ok = instant(s); !ok {
			o.spoil(wire.Time, keyNames[k], fmt.Sprintf("%q is not RFC 3339 with an offset, such as 2026-11-22T20:15:00Z", clip(string(s))))
		}
		return true
	}
	n, good := d.numberValue()
	if !good {
		return false
	}
	v, ok := n.integer()
	switch {
	case n.kind == isNull:
		o.keys &^= 1 << k
	case n.kind == isOther:
		o.spoil(wire.Time, keyNames[k], "an instant is a string of RFC 3339 or a number of Unix milliseconds")
	case !ok:
		o.spoil(wire.Time, keyNames[k], "Unix milliseconds are a whole number of at most 63 bits")
	case v < minUnixMillis:
		o.spoil(wire.Time, keyNames[k], fmt.Sprintf("%d is too small for Unix milliseconds: seconds?", v))
	default:
		o.start = gridloom.Millis(v)
	}
	return true
}

// length decodes a length: "30m" or milliseconds.
func (d *Decoder) length(o *object) bool {
	const want = "a length is a string such as \"30m\", or a whole number of milliseconds, from 1 s to 31 days and an hour"
	if d.i < len(d.p) && d.p[d.i] == '"' {
		s, good := d.str()
		if !good {
			return false
		}
		var ok bool
		if o.length, ok = d.lengths.parse(s); !ok || o.length == 0 {
			o.spoil(wire.Length, "length", want)
		}
		return true
	}
	n, good := d.numberValue()
	if !good {
		return false
	}
	v, ok := n.integer()
	switch {
	case n.kind == isNull:
		o.keys &^= 1 << keyLength
	case n.kind == isOther || !ok || v <= 0:
		o.spoil(wire.Length, "length", want)
	default:
		o.length = gridloom.Millis(v)
	}
	return true
}

// quality decodes a name or a list of names.
func (d *Decoder) quality(o *object) bool {
	if d.null() {
		o.keys &^= 1 << keyQuality
		return true
	}
	if !d.next('[') {
		return d.qualityName(o)
	}
	d.blanks()
	if d.next(']') {
		return true
	}
	for {
		if !d.qualityName(o) {
			return false
		}
		d.blanks()
		if d.next(']') {
			return true
		}
		if !d.next(',') {
			return d.fail("want , or ] after a quality")
		}
		d.blanks()
	}
}

// qualityName decodes one name.
func (d *Decoder) qualityName(o *object) bool {
	s, ok, good := d.stringValue()
	if !good {
		return false
	}
	if !ok {
		o.spoil(wire.Quality, "quality", "quality is a name or a list of names")
		return true
	}
	q, err := gridloom.ParseQuality(string(s))
	if err != nil || q&^gridloom.DeviceQuality != 0 {
		o.spoil(wire.Quality, "quality", fmt.Sprintf("%q is not a quality that a device may set: %s", clip(string(s)), gridloom.DeviceQuality))
		return true
	}
	o.quality |= q
	return true
}

// emit turns a gathered object into rows and refusals.
func (d *Decoder) emit(o *object) {
	if o.bad.Reason == "" {
		d.complete(o)
	}
	if b := o.bad; b.Reason != "" {
		b.Place = d.place(b.Place)
		d.bads = append(d.bads, b)
		return
	}
	out := d.out
	first := out.Extend(len(o.values) + 1)
	row := first
	if o.keys&(1<<keyValue) != 0 && d.row(o, row, o.register, o.value, "value") {
		row++
	}
	for i := range o.values {
		if d.row(o, row, o.values[i].id, o.values[i].number, "") {
			row++
		}
	}
	out.Truncate(row)
	for i := first; i < row; i++ {
		out.Meter[i], out.Start[i], out.Length[i] = o.meter, o.start, o.length
		out.Quality[i], out.Serial[i] = o.quality, o.serial
	}
}

// complete spoils an object that lacks something or has it twice, or whose time is refused.
func (d *Decoder) complete(o *object) {
	named, valued := o.keys&(1<<keyRegister) != 0, o.keys&(1<<keyValue) != 0
	switch {
	case o.keys&(1<<keyMeter) == 0:
		o.spoil(wire.Meter, "meter", "the reading names no meter")
		return
	case o.keys&(1<<keyAt|1<<keyTS) == 0:
		o.spoil(wire.Time, "at", "the reading has no instant at")
		return
	case named && !valued:
		o.spoil(wire.Value, "value", "the reading has a register and no value; null makes it void")
		return
	case valued && !named:
		o.spoil(wire.Register, "register", "the reading has a value and no register")
		return
	case !valued && len(o.values) == 0 && o.keys&(1<<keyUnknown) == 0:
		o.spoil(wire.Value, "value", "the reading has no value")
		return
	}
	if reason := wire.CheckTime(o.start, o.length, d.src.Now); reason != "" {
		at := keyAt
		if o.keys&(1<<keyTS) != 0 {
			at = keyTS
		}
		o.spoil(reason, keyNames[at], wire.TimeDetail(o.start, o.length, d.src.Now))
		return
	}
	// One object states a register once; which of two values was meant cannot be known.
	var seen registerSet
	if valued {
		seen.add(o.register)
	}
	for i := range o.values {
		if v := &o.values[i]; !seen.add(v.id) {
			o.spoil(wire.Syntax, v.id.String(), fmt.Sprintf("the reading has %s twice", v.id))
			return
		}
	}
}

// registerSet is a set of registers.
type registerSet [4]uint64

// add adds id; false if it is there already.
func (s *registerSet) add(id gridloom.RegisterID) bool {
	w, bit := &s[id/64], uint64(1)<<(id%64)
	was := *w&bit != 0
	*w |= bit
	return !was
}

// row sets register and value of a row, or refuses the value. name is its key, "" for
// the register's alias.
func (d *Decoder) row(o *object, row int, id gridloom.RegisterID, n number, name string) bool {
	settled := id
	var err error
	if o.length != 0 || d.rules[id].interval {
		if settled, err = wire.Settle(id, o.length); err != nil {
			return d.badValue(wire.Length, id, name, wire.Detail(err))
		}
	}
	v := int64(0)
	switch n.kind {
	case isOther:
		return d.badValue(wire.Value, id, name, "a value is a number, or null for a void")
	case isNumber:
		scale := d.rules[settled].scale
		if o.unit != nil {
			if scale, err = gridloom.ScaleFor(settled, string(o.unit)); err != nil {
				return d.badValue(wire.Unit, id, name, wire.Detail(err))
			}
		}
		if v, err = scale.Decimal(n.mantissa, int(n.exp)); err != nil {
			return d.badValue(wire.Value, id, name, wire.Detail(err))
		}
	}
	d.out.Register[row], d.out.Value[row], d.out.Void[row] = settled, v, n.kind == isNull
	return true
}

// badValue refuses one value of an object; it returns false.
func (d *Decoder) badValue(reason string, id gridloom.RegisterID, name, detail string) bool {
	if name == "" {
		name = id.String()
	}
	d.bads = append(d.bads, Bad{reason, detail, d.place(name)})
	return false
}
