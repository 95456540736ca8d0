package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/query"
)

// Bounds of a file of calendars.
const maxCalendarFile, maxCalendars = 1 << 20, 100

// loadCalendars reads the file of --calendars (docs/calendars.md). Its error has a line
// for every fault.
func loadCalendars(path string, width gridloom.Millis) ([]*query.Calendar, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: --calendars: %w", errUsage, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCalendarFile+1))
	if err != nil {
		return nil, fmt.Errorf("--calendars: %w", err)
	}
	calendars, faults := parseCalendars(text, width)
	if len(faults) == 0 {
		return calendars, nil
	}
	for i, err := range faults {
		faults[i] = fmt.Errorf("--calendars %s: %s", path, strings.TrimPrefix(err.Error(), gridloom.ErrInvalid.Error()+": "))
	}
	return nil, fmt.Errorf("%w: %w", errUsage, errors.Join(faults...))
}

// parseCalendars reads YAML, or JSON, which is YAML. It returns every fault.
func parseCalendars(text []byte, width gridloom.Millis) (calendars []*query.Calendar, faults []error) {
	r := &calendarReader{}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	switch err := dec.Decode(&doc); {
	case len(text) > maxCalendarFile:
		return nil, []error{fmt.Errorf("%w: it has more than %d bytes", gridloom.ErrInvalid, maxCalendarFile)}
	case errors.Is(err, io.EOF):
		return nil, []error{fmt.Errorf("%w: it is empty: want calendars: with a name and what is said of it below", gridloom.ErrInvalid)}
	case err != nil:
		return nil, []error{fmt.Errorf("%w: it is no YAML: %s", gridloom.ErrInvalid, strings.ReplaceAll(err.Error(), "\n", " "))}
	case !errors.Is(dec.Decode(new(yaml.Node)), io.EOF):
		return nil, []error{fmt.Errorf("%w: it has more than one document", gridloom.ErrInvalid)}
	}
	top := r.mapping(doc.Content[0], "the file", "calendars")
	specs := r.specs(top["calendars"])
	if faults = r.faults; len(specs) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("%w: there is no calendar: want calendars: with a name and what is said of it below", gridloom.ErrInvalid))
	}
	if len(specs) > maxCalendars {
		return nil, append(faults, fmt.Errorf("%w: %d calendars, at most %d", gridloom.ErrInvalid, len(specs), maxCalendars))
	}
	for i := range specs {
		c, wrong := query.NewCalendar(&specs[i], width)
		if len(r.faults) == 0 { // else they would be said of what could not be read
			faults = append(faults, wrong...)
		}
		calendars = append(calendars, c)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return calendars, nil
}

// calendarReader turns nodes of YAML into what a calendar is made of, and gathers faults.
type calendarReader struct{ faults []error }

func (r *calendarReader) fault(n *yaml.Node, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%w: line %d: %s", gridloom.ErrInvalid, n.Line, fmt.Sprintf(format, args...)))
}

// mapping returns the values of a mapping by key. Without known keys any are taken.
func (r *calendarReader) mapping(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	all := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		r.fault(n, "%s: want keys with values", what)
		return all
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || len(known) > 0 && !slices.Contains(known, key.Value):
			r.fault(key, "%s: %q is not known: want %s", what, key.Value, strings.Join(known, ", "))
		case all[key.Value] != nil:
			r.fault(key, "%s: %s is there twice", what, key.Value)
		case value.Kind == yaml.AliasNode || value.Anchor != "":
			r.fault(value, "%s: %s: anchors and aliases are not read: write it out", what, key.Value)
		default:
			all[key.Value] = value
		}
	}
	return all
}

// text returns a plain value, "" if there is none.
func (r *calendarReader) text(n *yaml.Node, what string) string {
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		r.fault(n, "%s: want one value", what)
	}
	return n.Value
}

// texts returns one value, or those of a list.
func (r *calendarReader) texts(n *yaml.Node, what string) (list []string) {
	for _, item := range r.list(n) {
		list = append(list, r.text(item, what))
	}
	return list
}

// list returns the nodes of a list, or the one that stands for a list of one.
func (r *calendarReader) list(n *yaml.Node) []*yaml.Node {
	switch {
	case n == nil:
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// pair is a key of a mapping and what stands there.
type pair struct {
	key   string
	line  int // of the key
	value *yaml.Node
}

// pairs returns keys and values of a mapping in the order of the file.
func (r *calendarReader) pairs(n *yaml.Node, what string) (all []pair) {
	if n == nil {
		return nil
	}
	good := r.mapping(n, what)
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if key := n.Content[i]; good[key.Value] == n.Content[i+1] {
			all = append(all, pair{key.Value, key.Line, n.Content[i+1]})
		}
	}
	return all
}

func (r *calendarReader) specs(n *yaml.Node) (specs []query.CalendarSpec) {
	for _, calendar := range r.pairs(n, "calendars") {
		c := r.mapping(calendar.value, "calendar "+calendar.key, "zone", "holidays", "seasons", "days", "bands")
		spec := query.CalendarSpec{Name: calendar.key, Line: calendar.line, Zone: r.text(c["zone"], "zone")}
		for _, h := range r.list(c["holidays"]) {
			spec.Holidays = append(spec.Holidays, query.HolidaySpec{Day: r.text(h, "holidays"), Line: h.Line})
		}
		for _, season := range r.pairs(c["seasons"], "seasons") {
			for _, span := range r.list(season.value) {
				s := r.mapping(span, "season "+season.key, "from", "to")
				spec.Seasons = append(spec.Seasons, query.SeasonSpec{Name: season.key, From: r.text(s["from"], "from"), To: r.text(s["to"], "to"), Line: span.Line})
			}
		}
		for _, t := range r.pairs(c["days"], "days") {
			spec.Days = append(spec.Days, query.DayTypeSpec{Name: t.key, Days: r.texts(t.value, "days"), Line: t.line})
		}
		for _, b := range r.list(c["bands"]) {
			m := r.mapping(b, "bands", "band", "seasons", "days", "hours")
			spec.Bands = append(spec.Bands, query.BandSpec{
				Band: r.text(m["band"], "band"), Seasons: r.texts(m["seasons"], "seasons"), Days: r.texts(m["days"], "days"), Hours: r.texts(m["hours"], "hours"), Line: b.Line,
			})
		}
		specs = append(specs, spec)
	}
	return specs
}
