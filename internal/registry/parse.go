package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// Fault is something in an entry that cannot be used, and how to mend it.
type Fault struct {
	Path []string // keys and places from the entry down; empty: the entry
	Text string
}

// Error gives the fault as one line.
func (f *Fault) Error() string {
	if len(f.Path) == 0 {
		return f.Text
	}
	return strings.Join(f.Path, ".") + ": " + f.Text
}

// maxFaults bounds the faults that are told of one entry.
const maxFaults = 20

// Faults are all that is wrong with an entry. As an error it is a kind of ErrInvalid.
type Faults []Fault

// Error gives all of them in one line.
func (f Faults) Error() string {
	texts := make([]string, len(f))
	for i := range f {
		texts[i] = f[i].Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes it a kind of ErrInvalid.
func (f Faults) Unwrap() error { return gridloom.ErrInvalid }

// ParseMeter reads a meter's entry, strictly. The error is Faults.
func ParseMeter(text []byte) (m Meter, err error) {
	p, tree := begin(text)
	p.meter(tree, &m)
	return m, p.done()
}

// ParseNode reads a node's entry, strictly. The error is Faults.
func ParseNode(text []byte) (n Node, err error) {
	p, tree := begin(text)
	p.node(tree, &n)
	return n, p.done()
}

// CheckID returns what is wrong with the id of a meter or node, nil if nothing is.
func CheckID(id string) error {
	if id == "" || len(id) > MaxID || !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: an id has 1 to %d bytes of UTF-8 without control characters", gridloom.ErrInvalid, MaxID)
	}
	return nil
}

// parser walks the tree of an entry and gathers faults.
type parser struct {
	path   []string
	faults Faults
}

func begin(text []byte) (*parser, any) {
	p := &parser{}
	if len(text) > MaxBody {
		p.fail(fmt.Sprintf("an entry has at most %d bytes of JSON, not %d", MaxBody, len(text)))
		return p, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		p.fail("not JSON: " + err.Error())
		return p, nil
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		p.fail("not JSON: something follows the entry")
		return p, nil
	}
	return p, tree
}

func (p *parser) done() error {
	if len(p.faults) == 0 {
		return nil
	}
	return p.faults
}

// fail notes a fault at the place where p is.
func (p *parser) fail(text string) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, Fault{slices.Clone(p.path), text})
	}
}

// at does something one step down.
func (p *parser) at(step string, do func()) {
	p.path = append(p.path, step)
	do()
	p.path = p.path[:len(p.path)-1]
}

// object calls the function of each key of an object, in their order. Others are faults.
func (p *parser) object(v any, fields map[string]func(v any)) {
	m, ok := v.(map[string]any)
	if !ok {
		if len(p.faults) == 0 || v != nil {
			p.fail("want an object, {…}")
		}
		return
	}
	for _, key := range sortedKeys(m) {
		do := fields[key]
		if do == nil {
			p.at(key, func() { p.fail("is not known here; known are " + strings.Join(sortedKeys(fields), ", ")) })
			continue
		}
		p.at(key, func() { do(m[key]) })
	}
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (p *parser) text(v any) string {
	s, ok := v.(string)
	if !ok || s == "" {
		p.fail("want a text")
	}
	return s
}

// meter reads the fields of a meter.
func (p *parser) meter(tree any, m *Meter) {
	if len(p.faults) > 0 {
		return
	}
	p.object(tree, map[string]func(v any){
		"zone":      func(v any) { m.Zone = p.zone(v) },
		"cadence":   func(v any) { m.Cadence = p.cadence(v) },
		"registers": func(v any) { m.Registers = p.registers(v) },
		"parents":   func(v any) { m.Parents = p.parents(v) },
		"labels":    func(v any) { m.Labels = p.labels(v) },
	})
}

// node reads the fields of a node.
func (p *parser) node(tree any, n *Node) {
	if len(p.faults) > 0 {
		return
	}
	p.object(tree, map[string]func(v any){
		"kind":    func(v any) { n.Kind = p.kind(v) },
		"zone":    func(v any) { n.Zone = p.zone(v) },
		"rating":  func(v any) { n.Rating = p.milli(v) },
		"parents": func(v any) { n.Parents = p.parents(v) },
		"labels":  func(v any) { n.Labels = p.labels(v) },
	})
	if m, ok := tree.(map[string]any); ok && m["kind"] == nil {
		p.at("kind", func() { p.fail("is missing: want one of " + strings.Join(Kinds[:], ", ")) })
	}
}

func (p *parser) kind(v any) string {
	s := p.text(v)
	if !slices.Contains(Kinds[:], s) {
		p.fail(fmt.Sprintf("%q is no kind: want one of %s", s, strings.Join(Kinds[:], ", ")))
	}
	return s
}

func (p *parser) zone(v any) string {
	s := p.text(v)
	if _, err := time.LoadLocation(s); err != nil || s == "Local" {
		p.fail(fmt.Sprintf("%q is no zone: want one of the IANA database, such as Europe/Amsterdam", s))
	}
	return s
}

func (p *parser) cadence(v any) gridloom.Millis {
	d, err := time.ParseDuration(p.text(v))
	c := gridloom.SpanOf(d)
	if err != nil || c.Duration() != d || c < gridloom.Second || c > gridloom.MaxInterval {
		p.fail("want a span from 1s to 745h, such as 15m")
	}
	return c
}

func (p *parser) milli(v any) Milli {
	n, ok := v.(json.Number)
	if !ok {
		p.fail(mendOf(errNumber))
		return 0
	}
	m, err := parseMilli(n.String())
	if err != nil {
		p.fail(mendOf(err))
	}
	return m
}

// mendOf is an ErrInvalid's text without the word that names the kind.
func mendOf(err error) string {
	return strings.TrimPrefix(err.Error(), gridloom.ErrInvalid.Error()+": ")
}

func (p *parser) registers(v any) map[string]Register {
	m, ok := v.(map[string]any)
	if !ok {
		p.fail("want an object of registers, such as {\"energy_import\": {\"dials\": 9}}")
		return nil
	}
	out := map[string]Register{}
	for _, name := range sortedKeys(m) {
		p.at(name, func() {
			id, ok := gridloom.RegisterByName(name)
			switch _, twice := out[id.Info().Alias]; {
			case !ok:
				p.fail("is no register: want the alias or OBIS code of one, such as energy_import or 1-0:1.8.0")
				return
			case twice:
				p.fail("is told twice, by its alias and by its code")
				return
			case id.Info().Kind != gridloom.Counter:
				p.fail("is no counter: only counters have dials and a rating")
				return
			}
			var r Register
			p.object(m[name], map[string]func(v any){
				"dials":  func(v any) { r.Dials = p.dials(v) },
				"rating": func(v any) { r.Rating = p.milli(v) },
			})
			out[id.Info().Alias] = r
		})
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (p *parser) dials(v any) int {
	n, ok := v.(json.Number)
	d, err := n.Int64()
	if !ok || err != nil || d < 1 || d > MaxDials {
		p.fail(fmt.Sprintf("want a whole number from 1 to %d: the register wraps at 10^dials of its unit", MaxDials))
	}
	return int(d)
}

func (p *parser) parents(v any) (list []Parent) {
	items, ok := v.([]any)
	if !ok || len(items) > MaxParents {
		p.fail(fmt.Sprintf("want a list of at most %d parents, such as [{\"node\": \"T17\"}]", MaxParents))
		return nil
	}
	type placed struct {
		Parent
		place int
	}
	var all []placed
	for i, item := range items {
		p.at(fmt.Sprint(i), func() {
			var x Parent
			p.object(item, map[string]func(v any){
				"node": func(v any) { x.Node = p.id(v) },
				"from": func(v any) { x.From = p.instant(v) },
				"to":   func(v any) { x.To = p.instant(v) },
			})
			if m, ok := item.(map[string]any); ok && m["node"] == nil {
				p.at("node", func() { p.fail("is missing: want the id of a node") })
			}
			if x.To != 0 && x.From >= x.To {
				p.fail("from must lie before to")
			}
			all = append(all, placed{x, i})
		})
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.From, b.From) })
	for i := range all {
		if i > 0 && (all[i-1].To == 0 || all[i-1].To > all[i].From) {
			p.at(fmt.Sprint(max(all[i-1].place, all[i].place)), func() {
				p.fail(fmt.Sprintf("overlaps parents.%d in time: end one where the other begins", min(all[i-1].place, all[i].place)))
			})
		}
		list = append(list, all[i].Parent)
	}
	return list
}

func (p *parser) id(v any) string {
	s := p.text(v)
	if err := CheckID(s); err != nil && s != "" {
		p.fail(mendOf(err))
	}
	return s
}

func (p *parser) instant(v any) gridloom.Millis {
	at, err := gridloom.ParseInstant(p.text(v))
	if err != nil || at <= 0 {
		p.fail("want RFC 3339 with an offset after 1970, such as 2026-11-22T00:00:00+01:00")
		return 0
	}
	return at
}

var labelKey = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,%d}$`, MaxLabelKey-1))

func (p *parser) labels(v any) map[string]string {
	m, ok := v.(map[string]any)
	if !ok || len(m) > MaxLabels {
		p.fail(fmt.Sprintf("want an object of at most %d labels, such as {\"street\": \"Dorpsweg\"}", MaxLabels))
		return nil
	}
	out := map[string]string{}
	for _, key := range sortedKeys(m) {
		p.at(key, func() {
			s, ok := m[key].(string)
			switch {
			case !labelKey.MatchString(key):
				p.fail(fmt.Sprintf("is no key of a label: want 1 to %d letters, digits, and _ . - but at the start", MaxLabelKey))
			case !ok || s == "" || len(s) > MaxLabel || !utf8.ValidString(s):
				p.fail(fmt.Sprintf("want a text of 1 to %d bytes", MaxLabel))
			}
			out[key] = s
		})
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
