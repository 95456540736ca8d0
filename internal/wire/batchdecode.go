package wire

import (
	"fmt"
	"strconv"

	"github.com/gridloom/gridloom"
)

// DecodeBatch decodes a batch: it sets all of b but Columns and Now, and appends
// the good rows to b.Columns, their agent and order set. Each bad reading or
// series goes to bad with its place (series[2].value[17]), a reason of rules.go
// and one line for a person; its neighbours are kept.
//
// An error is about the whole message, of which no row was appended then: it wraps
// ErrInvalid, and Reason names it. Unknown fields are skipped, as Protocol Buffers
// ask. What it allocates is bounded by a small multiple of len(data).
func DecodeBatch(data []byte, b *Batch, bad func(place string, reason, detail string)) error {
	d := batchDecoder{b: b, c: b.Columns, s: &b.Columns.scratch.series, bad: bad, from: b.Columns.Len(), row: b.Columns.Len()}
	b.Agent, b.Epoch, b.Seq, b.HasOrder, b.Objects = "", 0, 0, false, 0
	d.s.at = d.s.at[:0]
	if err := d.message(data); err != nil {
		d.c.Truncate(d.from)
		return err
	}
	d.c.Truncate(d.row)
	order := gridloom.Order(0)
	if b.HasOrder {
		order = gridloom.NewOrder(gridloom.ClassDevice, b.Epoch, b.Seq)
	}
	agent := d.c.AddAgent(b.Agent)
	for i := d.from; i < d.c.Len(); i++ {
		d.c.Agent[i], d.c.Order[i] = agent, order
	}
	return nil
}

// Refusal is why a whole message is refused. It wraps ErrInvalid.
type Refusal struct{ Reason, Place, Detail string }

// Error returns reason, place and detail in one line.
func (r *Refusal) Error() string { return r.Reason + " " + r.Place + ": " + r.Detail }

// Unwrap returns ErrInvalid.
func (r *Refusal) Unwrap() error { return gridloom.ErrInvalid }

// batchDecoder is one call of DecodeBatch.
type batchDecoder struct {
	b   *Batch
	c   *Columns
	s   *seriesScratch
	bad func(place, reason, detail string)

	from     int // rows of c before this batch
	row      int // rows of c so far; what it has beyond is room (batchplain.go)
	named    int // place in its object of the series that is decoded
	series   int // index of the series that is decoded
	meter    uint32
	meterErr error // of the newest meter that was stated
	stated   bool  // any meter was stated
}

// message decodes the fields of a Batch.
func (d *batchDecoder) message(data []byte) error {
	var epoch, seq bool
	var f field
	for rest := data; len(rest) > 0; {
		at := len(data) - len(rest)
		next, ok := f.read(rest)
		if !ok {
			return &Refusal{Syntax, "byte " + strconv.Itoa(at), "no protobuf field: want a gridloom.v1.Batch or JSON"}
		}
		rest = next
		want := typeVarint
		if f.number == batchAgent || f.number == batchSeries {
			want = typeBytes
		}
		if f.number <= batchSeries && f.typ != want {
			return &Refusal{Syntax, "byte " + strconv.Itoa(at), fmt.Sprintf("field %d of a batch has wire type %d, want %d", f.number, f.typ, want)}
		}
		switch f.number {
		case batchAgent:
			d.b.Agent = d.c.agents.text(f.bytes)
		case batchEpoch, batchSeq:
			if f.num > 1<<32-1 {
				return &Refusal{Epoch, "byte " + strconv.Itoa(at), "epoch and seq have 32 bits"}
			}
			if f.number == batchEpoch {
				d.b.Epoch, epoch = uint32(f.num), true
			} else {
				d.b.Seq, seq = uint32(f.num), true
			}
		case batchSeries:
			if !d.plain(f.bytes) {
				d.c.Truncate(d.row)
				if err := d.decodeSeries(f.bytes, at); err != nil {
					return err
				}
				d.row = d.c.Len()
			}
			d.series++
		}
	}
	d.b.HasOrder = d.b.Agent != "" && epoch && seq
	if d.b.HasOrder && d.b.Seq > gridloom.MaxSeq {
		return &Refusal{Epoch, "seq", fmt.Sprintf("seq %d is above %d: start a new epoch", d.b.Seq, gridloom.MaxSeq)}
	}
	return nil
}

// seriesFields is a Series before its rows are made.
type seriesFields struct {
	meter, register, unit, serial []byte
	hasMeter                      bool
	base                          gridloom.Millis
	hasBase, hasAt                bool
	length                        uint64
}

// decodeSeries decodes one Series and appends its good rows.
func (d *batchDecoder) decodeSeries(data []byte, at int) error {
	s := d.s
	s.value, s.quality, s.runs, s.void = s.value[:0], s.quality[:0], s.runs[:0], s.void[:0]
	s.delta = s.delta[:0]
	var f seriesFields
	var fd field
	for rest := data; len(rest) > 0; {
		next, ok := fd.read(rest)
		ok = ok && d.field(&f, &fd)
		if !ok {
			return &Refusal{Syntax, d.place(""), fmt.Sprintf("no field of a series at byte %d of it (the series is at byte %d)", len(data)-len(rest), at)}
		}
		rest = next
	}

	if f.hasMeter {
		d.stated = true
		d.meter, d.meterErr = d.c.AddMeterBytes(f.meter)
	}
	if f.hasBase || f.hasAt {
		t := f.base
		s.at = append(s.at[:0], t)
		for _, u := range s.delta {
			t += gridloom.Millis(unzigzag(u))
			s.at = append(s.at, t)
		}
	}
	if f.hasMeter || f.hasBase || f.hasAt {
		d.b.Objects += len(s.value)
	}
	if d.b.Objects > MaxObjects || d.c.Len()-d.from+len(s.value) > MaxReadings {
		return &Refusal{Count, d.place(""), fmt.Sprintf("more than %d objects or %d readings in a message", MaxObjects, MaxReadings)}
	}
	d.rows(&f)
	return nil
}

// field takes one field of a Series; false if it is not what reading.proto says.
func (d *batchDecoder) field(f *seriesFields, fd *field) bool {
	s := d.s
	isBytes, isNumber := fd.typ == typeBytes, fd.typ == typeVarint
	switch fd.number {
	case seriesMeter:
		f.meter, f.hasMeter = fd.bytes, true
		return isBytes
	case seriesRegister:
		f.register = fd.bytes
		return isBytes
	case seriesUnit:
		f.unit = fd.bytes
		return isBytes
	case seriesSerial:
		f.serial = fd.bytes
		return isBytes
	case seriesBase:
		f.base, f.hasBase = gridloom.Millis(unzigzag(fd.num)), true
		return isNumber
	case seriesLength:
		f.length = fd.num
		return isNumber
	case seriesAt:
		f.hasAt = true
		return packed(fd, &s.delta)
	case seriesValue:
		return packed(fd, &s.value)
	case seriesQuality:
		return packed(fd, &s.quality)
	case seriesQualityRun:
		return packed(fd, &s.runs)
	case seriesVoid:
		return packed(fd, &s.void)
	}
	return true
}

// packed appends the numbers of a repeated field, packed or one by one, as every
// reader of Protocol Buffers must.
func packed(fd *field, to *[]uint64) bool {
	if fd.typ == typeVarint {
		*to = append(*to, fd.num)
		return true
	}
	if fd.typ != typeBytes {
		return false
	}
	nums := *to
	for b := fd.bytes; len(b) > 0; {
		u, n := uvarint(b)
		if n == 0 {
			return false
		}
		nums = append(nums, u)
		b = b[n:]
	}
	*to = nums
	return true
}

// place names this series, or a part of it.
func (d *batchDecoder) place(part string) string {
	return "series[" + strconv.Itoa(d.series) + "]" + part
}

// rows checks a series and appends its rows.
func (d *batchDecoder) rows(f *seriesFields) {
	s := d.s
	switch {
	case !d.stated:
		d.bad(d.place(".meter"), Meter, "the first series of a batch names no meter")
		return
	case d.meterErr != nil:
		d.bad(d.place(".meter"), Meter, Detail(d.meterErr))
		return
	case len(s.at) == 0:
		d.bad(d.place(".base"), Time, "no instant: a series without base and at takes those of the series before it, and there is none")
		return
	case len(s.at) != len(s.value):
		d.bad(d.place(".value"), Syntax, fmt.Sprintf("%d values for %d instants: at has one number less than value", len(s.value), len(s.at)))
		return
	}
	id, ok := FindRegister(f.register)
	if !ok {
		d.bad(d.place(".register"), Register, fmt.Sprintf("register %q is not in the catalog", f.register))
		return
	}
	if f.length > uint64(gridloom.MaxInterval) {
		d.bad(d.place(".length"), Length, fmt.Sprintf("length %d ms is above %d", f.length, gridloom.MaxInterval))
		return
	}
	length := gridloom.Millis(f.length)
	settled, err := Settle(id, length)
	if err != nil {
		d.bad(d.place(".length"), Length, Detail(err))
		return
	}
	var scale gridloom.Scale
	if len(f.unit) > 0 {
		if scale, err = gridloom.ScaleFor(settled, string(f.unit)); err != nil {
			d.bad(d.place(".unit"), Unit, Detail(err))
			return
		}
	}
	serial := uint32(0)
	if len(f.serial) > 0 {
		if serial, err = d.c.AddSerialBytes(f.serial); err != nil {
			d.bad(d.place(".serial"), Serial, Detail(err))
			return
		}
	}
	if !d.checkQualities() || !d.checkVoids() {
		return
	}
	d.append(settled, length, serial, len(f.unit) > 0, scale)
}

// checkQualities refuses the series whose runs do not cover its rows or hold a bit
// that no device may set.
func (d *batchDecoder) checkQualities() bool {
	s := d.s
	rows := uint64(0)
	for i, n := range s.runs {
		if i >= len(s.quality) || n == 0 || n > uint64(len(s.value))-rows {
			rows = 0
			break
		}
		rows += n
		if q := s.quality[i]; q&^uint64(gridloom.DeviceQuality) != 0 {
			d.bad(d.place(".quality["+strconv.Itoa(i)+"]"), Quality, fmt.Sprintf("quality %#x has bits beyond %s", q, gridloom.DeviceQuality))
			return false
		}
	}
	if len(s.quality) != len(s.runs) || len(s.runs) > 0 && rows != uint64(len(s.value)) {
		d.bad(d.place(".quality_run"), Syntax, fmt.Sprintf("runs of quality do not cover %d values", len(s.value)))
		return false
	}
	return true
}

// checkVoids refuses the series whose voids are not rows of it in rising order.
func (d *batchDecoder) checkVoids() bool {
	s := d.s
	for i, row := range s.void {
		if row >= uint64(len(s.value)) || i > 0 && row <= s.void[i-1] {
			d.bad(d.place(".void["+strconv.Itoa(i)+"]"), Syntax, fmt.Sprintf("row %d: want rising indexes below %d", row, len(s.value)))
			return false
		}
	}
	return true
}

// append appends the rows of a checked series that are good themselves.
func (d *batchDecoder) append(id gridloom.RegisterID, length gridloom.Millis, serial uint32, scaled bool, scale gridloom.Scale) {
	s, c := d.s, d.c
	voids, qualities, runs := s.void, s.quality, s.runs
	value, left, quality := int64(0), uint64(0), gridloom.Quality(0)
	first := c.Extend(len(s.value))
	row := first
	for i, u := range s.value {
		value += unzigzag(u)
		if len(runs) > 0 {
			if left == 0 {
				left, quality = runs[0], gridloom.Quality(qualities[0])
				runs, qualities = runs[1:], qualities[1:]
			}
			left--
		}
		v, void := value, len(voids) > 0 && voids[0] == uint64(i)
		if void {
			voids = voids[1:]
			v = 0
		}
		if !d.good(i, length, &v, scaled, scale) {
			continue
		}
		c.Start[row], c.Value[row], c.Void[row], c.Quality[row] = s.at[i], v, void, quality
		row++
	}
	c.Truncate(row)
	for i := first; i < row; i++ {
		c.Meter[i], c.Register[i], c.Length[i], c.Serial[i] = d.meter, id, length, serial
	}
}

// good refuses a reading whose time or value is out of range, and scales its value.
func (d *batchDecoder) good(i int, length gridloom.Millis, v *int64, scaled bool, scale gridloom.Scale) bool {
	start := d.s.at[i]
	if reason := CheckTime(start, length, d.b.Now); reason != "" {
		d.bad(d.place(".at["+strconv.Itoa(i)+"]"), reason, TimeDetail(start, length, d.b.Now))
		return false
	}
	if scaled {
		var err error
		if *v, err = scale.Decimal(*v, -3); err != nil {
			d.bad(d.place(".value["+strconv.Itoa(i)+"]"), Value, Detail(err))
			return false
		}
	}
	if *v > gridloom.MaxValue || *v < -gridloom.MaxValue {
		d.bad(d.place(".value["+strconv.Itoa(i)+"]"), Value, fmt.Sprintf("value of %d thousandths is beyond %d", *v, gridloom.MaxValue))
		return false
	}
	return true
}
