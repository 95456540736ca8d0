package window_test

import (
	"math/rand/v2"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// edited puts a person's edits between the rows of a stamped log, and undoes some of them. An edit
// is one frame: it sets or voids a few readings, some of which no device has told. What
// the devices say goes on before, between and after.
func edited(rng *rand.Rand, k gridloom.Kind, rows []window.Reading) []window.Reading {
	var out, said []window.Reading
	var edits [][]window.Reading // not undone
	seq := uint64(0)
	before := uint64(0)
	for i, r := range rows {
		fresh := i == 0 || r.Sequence != before
		if fresh && i > 0 && rng.IntN(4) == 0 {
			seq++
			var frame []window.Reading
			if len(edits) > 0 && rng.IntN(5) < 2 {
				n := rng.IntN(len(edits))
				for _, e := range edits[n] {
					e.Order, e.Void, e.Value = gridloom.NewUndo(e.Sequence), true, 0
					frame = append(frame, e)
				}
				edits = slices.Delete(edits, n, n+1)
			} else {
				for range 1 + rng.IntN(4) {
					e := said[len(said)-1-rng.IntN(min(len(said), 1+rng.IntN(30)))]
					if rng.IntN(4) == 0 {
						e.Start += gridloom.Millis(1+rng.IntN(30)) * gridloom.Minute
					}
					e.Order = gridloom.NewOrder(gridloom.ClassEdit, 0, 0)
					switch rng.IntN(4) {
					case 0:
						e.Void, e.Value = true, 0
					case 1: // as it was, or as the device will say
					default:
						e.Void, e.Quality = false, gridloom.Edited
						e.Value += int64(rng.IntN(200_000) - 100_000)
					}
					same := func(o window.Reading) bool {
						return o.Start == e.Start && (k != gridloom.Interval || o.Length == e.Length)
					}
					if !slices.ContainsFunc(frame, same) {
						frame = append(frame, e)
					}
				}
			}
			for p := range frame {
				frame[p].Sequence, frame[p].Place, frame[p].LoggedAt = seq, uint32(p), out[len(out)-1].LoggedAt
			}
			if frame[0].Order.Class() == gridloom.ClassEdit {
				edits = append(edits, frame)
			}
			out = append(out, frame...)
		}
		if before = r.Sequence; fresh {
			seq++
		}
		r.Sequence = seq
		out, said = append(out, r), append(said, r)
		if len(edits) > 0 && rng.IntN(6) == 0 { // the device agrees with an edit, which may be undone later
			e := edits[len(edits)-1][0]
			e.Order, e.Sequence, e.LoggedAt, e.Place = r.Order, seq, r.LoggedAt, r.Place+1_000
			if rng.IntN(2) == 0 {
				e.Order++
			}
			out = append(out, e)
		}
	}
	return out
}

// competing is the rule for undos as a user is told it: the rows of an edit that an undo names do not
// count, wherever they are.
func competing(rows []window.Reading) []window.Reading {
	undone := map[uint64]bool{}
	for _, r := range rows {
		if r.Order>>60 == 9 {
			undone[uint64(r.Order)&^(15<<60)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r window.Reading) bool {
		return r.Order>>60 == 9 || r.Order>>60 == 8 && undone[r.Sequence]
	})
}

// amidUndo reports whether the frame of an undo is in by half, which no owner or query sees.
func amidUndo(in, rest []window.Reading) bool {
	return len(rest) > 0 && rest[0].Order>>60 == 9 && rest[0].Sequence == in[len(in)-1].Sequence
}
