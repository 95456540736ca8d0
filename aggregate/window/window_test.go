package window_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

func TestSumThatDoesNotFitIsClamped(t *testing.T) {
	c := window.Defaults()
	for _, v := range []int64{gridloom.MaxValue, -gridloom.MaxValue} {
		var rows []window.Reading
		for i := range 9224 {
			rows = append(rows, window.Reading{Start: day1 + gridloom.Millis(i), Value: v})
		}
		f := func(rows []window.Reading, want int64, quality gridloom.Quality) {
			t.Helper()
			ps := foldAll(c, gridloom.Event, rows, day1)
			if ps[0].Sum != want || ps[0].Quality&gridloom.Range != quality {
				t.Errorf("sum of %d × %d = %d, %s; want %d, %s", len(rows), v, ps[0].Sum, ps[0].Quality, want, quality)
			}
		}
		sign := v / gridloom.MaxValue
		f(rows[:9223], 9223*v, 0)
		f(rows, sign*math.MaxInt64, gridloom.Range)
		// What goes over and comes back is exact: the sum does not depend on the way.
		back := window.Reading{Start: day1 + 10_000, Value: -v}
		f(append(rows, back), 9223*v, 0)
	}
}

func TestSamePaneLooksAtEveryColumn(t *testing.T) {
	ignored := map[string]bool{"Meter": true, "Register": true, "Revision": true, "ComputedAt": true}
	base := gridloom.Pane{Start: day1, Carry: []byte{1}}
	for i := range reflect.TypeFor[gridloom.Pane]().NumField() {
		other := base
		field := reflect.TypeFor[gridloom.Pane]().Field(i)
		switch v := reflect.ValueOf(&other).Elem().Field(i); v.Kind() {
		case reflect.String:
			v.SetString("x")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int64:
			v.SetInt(77)
		case reflect.Uint16, reflect.Uint32, reflect.Uint64:
			v.SetUint(77)
		case reflect.Slice:
			v.Set(reflect.ValueOf([]byte(nil)))
		case reflect.Struct:
			v.Set(reflect.ValueOf(gridloom.Int128{Lo: 1}))
		default:
			t.Fatalf("pane has a column of kind %s", v.Kind())
		}
		if got := window.SamePane(&base, &other); got != ignored[field.Name] {
			t.Errorf("SamePane of panes that differ in %s = %t", field.Name, got)
		}
	}
	if got, again := (gridloom.Pane{Carry: []byte{}}), (gridloom.Pane{}); window.SamePane(&got, &again) {
		t.Error("SamePane of an empty carry and none = true")
	}
}

func TestEmptyPaneIsUnlikeAnyOther(t *testing.T) {
	if p := window.EmptyPane(day1, gridloom.Hour); !window.IsEmpty(&p) || !p.Closed || p.Start != day1 || p.Length != gridloom.Hour {
		t.Errorf("EmptyPane = %+v", p)
	}
	for _, k := range kinds {
		rng := rand.New(rand.NewPCG(5, uint64(k)))
		rows := randomSeries(rng, k, 200)
		for _, p := range foldAll(window.Config{Width: 5 * gridloom.Minute, Bridge: 10 * gridloom.Minute}, k, rows, 0) {
			if window.IsEmpty(&p) {
				t.Errorf("%s: IsEmpty(%+v)", k, p)
			}
		}
	}
}

func TestRefoldRefusesWhatDoesNotFit(t *testing.T) {
	c := window.Defaults()
	rows := []window.Reading{{Start: day1 - gridloom.Minute, Value: 1}, {Start: day1, Value: 2}, {Start: day1 + gridloom.Day, Value: 2}}
	var carry []byte
	for _, p := range foldAll(c, gridloom.Counter, rows, 0) {
		if p.Start == day1 {
			carry = p.Carry
		}
	}
	f := func(name string, bound gridloom.Millis, carry []byte, rows []window.Reading, want error) {
		t.Helper()
		if _, err := c.Refold(gridloom.Counter, bound, carry, rows); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: Refold = %v, want %v", name, err, want)
		}
	}
	f("as stored", day1, carry, rows[1:], nil)
	f("cut carry", day1, carry[:len(carry)-1], rows[1:], gridloom.ErrCorrupt)
	f("carry and more", day1, append(slices.Clone(carry), 0), rows[1:], gridloom.ErrCorrupt)
	f("carry of a later pane", day1-gridloom.Hour, carry, rows[1:], gridloom.ErrCorrupt)
	f("carry at the beginning", math.MinInt64, carry, rows[1:], gridloom.ErrCorrupt)
	f("row before the bound", day1, carry, rows, gridloom.ErrInvalid)
	f("bound within a window", day1+1, nil, rows[2:], gridloom.ErrInvalid)
}

// A refold from a stored carry that finds no accepted reading after it holds none of
// the panes that the next reading reaches back over, and has to say so.
func TestReadingThatReachesOverTheBoundIsDisorder(t *testing.T) {
	c := window.Config{Width: 15 * gridloom.Minute, Bridge: 30 * gridloom.Minute}
	before := window.Reading{Start: day1 - 10*gridloom.Minute, Value: 5}
	first := window.Reading{Start: day1, Value: 6}
	for _, k := range []gridloom.Kind{gridloom.Counter, gridloom.Gauge} {
		ps := foldAll(c, k, []window.Reading{before, first}, 0)
		carry := ps[len(ps)-1].Carry
		f := func(at gridloom.Millis, void bool, want window.Outcome) {
			t.Helper()
			s, err := c.Refold(k, day1, carry, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := window.Reading{Start: at, Value: 7, Void: void}
			if got := c.Add(k, &s, &r); got != want {
				t.Errorf("%s: Add at %s after a carry with a reading at %s = %s, want %s", k, at, before.Start, got, want)
			}
			if got := c.AffectedFrom(k, &s, &r); want == window.Disorder && got > before.Start.Floor(c.Width) {
				t.Errorf("%s: AffectedFrom(%s) = %s", k, at, got)
			}
		}
		f(day1+20*gridloom.Minute, false, window.Disorder) // exactly bridged
		f(day1+20*gridloom.Minute, true, window.Folded)
		f(day1+20*gridloom.Minute+1, false, window.Folded)
	}
	// A catch-up told at the bound belongs before it.
	far := window.Reading{Start: day1 - gridloom.Day, Value: 5}
	ps := foldAll(c, gridloom.Counter, []window.Reading{far, {Start: day1 + 1, Value: 6}}, 0)
	s, err := c.Refold(gridloom.Counter, day1, ps[len(ps)-1].Carry, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Add(gridloom.Counter, &s, &first); got != window.Disorder {
		t.Errorf("Add of a reading on the bound after a long gap = %s", got)
	}
}

// TestCombineIsTheFoldOfLongerWindows: what adds up over windows is what windows as long
// as the step would hold, and one step in two steps is one.
func TestCombineIsTheFoldOfLongerWindows(t *testing.T) {
	for _, k := range kinds {
		for seed := range uint64(runs(t)) {
			rng := rand.New(rand.NewPCG(seed, 600+uint64(k)))
			c := window.Config{Width: 15 * gridloom.Minute, Bridge: gridloom.Hour}
			rows := randomSeries(rng, k, 40)
			watermark := day1 + gridloom.Millis(rng.IntN(2000))*gridloom.Minute
			small := foldAll(c, k, rows, watermark)
			wide := c
			wide.Width = gridloom.Hour
			for _, w := range foldAll(wide, k, rows, watermark) {
				step := gridloom.WindowAt(w.Start, gridloom.Hour)
				in := slices.DeleteFunc(slices.Clone(small), func(p gridloom.Pane) bool { return !step.Contains(p.Start) })
				got, ok := c.Combine(k, step, watermark, in)
				// Where bounds and closings lie differs, and with them these bits and, at the
				// front, whether all is closed.
				const byWindow = gridloom.EstimatedLinear | gridloom.Derived | gridloom.Missing | gridloom.Late | gridloom.Historical
				w.Quality, got.Quality = w.Quality&^byWindow, got.Quality&^byWindow
				w.Carry = nil
				if got.Closed && !w.Closed {
					t.Fatalf("%s, seed %d: the step %s is closed before its window is", k, seed, step)
				}
				w.Closed = got.Closed
				if !ok || !window.SamePane(&w, &got) {
					t.Fatalf("%s, seed %d: Combine(%s) = %+v, want %+v", k, seed, step, got, w)
				}
			}
		}
	}
}

func TestStateAtRestStaysSmall(t *testing.T) {
	c := window.Defaults()
	for _, k := range kinds {
		var s window.State
		r := window.Reading{Start: day1}
		if k == gridloom.Interval {
			r.Length = 15 * gridloom.Minute
		}
		for range 10_000 {
			r.LoggedAt = r.Start
			r.Value++
			if o := c.Add(k, &s, &r); o != window.Folded {
				t.Fatal(o)
			}
			c.Close(k, &s, r.Start-c.Lateness, func(*gridloom.Pane) {})
			r.Start += 15 * gridloom.Minute
		}
		t.Logf("%s: %d bytes in memory, %d in a snapshot", k, s.Bytes(), len(window.AppendState(nil, &s)))
		if got := s.Bytes(); got > 800 {
			t.Errorf("%s: a state after 10,000 readings takes %d bytes", k, got)
		}
		// A register that was reset and never recovers is no worse.
		r.Value = -1
		for range 10_000 {
			c.Add(k, &s, &r)
			c.Close(k, &s, r.Start-c.Lateness, func(*gridloom.Pane) {})
			r.Start += 15 * gridloom.Minute
		}
		if got := s.Bytes(); got > 2500 {
			t.Errorf("%s: a state after a reset takes %d bytes", k, got)
		}
	}
}

// TestAReplacedStateKnowsTheWatermark: a late reading after a refold, before the next
// Close, needs no carry that lies further back than the reading itself asks for.
func TestAReplacedStateKnowsTheWatermark(t *testing.T) {
	c := window.Defaults()
	at := gridloom.Millis(1_769_999_400_000)
	var old window.State
	var rows []window.Reading
	for i := range gridloom.Millis(48) {
		r := window.Reading{Start: at + i*15*gridloom.Minute, Value: int64(i), LoggedAt: at + i*15*gridloom.Minute}
		rows = append(rows, r)
		c.Add(gridloom.Counter, &old, &r)
	}
	end := rows[47].Start
	c.Close(gridloom.Counter, &old, end, func(*gridloom.Pane) {})
	bound := old.Bound()
	s, err := c.Refold(gridloom.Counter, bound, old.Carry(), slices.DeleteFunc(rows, func(r window.Reading) bool { return r.Start < bound }))
	if err != nil {
		t.Fatal(err)
	}
	s.Replaces(&old)
	late := window.Reading{Start: end - 5*gridloom.Minute, Value: 46}
	if got, want := c.AffectedFrom(gridloom.Counter, &s, &late), c.AffectedFrom(gridloom.Counter, &old, &late); got != want {
		t.Errorf("AffectedFrom after the refold is %s, want %s as before", got, want)
	}
}
