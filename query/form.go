package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// maxFormBytes bounds the body of a request that writes, and maxFormDepth how deep its objects and lists lie in one another.
const (
	maxFormBytes = 2 << 20
	maxFormDepth = 4
)

// readForm reads a body that is one JSON object. Every fault names its place: a key that stands
// twice would otherwise be taken for what it says last.
func readForm(w http.ResponseWriter, r *http.Request) (*form, error) {
	if err := wantJSON(r); err != nil {
		return nil, err
	}
	body, err := readBody(w, r, maxFormBytes)
	if err != nil {
		return nil, err
	}
	return parseForm(body)
}

// wantJSON refuses a POST that is not said to be JSON: no page of another site can send that type without the browser asking first.
func wantJSON(r *http.Request) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return nil
	}
	return &problem{
		kind: problemFormat, status: http.StatusUnsupportedMediaType, parameter: "Content-Type", value: r.Header.Get("Content-Type"),
		detail: "the body is not said to be JSON", mend: "send the header Content-Type: application/json",
	}
}

func parseForm(body []byte) (*form, error) {
	if !utf8.Valid(body) {
		return nil, badField("", "the body is not UTF-8")
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	v, err := parseNode(dec, "", 0)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = badField("", "something stands behind the object")
		}
	}
	if err != nil {
		return nil, err
	}
	values, ok := v.(map[string]any)
	if !ok {
		return nil, badField("", "the body is not a JSON object")
	}
	return newForm("", values), nil
}

// badField says what is wrong with a field of a body.
func badField(path, what string) *problem {
	p := &problem{kind: problemParameter, status: http.StatusBadRequest, parameter: path, detail: what}
	if path != "" {
		p.detail = path + ": " + what
	}
	return p
}

// parseNode reads a JSON value: maps, lists, json.Number, string, bool or nil.
func parseNode(dec *json.Decoder, path string, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, badField(path, "the body is not JSON: "+err.Error())
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth == maxFormDepth {
		return nil, badField(path, "lies too deep")
	}
	if delim == '[' {
		list := []any{}
		for dec.More() {
			v, err := parseNode(dec, fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, asSyntax(path, err)
	}
	object := map[string]any{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, asSyntax(path, err)
		}
		name, _ := key.(string) // the decoder takes nothing else
		at := join(path, name)
		if _, twice := object[name]; twice {
			return nil, badField(at, "stands twice")
		}
		if object[name], err = parseNode(dec, at, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return object, asSyntax(path, err)
}

func asSyntax(path string, err error) error {
	if err == nil {
		return nil
	}
	return badField(path, "the body is not JSON: "+err.Error())
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// form reads the fields of one JSON object. The first fault sticks; what is read after it is not used.
type form struct {
	path   string
	values map[string]any
	known  []string
	fault  *error // shared with the forms inside
}

func newForm(path string, values map[string]any) *form {
	return &form{path: path, values: values, fault: new(error)}
}

func (f *form) fail(name, what string) {
	if *f.fault == nil {
		*f.fault = badField(join(f.path, name), what)
	}
}

// done reports the first fault, an unknown field among them.
func (f *form) done() error {
	for name := range f.values {
		if !slices.Contains(f.known, name) && *f.fault == nil {
			f.fail(name, "is not known here; known are "+strings.Join(f.known, ", "))
		}
	}
	return *f.fault
}

// has reports whether a field is there and not null, and makes it a known one.
func (f *form) has(name string) bool {
	if !slices.Contains(f.known, name) {
		f.known = append(f.known, name)
	}
	return f.values[name] != nil
}

// text reads a string of 1 to most bytes that prints; "" if it is not there and need not be.
func (f *form) text(name string, most int, needed bool) string {
	if !f.has(name) {
		if needed {
			f.fail(name, "is missing")
		}
		return ""
	}
	s, ok := f.values[name].(string)
	switch {
	case !ok:
		f.fail(name, "want text")
	case strings.TrimSpace(s) == "" || len(s) > most:
		f.fail(name, fmt.Sprintf("want text of 1 to %d bytes", most))
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) && c != '\n' }):
		f.fail(name, "holds a sign that does not print")
	}
	return s
}

// instant reads a time: RFC 3339 or Unix milliseconds.
func (f *form) instant(name string, needed bool) gridloom.Millis {
	if !f.has(name) {
		if needed {
			f.fail(name, "is missing")
		}
		return 0
	}
	const forms = "want RFC 3339 with an offset, such as \"2026-11-22T20:15:00Z\", or Unix milliseconds"
	var at gridloom.Millis
	var err error
	switch v := f.values[name].(type) {
	case string:
		if at, err = gridloom.ParseInstant(v); err != nil {
			f.fail(name, forms)
		}
	case json.Number:
		n, err := strconv.ParseInt(v.String(), 10, 64)
		if err != nil || n < leastMillis {
			f.fail(name, forms+"; seconds?")
		}
		at = gridloom.Millis(n)
	default:
		f.fail(name, forms)
	}
	if _, err := checkInstant(at); err != nil {
		f.fail(name, mendOf(err))
	}
	return at
}

// span reads a length such as "15m"; 0 if it is not there.
func (f *form) span(name string) gridloom.Millis {
	if !f.has(name) {
		return 0
	}
	s, _ := f.values[name].(string)
	n, err := parseSpan(s)
	if err != nil {
		f.fail(name, `want a span such as "15m"`)
	}
	return n
}

// decimal reads a number as thousandths of a register's unit.
func (f *form) decimal(name string, scale gridloom.Scale) int64 {
	if !f.has(name) {
		f.fail(name, "is missing")
		return 0
	}
	n, ok := f.values[name].(json.Number)
	if !ok {
		f.fail(name, "want a number")
		return 0
	}
	mantissa, exp, ok := splitDecimal(n.String())
	if !ok {
		f.fail(name, "has more digits than a value can have")
		return 0
	}
	v, err := scale.Decimal(mantissa, exp)
	if err != nil {
		f.fail(name, mendOf(err))
	}
	return v
}

// splitDecimal takes a JSON number apart: mantissa·10^exp. ok is false for more than 18 digits.
func splitDecimal(s string) (mantissa int64, exp int, ok bool) {
	s, power, hasPower := strings.Cut(strings.ToLower(s), "e")
	whole, fraction, _ := strings.Cut(s, ".")
	fraction = strings.TrimRight(fraction, "0")
	if hasPower {
		p, err := strconv.Atoi(power)
		if err != nil || p < -100 || p > 100 {
			return 0, 0, false
		}
		exp = p
	}
	mantissa, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil || mantissa == math.MinInt64 {
		return 0, 0, false
	}
	return mantissa, exp - len(fraction), true
}

// sequence reads a place in the log.
func (f *form) sequence(name string) uint64 {
	if !f.has(name) {
		f.fail(name, "is missing")
		return 0
	}
	n, _ := f.values[name].(json.Number)
	v, err := strconv.ParseUint(n.String(), 10, 53)
	if err != nil || v == 0 {
		f.fail(name, "want the id of an edit, a whole number above 0")
	}
	return v
}

// list reads a list of objects, of 1 to most.
func (f *form) list(name string, most int) []*form {
	f.has(name)
	values, ok := f.values[name].([]any)
	if !ok || len(values) == 0 || len(values) > most {
		f.fail(name, fmt.Sprintf("want a list of 1 to %d objects", most))
		return nil
	}
	list := make([]*form, len(values))
	for i, v := range values {
		object, ok := v.(map[string]any)
		if !ok {
			f.fail(fmt.Sprintf("%s[%d]", name, i), "want an object")
			return nil
		}
		list[i] = &form{path: fmt.Sprintf("%s[%d]", join(f.path, name), i), values: object, fault: f.fault}
	}
	return list
}

// registerNamed reads a register by its alias or OBIS code.
func (f *form) registerNamed(name string) gridloom.RegisterID {
	s := f.text(name, 64, true)
	id, ok := gridloom.RegisterByName(s)
	if !ok && *f.fault == nil {
		f.fail(name, fmt.Sprintf("%q is no register's alias or OBIS code; docs/registers.md lists them", s))
	}
	return id
}
