package pane

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// randomSelector makes a selector that mostly chooses something of the random rows.
func randomSelector(rng *rand.Rand) Selector {
	var sel Selector
	if rng.IntN(2) == 0 {
		sel.Meters = []string{}
		for range rng.IntN(4) {
			sel.Meters = append(sel.Meters, fmt.Sprintf("meter-%d", rng.IntN(25)))
		}
		slices.Sort(sel.Meters)
		sel.Meters = slices.Compact(sel.Meters)
	}
	if rng.IntN(2) == 0 {
		sel.Registers = []gridloom.RegisterID{}
		for range rng.IntN(6) {
			sel.Registers = append(sel.Registers, gridloom.RegisterID(rng.IntN(gridloom.Registers())))
		}
	}
	if rng.IntN(2) == 0 {
		sel.From = noon + gridloom.Millis(rng.Int64N(2e9)) - 5e8
	}
	if rng.IntN(2) == 0 {
		sel.To = noon + gridloom.Millis(rng.Int64N(2e9)) - 5e8
	}
	if rng.IntN(4) == 0 {
		sel.After = rng.Uint64() >> rng.IntN(64)
	}
	return sel
}

// chooses is Selector's doc comment, said again without any cleverness.
func chooses(sel Selector, meter string, register gridloom.RegisterID, start, length gridloom.Millis) bool {
	end := start + length
	if length == 0 {
		end++
	}
	return (sel.Meters == nil || slices.Contains(sel.Meters, meter)) &&
		(sel.Registers == nil || slices.Contains(sel.Registers, register)) &&
		(sel.To == 0 || start < sel.To) && end > sel.From
}

// TestSelectorEqualsBruteForce reads segments of several row groups through random
// selectors: pruning by segment, by row group and by row must not change the answer.
func TestSelectorEqualsBruteForce(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, StoreOptions{})
	rng := rand.New(rand.NewPCG(7, 7))
	rows := randomReadings(rng, 3*groupRows/2)
	seg, err := s.WriteRaw(t.Context(), where, rows)
	if err != nil {
		t.Fatal(err)
	}
	panes := randomPanes(rng, 3*groupRows/2)
	paneSeg, err := s.WritePanes(t.Context(), where, panes)
	if err != nil {
		t.Fatal(err)
	}
	small := randomReadings(rng, 5)
	smallSeg, err := s.WriteRaw(t.Context(), where, small)
	if err != nil {
		t.Fatal(err)
	}
	allRaw, allSmall, allPanes := readRaw(t, s, seg, Selector{}), readRaw(t, s, smallSeg, Selector{}), readPanes(t, s, paneSeg, Selector{}, AllColumns)
	found := 0
	for range 100 {
		sel := randomSelector(rng)
		for _, c := range []struct {
			seg Segment
			all []gridloom.Reading
		}{{seg, allRaw}, {smallSeg, allSmall}} {
			var want []gridloom.Reading
			for i := range c.all { // by place: the race detector makes copies of whole rows dear
				if r := &c.all[i]; chooses(sel, r.Meter, r.Register, r.Start, r.Length) && (sel.After == 0 || r.Sequence > sel.After) {
					want = append(want, *r)
				}
			}
			found += len(want)
			if got := readRaw(t, s, c.seg, sel); !slices.Equal(got, want) {
				t.Fatalf("%+v: %d readings, want %d", sel, len(got), len(want))
			}
		}
		var want []gridloom.Pane
		for i := range allPanes {
			if p := &allPanes[i]; chooses(sel, p.Meter, p.Register, p.Start, p.Length) {
				want = append(want, *p)
			}
		}
		if got := readPanes(t, s, paneSeg, sel, AllColumns); !slices.EqualFunc(got, want, samePane) {
			t.Fatalf("%+v: %s", sel, cmp.Diff(want, got))
		}
	}
	if found < 10_000 {
		t.Errorf("selectors chose %d readings in all: they test nothing", found)
	}
}

// samePane is cmp.Equal, quicker.
func samePane(a, b gridloom.Pane) bool {
	same := bytes.Equal(a.Carry, b.Carry) && (a.Carry == nil) == (b.Carry == nil)
	a.Carry, b.Carry = nil, nil
	return same && reflect.DeepEqual(a, b)
}

// TestProjectionLeavesTheOtherColumnsZero reads every single column of panes.
func TestProjectionLeavesTheOtherColumnsZero(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	rows := randomPanes(rand.New(rand.NewPCG(3, 3)), 200)
	seg, err := s.WritePanes(t.Context(), where, rows)
	if err != nil {
		t.Fatal(err)
	}
	all := readPanes(t, s, seg, Selector{}, AllColumns)
	for bit := PaneColumns(0); bit <= ColCarry; bit = max(1, bit<<1) {
		want := make([]gridloom.Pane, len(all))
		for i, p := range all {
			want[i] = project(p, bit)
		}
		if diff := cmp.Diff(want, readPanes(t, s, seg, Selector{}, bit)); diff != "" {
			t.Errorf("columns %b: %s", bit, diff)
		}
	}
}

// project returns p with the columns of one bit.
func project(p gridloom.Pane, bit PaneColumns) gridloom.Pane {
	q := gridloom.Pane{Meter: p.Meter, Register: p.Register, Start: p.Start, Length: p.Length}
	switch bit {
	case ColRevision:
		q.Revision = p.Revision
	case ColComputedAt:
		q.ComputedAt = p.ComputedAt
	case ColClosed:
		q.Closed = p.Closed
	case ColN:
		q.N = p.N
	case ColCoverage:
		q.Coverage = p.Coverage
	case ColQuality:
		q.Quality = p.Quality
	case ColSum:
		q.Sum = p.Sum
	case ColMin:
		q.Min = p.Min
	case ColMax:
		q.Max = p.Max
	case ColFirst:
		q.First, q.FirstAt = p.First, p.FirstAt
	case ColLast:
		q.Last, q.LastAt = p.Last, p.LastAt
	case ColTimeWeighted:
		q.TimeWeighted = p.TimeWeighted
	case ColEnergy:
		q.Energy, q.HasEnergy = p.Energy, p.HasEnergy
	case ColCarry:
		q.Carry = p.Carry
	}
	return q
}

func TestFilterNeverDeniesAMember(t *testing.T) {
	for _, n := range []int{1, 5, 6, 7, 100, 300, maxFilterMeters, maxFilterMeters + 1} {
		var meters []string
		for i := range n {
			meters = append(meters, fmt.Sprintf("MAC%06d", i*7))
		}
		f := newFilter(meters)
		for _, m := range meters {
			if !f.MayHold(m) {
				t.Fatalf("%d meters: %s is denied", n, m)
			}
		}
		if (f == nil) != (n > maxFilterMeters) || len(f) > maxFilterBytes {
			t.Errorf("%d meters: a filter of %d bytes", n, len(f))
		}
	}
}

// TestFilterIsOfUseWithinAPartition checks the rate at which other meters of the
// same partition pass: meters of one partition share bits of PartitionOf's hash.
func TestFilterIsOfUseWithinAPartition(t *testing.T) {
	var mine []string
	for i := 0; len(mine) < 20_000; i++ {
		if m := fmt.Sprintf("MAC%06d", i); gridloom.PartitionOf(m, 4) == 2 {
			mine = append(mine, m)
		}
	}
	f := func(n int, most float64) {
		t.Helper()
		filter := newFilter(mine[:n])
		passed := 0
		for _, m := range mine[n:] {
			if filter.MayHold(m) {
				passed++
			}
		}
		if rate := float64(passed) / float64(len(mine)-n); rate > most {
			t.Errorf("%d meters: %.1f %% of others pass, want at most %.1f", n, 100*rate, 100*most)
		}
	}
	f(10, 0.03)
	f(200, 0.03)
	f(maxFilterMeters, 0.30)
}
