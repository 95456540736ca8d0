package query

import (
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// Limits bound what one request may ask for and how much of it runs at once. A
// zero field means its default.
type Limits struct {
	Span     gridloom.Millis // between from and to; default 20 years of 366 days
	Meters   int             // named in one request; default 1000
	Series   int             // in one answer of /readings or /windows; default 2,000,000
	Rows     int64           // in one answer; default 20,000,000
	Bytes    int64           // of one answer's body; default 8 GiB
	Steps    int64           // (group, step) sums held in memory for group_by; default 2,000,000
	Buffered int64           // rows of small segments and tails held in memory; default 2,000,000
	Records  int             // of registry or edits, read for one answer; default 2,000,000
	Open     int64           // bytes of segments read side by side where there are many; default 1 GiB, or half of GOMEMLIMIT if that is less
	Deadline time.Duration   // of one request unless it says timeout=; default 60 s, at most 10 min

	Queries   int           // answers being read at once; default 64
	Heavy     int           // of them, those that read more than HeavyRows; default 1
	HeavyRows int64         // default 200,000
	Wait      time.Duration // how long a query waits for its turn before it is told to come back; default 5 s
}

// maxDeadline is shorter than the readers' lease on files that compaction replaced.
const maxDeadline = 10 * time.Minute

func (l *Limits) setDefaults() {
	orDefault(&l.Span, 20*366*gridloom.Day)
	orDefault(&l.Meters, 1000)
	orDefault(&l.Series, 2_000_000)
	orDefault(&l.Rows, 20_000_000)
	orDefault(&l.Bytes, 8<<30)
	orDefault(&l.Steps, 2_000_000)
	orDefault(&l.Buffered, 2_000_000)
	orDefault(&l.Records, 2_000_000)
	orDefault(&l.Open, min(1<<30, debug.SetMemoryLimit(-1)/2)) // -1 only asks
	orDefault(&l.Deadline, time.Minute)
	orDefault(&l.Queries, 64)
	orDefault(&l.Heavy, 1)
	orDefault(&l.HeavyRows, 200_000)
	orDefault(&l.Wait, 5*time.Second)
	l.Deadline = min(l.Deadline, maxDeadline)
}

func orDefault[T ~int | ~int64](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// selection is what /readings and /windows have in common.
type selection struct {
	meters    []string              // sorted, without duplicates; nil is all
	registers []gridloom.RegisterID // sorted, without duplicates; nil is all
	from, to  gridloom.Millis       // [from, to)
	zone      *time.Location        // of dates and local times; nil: none was asked for, and dates are of UTC
	asOf      gridloom.Millis       // 0: the present state
	margin    gridloom.Millis       // how long after the bound of retention it must begin, with asOf
	partial   bool
	unit      string
	scale     int // decimal places of values
	timeout   time.Duration
	format    format
}

// grouping says which label the rows of /windows keep when series are joined.
type grouping uint8

const (
	noGrouping grouping = iota
	byMeter             // the chosen registers of each meter
	byRegister          // the meters of each register
)

// aggregation is how the values of several series in one step become one.
type aggregation uint8

const (
	aggSum aggregation = iota
	aggAvg
	aggMin
	aggMax
)

var (
	groupNames = []string{byMeter: "meter", byRegister: "register"}
	aggNames   = []string{aggSum: "sum", aggAvg: "avg", aggMin: "min", aggMax: "max"}
)

// windowsQuery is a request for /windows. from and to are those of the grid.
type windowsQuery struct {
	selection
	grid   grid
	closed bool
	fill   fillMode
	bands  *Calendar // nil: none
	group  grouping
	agg    aggregation
}

// readingsQuery is a request for /readings.
type readingsQuery struct {
	selection
	history bool
}

// params reads the query string of one request. The first failure sticks; what is
// read after it is not used.
type params struct {
	values url.Values
	known  []string
	now    gridloom.Millis
	limits *Limits
	zone   *time.Location // of dates
	err    error

	calendars []*Calendar
	ownZone   *time.Location                                                    // of the calendar that is asked for: the default of tz
	scaleOf   func(id gridloom.RegisterID, unit string) (places int, err error) // of unit=
}

func newParams(rawQuery string, now gridloom.Millis, limits *Limits) *params {
	values, err := url.ParseQuery(rawQuery)
	p := &params{values: values, now: now, limits: limits, zone: time.UTC, scaleOf: unitScale}
	if err != nil {
		p.err = &problem{
			kind: problemParameter, status: 400, detail: "the query string cannot be read: " + err.Error(),
			mend: "escape each value, such as + as %2B and & as %26", cause: gridloom.ErrInvalid,
		}
	}
	return p
}

func (p *params) fail(name, value, mend string) {
	if p.err == nil {
		p.err = badParam(name, value, mend)
	}
}

// done reports the first failure, an unknown parameter among them.
func (p *params) done() error {
	if p.err != nil {
		return p.err
	}
	for _, name := range sortedKeys(p.values) {
		if !slices.Contains(p.known, name) {
			return &problem{
				kind: problemParameter, status: 400, parameter: name, detail: fmt.Sprintf("%q is not a parameter here", name),
				mend: "known are " + strings.Join(p.known, ", "),
			}
		}
	}
	return nil
}

func sortedKeys(v url.Values) []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// one returns the only value of name, "" if it is not there or empty.
func (p *params) one(name string) string {
	p.known = append(p.known, name)
	vs := p.values[name]
	if len(vs) > 1 {
		p.fail(name, vs[1], "give it once")
	}
	if len(vs) == 0 {
		return ""
	}
	return vs[0]
}

func (p *params) flag(name string) bool {
	switch s := p.one(name); s {
	case "", "false", "0":
		return false
	case "true", "1":
		return true
	default:
		p.fail(name, s, "want true or false")
		return false
	}
}

func (p *params) choice(name string, names []string) (int, bool) {
	s := p.one(name)
	if s == "" {
		return 0, false
	}
	i := slices.Index(names, s)
	if i < 0 {
		p.fail(name, s, "want "+strings.Join(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" }), ", "))
	}
	return max(i, 0), i >= 0
}

func (p *params) count(name string, def, most int64) int64 {
	s := p.one(name)
	if s == "" {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > most {
		p.fail(name, s, fmt.Sprintf("want a whole number from 1 to %d", most))
		return def
	}
	return n
}

func (p *params) instant(name, def string) gridloom.Millis {
	s := p.one(name)
	if s == "" {
		s = def
	}
	at, err := parseInstant(s, p.now, p.zone)
	if err != nil {
		p.fail(name, s, mendOf(err))
	}
	return at
}

// mendOf returns what an ErrInvalid of a parser says, without the word that names the kind.
func mendOf(err error) string {
	return strings.TrimPrefix(err.Error(), gridloom.ErrInvalid.Error()+": ")
}

// span reads from and to: [from, to), the last day unless told otherwise.
func (p *params) span() (from, to gridloom.Millis) {
	to = p.instant("to", "now")
	def := fmt.Sprint(int64(max(to-gridloom.Day, leastMillis)))
	from = p.instant("from", def)
	switch {
	case p.err != nil:
	case from >= to:
		p.fail("from", from.String(), "it must lie before to, which is "+to.String())
	case to-from > p.limits.Span:
		p.err = overLimit("from", fmt.Sprintf("from %s to %s is longer than the limit of %s", from, to, spanString(p.limits.Span)),
			"ask for several shorter spans")
	}
	return from, to
}

// tz reads the zone of dates and of the calendar, nil if there is none.
func (p *params) tz() *time.Location {
	name := p.one("tz")
	if name == "" {
		if p.ownZone != nil {
			p.zone = p.ownZone
		}
		return p.ownZone
	}
	zone, err := loadZone(name)
	if err != nil {
		p.fail("tz", name, mendOf(err))
		return nil
	}
	p.zone = zone
	return zone
}

func spanString(s gridloom.Millis) string { return string(appendSpan(nil, s)) }

// meters reads meter=, taken as it stands and repeatable, and meters=, a list with commas.
func (p *params) meters() []string {
	p.known = append(p.known, "meter", "meters")
	ms := slices.Clone(p.values["meter"])
	for _, list := range p.values["meters"] {
		ms = append(ms, strings.Split(list, ",")...)
	}
	for _, m := range ms {
		if m == "" || len(m) > 128 || !utf8.ValidString(m) {
			p.fail("meter", m, "a meter id has 1 to 128 bytes of UTF-8")
		}
	}
	if p.values.Has("meters") && len(ms) == 0 {
		p.fail("meters", "", "name at least one")
	}
	slices.Sort(ms)
	ms = slices.Compact(ms)
	if len(ms) > p.limits.Meters && p.err == nil {
		p.err = overLimit("meter", fmt.Sprintf("%d meters are named, the limit is %d", len(ms), p.limits.Meters),
			"ask for them in several requests, or leave meter out for all")
	}
	return ms
}

// registers reads register= and registers=: aliases or OBIS codes, repeated or with commas.
func (p *params) registers() []gridloom.RegisterID {
	p.known = append(p.known, "register", "registers")
	var ids []gridloom.RegisterID
	for _, name := range []string{"register", "registers"} {
		for _, list := range p.values[name] {
			for s := range strings.SplitSeq(list, ",") {
				id, ok := gridloom.RegisterByName(s)
				if !ok {
					p.fail(name, s, "want the alias or OBIS code of a register, such as energy_import or 1-0:1.8.0")
				}
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (p *params) timeout() time.Duration {
	s := p.one("timeout")
	if s == "" {
		return p.limits.Deadline
	}
	span, err := parseSpan(s)
	if err != nil {
		p.fail("timeout", s, mendOf(err))
	} else if span.Duration() > maxDeadline {
		p.fail("timeout", s, "at most 10m")
	}
	return span.Duration()
}

func (p *params) selection() selection {
	var sel selection
	sel.meters, sel.registers = p.meters(), p.registers()
	sel.zone = p.tz()
	sel.from, sel.to = p.span()
	if s := p.one("as_of"); s != "" {
		at, err := parseInstant(s, p.now, p.zone)
		switch {
		case err != nil:
			p.fail("as_of", s, mendOf(err))
		case at > p.now:
			p.fail("as_of", s, "it lies ahead of now, which is "+p.now.String())
		}
		sel.asOf = at
	}
	sel.partial = p.flag("partial")
	sel.timeout = p.timeout()
	sel.unit, sel.scale = p.unit(sel.registers)
	return sel
}

// unit reads unit=, which every chosen register must fit.
func (p *params) unit(ids []gridloom.RegisterID) (unit string, scale int) {
	unit, scale = p.one("unit"), thousandths
	if unit == "" {
		return "", scale
	}
	if len(ids) == 0 {
		p.fail("unit", unit, "name the registers that it is for, such as register=energy_import&unit=kWh")
	}
	for _, id := range ids {
		places, err := p.scaleOf(id, unit)
		if err != nil {
			p.fail("unit", unit, mendOf(err))
		}
		scale = places
	}
	return unit, scale
}

// windowsParams reads a request for /windows over stored panes of the given width.
func (p *params) windowsParams(width gridloom.Millis) (windowsQuery, error) {
	q := windowsQuery{bands: p.calendar()} // first, as it tells the default of tz
	p.known = nil                          // and told among the last
	q.selection = p.selection()
	q.grid = p.grid(q.from, q.to, width)
	q.closed = p.flag("closed")
	q.fill = p.fill(q.registers)
	if i, ok := p.choice("group_by", groupNames); ok {
		q.group = grouping(i)
	}
	i, given := p.choice("agg", aggNames)
	q.agg = aggregation(i)
	if given && q.group == noGrouping {
		p.fail("agg", aggNames[q.agg], "it needs group_by=meter or group_by=register")
	}
	if q.group == byMeter {
		p.checkAddable(q.registers)
	}
	q.from, q.to = q.grid.from, q.grid.to
	p.known = append(p.known, "calendar", "format")
	return q, p.done()
}

// grid reads step=: the width of a window, a multiple of it, or a step of the
// calendar, whose bounds must lie where stored windows begin.
func (p *params) grid(from, to, width gridloom.Millis) grid {
	s := p.one("step")
	if s == "" || p.err != nil {
		return equalSteps(spanString(width), width, from, to)
	}
	step, isCalendar, err := parseCalendarStep(s)
	if err != nil {
		p.fail("step", s, mendOf(err))
	}
	if !isCalendar {
		return p.equalSteps(s, from, to, width)
	}
	if p.err != nil {
		return grid{}
	}
	g := calendarSteps(s, step, from, to, p.zone)
	if at, ok := g.misfit(width); ok && p.err == nil {
		name, value := "step", s
		if p.zone != time.UTC {
			name, value = "tz", p.zone.String()
		}
		p.err = &problem{
			kind: problemGrid, status: http.StatusUnprocessableEntity, parameter: name, value: value,
			detail: fmt.Sprintf("a step of %s in %s begins at %s, in the midst of a stored window of %s, whose energy is not known by parts", s, p.zone, at, spanString(width)),
			mend:   "ask for a zone whose clock is a multiple of " + spanString(width) + " away from UTC, for a step such as " + spanString(4*width) + ", or for the readings",
		}
	}
	return g
}

// equalSteps reads a step that is no step of the calendar.
func (p *params) equalSteps(s string, from, to, width gridloom.Millis) grid {
	step, err := parseSpan(s)
	switch {
	case err != nil:
		p.fail("step", s, calendarForms)
	case step%width != 0:
		p.fail("step", s, fmt.Sprintf("want a multiple of the window, which is %s here, such as %s", spanString(width), spanString(4*width)))
	case step > maxStepDays*gridloom.Day:
		p.fail("step", s, fmt.Sprintf("at most %dd", maxStepDays))
	}
	if p.err != nil {
		return grid{}
	}
	name := spanString(step)
	if step >= gridloom.Day {
		name = s // 24h is not a day of the calendar
	}
	return equalSteps(name, step, from, to)
}

// checkAddable refuses to join registers of one meter that do not measure the same.
func (p *params) checkAddable(ids []gridloom.RegisterID) {
	if len(ids) == 0 {
		p.fail("group_by", "meter", "name the registers to join, such as register=energy_import_t1,energy_import_t2")
		return
	}
	first := ids[0].Info()
	for _, id := range ids[1:] {
		r := id.Info()
		energy, firstEnergy := r.Kind <= gridloom.Interval, first.Kind <= gridloom.Interval
		if r.Unit != first.Unit || energy != firstEnergy || !energy && r.Kind != first.Kind {
			p.fail("group_by", "meter", fmt.Sprintf("%s (%s, %s) and %s (%s, %s) cannot be joined: choose registers of one unit and kind",
				first.Alias, first.Kind, first.Unit, r.Alias, r.Kind, r.Unit))
		}
	}
}

// readingsParams reads a request for /readings.
func (p *params) readingsParams() (readingsQuery, error) {
	q := readingsQuery{selection: p.selection(), history: p.flag("history")}
	p.known = append(p.known, "format")
	return q, p.done()
}
