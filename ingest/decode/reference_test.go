package decode

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// reference is what encoding/json makes of a payload, by the rules of
// docs/format/topics.md written a second time and slowly: the good readings of it,
// in any order. ok is false where it does not want to judge: keys given twice
// or bytes that are not UTF-8 (encoding/json hides both), numbers beyond its arithmetic, values nested deeper than Decode follows.
func reference(payload []byte) (rows []gridloom.Reading, valid, ok bool) {
	if !json.Valid(payload) {
		return nil, false, true
	}
	if hasTwice(payload) || !utf8.Valid(payload) {
		return nil, true, false
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, true, false
	}
	items := []any{v}
	order, agent := gridloom.Order(0), source.Agent
	switch v := v.(type) {
	case []any:
		items = v
	case map[string]any:
		var refused bool
		if order, refused = head(v); refused {
			return nil, true, true
		}
		if list, has := v["readings"]; has {
			items, has = list.([]any)
			if !has {
				return nil, true, true
			}
		}
		for _, k := range []string{"agent", "epoch", "seq"} {
			delete(v, k)
		}
	}
	for _, item := range items {
		object, is := item.(map[string]any)
		if !is {
			continue
		}
		for _, r := range objectRows(object) {
			r.Agent, r.Order = agent, order
			rows = append(rows, r)
		}
	}
	return rows, true, true
}

// head reads agent, epoch and seq.
func head(v map[string]any) (order gridloom.Order, refused bool) {
	given := 0
	if a := v["agent"]; a != nil {
		s, is := a.(string)
		if !is || s != source.Agent && s != "" {
			return 0, true
		}
		if s != "" {
			given++
		}
	}
	nums := map[string]uint32{}
	for _, k := range []string{"epoch", "seq"} {
		if v[k] == nil {
			continue
		}
		n, is := whole(v[k])
		if !is || n.Sign() < 0 || n.BitLen() > 32 {
			return 0, true
		}
		nums[k] = uint32(n.Uint64())
		given++
	}
	if nums["seq"] > gridloom.MaxSeq || int64(nums["epoch"]) > int64(gridloom.EpochAt(now))+86_400 {
		return 0, true
	}
	if given == 3 {
		order = gridloom.NewOrder(gridloom.ClassDevice, nums["epoch"], nums["seq"])
	}
	return order, false
}

// whole returns a JSON number that is an integer of at most 18 digits.
func whole(v any) (*big.Int, bool) {
	n, is := v.(json.Number)
	if !is {
		return nil, false
	}
	r, is := new(big.Rat).SetString(n.String())
	if !is || !r.IsInt() || r.Num().BitLen() > 58 {
		return nil, false
	}
	return r.Num(), true
}

// objectRows returns the good readings of one object.
func objectRows(o map[string]any) (rows []gridloom.Reading) {
	var r gridloom.Reading
	var is bool
	if r.Meter, is = o["meter"].(string); !is || !printable(r.Meter, 128) || r.Meter == "" {
		return nil
	}
	at, stated := o["at"], o["at"] != nil
	if o["ts"] != nil {
		if _, both := o["at"]; both {
			return nil
		}
		at, stated = o["ts"], true
	}
	if _, both := o["ts"]; both {
		if _, both := o["at"]; both {
			return nil
		}
	}
	if !stated {
		return nil
	}
	switch t := at.(type) {
	case string:
		m, good := instant([]byte(t)) // compared with the time package in TestInstant
		if !good {
			return nil
		}
		r.Start = m
	default:
		n, is := whole(t)
		if !is || n.Cmp(big.NewInt(1e11)) < 0 {
			return nil
		}
		r.Start = gridloom.Millis(n.Int64())
	}
	switch l := o["length"].(type) {
	case nil:
	case string:
		var m lengthMemo
		var good bool
		if r.Length, good = m.parse([]byte(l)); !good || r.Length <= 0 {
			return nil
		}
	default:
		n, is := whole(l)
		if !is || n.Sign() <= 0 {
			return nil
		}
		r.Length = gridloom.Millis(n.Int64())
	}
	if s, has := o["serial"]; has && s != nil {
		if r.Serial, is = s.(string); !is || !printable(r.Serial, 64) {
			return nil
		}
	}
	unit := ""
	if u, has := o["unit"]; has && u != nil {
		if unit, is = u.(string); !is {
			return nil
		}
	}
	if q, has := o["quality"]; has && q != nil {
		names, is := q.([]any)
		if !is {
			names = []any{q}
		}
		for _, name := range names {
			s, is := name.(string)
			bit, err := gridloom.ParseQuality(s)
			if !is || err != nil || bit&gridloom.DeviceQuality == 0 {
				return nil
			}
			r.Quality |= bit
		}
	}
	if r.Start < gridloom.MinInstant || r.Start > now+gridloom.MaxAhead || r.Length > gridloom.MaxInterval || r.Start+r.Length > now+gridloom.MaxAhead {
		return nil
	}
	values := map[gridloom.RegisterID]any{}
	for k, v := range o {
		if id, is := gridloom.RegisterByName(k); is {
			if _, twice := values[id]; twice {
				return nil
			}
			values[id] = v
		}
	}
	value, valued := o["value"]
	name, named := o["register"]
	if named = named && name != nil; named {
		s, is := name.(string)
		id, known := gridloom.RegisterByName(s)
		_, twice := values[id]
		if !is || !known || twice && valued {
			return nil
		}
		if valued {
			values[id] = value
		}
	}
	if named != valued {
		return nil
	}
	for id, v := range values {
		if row, good := valueRow(r, id, unit, v); good {
			rows = append(rows, row)
		}
	}
	return rows
}

// valueRow finishes a row.
func valueRow(r gridloom.Reading, id gridloom.RegisterID, unit string, v any) (gridloom.Reading, bool) {
	kind := id.Info().Kind
	if r.Length > 0 && kind == gridloom.Counter {
		sibling, has := gridloom.IntervalSibling(id)
		if !has {
			return r, false
		}
		id = sibling
	} else if (r.Length > 0) != (kind == gridloom.Interval) {
		return r, false
	}
	if r.Length != 0 && r.Length < 1000 {
		return r, false
	}
	r.Register = id
	if v == nil {
		r.Void = true
		return r, true
	}
	n, is := v.(json.Number)
	if !is {
		return r, false
	}
	if _, err := gridloom.ScaleFor(id, unit); err != nil {
		return r, false
	}
	x, is := new(big.Rat).SetString(n.String())
	if !is {
		return r, false
	}
	if unit == "" {
		unit = id.Info().Unit
	}
	num, den := int64(1000), int64(1)
	switch unit {
	case "Wh", "var.h", "W", "var", "V", "A", "Hz", "L", "1":
	case "kWh":
		num = 1_000_000
	case "J":
		num, den = 1000, 3600
	default:
		return r, false
	}
	x.Mul(x, big.NewRat(num, den))
	x.Add(x, big.NewRat(1, 2))
	q := new(big.Int).Div(x.Num(), x.Denom())
	if x.IsInt() && q.Bit(0) == 1 {
		q.Sub(q, big.NewInt(1))
	}
	if q.CmpAbs(big.NewInt(gridloom.MaxValue)) > 0 {
		return r, false
	}
	r.Value = q.Int64()
	return r, true
}

// hasTwice reports whether any object of the payload has a key twice, a number has
// an exponent that big.Rat had better not expand, or a value nests deeper than 60.
func hasTwice(payload []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	type level struct {
		keys  map[string]bool
		isKey bool
	}
	var stack []level
	for {
		tok, err := dec.Token()
		if err != nil {
			return err != io.EOF
		}
		top := len(stack) - 1
		switch tok := tok.(type) {
		case json.Delim:
			if tok == '}' || tok == ']' {
				stack = stack[:top]
				top--
			} else {
				if len(stack) > 60 {
					return true
				}
				l := level{}
				if tok == '{' {
					l = level{map[string]bool{}, true}
				}
				if top >= 0 && stack[top].keys != nil {
					stack[top].isKey = true
				}
				stack = append(stack, l)
				continue
			}
		case string:
			if top >= 0 && stack[top].keys != nil && stack[top].isKey {
				if stack[top].keys[tok] {
					return true
				}
				stack[top].keys[tok] = true
				stack[top].isKey = false
				continue
			}
		case json.Number:
			if i := bytes.IndexAny([]byte(tok), "eE"); i >= 0 && len(tok)-i > 4 {
				return true
			}
		}
		if top >= 0 && stack[top].keys != nil {
			stack[top].isKey = true
		}
	}
}
