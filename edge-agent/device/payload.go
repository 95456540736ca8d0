package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// payloadParser appends the readings of one JSON payload to a chunk. It is built
// for a person's pipe, not for speed: ingest/decode is the fast reader of the
// same shapes.
type payloadParser struct {
	chunk   *Chunk
	at      gridloom.Millis // of readings without a time; 0: they are bad
	suspect bool            // such readings are CLOCK_SUSPECT
	bad     func(place string, err error)

	takeStamped, takeGiven bool
}

type object = map[string]any

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{gridloom.ErrInvalid}, args...)...)
}

// payload reads a batch, an array of readings, or one.
func (p *payloadParser) payload(text []byte) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, extra := d.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("more follows after the first value")
		}
	}
	if err != nil {
		p.bad("", invalid("not one JSON value: %v", err))
		return
	}
	if o, ok := v.(object); ok {
		if inner, ok := o["readings"]; ok {
			list, ok := inner.([]any)
			if !ok {
				p.bad("readings", invalid("want an array"))
				return
			}
			p.list("readings", list)
			return
		}
		p.one("", o)
		return
	}
	if list, ok := v.([]any); ok {
		p.list("", list)
		return
	}
	p.bad("", invalid("want an object or an array"))
}

func (p *payloadParser) list(place string, list []any) {
	if len(list) > wire.MaxObjects {
		p.bad(place, invalid("%d objects: want at most %d", len(list), wire.MaxObjects))
		return
	}
	for i, v := range list {
		at := place + "[" + strconv.Itoa(i) + "]"
		o, ok := v.(object)
		if !ok {
			p.bad(at, invalid("want an object"))
			continue
		}
		p.one(at+".", o)
	}
}

// common is what the readings of one object share.
type common struct {
	meter, serial uint32
	at, length    gridloom.Millis
	quality       gridloom.Quality
	unit          string
}

// one reads a reading, or a flat object of several registers.
func (p *payloadParser) one(place string, o object) {
	shared, take, err := p.common(o)
	if err != nil {
		p.bad(place, err)
		return
	}
	if !take {
		return
	}
	if name, ok := o["register"]; ok {
		if err := p.reading(&shared, name, o, "value"); err != nil {
			p.bad(place+"value", err)
		}
		return
	}
	found := false
	for _, key := range slices.Sorted(maps.Keys(o)) {
		switch key {
		case "meter", "at", "ts", "length", "serial", "quality", "unit":
			continue
		}
		found = true
		if err := p.reading(&shared, key, o, key); err != nil {
			p.bad(place+key, err)
		}
	}
	if !found {
		p.bad(place, invalid("no register and value"))
	}
}

// common reads what the readings of o share; take is false if they are not asked for.
func (p *payloadParser) common(o object) (shared common, take bool, err error) {
	meter, ok := o["meter"].(string)
	if !ok {
		return shared, false, invalid("meter: want a string")
	}
	if err := wire.CheckMeter(meter); err != nil {
		return shared, false, err
	}
	stamped := false
	switch at, ok := timeOf(o); {
	case ok:
		if shared.at, err = parseAt(at); err != nil {
			return shared, false, err
		}
	case p.at != 0:
		shared.at, stamped = p.at, true
		if p.suspect {
			shared.quality |= gridloom.ClockSuspect
		}
	default:
		return shared, false, invalid("no time (at); --stamp arrival dates such readings when they come")
	}
	if stamped && !p.takeStamped || !stamped && !p.takeGiven {
		return shared, false, nil
	}
	if shared.length, err = parseLength(o["length"]); err != nil {
		return shared, false, err
	}
	q, err := parseQualities(o["quality"])
	if err != nil {
		return shared, false, err
	}
	shared.quality |= q
	serial, unit := o["serial"], o["unit"]
	if shared.unit, ok = unit.(string); !ok && unit != nil {
		return shared, false, invalid("unit: want a string")
	}
	s, ok := serial.(string)
	if !ok && serial != nil {
		return shared, false, invalid("serial: want a string")
	}
	if shared.serial, err = p.chunk.AddSerialBytes([]byte(s)); err != nil {
		return shared, false, err
	}
	shared.meter = p.chunk.AddMeter(meter)
	return shared, true, nil
}

func timeOf(o object) (any, bool) {
	if at, ok := o["at"]; ok {
		return at, true
	}
	at, ok := o["ts"]
	return at, ok
}

// parseAt reads RFC 3339 with an offset or Unix milliseconds.
func parseAt(v any) (at gridloom.Millis, err error) {
	switch v := v.(type) {
	case string:
		at, err = gridloom.ParseInstant(v)
	case json.Number:
		mantissa, exp, e := parseDecimal([]byte(v), '.')
		for ; exp > 0 && mantissa > 0 && mantissa < 1e15; exp-- {
			mantissa *= 10
		}
		for ; exp < 0; exp++ {
			mantissa /= 10
		}
		at, err = gridloom.Millis(mantissa), e
		if err == nil && mantissa < 1e11 {
			err = invalid("time %s is not Unix milliseconds: seconds?", v)
		}
		if exp > 0 && mantissa > 0 {
			err = invalid("time %s is out of range", v)
		}
	default:
		err = invalid("time: want RFC 3339 or Unix milliseconds")
	}
	if err == nil {
		if why := wire.CheckTime(at, 0, 0); why != "" {
			err = invalid("%s", wire.TimeDetail(at, 0, 0))
		}
	}
	return at, err
}

// parseLength reads a duration such as "30m", or milliseconds.
func parseLength(v any) (gridloom.Millis, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case string:
		d, err := time.ParseDuration(v)
		if err != nil || d < time.Second || gridloom.SpanOf(d) > gridloom.MaxInterval {
			return 0, invalid("length %q: want a duration such as 30m, 1s to 745h", v)
		}
		return gridloom.SpanOf(d), nil
	case json.Number:
		ms, err := v.Int64()
		if err != nil || ms < int64(gridloom.Second) || ms > int64(gridloom.MaxInterval) {
			return 0, invalid("length %s: want milliseconds, 1 s to 31 days and an hour", v)
		}
		return gridloom.Millis(ms), nil
	}
	return 0, invalid("length: want a duration such as \"30m\"")
}

// parseQualities reads one name or a list of them.
func parseQualities(v any) (q gridloom.Quality, err error) {
	names, ok := v.([]any)
	switch {
	case v == nil:
		return 0, nil
	case !ok:
		names = []any{v}
	}
	for _, n := range names {
		s, ok := n.(string)
		if !ok {
			return 0, invalid("quality: want a name or a list of names")
		}
		bit, err := gridloom.ParseQuality(s)
		if err != nil {
			return 0, err
		}
		if bit&gridloom.DeviceQuality == 0 {
			return 0, invalid("quality %s is not for devices to set; they may set %s", s, gridloom.DeviceQuality)
		}
		q |= bit
	}
	return q, nil
}

// reading appends one value.
func (p *payloadParser) reading(shared *common, name any, o object, key string) error {
	text, ok := name.(string)
	if !ok {
		return invalid("register: want a string")
	}
	id, ok := gridloom.RegisterByName(text)
	if !ok {
		return invalid("register %q is not in the catalog", text)
	}
	id, err := wire.Settle(id, shared.length)
	if err != nil {
		return err
	}
	scale, err := gridloom.ScaleFor(id, shared.unit)
	if err != nil {
		return err
	}
	v, ok := o[key]
	if !ok {
		return invalid("no value")
	}
	var value int64
	switch v := v.(type) {
	case nil:
	case json.Number:
		mantissa, exp, err := parseDecimal([]byte(v), '.')
		if err != nil {
			return err
		}
		if value, err = scale.Decimal(mantissa, exp); err != nil {
			return err
		}
	default:
		return invalid("value: want a number or null")
	}
	p.chunk.Append(shared.meter, id, shared.at, shared.length, value, v == nil, shared.quality, 0, 0, shared.serial)
	return nil
}
