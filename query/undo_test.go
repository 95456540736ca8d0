package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// withEdits puts edits of the rows before them between rows, and undoes some of them later.
func withEdits(rng *rand.Rand, rows []gridloom.Reading) []gridloom.Reading {
	var out []gridloom.Reading
	var edits [][]gridloom.Reading
	for i, r := range rows {
		r.Sequence *= 10
		out = append(out, r)
		if i+1 == len(rows) || rows[i+1].Sequence == rows[i].Sequence || rng.IntN(3) > 0 {
			continue
		}
		var frame []gridloom.Reading
		if len(edits) > 0 && rng.IntN(2) == 0 {
			n := rng.IntN(len(edits))
			for _, e := range edits[n] {
				e.Order, e.Void, e.Value = gridloom.NewUndo(e.Sequence), true, 0
				frame = append(frame, e)
			}
			edits = slices.Delete(edits, n, n+1)
		} else {
			for n := range 1 + rng.IntN(3) {
				e := out[max(0, len(out)-1-7*n-rng.IntN(5))]
				if e.Order != 0 {
					continue
				}
				e.Order, e.Quality = gridloom.NewOrder(gridloom.ClassEdit, 0, 0), gridloom.Edited
				if e.Value += 7_000_000; rng.IntN(3) == 0 {
					e.Void, e.Value = true, 0
				}
				if rng.IntN(3) == 0 {
					e.Start += 17 * gridloom.Second // where no device has told anything
				}
				frame = append(frame, e)
			}
		}
		for p := range frame {
			frame[p].Sequence, frame[p].Place, frame[p].LoggedAt = r.Sequence+5, uint32(p), r.LoggedAt
		}
		if len(frame) > 0 && frame[0].Order.Class() == gridloom.ClassEdit {
			edits = append(edits, frame)
		}
		out = append(out, frame...)
	}
	return out
}

// standing leaves out the rows of edits that rows undo, and those that undo them.
func standing(rows []gridloom.Reading) []gridloom.Reading {
	undone := map[gridloom.Order]bool{}
	for _, r := range rows {
		if r.Order>>60 == 9 {
			undone[r.Order&^(15<<60)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r gridloom.Reading) bool {
		return r.Order>>60 == 9 || r.Order>>60 == 8 && undone[gridloom.Order(r.Sequence)]
	})
}

// TestHistoryTellsWhatCounts: history has every row of edits and undos as well, and marks one of
// each identity that has a reading or a void.
func TestHistoryTellsWhatCounts(t *testing.T) {
	rows := withEdits(rand.New(rand.NewPCG(9, 9)), neighbourhood(rand.New(rand.NewPCG(9, 8)), 4))
	w := newWorld(t)
	w.commit(nil, rows[len(rows)/2:])
	w.hold(nil, rows[:len(rows)/2])
	want, undos := map[string]string{}, 0
	best := map[gridloom.Identity]gridloom.Reading{}
	for _, r := range standing(rows) {
		if b, ok := best[r.Identity()]; !ok || r.Order > b.Order || r.Order == b.Order && (r.Sequence > b.Sequence || r.Sequence == b.Sequence && r.Place > b.Place) {
			best[r.Identity()] = r
		}
	}
	for _, r := range rows {
		b, ok := best[r.Identity()]
		want[fmt.Sprintf("%d %d", r.Sequence, r.Place)] = strconv.FormatBool(ok && b.Sequence == r.Sequence && b.Place == r.Place)
		if r.Order>>60 == 9 {
			undos++
		}
	}
	if undos < 20 {
		t.Fatalf("%d rows of undos", undos)
	}
	got := map[string]string{}
	for _, r := range rowsOf(t, w.serve()+"/api/v1/readings?"+wholeDay+"&history=true") {
		got[r["sequence"]+" "+r["place"]] = r["counts"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got)\n%s", diff)
	}
}
