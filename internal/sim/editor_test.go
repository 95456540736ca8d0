package sim

import (
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/wire"
)

// madeEdit is an edit that the log has acknowledged.
type madeEdit struct {
	partition int
	sequence  uint64
	rows      []gridloom.Reading
}

// aPersonEdits sets or voids some of what the log has held of a meter, or undoes an edit. What the
// log does not acknowledge may be stored all the same, or later.
func aPersonEdits(w *world) bool {
	if len(w.edits) > 0 && w.rnd.IntN(5) < 2 {
		i := w.rnd.IntN(len(w.edits))
		e := w.edits[i]
		rows := slices.Clone(e.rows)
		for j := range rows {
			rows[j].Order, rows[j].Void, rows[j].Value, rows[j].Quality = gridloom.NewUndo(e.sequence), true, 0, 0
		}
		if w.edit(e.partition, rows) != 0 {
			w.stats.Undos++
			w.edits = slices.Delete(w.edits, i, i+1)
		}
		return true
	}
	p := w.rnd.IntN(partitions)
	t := &w.ledger.parts[p]
	if len(t.series) == 0 {
		return false
	}
	meter := pick(w, t.series).Meter
	var rows []gridloom.Reading
	for range 1 + w.rnd.IntN(4) {
		s := pick(w, t.series)
		if s.Meter != meter {
			continue
		}
		list := t.rows[s]
		x := list[len(list)-1-w.rnd.IntN(min(len(list), 30))]
		r := gridloom.Reading{
			Meter: s.Meter, Register: s.Register, Start: x.Start, Length: x.Length, Value: x.Value, Serial: x.Serial,
			Quality: gridloom.Edited, Order: gridloom.NewOrder(gridloom.ClassEdit, 0, 0),
		}
		switch w.rnd.IntN(4) {
		case 0:
			r.Void, r.Value = true, 0
		case 1: // what the device has said, or says again
			r.Void, r.Quality = x.Void, x.Quality
		default:
			r.Value += int64(w.rnd.IntN(2000))
		}
		if !slices.ContainsFunc(rows, func(o gridloom.Reading) bool { return o.Identity() == r.Identity() }) {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return false
	}
	if seq := w.edit(p, rows); seq != 0 {
		w.stats.Edits++
		w.edits = append(w.edits, madeEdit{p, seq, rows})
	}
	return true
}

// edit appends the frame of an edit; 0: nobody knows what became of it.
func (w *world) edit(partition int, rows []gridloom.Reading) uint64 {
	var c wire.Columns
	c.Reset()
	for i := range rows {
		w.ledger.say(rows[i])
		c.AppendReading(&rows[i])
	}
	w.note("a person edits %d readings of %s, such as %s", len(rows), rows[0].Meter, told(&rows[0]))
	seq, err := w.log.Append(w.ctx, partition, wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindEdit, Generation: generation, Partition: partition}, &c))
	if err != nil {
		return 0
	}
	return seq
}

// byPerson reports whether an edit or an undo said so.
func byPerson(o gridloom.Order) bool { return o>>60 >= 8 }

// undone is an edit's row that was taken back: an undo of the edit has a row of the same identity.
type undone struct {
	edit          uint64
	start, length gridloom.Millis
}

// winner returns which of the rows of one identity counts.
func winner(rows []gridloom.Reading) (won gridloom.Reading, ok bool) {
	var taken []uint64
	for i := range rows {
		if rows[i].Order>>60 == 9 {
			taken = append(taken, uint64(rows[i].Order)&^(15<<60))
		}
	}
	for _, r := range rows {
		if r.Order>>60 == 9 || r.Order>>60 == 8 && slices.Contains(taken, r.Sequence) {
			continue
		}
		later := r.Sequence > won.Sequence || r.Sequence == won.Sequence && r.Place > won.Place
		if !ok || r.Order > won.Order || r.Order == won.Order && later {
			won, ok = r, true
		}
	}
	return won, ok
}

// standing leaves out the rows of a series that were undone, and those that undo them.
func standing(rows []window.Reading) []window.Reading {
	taken := map[undone]bool{}
	for _, r := range rows {
		if r.Order>>60 == 9 {
			taken[undone{uint64(r.Order) &^ (15 << 60), r.Start, r.Length}] = true
		}
	}
	return slices.DeleteFunc(rows, func(r window.Reading) bool {
		return r.Order>>60 == 9 || r.Order>>60 == 8 && taken[undone{r.Sequence, r.Start, r.Length}]
	})
}
