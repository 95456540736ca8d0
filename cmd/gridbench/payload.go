package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/gridloom/gridloom"
)

// A payload is a message that is built once and then patched: every field that
// changes has a fixed width, so that the next message costs a few stores. The
// values are chosen for that: each stays in a range where its digits, and its
// protobuf varint in its shortest form, keep their number.
type payload struct {
	bytes   []byte
	seqAt   int // 0 if the message carries none
	json    bool
	objects []objectPlaces
}

// objectPlaces are byte offsets of what changes in one object.
type objectPlaces struct{ meter, at, energy, power, voltage int }

// An object is what one meter says at one instant: an energy register in mWh
// that grows, a power in mW and a voltage in mV.
type object struct {
	meter                  uint32
	at                     gridloom.Millis
	energy, power, voltage int64
}

// meterDigits is the number of digits in a load meter's id.
const meterDigits = 7

// firstSeq is where a load connection's batch numbers start: from here to
// gridloom.MaxSeq their varint has four bytes.
const firstSeq = 1 << 21

// energyBase is 2020-01-01 in milliseconds. A meter's register grows by 1 mWh in
// 100 ms (36 W), so that it never falls from one run to the next and stays in
// [10^9, 10^10) until 2051.
const energyBase = gridloom.EpochBase * gridloom.Second

// objectAt returns what meter m says at an instant.
func objectAt(m uint32, at gridloom.Millis) object {
	h := (uint64(at) + uint64(m)<<20) * 0x9e3779b97f4a7c15
	return object{
		meter:   m,
		at:      at,
		energy:  int64(at-energyBase)/100 + int64(m%1000)*1000,
		power:   100_000 + int64(h>>40%900_000),
		voltage: 220_000 + int64(h>>20%20_000),
	}
}

// newJSON builds a message of n flat objects: one alone, or several as a batch
// of the agent.
func newJSON(agent string, epoch uint32, n int) *payload {
	p := &payload{json: true}
	if n > 1 {
		p.bytes = fmt.Appendf(p.bytes, `{"agent":%q,"epoch":%d,"seq":`, agent, epoch)
		p.seqAt = len(p.bytes)
		p.bytes = fmt.Appendf(p.bytes, `%09d,"readings":[`, firstSeq)
		// JSON allows no leading zeros: blanks keep the width.
		blankZeros(p.bytes[p.seqAt : p.seqAt+9])
	}
	field := func(name string, width int) int {
		p.bytes = fmt.Appendf(p.bytes, `%s`, name)
		at := len(p.bytes)
		p.bytes = append(p.bytes, bytes.Repeat([]byte{'1'}, width)...)
		return at
	}
	for i := range n {
		if i > 0 {
			p.bytes = append(p.bytes, ',')
		}
		var o objectPlaces
		o.meter = field(`{"meter":"m`, meterDigits)
		o.at = field(`","at":`, 13)
		o.energy = field(`,"energy_import":`, 7+1+3)
		o.power = field(`,"power_import":`, 3+1+3)
		o.voltage = field(`,"voltage_l1":`, 3+1+3)
		p.bytes = append(p.bytes, '}')
		p.objects = append(p.objects, o)
	}
	if n > 1 {
		p.bytes = append(p.bytes, "]}"...)
	}
	return p
}

// newProtobuf builds a batch of n objects of n meters (docs/format/wire.md):
// three series each, of which the first names the meter and the instant.
func newProtobuf(agent string, epoch uint32, n int) *payload {
	p := &payload{}
	b := appendField(nil, 1, []byte(agent))
	b = binary.AppendUvarint(append(b, 2<<3), uint64(epoch))
	b = append(b, 3<<3)
	p.seqAt = len(b)
	b = binary.AppendUvarint(b, firstSeq)
	for range n {
		var o objectPlaces
		first := appendField(nil, 1, []byte(meterID(0)))
		meter := len(first) - meterDigits
		first = appendField(first, 2, []byte("1-0:1.8.0"))
		first = append(first, 3<<3)
		at := len(first)
		first = binary.AppendVarint(first, 1<<40)
		first = appendField(first, 5, binary.AppendVarint(nil, 1e9))
		b = appendField(b, 4, first)
		start := len(b) - len(first)
		o.meter, o.at, o.energy = start+meter, start+at, len(b)-5
		b = appendField(b, 4, valueSeries("1-0:1.7.0"))
		o.power = len(b) - 3
		b = appendField(b, 4, valueSeries("1-0:32.7.0"))
		o.voltage = len(b) - 3
		p.objects = append(p.objects, o)
	}
	p.bytes = b
	return p
}

// valueSeries is a series of one three-byte value, of the meter and instant before it.
func valueSeries(register string) []byte {
	s := appendField(nil, 2, []byte(register))
	return appendField(s, 5, binary.AppendVarint(nil, 230_000))
}

func appendField(dst []byte, number byte, value []byte) []byte {
	dst = append(dst, number<<3|2)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func meterID(m uint32) string { return fmt.Sprintf("m%0*d", meterDigits, m) }

// set writes object o in place i.
func (p *payload) set(i int, o object) {
	at := &p.objects[i]
	putDigits(p.bytes[at.meter:at.meter+meterDigits], int64(o.meter))
	if p.json {
		putDigits(p.bytes[at.at:at.at+13], int64(o.at))
		putThousandths(p.bytes[at.energy:at.energy+11], o.energy)
		putThousandths(p.bytes[at.power:at.power+7], o.power)
		putThousandths(p.bytes[at.voltage:at.voltage+7], o.voltage)
		return
	}
	putVarint(p.bytes[at.at:at.at+6], int64(o.at))
	putVarint(p.bytes[at.energy:at.energy+5], o.energy)
	putVarint(p.bytes[at.power:at.power+3], o.power)
	putVarint(p.bytes[at.voltage:at.voltage+3], o.voltage)
}

// setSeq writes the batch number. Requires firstSeq <= seq <= gridloom.MaxSeq.
func (p *payload) setSeq(seq uint32) {
	switch {
	case p.seqAt == 0:
	case p.json:
		place := p.bytes[p.seqAt : p.seqAt+9]
		putDigits(place, int64(seq))
		blankZeros(place)
	default:
		place := p.bytes[p.seqAt : p.seqAt+4]
		for i := range place {
			place[i] = byte(seq) | 0x80
			seq >>= 7
		}
		place[3] &= 0x7f
	}
}

func blankZeros(digits []byte) {
	for i := 0; digits[i] == '0'; i++ {
		digits[i] = ' '
	}
}

// digitPairs is 00 01 … 99: two digits for one division.
const digitPairs = "0001020304050607080910111213141516171819" +
	"2021222324252627282930313233343536373839" +
	"4041424344454647484950515253545556575859" +
	"6061626364656667686970717273747576777879" +
	"8081828384858687888990919293949596979899"

// putDigits fills b with the last digits of v.
func putDigits(b []byte, v int64) {
	u := uint64(v)
	for ; len(b) >= 2; b = b[:len(b)-2] {
		q := u / 100
		pair := 2 * (u - q*100)
		b[len(b)-2], b[len(b)-1] = digitPairs[pair], digitPairs[pair+1]
		u = q
	}
	if len(b) == 1 {
		b[0] = byte('0' + u%10)
	}
}

// putThousandths fills b with v as a decimal of three places.
func putThousandths(b []byte, v int64) {
	n := len(b)
	putDigits(b[n-3:], v%1000)
	b[n-4] = '.'
	putDigits(b[:n-4], v/1000)
}

// putVarint fills b with v's zig-zag varint, whose shortest form must have len(b) bytes.
func putVarint(b []byte, v int64) {
	u := uint64(v) << 1
	for i := range b {
		b[i] = byte(u) | 0x80
		u >>= 7
	}
	b[len(b)-1] &= 0x7f
}
