package pane

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gridloom/gridloom"
)

// TestARankingServesManyCommits writes commits of one table that grows in between,
// some of which touch few of its series, and compares each with its rows sorted by
// their words.
func TestARankingServesManyCommits(t *testing.T) {
	s, _ := newStore(t, StoreOptions{CacheBytes: -1})
	rng := rand.New(rand.NewPCG(7, 7))
	all := columnsOf(randomReadings(rng, 3000)) // knows every series that comes
	var rank Ranking
	seen := 0
	for _, n := range []int{1, 40, 3, 300, 2, 3000, 5, 1} {
		c := &RawColumns{}
		seen = min(all.Len(), seen+n)
		var want []gridloom.Reading
		known := uint32(0)
		for range n {
			var r gridloom.Reading
			i := rng.IntN(seen)
			all.Reading(&all.Table, i, &r)
			want = append(want, r)
			row := *all.Row(i)
			c.Append(&row, &all.Shared[all.Row(i).Shared])
		}
		for i := range seen {
			known = max(known, all.Row(i).Series+1)
		}
		c.Table = all.Table
		c.Table.MeterOf, c.Table.Registers = c.Table.MeterOf[:known], c.Table.Registers[:known]
		meters := uint32(0)
		for _, m := range c.Table.MeterOf {
			meters = max(meters, m+1)
		}
		c.Table.Meters = c.Table.Meters[:meters]
		seg, err := s.WriteRawColumns(t.Context(), where, c, &rank)
		if err != nil {
			t.Fatal(err)
		}
		if got := readRaw(t, s, seg, Selector{}); !slices.Equal(got, sortedReadings(want)) {
			t.Fatalf("%d rows of %d series differ", n, known)
		}
		checkSegment(t, &seg, want)
	}
}

// checkSegment compares what a raw segment tells of its rows with the rows.
func checkSegment(t *testing.T, g *Segment, rows []gridloom.Reading) {
	t.Helper()
	want := Segment{
		MinSeq: rows[0].Sequence, MaxSeq: rows[0].Sequence, MinLogged: rows[0].LoggedAt, MaxLogged: rows[0].LoggedAt,
		MinStart: rows[0].Start, MaxEnd: rows[0].Start + span(rows[0].Length), MinMeter: rows[0].Meter, MaxMeter: rows[0].Meter,
	}
	for i := range rows {
		r := &rows[i]
		want.MinSeq, want.MaxSeq = min(want.MinSeq, r.Sequence), max(want.MaxSeq, r.Sequence)
		want.MinLogged, want.MaxLogged = min(want.MinLogged, r.LoggedAt), max(want.MaxLogged, r.LoggedAt)
		want.MinStart, want.MaxEnd = min(want.MinStart, r.Start), max(want.MaxEnd, r.Start+span(r.Length))
		want.MinMeter, want.MaxMeter = min(want.MinMeter, r.Meter), max(want.MaxMeter, r.Meter)
		if code := r.Register.Info().Code; !slices.Contains(want.Registers, code) {
			want.Registers = append(want.Registers, code)
		}
		if !g.Meters.MayHold(r.Meter) {
			t.Fatalf("the filter does not hold meter %s", r.Meter)
		}
	}
	slices.Sort(want.Registers)
	if g.MinSeq != want.MinSeq || g.MaxSeq != want.MaxSeq || g.MinLogged != want.MinLogged || g.MaxLogged != want.MaxLogged ||
		g.MinStart != want.MinStart || g.MaxEnd != want.MaxEnd || g.MinMeter != want.MinMeter || g.MaxMeter != want.MaxMeter ||
		!slices.Equal(g.Registers, want.Registers) || g.Rows != int64(len(rows)) {
		t.Fatalf("segment %+v, want %+v", g, want)
	}
}
