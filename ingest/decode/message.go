package decode

import (
	"fmt"
	"strconv"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// envelope is what a message says of itself.
type envelope struct {
	agent            string
	epoch, seq       uint32
	hasEpoch, hasSeq bool
	keys             uint32 // bit of every key that was given
}

// decodeJSON decodes an envelope, an array of reading objects or a single one. A
// message whose syntax is broken is refused whole: the rest of a truncated array
// is missing, and resending it is the sender's business, not ours to guess.
func (d *Decoder) decodeJSON(payload []byte) {
	d.p, d.i, d.broken = payload, 0, ""
	d.init()
	d.blanks()
	if d.p[d.i] == '[' {
		d.list = ""
		d.array()
	} else {
		d.message()
	}
	if d.refused != nil {
		return
	}
	if d.broken == "" {
		d.blanks()
		if d.i < len(d.p) {
			d.broken = "something follows the end of the message"
		}
	}
	if d.broken != "" {
		d.refuse(wire.Syntax, "byte "+strconv.Itoa(d.i), d.broken)
	}
}

// rule is what a value of a register needs to know.
type rule struct {
	scale    gridloom.Scale // for values in the register's own unit
	interval bool
}

// init makes the tables that the first payload needs.
func (d *Decoder) init() {
	if d.rules != nil {
		return
	}
	d.rules = make([]rule, gridloom.Registers())
	for id := range d.rules {
		r := gridloom.RegisterID(id)
		s, err := gridloom.ScaleFor(r, "")
		if err != nil {
			panic(fmt.Sprintf("decode: register %s has no unit: %v", r, err))
		}
		d.rules[id] = rule{s, r.Info().Kind == gridloom.Interval}
	}
	if len(d.rules) > 64*len(registerSet{}) {
		panic("decode: the catalog has outgrown registerSet")
	}
}

// message decodes a top-level object: an envelope, or the one reading of the message.
func (d *Decoder) message() {
	d.index = -1
	if !d.object(&d.top, true) {
		return
	}
	if d.envelope.keys&(1<<keyReadings) == 0 {
		d.objects++
		d.emit(&d.top)
		return
	}
	if d.top.keys&^(1<<keyUnknown) != 0 || len(d.top.values) > 0 || d.top.bad.Reason != "" {
		d.bads = append(d.bads, Bad{wire.Syntax, "a message with readings has the keys agent, epoch and seq beside them, no reading of its own", ""})
	}
}

// array decodes the objects of an array, at whose [ it stands.
func (d *Decoder) array() bool {
	d.i++
	d.index = 0
	d.blanks()
	if d.next(']') {
		return true
	}
	for {
		if d.objects++; d.objects > wire.MaxObjects {
			d.refuse(wire.Count, d.place(""), fmt.Sprintf("more than %d objects in a message", wire.MaxObjects))
			return false
		}
		if d.i < len(d.p) && d.p[d.i] == '{' {
			if !d.object(&d.item, false) {
				return false
			}
			d.emit(&d.item)
			if d.out.Len()-d.from > wire.MaxReadings {
				d.refuse(wire.Count, d.place(""), fmt.Sprintf("more than %d readings in a message", wire.MaxReadings))
				return false
			}
		} else {
			if !d.skip(0) {
				return false
			}
			d.bads = append(d.bads, Bad{wire.Syntax, "a reading is an object, such as {\"meter\":\"m1\",\"at\":1795383300000,\"power_import\":432.1}", d.place("")})
		}
		d.index++
		d.blanks()
		if d.next(']') {
			return true
		}
		if !d.next(',') {
			return d.fail("want , or ] after a reading")
		}
		d.blanks()
	}
}

// envelopeKey decodes the value of a key that only a message has.
func (d *Decoder) envelopeKey(k key) bool {
	e := &d.envelope
	switch k {
	case keyAgent:
		if d.null() {
			return true
		}
		s, ok, good := d.stringValue()
		if !good {
			return false
		}
		if !ok {
			d.refuse(wire.Agent, "agent", "agent is a string")
			return false
		}
		e.agent = d.agentName(s)
	case keyEpoch, keySeq:
		if d.null() {
			return true
		}
		n, good := d.numberValue()
		if !good {
			return false
		}
		v, ok := n.integer()
		if n.kind != isNumber || !ok || v < 0 || v > 1<<32-1 {
			d.refuse(wire.Epoch, keyNames[k], keyNames[k]+" is a whole number, not negative, of 32 bits")
			return false
		}
		if k == keyEpoch {
			e.epoch, e.hasEpoch = uint32(v), true
		} else {
			e.seq, e.hasSeq = uint32(v), true
		}
	case keyReadings:
		if d.i >= len(d.p) || d.p[d.i] != '[' {
			if d.skip(0) {
				d.refuse(wire.Syntax, "readings", "readings is an array of objects")
			}
			return false
		}
		d.list = "readings"
		if !d.array() {
			return false
		}
		d.index = -1
	}
	return true
}

// agentName returns s as a string, which for the topic's own agent is that one.
func (d *Decoder) agentName(s []byte) string {
	if string(s) == d.src.Agent {
		return d.src.Agent
	}
	return string(s)
}

// place names a key of the reading object that is decoded, or the object itself.
func (d *Decoder) place(name string) string {
	if d.index < 0 {
		return name
	}
	at := d.list + "[" + strconv.Itoa(d.index) + "]"
	if name != "" {
		at += "." + name
	}
	return at
}
