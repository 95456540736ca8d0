package pane

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// TestRepeatedValuesAreIndexed: a merged segment holds few distinct values through a
// dictionary, over several pages and row groups, with voids among them and without, and
// reads back as it was; many distinct values stay differences.
func TestRepeatedValuesAreIndexed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	f := func(distinct, voids int, want string) {
		t.Helper()
		s, _ := newStore(t, StoreOptions{})
		rows := make([]gridloom.Reading, groupRows+5000)
		for i := range rows {
			r := &rows[i]
			*r = gridloom.Reading{
				Meter: fmt.Sprintf("m%03d", i%7), Register: gauge(t), Start: noon + gridloom.Millis(i)*1000, Sequence: uint64(i + 1), LoggedAt: noon,
				Value: rnd.Int64N(int64(distinct)) * 1_000_003,
			}
			if voids > 0 && rnd.IntN(voids) == 0 {
				r.Void, r.Value = true, 0
			}
		}
		seg, err := s.WriteRaw(t.Context(), where, rows)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Merge(t.Context(), where, KindRaw, []Segment{seg}, 1)
		if err != nil || len(out) != 1 {
			t.Fatalf("%d segments, %v", len(out), err)
		}
		if diff := cmp.Diff(readRaw(t, s, seg, Selector{}), readRaw(t, s, out[0], Selector{})); diff != "" {
			t.Fatalf("%d values, a void in %d: (-want +got)\n%.2000s", distinct, voids, diff)
		}
		data, err := s.blobs.Get(t.Context(), out[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := DescribeSegment(&text, data, DescribeOptions{}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if strings.HasPrefix(line, "value ") && !strings.Contains(line, want) {
				t.Errorf("%d values, a void in %d: the column is %s, want %s", distinct, voids, line, want)
			}
		}
	}
	f(1, 0, "RLE_DICTIONARY")
	f(60, 0, "RLE_DICTIONARY")
	f(60, 4, "RLE_DICTIONARY")
	f(900, 9, "RLE_DICTIONARY")
	f(1_000_000, 0, "DELTA_BINARY_PACKED")
	f(1_000_000, 3, "DELTA_BINARY_PACKED")
}

func gauge(t *testing.T) gridloom.RegisterID {
	t.Helper()
	id, ok := gridloom.RegisterByName("power_import")
	if !ok {
		t.Fatal("no power_import in the catalog")
	}
	return id
}
