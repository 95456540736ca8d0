package pane

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gridloom/gridloom"
)

// selectorText is a Selector as it travels to an owner in another process: registers
// by their OBIS codes, since their numbers differ between versions. Null is all, an
// empty list is none.
type selectorText struct {
	Meters    []string        `json:"meters"`
	Registers []string        `json:"registers"`
	From      gridloom.Millis `json:"from"`
	To        gridloom.Millis `json:"to"`
	After     uint64          `json:"after"`
	Only      Kind            `json:"only"`
	Keys      []string        `json:"keys,omitzero"` // left out where all are meant, which owners of before understand
}

// EncodeSelector returns the JSON form of sel (docs/format/subjects.md).
func EncodeSelector(sel Selector) ([]byte, error) {
	t := selectorText{Meters: sel.Meters, From: sel.From, To: sel.To, After: sel.After, Only: sel.Only, Keys: sel.Keys}
	if sel.Registers != nil {
		t.Registers = make([]string, len(sel.Registers))
		for i, id := range sel.Registers {
			t.Registers[i] = id.Info().Code
		}
	}
	return json.Marshal(t)
}

// DecodeSelector reads it. ErrInvalid: it is none, or names what is not known here.
func DecodeSelector(text []byte) (Selector, error) {
	var t selectorText
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return Selector{}, fmt.Errorf("%w: selector: %w", gridloom.ErrInvalid, err)
	}
	if t.Only != "" && t.Only != KindRaw && t.Only != KindPane && !t.Only.HoldsRecords() {
		return Selector{}, fmt.Errorf("%w: selector: rows of kind %q are not known here: was it sent by a newer gridloom?", gridloom.ErrInvalid, t.Only)
	}
	sel := Selector{Meters: t.Meters, From: t.From, To: t.To, After: t.After, Only: t.Only, Keys: t.Keys}
	if t.Registers != nil {
		sel.Registers = make([]gridloom.RegisterID, len(t.Registers))
		for i, code := range t.Registers {
			id, ok := gridloom.RegisterByName(code)
			if !ok {
				return Selector{}, fmt.Errorf("%w: selector: register %q is not known here: was it sent by a newer gridloom?", gridloom.ErrInvalid, code)
			}
			sel.Registers[i] = id
		}
	}
	return sel, nil
}
