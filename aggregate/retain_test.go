package aggregate

import (
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// TestBoundsMoveByAgeAndSize: a bound goes to the start of a day, as far as age and size want it
// and the newest days allow, only where something goes, and never back.
func TestBoundsMoveByAgeAndSize(t *testing.T) {
	const today = 100 * gridloom.Day
	day := func(n int) gridloom.Millis { return gridloom.Millis(n) * gridloom.Day }
	var s stock
	for n := 90; n < 100; n++ { // a segment of 10 bytes a day, and two of panes
		g := pane.Segment{Kind: pane.KindRaw, Bytes: 10, MinStart: day(n), MaxEnd: day(n) + 23*gridloom.Hour}
		s.add(&g)
		g.Kind, g.Bytes = pane.KindPane, 1
		s.add(&g)
		s.add(&g)
	}
	now, limit := today+12*gridloom.Hour, day(98)
	f := func(keep Retention, from, want pane.Bounds) {
		t.Helper()
		if got := s.bounds(keep, from, now, limit); got != want {
			t.Errorf("bounds(%+v) from days %d %d = %d %d, want %d %d", keep, from.RawFrom/gridloom.Day, from.PanesFrom/gridloom.Day,
				got.RawFrom/gridloom.Day, got.PanesFrom/gridloom.Day, want.RawFrom/gridloom.Day, want.PanesFrom/gridloom.Day)
		}
	}
	const d = 24 * time.Hour
	none := pane.Bounds{}
	f(Retention{}, none, none)
	f(Retention{Raw: 5 * d}, none, pane.Bounds{RawFrom: day(95)})
	f(Retention{Raw: 5*d + 13*time.Hour}, none, pane.Bounds{RawFrom: day(94)})
	f(Retention{Raw: 5 * d, Panes: 7 * d}, none, pane.Bounds{RawFrom: day(95), PanesFrom: day(93)})
	f(Retention{Raw: 10 * d}, none, none)                                                            // nothing would go
	f(Retention{Raw: d}, none, pane.Bounds{RawFrom: limit})                                          // the newest stay
	f(Retention{Raw: 5 * d}, pane.Bounds{RawFrom: day(97)}, pane.Bounds{RawFrom: day(97)})           // never back
	f(Retention{RawBytes: 100}, none, none)                                                          // it fits
	f(Retention{RawBytes: 99}, none, pane.Bounds{RawFrom: day(91)})                                  // a day less
	f(Retention{RawBytes: 50}, none, pane.Bounds{RawFrom: day(95)})                                  // five
	f(Retention{RawBytes: 1}, none, pane.Bounds{RawFrom: limit})                                     // as many as may go
	f(Retention{RawBytes: 50}, pane.Bounds{RawFrom: day(94)}, pane.Bounds{RawFrom: day(95)})         // what is past counts no more
	f(Retention{Raw: 3 * d, RawBytes: 50}, none, pane.Bounds{RawFrom: day(97)})                      // whichever wants more
	f(Retention{PanesBytes: 8}, none, pane.Bounds{RawFrom: day(96), PanesFrom: day(96)})             // readings go with their panes
	f(Retention{Raw: 2 * d, PanesBytes: 8}, none, pane.Bounds{RawFrom: day(98), PanesFrom: day(96)}) // or before
	if got := (Retention{RawBytes: 100, PanesBytes: 7}).share(4); got != (Retention{RawBytes: 25, PanesBytes: 1}) {
		t.Errorf("share(4) = %+v", got)
	}
}
