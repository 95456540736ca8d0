package query

import (
	"fmt"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// Bounds of one edit.
const (
	maxEditReadings = 10_000
	maxEditSpan     = 366 * gridloom.Day // from the first reading to the last
	maxEditWho      = 128                // bytes
	maxEditWhy      = 1000
	maxEditRegister = 16
)

// editOp is what an edit does.
type editOp string

const (
	opSet      editOp = "set"
	opVoid     editOp = "void"
	opEstimate editOp = "estimate"
	opUndo     editOp = "undo"
)

var editOps = []editOp{opSet, opVoid, opEstimate, opUndo}

// editForm is a request to edit, as docs/editing.md has it.
type editForm struct {
	who, why string
	op       editOp
	meter    string // may be "" of an undo

	readings []gridloom.Reading // of set and void: identities, of set with their values and, where told, serials
	paths    []string           // of each reading, in the body

	registers []gridloom.RegisterID // of void and estimate: of the span
	from, to  gridloom.Millis       // [from, to), 0 if readings are named
	cadence   gridloom.Millis       // of estimate; 0: that of the series

	undoes uint64
}

// editRequest reads a request to edit at an instant.
func editRequest(f *form, now gridloom.Millis) (*editForm, error) {
	e := &editForm{who: f.text("who", maxEditWho, true), why: f.text("why", maxEditWhy, true)}
	e.op = editOp(f.text("op", 16, true))
	switch e.op {
	case opSet, opVoid, opEstimate, opUndo:
	default:
		f.fail("op", fmt.Sprintf("want one of %q", editOps))
	}
	if e.meter = f.text("meter", wire.MaxMeterBytes, e.op != opUndo); e.meter != "" {
		if err := wire.CheckMeter(e.meter); err != nil {
			f.fail("meter", mendOf(err))
		}
	}
	switch {
	case e.op == opUndo:
		e.undoes = f.sequence("edit")
	case e.op == opSet, e.op == opVoid && f.has("readings"):
		e.named(f, now)
	default:
		e.span(f)
	}
	return e, f.done()
}

// span reads what is to be voided or estimated: registers in [from, to).
func (e *editForm) span(f *form) {
	if f.has("registers") && e.op == opVoid {
		names, _ := f.values["registers"].([]any)
		if len(names) == 0 || len(names) > maxEditRegister {
			f.fail("registers", fmt.Sprintf("want a list of 1 to %d names", maxEditRegister))
		}
		for i := range names {
			one := &form{path: f.path, values: map[string]any{fmt.Sprintf("registers[%d]", i): names[i]}, fault: f.fault}
			e.registers = append(e.registers, one.registerNamed(fmt.Sprintf("registers[%d]", i)))
		}
		slices.Sort(e.registers)
		e.registers = slices.Compact(e.registers)
	} else {
		e.registers = []gridloom.RegisterID{f.registerNamed("register")}
	}
	e.from, e.to = f.instant("from", true), f.instant("to", true)
	switch {
	case e.from >= e.to:
		f.fail("from", "must lie before to")
	case e.to-e.from > maxEditSpan:
		f.fail("from", "to lies more than 366 days after it: make several edits")
	case e.from < gridloom.MinInstant:
		f.fail("from", "lies before "+gridloom.MinInstant.String())
	}
	if e.op == opEstimate {
		if method := f.text("method", 16, false); method != "" && method != "linear" {
			f.fail("method", `want "linear"`)
		}
		if e.cadence = f.span("cadence"); f.has("cadence") && (e.cadence < gridloom.Second || e.cadence > gridloom.Day) {
			f.fail("cadence", "want 1s to 1d")
		}
	}
}

// named reads readings by their identities.
func (e *editForm) named(f *form, now gridloom.Millis) {
	unit := ""
	if e.op == opSet {
		unit = f.text("unit", 16, false)
	}
	var given gridloom.RegisterID
	hasRegister := f.has("register")
	if hasRegister {
		given = f.registerNamed("register")
	}
	seen := map[gridloom.Identity]string{}
	first, last := gridloom.Millis(1<<62), gridloom.Millis(0)
	for _, x := range f.list("readings", maxEditReadings) {
		r := gridloom.Reading{Meter: e.meter, Register: given}
		if x.has("register") {
			r.Register = x.registerNamed("register")
		} else if !hasRegister {
			x.fail("register", "is missing, here and for all of them")
		}
		r.Start, r.Length = x.instant("at", true), x.span("length")
		if *f.fault == nil {
			id, err := wire.Settle(r.Register, r.Length)
			if err != nil {
				x.fail("length", mendOf(err))
			}
			r.Register = id
			if reason := wire.CheckTime(r.Start, r.Length, now); reason != "" {
				x.fail("at", wire.TimeDetail(r.Start, r.Length, now))
			}
		}
		if e.op == opSet && *f.fault == nil {
			scale, err := gridloom.ScaleFor(r.Register, unit)
			if err != nil {
				f.fail("unit", mendOf(err))
				return
			}
			r.Value = x.decimal("value", scale)
			if r.Serial = x.text("serial", wire.MaxSerialBytes, false); r.Serial != "" {
				if err := wire.CheckSerial(r.Serial); err != nil {
					x.fail("serial", mendOf(err))
				}
			}
		}
		if x.done() != nil {
			return
		}
		if before, twice := seen[r.Identity()]; twice {
			x.fail("at", "is the same reading as "+before)
			return
		}
		seen[r.Identity()] = x.path
		first, last = min(first, r.Start), max(last, r.Start)
		e.readings, e.paths = append(e.readings, r), append(e.paths, x.path)
	}
	if last-first > maxEditSpan {
		f.fail("readings", "lie more than 366 days apart: make several edits")
	}
}
