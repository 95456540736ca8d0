package gridloom_test

import (
	"slices"
	"testing"

	"github.com/gridloom/gridloom"
)

func TestUndoneEditsDoNotCompete(t *testing.T) {
	device, edit := gridloom.NewOrder(gridloom.ClassDevice, 5, 7), gridloom.NewOrder(gridloom.ClassEdit, 0, 0)
	f := func(rows []gridloom.Rank, want ...int) {
		t.Helper()
		var left []gridloom.Rank
		for _, i := range want {
			left = append(left, rows[i])
		}
		if got := gridloom.Competing(slices.Clone(rows), func(r *gridloom.Rank) gridloom.Rank { return *r }); !slices.Equal(got, left) {
			t.Errorf("Competing(%v) = %v, want %v", rows, got, left)
		}
	}
	f([]gridloom.Rank{{device, 1, 0}, {edit, 2, 0}}, 0, 1)                                                                  // nothing is undone
	f([]gridloom.Rank{{device, 1, 0}, {edit, 2, 0}, {gridloom.NewUndo(2), 3, 0}}, 0)                                        // what the device said counts again
	f([]gridloom.Rank{{edit, 2, 0}, {edit, 3, 0}, {gridloom.NewUndo(3), 4, 0}}, 0)                                          // and so does the edit before
	f([]gridloom.Rank{{gridloom.NewUndo(2), 4, 0}, {edit, 2, 0}})                                                           // nothing is left, in whatever order
	f([]gridloom.Rank{{device, 2, 0}, {gridloom.NewUndo(2), 3, 0}}, 0)                                                      // what no person said cannot be undone
	f([]gridloom.Rank{{edit, 2, 0}, {gridloom.NewUndo(2), 3, 0}, {gridloom.NewUndo(3), 4, 0}, {gridloom.NewUndo(2), 5, 0}}) // an undo neither
}

func TestOrderOfUndo(t *testing.T) {
	f := func(o gridloom.Order, want string, wantEdit uint64, wantOK bool) {
		t.Helper()
		edit, ok := o.Undoes()
		if o.String() != want || ok != wantOK || ok && edit != wantEdit {
			t.Errorf("%s undoes %d, %v; want %s, %d, %v", o, edit, ok, want, wantEdit, wantOK)
		}
	}
	f(gridloom.NewUndo(994), "9/994", 994, true)
	f(gridloom.NewUndo(1<<60-1), "9/1152921504606846975", 1<<60-1, true)
	f(gridloom.NewOrder(gridloom.ClassEdit, 0, 0), "8/0/0", 0, false)
	f(gridloom.NewOrder(gridloom.ClassDevice, 3, 2), "1/3/2", 0, false)
}
