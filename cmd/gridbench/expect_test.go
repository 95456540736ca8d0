package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

// TestExpectedWindows checks the plain computation against numbers worked out by
// hand, in windows of 100 ms with a bridging limit of 1000 ms.
func TestExpectedWindows(t *testing.T) {
	f := func(name string, kind gridloom.Kind, points []point, want map[gridloom.Millis]expected) {
		t.Helper()
		got := map[gridloom.Millis]expected{}
		for start, e := range expectWindows(kind, 100, 1000, points) {
			got[start] = *e
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(expected{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	f("a rise of 7 over 80 ms, 60 of them in the first window: floor(7·60/80) = 5", gridloom.Counter,
		[]point{{40, 0, 100}, {120, 0, 107}},
		map[gridloom.Millis]expected{
			0:   {n: 1, sum: 100, min: 100, max: 100, energy: 5, coverage: 60},
			100: {n: 1, sum: 107, min: 107, max: 107, energy: 2, coverage: 20},
		})
	f("a fall is suspect and energy goes on from before it", gridloom.Counter,
		[]point{{0, 0, 10}, {150, 0, 3}, {200, 0, 14}},
		map[gridloom.Millis]expected{
			0:   {n: 1, sum: 10, min: 10, max: 10, energy: 2, coverage: 100},
			100: {energy: 2, coverage: 100},
			200: {n: 1, sum: 14, min: 14, max: 14},
		})
	const minute = gridloom.Minute
	f("a register that starts again is decided by the third reading after a quarter of an hour, and counts from its first value on", gridloom.Counter,
		[]point{{0, 0, 5_000_000}, {10, 0, 7}, {10 + 14*minute, 0, 9}, {10 + 15*minute, 0, 12}},
		map[gridloom.Millis]expected{
			0:           {n: 2, sum: 5_000_007, min: 7, max: 5_000_000},
			14 * minute: {n: 1, sum: 9, min: 9, max: 9, energy: 2},
			15 * minute: {n: 1, sum: 12, min: 12, max: 12, energy: 3},
		})
	f("a register that wraps goes on from where its digits end", gridloom.Counter,
		[]point{{0, 0, 999_999_990}, {10, 0, 10}, {10 + 14*minute, 0, 12}, {10 + 15*minute, 0, 12}},
		map[gridloom.Millis]expected{
			0:           {n: 2, sum: 1_000_000_000, min: 10, max: 999_999_990, energy: 20, coverage: 10},
			14 * minute: {n: 1, sum: 12, min: 12, max: 12, energy: 2},
			15 * minute: {n: 1, sum: 12, min: 12, max: 12},
		})
	f("a register that wraps shows no less than zero", gridloom.Counter,
		[]point{{0, 0, 999_999_990}, {10, 0, -10}, {10 + 14*minute, 0, 12}, {10 + 15*minute, 0, 12}},
		map[gridloom.Millis]expected{
			0:           {n: 2, sum: 999_999_980, min: -10, max: 999_999_990},
			14 * minute: {n: 1, sum: 12, min: 12, max: 12, energy: 22},
			15 * minute: {n: 1, sum: 12, min: 12, max: 12},
		})
	f("one sample that no use explains is set aside", gridloom.Counter,
		[]point{{0, 0, 50_000_000}, {150, 0, 3}, {200, 0, 50_000_004}},
		map[gridloom.Millis]expected{
			0:   {n: 1, sum: 50_000_000, min: 50_000_000, max: 50_000_000, energy: 2, coverage: 100},
			100: {energy: 2, coverage: 100},
			200: {n: 1, sum: 50_000_004, min: 50_000_004, max: 50_000_004},
		})
	f("a long gap is caught up in the window of its last millisecond", gridloom.Counter,
		[]point{{0, 0, 10}, {2000, 0, 50}},
		map[gridloom.Millis]expected{
			0:    {n: 1, sum: 10, min: 10, max: 10},
			1900: {energy: 40},
			2000: {n: 1, sum: 50, min: 50, max: 50},
		})
	f("a gauge holds until the next reading", gridloom.Gauge,
		[]point{{50, 0, -4}, {120, 0, 6}},
		map[gridloom.Millis]expected{
			0:   {n: 1, sum: -4, min: -4, max: -4, coverage: 50, weighted: -200},
			100: {n: 1, sum: 6, min: 6, max: 6, coverage: 20, weighted: -80},
		})
	f("a share of a negative amount rounds down", gridloom.Interval,
		[]point{{50, 100, -5}},
		map[gridloom.Millis]expected{
			0:   {n: 1, sum: -5, min: -5, max: -5, energy: -3, coverage: 50},
			100: {energy: -2, coverage: 50},
		})
	f("of two intervals the shorter counts where both are", gridloom.Interval,
		[]point{{0, 90, 9}, {30, 30, 600}},
		map[gridloom.Millis]expected{0: {n: 2, sum: 609, min: 9, max: 600, energy: 606, coverage: 90}})
	f("of two equal ones the earlier", gridloom.Interval,
		[]point{{0, 60, 60}, {30, 60, 6000}},
		map[gridloom.Millis]expected{0: {n: 2, sum: 6060, min: 60, max: 6000, energy: 60 + 3000, coverage: 90}})
}
