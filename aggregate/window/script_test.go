package window_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
)

var update = flag.Bool("update", false, "write what the transcripts and the examples of docs/SEMANTICS.md and docs/registers.md print")

// TestTranscripts plays testdata/*.script. A line in the first column is a command
// (script.play lists them), an indented one what it printed, # a comment.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".script"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(b), got); d != "" {
				t.Errorf("transcript - played (-update writes it):\n%s", d)
			}
		})
	}
}

// TestExamplesOfThePages: each block of these pages that is fenced with
// "script NAME" is the transcript of that name, without its comments.
func TestExamplesOfThePages(t *testing.T) {
	examples(t, "../../docs/SEMANTICS.md", 10)
	examples(t, "../../docs/registers.md", 9)
	examples(t, "../../docs/editing.md", 1)
}

func examples(t *testing.T, page string, least int) {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	blocks := 0
	rest := string(b)
	for {
		before, after, found := strings.Cut(rest, "```script ")
		out.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(after, "\n")
		_, after, closed := strings.Cut(after, "```\n")
		if !closed {
			t.Fatalf("the block %s is not closed", name)
		}
		script, err := os.ReadFile("testdata/" + name + ".script")
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("```script " + name + "\n")
		for line := range strings.Lines(string(script)) {
			if !strings.HasPrefix(line, "#") {
				out.WriteString(line)
			}
		}
		out.WriteString("```\n")
		rest, blocks = after, blocks+1
	}
	if blocks < least {
		t.Errorf("%s has %d examples", page, blocks)
	}
	if *update {
		if err := os.WriteFile(page, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if d := cmp.Diff(string(b), out.String()); d != "" {
		t.Errorf("page - transcripts (-update writes it):\n%s", d)
	}
}

func replay(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	s := &script{t: t, out: &out, c: window.Defaults()}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line)
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			s.play(strings.Fields(line))
		}
	}
	return out.String()
}

// script plays the commands of a transcript on one series. Days are told by a
// suffix: 10:00 is on the first day, 10:00+1 on the next.
type script struct {
	t    *testing.T
	out  *strings.Builder
	c    window.Config
	a    *keeper
	seq  uint64
	at   gridloom.Millis // log time
	all  []window.Reading
	show string
}

func (s *script) play(f []string) {
	opt := map[string]string{}
	var args []string
	for _, w := range f[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			opt[k] = v
		} else {
			args = append(args, w)
		}
	}
	switch f[0] {
	case "config": // width=15m lateness=10m bridge=2h rating=43470 (an hour)
		for k, v := range opt {
			if k == "rating" {
				s.c.Rating = s.value(v)
				continue
			}
			*map[string]*gridloom.Millis{"width": &s.c.Width, "lateness": &s.c.Lateness, "bridge": &s.c.Bridge}[k] = s.length(v)
		}
	case "counter", "interval", "gauge", "event":
		k := gridloom.Kind(slices.Index([]string{"", "counter", "interval", "gauge", "event"}, f[0]))
		s.a = newKeeper(s.t, s.c, k, rand.New(rand.NewPCG(1, 1)))
	case "show": // carry: mark panes that hold one
		s.show = args[0]
	case "undo": // SEQUENCE TIME [length= logged=]: the reading of that time in the edit with that place in the log
		n, err := strconv.ParseUint(args[0], 10, 64)
		s.must(err)
		s.add(window.Reading{Start: s.time(args[1]), Void: true, Order: gridloom.NewUndo(n)}, opt)
	case "add": // TIME VALUE [length=30m] [order=9|edit] [quality=TEST] [serial=X] [logged=TIME]
		s.add(window.Reading{Start: s.time(args[0]), Value: s.value(args[1])}, opt)
	case "flood": // TIME VALUE COUNT, a millisecond apart
		n, err := strconv.Atoi(args[2])
		s.must(err)
		for i := range n {
			s.add(window.Reading{Start: s.time(args[0]) + gridloom.Millis(i), Value: s.value(args[1])}, opt)
		}
	case "void": // TIME [length= order= logged=]
		s.add(window.Reading{Start: s.time(args[0]), Void: true}, opt)
	case "watermark": // TIME: what closes
		s.a.settle()
		at := s.time(args[0])
		var ps []gridloom.Pane
		s.a.c.Close(s.a.k, &s.a.state, at, func(p *gridloom.Pane) {
			ps = append(ps, *p)
			s.a.stored[p.Start] = *p
		})
		s.a.watermark = at
		s.panes(ps)
	case "panes": // what a query sees
		s.panes(s.a.view())
	case "as-of": // TIME: what a query saw that looked then
		s.panes(s.asOf(s.time(args[0])))
	case "step": // FROM TO: one pane of all in the span
		w := gridloom.Window{Start: s.time(args[0]), End: s.time(args[1])}
		in := slices.DeleteFunc(s.a.view(), func(p gridloom.Pane) bool { return !w.Contains(p.Start) })
		if p, ok := s.c.Combine(s.a.k, w, s.a.watermark, in); ok {
			s.panes([]gridloom.Pane{p})
		} else {
			fmt.Fprintln(s.out, "  nothing")
		}
	case "last": // the newest reading
		i, _ := s.a.state.Last()
		v := decimal(i.Value)
		if i.Void {
			v = "void"
		}
		order := fmt.Sprint(uint64(i.Order))
		if i.Order.Class() == gridloom.ClassEdit {
			order = "edit"
		}
		fmt.Fprintf(s.out, "  %s %s order %s\n", clock(i.Start), v, order)
	case "crash": // encode and decode the state
		s.a.crash()
	case "holds": // how many panes the state holds that were not emitted, and its bound
		b := "the beginning"
		if x := s.a.state.Bound(); x > 0 {
			b = clock(x)
		}
		fmt.Fprintf(s.out, "  %d open, bound %s\n", s.a.state.OpenPanes(), b)
	default:
		s.t.Fatalf("no command %q", f[0])
	}
}

func (s *script) add(r window.Reading, opt map[string]string) {
	s.seq++
	r.Sequence, r.Serial = s.seq, opt["serial"]
	if v := opt["length"]; v != "" {
		r.Length = s.length(v)
	}
	s.at = max(s.at, r.Start+r.Length)
	if v := opt["logged"]; v != "" {
		s.at = s.time(v)
	}
	r.LoggedAt = s.at
	if v := opt["order"]; v == "edit" {
		r.Order = gridloom.NewOrder(gridloom.ClassEdit, 0, 0)
	} else if v != "" {
		n, err := strconv.Atoi(v)
		s.must(err)
		r.Order = gridloom.Order(n)
	}
	if v := opt["quality"]; v != "" {
		q, err := gridloom.ParseQuality(v)
		s.must(err)
		r.Quality = q
	}
	s.all = append(s.all, r)
	probe, err := decodeState(window.AppendState(nil, &s.a.state)) // so that the outcome can be printed
	s.must(err)
	switch o := s.c.Add(s.a.k, &probe, &r); o {
	case window.Folded:
	case window.Disorder:
		from := "the beginning"
		if at := s.c.AffectedFrom(s.a.k, &probe, &r); at > 0 {
			from = clock(at)
		}
		fmt.Fprintf(s.out, "  disorder: refold from %s\n", from)
	default:
		fmt.Fprintf(s.out, "  %s\n", o)
	}
	s.a.add(r)
}

func (s *script) asOf(at gridloom.Millis) []gridloom.Pane {
	rows := slices.DeleteFunc(slices.Clone(s.all), func(r window.Reading) bool { return r.LoggedAt > at })
	return foldAll(s.c, s.a.k, rows, at-s.c.Lateness)
}

// panes prints what of a pane matters for its kind, in the register's unit.
func (s *script) panes(ps []gridloom.Pane) {
	if len(ps) == 0 {
		fmt.Fprintln(s.out, "  no panes")
		return
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	head := map[gridloom.Kind]string{
		gridloom.Counter: "energy\tfirst\tlast", gridloom.Interval: "energy\tsum", gridloom.Gauge: "mean\tmin\tmax", gridloom.Event: "sum\tmin\tmax",
	}[s.a.k]
	fmt.Fprintf(w, "  window\tstate\tn\tcovered\t%s\tquality\n", head)
	for _, p := range ps {
		state := "open"
		if p.Closed {
			state = "closed"
		}
		stat := func(v int64) string {
			if p.N == 0 {
				return "-"
			}
			return decimal(v)
		}
		name := clock(p.Start)
		if s.show == "carry" && p.Carry != nil {
			name += " carry"
		}
		fmt.Fprintf(w, "  %s\t%s\t%d\t%s", name, state, p.N, minutes(p.Coverage))
		switch s.a.k {
		case gridloom.Counter:
			fmt.Fprintf(w, "\t%s\t%s\t%s", decimal(p.Energy), stat(p.First), stat(p.Last))
		case gridloom.Interval:
			fmt.Fprintf(w, "\t%s\t%s", decimal(p.Energy), stat(p.Sum))
		case gridloom.Gauge:
			mean := "-"
			if p.Coverage > 0 {
				mean = decimal(p.TimeWeighted.FloorDiv(int64(p.Coverage)))
			}
			fmt.Fprintf(w, "\t%s\t%s\t%s", mean, stat(p.Min), stat(p.Max))
		case gridloom.Event:
			fmt.Fprintf(w, "\t%s\t%s\t%s", stat(p.Sum), stat(p.Min), stat(p.Max))
		}
		fmt.Fprintf(w, "\t%s\n", p.Quality)
	}
	w.Flush()
	for line := range strings.Lines(b.String()) {
		s.out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

func (s *script) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *script) length(v string) gridloom.Millis {
	n, err := strconv.Atoi(v[:len(v)-1])
	s.must(err)
	return gridloom.Millis(n) * map[byte]gridloom.Millis{'s': gridloom.Second, 'm': gridloom.Minute, 'h': gridloom.Hour, 'd': gridloom.Day}[v[len(v)-1]]
}

func (s *script) time(v string) gridloom.Millis {
	s.t.Helper()
	hm, day, _ := strings.Cut(v, "+")
	for _, pad := range []string{"", ":00", ":00.000", ".000"} {
		if len(hm+pad) == len("10:00:00.000") {
			hm += pad
		}
	}
	at, err := gridloom.ParseInstant("2026-11-22T" + hm + "Z")
	s.must(err)
	if day != "" {
		n, err := strconv.Atoi(day)
		s.must(err)
		at += gridloom.Millis(n) * gridloom.Day
	}
	return at
}

func (s *script) value(v string) int64 {
	f, err := strconv.ParseFloat(v, 64)
	s.must(err)
	if f < 0 {
		return int64(f*1000 - 0.5)
	}
	return int64(f*1000 + 0.5)
}

func clock(at gridloom.Millis) string {
	first, _ := gridloom.ParseInstant("2026-11-22T00:00:00Z")
	v := at.Time().Format("15:04:05.000")
	v = strings.TrimSuffix(strings.TrimSuffix(v, ".000"), ":00")
	if d := (at - first).Floor(gridloom.Day) / gridloom.Day; d != 0 {
		v += fmt.Sprintf("+%d", d)
	}
	return v
}

func minutes(d gridloom.Millis) string {
	if d%gridloom.Minute == 0 {
		return fmt.Sprintf("%dm", d/gridloom.Minute)
	}
	return d.Duration().String()
}

func decimal(v int64) string { return strconv.FormatFloat(float64(v)/1000, 'f', -1, 64) }
