package query

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // zones do not depend on the machine

	"github.com/gridloom/gridloom"
)

func testLimits() *Limits {
	var l Limits
	l.setDefaults()
	return &l
}

func TestInstants(t *testing.T) {
	now := t0 + gridloom.Day
	f := func(s, want string) {
		t.Helper()
		at, err := parseInstant(s, now, time.UTC)
		got := at.String()
		if err != nil {
			got = mendOf(err)
		}
		if !strings.Contains(got, want) {
			t.Errorf("parseInstant(%q) = %s, want %s", s, got, want)
		}
	}
	f("now", "2026-11-23T00:00:00Z")
	f("-7d", "2026-11-16T00:00:00Z")
	f("now-7d", "2026-11-16T00:00:00Z")
	f("now+1h", "2026-11-23T01:00:00Z")
	f("now 1h", "2026-11-23T01:00:00Z")
	f("-1d12h", "2026-11-21T12:00:00Z")
	f("-90m", "2026-11-22T22:30:00Z")
	f("-2w", "2026-11-09T00:00:00Z")
	f("2026-11-22T20:15:00Z", "2026-11-22T20:15:00Z")
	f("2026-11-22T21:15:00+01:00", "2026-11-22T20:15:00Z")
	f("2026-11-22T21:15:00 01:00", "2026-11-22T20:15:00Z") // a + that was not escaped
	f("1795378500123", "2026-11-22T20:15:00.123Z")
	f("1795378500", "seconds?")
	f("-1795378500123", "seconds?")
	f("", "want RFC 3339")
	f("-", "want whole numbers")
	f("7d", "want RFC 3339")
	f("-7", "seconds?")
	f("now-", "want whole numbers")
	f("now7d", "want RFC 3339")
	f("2026-11-22", "2026-11-22T00:00:00Z")
	f("2026-11", "2026-11-01T00:00:00Z")
	f("2026", "2026-01-01T00:00:00Z")
	f("1969", "between 1970 and 9999")
	f("2026-02-30", "want RFC 3339")
	f("2026-11-22T20", "want RFC 3339")
	f("2026-11-22T20:15:00", "want RFC 3339")
	f("99999999999999999", "between 1970 and 9999")
	f("-9999999w", "1000 years")
}

func TestSpans(t *testing.T) {
	f := func(s string, want gridloom.Millis) {
		t.Helper()
		if got, err := parseSpan(s); err != nil || got != want {
			t.Errorf("parseSpan(%q) = %d, %v, want %d", s, got, err, want)
		}
		if got, err := parseSpan(spanString(want)); err != nil || got != want {
			t.Errorf("parseSpan(%q) = %d, %v, want %d", spanString(want), got, err, want)
		}
	}
	f("15m", 15*gridloom.Minute)
	f("1h30m", 90*gridloom.Minute)
	f("1w", 7*gridloom.Day)
	f("1d1h1m1s1ms", gridloom.Day+gridloom.Hour+gridloom.Minute+gridloom.Second+1)
	f("500ms", 500)
	for _, bad := range []string{"", "0", "0m", "m", "15", "15 m", "-15m", "1.5h", "1y", "99999999999999999999s", "400000d"} {
		if got, err := parseSpan(bad); err == nil {
			t.Errorf("parseSpan(%q) = %d, want an error", bad, got)
		}
	}
}

func TestParametersSayHowToMendThem(t *testing.T) {
	f := func(query, wantParam, wantText string) {
		t.Helper()
		_, err := newParams(query, t0+gridloom.Day, testLimits()).windowsParams(15 * gridloom.Minute)
		checkProblem(t, query, err, wantParam, wantText)
	}
	f("meter=m1&from=-7d&to=now&step=1h", "", "")
	f("meters=m1,m2&register=energy_import,1-0:1.7.0&unit=", "", "")
	f("group_by=register&agg=avg&register=energy_import&unit=kWh&closed=true&as_of=-1h&partial=1&timeout=5m&format=csv", "", "")
	f("group_by=meter&register=energy_import_t1,energy_import_t2", "", "")
	f("step=10m", "step", "want a multiple of the window, which is 15m here, such as 1h")
	f("step=20m", "step", "want a multiple of the window")
	f("step=15", "step", "want 1d, 1w, 1mo, 3mo or 1y of the calendar, or whole numbers with h, m or s")
	f("step=400d", "step", "at most 366d")
	f("step=9000h", "step", "at most 366d")
	f("step=2y", "step", "at most 366d or 1y")
	f("step=0d", "step", "want 1d, 1w")
	f("step=5mo", "step", "want months that fill a year")
	f("step=1mo&tz=Europe/Amsterdam&from=2026-10&to=2026-11", "", "")
	f("tz=Amsterdam", "tz", "want a name of the IANA time zone database")
	f("tz=Local", "tz", "want a name of the IANA time zone database")
	f("tz=../etc/passwd", "tz", "want a name of the IANA time zone database")
	f("from=now&to=-1h", "from", "it must lie before to")
	f("from=yesterday", "from", "want RFC 3339 with an offset")
	f("to=1795378500", "to", "seconds?")
	f("from=-30000d", "from", "longer than the limit of 7320d")
	f("form=-7d", "form", `"form" is not a parameter here: known are meter, meters, register`)
	f("register=enery_import", "register", "alias or OBIS code")
	f("registers=", "registers", "alias or OBIS code")
	f("meter=", "meter", "1 to 128 bytes")
	f("meter="+strings.Repeat("x", 129), "meter", "1 to 128 bytes")
	f("meters="+manyMeters(1001), "meter", "1001 meters are named, the limit is 1000")
	f("unit=kWh", "unit", "name the registers that it is for")
	f("unit=kWh&register=power", "unit", `power cannot be given in "kWh", only in mW, W, kW, MW`)
	f("unit=kWh&register=energy_import,power", "unit", "power cannot be given")
	f("agg=sum", "agg", "it needs group_by=")
	f("group_by=site", "group_by", "want meter, register")
	f("group_by=meter", "group_by", "name the registers to join")
	f("group_by=meter&register=energy_import,power", "group_by", "cannot be joined")
	f("group_by=meter&register=power,voltage_l1", "group_by", "cannot be joined")
	f("group_by=register&agg=median", "agg", "want sum, avg, min, max")
	f("closed=yes", "closed", "want true or false")
	f("as_of=now%2B1h", "as_of", "it lies ahead of now")
	f("timeout=11m", "timeout", "at most 10m")
	f("from=-1d&from=-2d", "from", "give it once")
	f("a;b=1", "", "the query string cannot be read")
	f("meter=%zz", "", "escape each value")
	f("history=true", "history", "not a parameter here")
}

func manyMeters(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("m" + strings.Repeat("x", i%100) + string(rune('a'+i/100)))
	}
	return b.String()
}

func checkProblem(t *testing.T, query string, err error, wantParam, wantText string) {
	t.Helper()
	if wantText == "" {
		if err != nil {
			t.Errorf("%s = %v, want no error", query, err)
		}
		return
	}
	p := asProblem(err)
	if p == nil || p.parameter != wantParam || !strings.Contains(p.Error(), wantText) {
		t.Errorf("%s = %v, want parameter %q with %q", query, err, wantParam, wantText)
	}
}

func TestWindowsAreAskedForOnTheGridOfTheStep(t *testing.T) {
	f := func(query, from, to string) {
		t.Helper()
		q, err := newParams(query, t0+gridloom.Day, testLimits()).windowsParams(15 * gridloom.Minute)
		if err != nil || q.from.String() != from || q.to.String() != to {
			t.Errorf("%s = %s to %s, %v, want %s to %s", query, q.from, q.to, err, from, to)
		}
	}
	f("from=2026-11-22T10:01:00Z&to=2026-11-22T10:16:00Z", "2026-11-22T10:00:00Z", "2026-11-22T10:30:00Z")
	f("from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z&step=1h", "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z")
	f("from=2026-11-22T10:01:00Z&to=2026-11-22T11:00:01Z&step=1d", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z")
	f("", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z")
	f("from=2026-11-22T10:01:00Z&to=now&step=1mo", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
	f("from=2026-11-22&to=now&step=1w", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z") // Mondays
	f("from=2026-11-22&to=now&step=7d", "2026-11-19T00:00:00Z", "2026-11-26T00:00:00Z") // counted from 1970
	f("from=2026-10-25&to=2026-10-26&tz=Europe/Amsterdam", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
	f("from=2026-10&to=2026-11&step=1d&tz=Europe/Amsterdam", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z")
	f("from=2026-10-25&to=2026-10-26&step=24h&tz=Europe/Amsterdam", "2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z") // not the calendar's
	f("from=2026&to=2027&step=1y&tz=Asia/Kathmandu", "2025-12-31T18:15:00Z", "2026-12-31T18:15:00Z")
	f("from=2026-11-22T12:00:00%2B01:00&to=now&step=1y&tz=Pacific/Auckland", "2025-12-31T11:00:00Z", "2026-12-31T11:00:00Z")
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{
		"meter=m1&from=-7d&to=now&step=1h", "group_by=meter&register=energy_import&unit=kWh&agg=max", "as_of=2026-11-22T10:01:00Z",
		"meters=a,b,,&timeout=1w", "from=99999999999999999999", "step=9223372036854775807ms", "from=-99999999w&to=now+1ms", "%zz;;&&=",
		"step=1mo&tz=Europe/Amsterdam&from=2026-10&to=2026", "step=1d&tz=Asia/Kathmandu", "step=1d&tz=Africa/Monrovia&from=1970&to=1973", "step=12mo&from=9999&to=9999-12-31",
	} {
		f.Add(s)
	}
	const width = 15 * gridloom.Minute
	f.Fuzz(func(t *testing.T, query string) {
		q, err := newParams(query, t0, testLimits()).windowsParams(width)
		if err == nil {
			switch {
			case q.from >= q.to, q.from%width != 0, q.to%width != 0, q.grid.from != q.from, q.grid.to != q.to, q.grid.len() < 1:
				t.Errorf("%q = %d to %d by %+v", query, q.from, q.to, q.grid)
			case q.grid.step(0).Start != q.from, q.grid.step(q.grid.len()-1).End != q.to, q.grid.number(q.from) != 0, q.grid.number(q.to) != q.grid.len():
				t.Errorf("%q: steps do not fill %d to %d: %+v", query, q.from, q.to, q.grid)
			case q.timeout <= 0, q.timeout > maxDeadline, len(q.meters) > 1000, q.asOf > t0:
				t.Errorf("%q = %+v", query, q)
			}
		} else if asProblem(err) == nil {
			t.Errorf("%q: %v is no problem document", query, err)
		}
		if _, err := newParams(query, t0, testLimits()).readingsParams(); err != nil && asProblem(err) == nil {
			t.Errorf("%q: %v is no problem document", query, err)
		}
	})
}
