package query

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

// gapMeter is a counter's history by the quarter of an hour: what it counted, and which
// of its readings came.
type gapMeter struct {
	meter    string
	from     gridloom.Millis
	values   []int64 // at from + i quarters
	came     []bool
	readings []gridloom.Reading
}

const quarter = 15 * gridloom.Minute

// newGapMeter makes a meter of which nothing came in the holes, which are quarters [a, b).
func newGapMeter(t testing.TB, meter string, from gridloom.Millis, use []int64, holes [][2]int) *gapMeter {
	t.Helper()
	m := &gapMeter{meter: meter, from: from, came: make([]bool, len(use)+1)}
	value := int64(5_000_000)
	for i := range len(use) + 1 {
		m.values = append(m.values, value)
		if i < len(use) {
			value += use[i]
		}
		m.came[i] = true
		for _, h := range holes {
			m.came[i] = m.came[i] && (i < h[0] || i >= h[1])
		}
		if m.came[i] {
			at := from + gridloom.Millis(i)*quarter
			m.readings = append(m.readings, gridloom.Reading{
				Meter: meter, Register: register(t, "energy_import"), Start: at, Value: m.values[i], LoggedAt: at + gridloom.Second, Sequence: uint64(i + 1),
			})
		}
	}
	return m
}

// gapWorld serves the meters, some of their panes in segments and some in tails, with all of their readings.
func gapWorld(t *testing.T, meters ...*gapMeter) string {
	t.Helper()
	w := newWorld(t)
	var rows []gridloom.Reading
	now := gridloom.Millis(0)
	for _, m := range meters {
		rows = append(rows, m.readings...)
		now = max(now, m.from+gridloom.Millis(len(m.values))*quarter)
	}
	now += gridloom.Day
	w.cfg.Now, w.logged = func() gridloom.Millis { return now }, now
	panes := foldAll(w.cfg.Window, rows, now-gridloom.DefaultLateness)
	w.commit(panes[:len(panes)/2], rows)
	w.hold(panes[len(panes)/2:], nil)
	return w.serve()
}

func energyOf(t testing.TB, r row) int64 {
	t.Helper()
	whole, fraction, _ := strings.Cut(r["energy"], ".")
	v, err := strconv.ParseInt(whole+(fraction + "000")[:3], 10, 64)
	if err != nil {
		t.Fatalf("energy %q: %v", r["energy"], err)
	}
	return v
}

func startOfRow(t testing.TB, r row) gridloom.Millis {
	t.Helper()
	at, err := gridloom.ParseInstant(r["start"])
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestFilledWindowsKeepWhatTheRegisterCounted: whatever is missing and however it is
// filled, up to each reading the windows add up to the register; by day and month too;
// and a window says the same whatever span it is asked in.
func TestFilledWindowsKeepWhatTheRegisterCounted(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	zone, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	from := startOf(civilOf(2026, 9, 20), zone)
	days := 40
	var meters []*gapMeter
	for i := range 2 {
		use := make([]int64, days*96)
		for q := range use {
			use[q] = rng.Int64N(100_000) * int64(1+q%96/32)
			if i == 1 && q%96 < 90 { // hardly anything, and nothing in most slots
				use[q] = rng.Int64N(3) / 2
			}
		}
		holes := [][2]int{{31*96 + 40, 32*96 + 70}} // a Wednesday and a Thursday
		for at := 96; at < 24*96; at += 1 + rng.IntN(900) {
			n := []int{1, 5, 8, 9, 30, 96, 400}[rng.IntN(7)]
			holes = append(holes, [2]int{at, at + n})
			at += n
		}
		meters = append(meters, newGapMeter(t, fmt.Sprintf("m%d", i), from, use, holes))
	}
	address := gapWorld(t, meters...)
	end := from + gridloom.Millis(days)*gridloom.Day
	for _, m := range meters {
		path := func(fill, rest string, from, to gridloom.Millis) string {
			return fmt.Sprintf("%s/api/v1/windows?meter=%s&register=energy_import&tz=Europe/Amsterdam&fill=%s&from=%d&to=%d%s", address, m.meter, fill, from, to, rest)
		}
		marks := map[string]int{}
		for _, fill := range fillNames {
			rows := rowsOf(t, path(fill, "", from, end))
			after := map[gridloom.Millis]int64{} // energy up to an instant
			sums := map[string]int64{}
			total := int64(0)
			byStart := map[string]row{}
			for _, r := range rows {
				start := startOfRow(t, r)
				if fill != "none" && start != from+gridloom.Millis(len(after))*quarter {
					t.Fatalf("%s fill=%s: a window at %s follows %d others from %s on", m.meter, fill, start, len(after), from)
				}
				total += energyOf(t, r)
				after[start+quarter] = total
				sums[r["local_start"][:10]] += energyOf(t, r)
				sums[r["local_start"][:7]] += energyOf(t, r)
				byStart[r["start"]] = r
				for _, q := range []string{"CATCHUP", "ESTIMATED_LIKEDAY", "MISSING|", "ESTIMATED_LINEAR"} {
					if strings.Contains(r["quality"]+"|", q) {
						marks[fill+" "+q]++
					}
				}
			}
			for i, v := range m.values[1:] {
				at := from + gridloom.Millis(i+1)*quarter
				if got, ok := after[at]; m.came[i+1] && (!ok || got != v-m.values[0]) {
					t.Fatalf("%s fill=%s: up to the reading of %s windows add up to %d, want %d", m.meter, fill, at, got, v-m.values[0])
				}
			}
			for step, layout := range map[string]int{"1d": 10, "1mo": 7, "1d&group_by=register": 10} {
				coarse := rowsOf(t, path(fill, "&step="+step, from, end))
				if len(coarse) < 2 {
					t.Fatalf("step=%s has %d rows", step, len(coarse))
				}
				for _, r := range coarse {
					if name := r["local_start"][:layout]; energyOf(t, r) != sums[name] {
						t.Errorf("%s fill=%s step=%s: %s has %d, its windows %d", m.meter, fill, step, name, energyOf(t, r), sums[name])
					}
				}
			}
			spans := [][2]int{{31*96 + 60, 31*96 + 61}, {31*96 + 20, 31*96 + 41}, {32*96 + 69, 32*96 + 80}} // within the long gap, and over its ends
			for range 3 {
				a := rng.IntN(days*96 - 1)
				spans = append(spans, [2]int{a, min(a+1+rng.IntN(200), days*96)})
			}
			for _, span := range spans {
				a, b := from+gridloom.Millis(span[0])*quarter, from+gridloom.Millis(span[1])*quarter
				for _, r := range rowsOf(t, path(fill, "", a, b)) {
					if diff := cmp.Diff(byStart[r["start"]], r); diff != "" {
						t.Fatalf("%s fill=%s: asked from %s to %s alone (-whole +part)\n%s", m.meter, fill, a, b, diff)
					}
				}
				for _, r := range rowsOf(t, path(fill, "&as_of=now", a, b)) {
					if whole := byStart[r["start"]]; r["energy"] != whole["energy"] || r["quality"] != whole["quality"] {
						t.Fatalf("%s fill=%s as_of=now: %v, want %v", m.meter, fill, r, whole)
					}
				}
			}
		}
		if marks["none CATCHUP"] == 0 || marks["linear CATCHUP"]+marks["like_day CATCHUP"] != 0 || marks["none ESTIMATED_LIKEDAY"]+marks["linear ESTIMATED_LIKEDAY"] != 0 || marks["like_day ESTIMATED_LIKEDAY"] == 0 {
			t.Errorf("%s: marks %v", m.meter, marks)
		}
		if marks["linear MISSING|"] != marks["like_day MISSING|"] || marks["linear MISSING|"] <= marks["none MISSING|"] {
			t.Errorf("%s: what is filled is not told as missing: %v", m.meter, marks)
		}
	}
}

// TestLikeDayIsTheMeanOfTheLastDaysOfItsType compares with a plain reading of the rule,
// over the night on which the clock is put back, and with that day as a model.
func TestLikeDayIsTheMeanOfTheLastDaysOfItsType(t *testing.T) {
	// Saturday the 10th lacks two hours; Monday the 19th and Sunday the 11th a reading, which is still measured by the hour.
	checkLikeDay(t, "2026-10-22 15:30", "2026-10-27 09:15", 5*96+4-25,
		[2]string{"2026-10-10 03:15", "2026-10-10 05:00"}, [2]string{"2026-10-19 08:15", "2026-10-19 08:30"}, [2]string{"2026-10-11 08:15", "2026-10-11 08:30"})
	checkLikeDay(t, "2026-11-06 10:00", "2026-11-09 12:15", 3*96+9)
}

func checkLikeDay(t *testing.T, begin, end string, windows int, holes ...[2]string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(6, 6))
	zone, err := time.LoadLocation("Europe/Amsterdam")
	if err != nil {
		t.Fatal(err)
	}
	from := startOf(civilOf(2026, 9, 1), zone)
	use := make([]int64, 75*96)
	for q := range use {
		use[q] = 1000 + rng.Int64N(1_000_000)
	}
	place := func(at string) int {
		local, err := time.ParseInLocation("2006-01-02 15:04", at, zone)
		if err != nil {
			t.Fatal(err)
		}
		return int((gridloom.MillisOf(local) - from) / quarter)
	}
	local := func(i int) time.Time { return (from + gridloom.Millis(i)*quarter).Time().In(zone) }
	gapFrom, gapTo := place(begin), place(end)
	missing := [][2]int{{gapFrom + 1, gapTo}}
	for _, h := range holes {
		missing = append(missing, [2]int{place(h[0]), place(h[1])})
	}
	m := newGapMeter(t, "m1", from, use, missing)
	address := gapWorld(t, m)

	// What flowed between readings, evenly where some are missing, by date and label.
	flowed := map[string][]*big.Rat{}
	broken := map[string]bool{}
	for i := 0; i < len(use); {
		j := i + 1
		for !m.came[j] {
			j++
		}
		for k := i; k < j; k++ {
			at := local(k)
			label := at.Format("2006-01-02 15:04")
			flowed[label] = append(flowed[label], big.NewRat(m.values[j]-m.values[i], int64(j-i)))
			broken[at.Format(time.DateOnly)] = broken[at.Format(time.DateOnly)] || j-i > 5
		}
		i = j
	}
	kind := func(d time.Time) string {
		if w := d.Weekday(); w == time.Saturday || w == time.Sunday {
			return w.String()
		}
		return "working day"
	}
	mean := func(all []*big.Rat) *big.Rat {
		sum := new(big.Rat)
		for _, v := range all {
			sum.Add(sum, v)
		}
		return sum.Quo(sum, big.NewRat(int64(len(all)), 1))
	}
	model := func(at time.Time) *big.Rat {
		var days []*big.Rat
		y, mo, d := local(gapFrom).Date()
		for back := 1; back <= 56 && len(days) < 4; back++ {
			day := time.Date(y, mo, d-back, 12, 0, 0, 0, zone)
			if date := day.Format(time.DateOnly); kind(day) == kind(at) && !broken[date] {
				days = append(days, mean(flowed[date+at.Format(" 15:04")]))
			}
		}
		if len(days) < 3 {
			t.Fatalf("%s has %d days as its model", at, len(days))
		}
		return mean(days)
	}
	total := new(big.Rat)
	means := map[string]*big.Rat{}
	for i := gapFrom; i < gapTo; i++ {
		start := local(i).UTC().Format(time.RFC3339)
		means[start] = model(local(i))
		total.Add(total, means[start])
	}
	amount := big.NewRat(m.values[gapTo]-m.values[gapFrom], 1)

	rows := rowsOf(t, fmt.Sprintf("%s/api/v1/windows?meter=m1&register=energy_import&tz=Europe/Amsterdam&fill=like_day&from=%d&to=%d",
		address, from+gridloom.Millis(gapFrom)*quarter, from+gridloom.Millis(gapTo)*quarter))
	if len(rows) != gapTo-gapFrom || len(rows) != windows {
		t.Fatalf("%d rows, want %d, which is %d", len(rows), gapTo-gapFrom, windows)
	}
	got := int64(0)
	for _, r := range rows {
		want := new(big.Rat).Quo(means[r["start"]], total)
		want.Mul(want, amount)
		off := new(big.Rat).Sub(want, big.NewRat(energyOf(t, r), 1))
		if off.Abs(off).Cmp(big.NewRat(3, 1)) > 0 { // means are rounded to a thousandth of a Wh, and parts
			t.Errorf("%s: %d, want %s", r["local_start"], energyOf(t, r), want.FloatString(1))
		}
		if r["quality"] != "ESTIMATED_LIKEDAY|MISSING" || r["coverage"] != "0" {
			t.Errorf("%s: quality %s, coverage %s", r["local_start"], r["quality"], r["coverage"])
		}
		got += energyOf(t, r)
	}
	if want := m.values[gapTo] - m.values[gapFrom]; got != want {
		t.Errorf("the gap has %d, the register counted %d", got, want)
	}
}

// TestGapsThatAreNotFilledSaySo: one too long, one without an end, one without models, one across an exchange.
func TestGapsThatAreNotFilledSaySo(t *testing.T) {
	const day = 96
	steady := func(days int) []int64 { return slices.Repeat([]int64{50_000}, days*day) }
	long := newGapMeter(t, "long", t0, steady(92), [][2]int{{28*day + 1, 90 * day}})      // 62 days
	longer := newGapMeter(t, "longer", t0, steady(66), [][2]int{{2*day + 1, 64*day + 1}}) // and a quarter
	endless := newGapMeter(t, "endless", t0, steady(5), [][2]int{{4*day + 1, 6 * day}})
	young := newGapMeter(t, "young", t0, steady(6), [][2]int{{3 * day, 4 * day}}) // two working days before it
	wraps := newGapMeter(t, "wraps", t0, steady(18), [][2]int{{17 * day, 17*day + 13}})
	for i := range wraps.readings {
		r := &wraps.readings[i]
		if r.Value += 999_600_000 - wraps.values[17*day-1]; r.Value >= 1_000_000_000 {
			r.Value -= 1_000_000_000
		}
		r.Start += 7 * gridloom.Minute // off the bounds of windows
	}
	exchanged := newGapMeter(t, "exchanged", t0, steady(20), [][2]int{{17 * day, 18 * day}})
	for i := range exchanged.readings {
		if exchanged.readings[i].Serial = "A"; exchanged.readings[i].Start >= t0+18*gridloom.Day {
			exchanged.readings[i].Serial = "B"
		}
	}
	soon := newGapMeter(t, "soon", t0, steady(20), [][2]int{{17 * day, 18 * day}}) // in the window that the gap ends in
	for i := range soon.readings {
		r := &soon.readings[i]
		if r.Start += 7 * gridloom.Minute; r.Start > t0+18*gridloom.Day+quarter {
			r.Start, r.Value, r.Serial = r.Start-10*gridloom.Minute, r.Value-soon.values[18*day], "B"
		} else {
			r.Serial = "A"
		}
	}
	address := gapWorld(t, long, longer, endless, young, wraps, exchanged, soon)
	count := func(meter, fill string) (rows int, energy int64, quality map[string]int) {
		quality = map[string]int{}
		for _, r := range rowsOf(t, fmt.Sprintf("%s/api/v1/windows?meter=%s&register=energy_import&fill=%s&from=%d&to=%d", address, meter, fill, t0, t0+100*gridloom.Day)) {
			rows++
			energy += energyOf(t, r)
			for q := range strings.SplitSeq(r["quality"], "|") {
				quality[q]++
			}
		}
		return rows, energy, quality
	}
	f := func(meter string, filled bool, estimate string) {
		t.Helper()
		rows, energy, before := count(meter, "none")
		got, sum, after := count(meter, "like_day")
		if sum != energy {
			t.Errorf("%s: filled windows add up to %d, the others to %d", meter, sum, energy)
		}
		if filled != (got > rows) || after["CATCHUP"] > before["CATCHUP"] || filled && (after["CATCHUP"] != 0 || after[estimate] <= before[estimate]) {
			t.Errorf("%s: %d windows %v became %d %v, filled by %q is %t", meter, rows, before, got, after, estimate, filled)
		}
	}
	f("long", true, "ESTIMATED_LIKEDAY")
	last := rowsOf(t, fmt.Sprintf("%s/api/v1/windows?meter=long&register=energy_import&fill=like_day&from=%d&to=%d", address, t0+90*gridloom.Day-quarter, t0+90*gridloom.Day))
	if len(last) != 1 || last[0]["quality"] != "ESTIMATED_LIKEDAY|MISSING" || last[0]["energy"] != "50" {
		t.Errorf("the last window of the long gap, asked for alone: %v", last)
	}
	f("longer", false, "")
	f("endless", false, "")
	f("young", true, "ESTIMATED_LINEAR")
	f("wraps", true, "ESTIMATED_LIKEDAY")
	f("exchanged", false, "")
	f("soon", false, "")
	if _, _, q := count("soon", "none"); q["EXCHANGE"] != 1 || q["CATCHUP"] != 1 {
		t.Errorf("the device that is exchanged where its gap ends shows %v", q)
	}
	if _, _, q := count("wraps", "none"); q["ROLLOVER"] == 0 || q["CATCHUP"] == 0 {
		t.Errorf("the register that wraps in its gap shows %v", q)
	}
	if _, _, q := count("longer", "linear"); q["CATCHUP"] != 1 {
		t.Errorf("the longer gap shows %v", q)
	}
}

func TestFillIsForCounters(t *testing.T) {
	address := newWorld(t).serve()
	f := func(query, detail string) {
		t.Helper()
		if a := get(t, address+"/api/v1/windows?"+query); a.code != 400 || !strings.Contains(a.body, detail) {
			t.Errorf("%s = %d %s, want 400 with %q", query, a.code, a.body, detail)
		}
	}
	f("fill=cubic", "want none, linear, like_day")
	f("fill=linear&register=power_import", "power_import is no counter (gauge)")
	f("fill=like_day&register=energy_import,energy_import_interval", "energy_import_interval is no counter (interval)")
	if a := get(t, address+"/api/v1/windows?fill=none&register=power_import"); a.code != 200 {
		t.Errorf("fill=none = %d %s", a.code, a.body)
	}
	if a := get(t, address+"/api/v1/windows?fill=like_day"); a.code != 200 {
		t.Errorf("fill=like_day of all registers = %d %s", a.code, a.body)
	}
}

// BenchmarkFill asks for a year of one meter by day, as it is stored and filled.
func BenchmarkFill(b *testing.B) {
	panes := make([]gridloom.Pane, 365*96)
	cfg := window.Defaults()
	for i := range panes {
		start := t0 + gridloom.Millis(i)*quarter
		panes[i] = gridloom.Pane{Meter: "m1", Register: register(b, "energy_import"), Start: start, Length: cfg.Width, Closed: true, N: 1, Coverage: cfg.Width, Energy: 1000, HasEnergy: true, FirstAt: start, LastAt: start}
	}
	for _, mode := range fillNames {
		b.Run(mode, func(b *testing.B) {
			for b.Loop() {
				var out paneSink = discardPanes{}
				if mode != "none" {
					f := &fill{from: t0, to: t0 + 365*gridloom.Day, width: cfg.Width, next: out}
					if mode == "like_day" {
						f.days = newLikeDays(cfg.Width, nil, nil)
					}
					out = f
				}
				for i := range panes {
					if err := out.take(&panes[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(panes)), "ns/pane")
		})
	}
}

type discardPanes struct{}

func (discardPanes) take(*gridloom.Pane) error { return nil }
func (discardPanes) end() error                { return nil }
