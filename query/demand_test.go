package query

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

// track is what one series did, minute by minute: how much flowed in each, or how long a
// gauge's value stood times its value, and which minutes nothing is known of.
type track struct {
	from    gridloom.Millis
	amount  []float64
	unknown []bool
}

// greatest returns the greatest sum over n minutes that begin in [a, b) at a multiple of
// stride, and how many were looked at.
func (k *track) greatest(a, b gridloom.Millis, n, stride int) (most float64, looked int) {
	most = math.Inf(-1)
	for at := a; at < b; at += gridloom.Minute {
		i := int((at - k.from) / gridloom.Minute)
		if (at/gridloom.Minute)%gridloom.Millis(stride) != 0 || i < 0 || i+n > len(k.amount) {
			continue
		}
		sum, known := 0.0, true
		for j := i; j < i+n; j++ {
			sum, known = sum+k.amount[j], known && !k.unknown[j]
		}
		if known {
			looked++
			most = max(most, sum)
		}
	}
	return most, looked
}

// TestDemandIsTheGreatestMean compares with a plain search over the readings, of a
// counter and a gauge that report off the grid and have gaps, over the night on which
// the clock is put back.
func TestDemandIsTheGreatestMean(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	zone, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	first := startOf(civilOf(2026, 10, 24), zone)
	const days = 4
	minutes := days*24*60 + 60 + 90 // an hour more on the night of the clock, and what intervals that begin before the end reach into
	end := first + gridloom.Millis(minutes)*gridloom.Minute
	w := newWorld(t)
	now := end + gridloom.Day
	w.cfg.Now, w.logged = func() gridloom.Millis { return now }, now
	tracks := map[string]*track{}
	var rows []gridloom.Reading
	for _, name := range []string{"energy_import", "power_import"} {
		k := &track{from: first, amount: make([]float64, minutes), unknown: make([]bool, minutes)}
		tracks[name] = k
		value, i := int64(1_000_000), 0
		for {
			at := first + gridloom.Millis(i)*gridloom.Minute
			rows = append(rows, gridloom.Reading{Meter: "m1", Register: register(t, name), Start: at, Value: value, LoggedAt: at + gridloom.Second, Sequence: uint64(len(rows) + 1)})
			step := []int{1, 1, 1, 2, 7, 15}[rng.IntN(6)]
			if rng.IntN(150) == 0 && i < minutes-600 {
				step = 121 + rng.IntN(200) // a gap: two hours are bridged
			}
			if i+step > minutes {
				for j := i; j < minutes; j++ {
					k.unknown[j] = true
				}
				break
			}
			rise := rng.Int64N(300_000) * int64(step)
			for j := i; j < i+step; j++ {
				k.unknown[j] = step > 120
				k.amount[j] = float64(rise) / float64(step)
				if name == "power_import" {
					k.amount[j] = float64(value) * float64(gridloom.Minute)
				}
			}
			i += step
			if value += rise; name == "power_import" {
				value = rng.Int64N(5_000_000) - 500_000
			}
		}
	}
	panes := foldAll(w.cfg.Window, rows, now-gridloom.DefaultLateness)
	w.commit(panes[:len(panes)/2], rows[:len(rows)/3])
	w.hold(panes[len(panes)/2:], rows[len(rows)/3:])
	address := w.serve()
	seen := 0
	for _, name := range []string{"energy_import", "power_import"} {
		for _, minutes := range []int{15, 30, 60} {
			for _, rest := range []string{"", "&sliding=true", "&as_of=now"} {
				for step, n := range map[string]int{"1d": days, "1mo": 1} {
					all := rowsOf(t, fmt.Sprintf("%s/api/v1/demand?meter=m1&register=%s&interval=%dm&step=%s&tz=Europe/Amsterdam&unit=W&from=%d&to=%d%s",
						address, name, minutes, step, first, first+days*gridloom.Day, rest))
					if len(all) != n {
						t.Fatalf("%s %dm %s%s: %d rows, want %d", name, minutes, step, rest, len(all), n)
					}
					for _, r := range all {
						seen++
						a := startOfRow(t, r)
						b, err := gridloom.ParseInstant(r["end"])
						if err != nil {
							t.Fatal(err)
						}
						stride := minutes
						if strings.Contains(rest, "sliding") {
							stride = 1
						}
						most, looked := tracks[name].greatest(a, b, minutes, stride)
						want := most * 60 / float64(minutes) / 1000
						if name == "power_import" {
							want = most / float64(minutes) / float64(gridloom.Minute) / 1000
						}
						got, err := strconv.ParseFloat(r["demand"], 64)
						if err != nil || math.Abs(got-want) > 0.02 || r["intervals"] != strconv.Itoa(looked) {
							t.Errorf("%s %dm %s%s: %s W of %s intervals, want %.3f of %d", name, minutes, r["local_start"], rest, r["demand"], r["intervals"], want, looked)
							continue
						}
						at, err := gridloom.ParseInstant(r["at"])
						if err != nil {
							t.Fatal(err)
						}
						if there, n := tracks[name].greatest(at, at+1, minutes, stride); n != 1 || math.Abs(there-most) > most*1e-6+10 {
							t.Errorf("%s %dm %s%s: at %s it was %.0f, the greatest is %.0f", name, minutes, r["local_start"], rest, r["at"], there, most)
						}
					}
				}
			}
		}
	}
	if seen < 80 {
		t.Errorf("%d rows were compared", seen)
	}
}

func TestDemandLeavesOutWhatNeedNotHaveFlowed(t *testing.T) {
	use := make([]int64, 3*96)
	for i := range use {
		use[i] = 250_000 // 1 kW
	}
	use[150], use[200] = 500_000, 1_000_000                  // 2 kW, and 4 that its device doubts
	m := newGapMeter(t, "m1", t0, use, [][2]int{{101, 140}}) // its catch-up would be 39 kW
	for i := range m.readings {
		r := &m.readings[i]
		switch at := r.Start - t0; {
		case at == 40*quarter:
			r.Value = 500_000_000 // one wrong sample
		case at == 201*quarter:
			r.Quality = gridloom.Suspect
		case at >= 220*quarter:
			r.Value += 100_000_000 // more than it can carry
		}
	}
	address := gapWorld(t, m)
	for _, rest := range []string{"", "&sliding=true"} {
		rows := rowsOf(t, fmt.Sprintf("%s/api/v1/demand?meter=m1&step=1mo&unit=kW&register=energy_import&from=%d&to=%d%s", address, t0, t0+3*gridloom.Day, rest))
		if len(rows) != 1 || rows[0]["demand"] != "2" || rows[0]["at"] != (t0+150*quarter).String() || rows[0]["unit"] != "kW" || rows[0]["closed"] != "false" {
			t.Errorf("%s: %v, want 2 kW at %s", rest, rows, t0+150*quarter)
		}
	}
}

func TestDemandParameters(t *testing.T) {
	address := newWorld(t).serve()
	f := func(query string, code int, detail string) {
		t.Helper()
		if a := get(t, address+"/api/v1/demand?"+query); a.code != code || !strings.Contains(a.body, detail) {
			t.Errorf("%s = %d %s, want %d with %q", query, a.code, a.body, code, detail)
		}
	}
	f("", 200, `"interval":"15m","sliding":false,"demand":[`)
	f("interval=7m", 400, "whole minutes that divide the hour")
	f("interval=90m", 400, "want 5m to 1h")
	f("interval=soon", 400, `"parameter":"interval"`)
	f("interval=10m", 400, "want a multiple of the window, which is 15m here, or sliding=true")
	f("interval=10m&sliding=true", 200, "")
	f("register=power_failures", 400, "events have no mean")
	f("register=energy_import&unit=kW", 200, "")
	f("register=energy_import&unit=kWh", 400, "the demand of energy_import cannot be given in")
	f("register=gas_volume&unit=L/h", 200, "")
	f("fill=linear", 400, "is not a parameter here")
	f("step=25m", 400, "want a multiple of the window")
}

// TestSlidingDemandNeedsReadings: where they are past retention it is refused, fixed demand is not.
func TestSlidingDemandNeedsReadings(t *testing.T) {
	w := retained(t, "energy_import", 9, t0+4*gridloom.Day, t0+2*gridloom.Day)
	address := w.serve()
	f := func(rest string, days gridloom.Millis, code int) {
		t.Helper()
		from := t0 + days*gridloom.Day
		a := get(t, fmt.Sprintf("%s/api/v1/demand?meter=m1&register=energy_import&from=%d&to=%d%s", address, from, from+gridloom.Day, rest))
		if a.code != code || code == 422 && !strings.Contains(a.body, "sliding=true needs them") {
			t.Errorf("day %d%s = %d %s, want %d", days, rest, a.code, a.body, code)
		}
	}
	f("", 3, 200)
	f("&sliding=true", 3, 422)
	f("&sliding=true", 4, 422)
	f("&sliding=true", 6, 200)
}

// TestDemandOfIntervals: an hour that lacks a quarter is none, and the hours after it are what they are.
func TestDemandOfIntervals(t *testing.T) {
	w := newWorld(t)
	var rows []gridloom.Reading
	for i := range gridloom.Millis(24) {
		if i == 2 || i == 13 {
			continue
		}
		at := t0 + i*quarter
		rows = append(rows, gridloom.Reading{
			Meter: "m1", Register: register(t, "energy_import_interval"), Start: at, Length: quarter, Value: 250_000, LoggedAt: at + quarter, Sequence: uint64(i + 1),
		})
	}
	w.hold(foldAll(w.cfg.Window, rows, t0+gridloom.Day), rows)
	address := w.serve()
	// What is known is twice 150 minutes: 91 hours begin at a full minute in each.
	for rest, want := range map[string][2]string{"": {"4", "2026-11-22T01:00:00Z"}, "&sliding=true": {"182", "2026-11-22T00:45:00Z"}} {
		got := rowsOf(t, fmt.Sprintf("%s/api/v1/demand?interval=1h&unit=kW&register=energy_import_interval&from=%d&to=%d%s", address, t0, t0+gridloom.Day, rest))
		if len(got) != 1 || got[0]["demand"] != "1" || got[0]["intervals"] != want[0] || got[0]["at"] != want[1] {
			t.Errorf("%s: %v, want 1 kW of %s intervals, the first at %s", rest, got, want[0], want[1])
		}
	}
}
