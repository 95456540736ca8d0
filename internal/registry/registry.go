// Package registry is what is known of meters and of the network that they hang on, beside
// their readings: zones, what a register can count and carry, the way up to the substation,
// labels. It is pure: aggregate, query and the commands use the same types and the same checks.
//
// An entry is a Meter or a Node (this file). parse.go reads one from JSON and tells every fault
// with its place; topology.go checks and walks the network; version.go tells from the records of
// one entry, as the log has them, which version holds; file.go, yaml.go and csv.go read the files
// of `gridloom registry import`. docs/registry.md tells a user of it.
package registry

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// Bounds of an entry.
const (
	MaxID       = 128      // bytes of an id of a meter or node
	MaxParents  = 64       // of one entry
	MaxLabels   = 32       // of one entry
	MaxLabelKey = 63       // bytes
	MaxLabel    = 256      // bytes of a label's value
	MaxBody     = 48 << 10 // bytes of an entry as JSON; a record holds 64 KiB
	MaxDials    = 12       // a value is less than 10^12 units (gridloom.MaxValue)
)

// Meter is what the registry says of a metering point. Fields at zero are not told: what holds
// then is the default.
type Meter struct {
	Zone      string              `json:"zone,omitempty"`      // IANA: of its calendar
	Cadence   gridloom.Millis     `json:"-"`                   // how often a reading is expected
	Registers map[string]Register `json:"registers,omitempty"` // by alias
	Parents   []Parent            `json:"parents,omitempty"`   // by time
	Labels    map[string]string   `json:"labels,omitempty"`
}

// Register is what one register of a meter can count and carry.
type Register struct {
	Dials  int   `json:"dials,omitempty"`  // of a counter: it wraps at 10^Dials units; 0: at any power of ten
	Rating Milli `json:"rating,omitempty"` // of a counter: what it can rise by in an hour, in its unit: W for Wh; 0: the default
}

// Node is a place of the network that meters or other nodes hang on.
type Node struct {
	Kind    string            `json:"kind"` // one of Kinds
	Zone    string            `json:"zone,omitempty"`
	Rating  Milli             `json:"rating,omitempty"` // W
	Parents []Parent          `json:"parents,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Parent says on which node something hangs in [From, To).
type Parent struct {
	Node string          `json:"node"`
	From gridloom.Millis `json:"-"` // 0: from the beginning
	To   gridloom.Millis `json:"-"` // 0: for ever
}

// Kinds are the kinds of nodes.
var Kinds = [...]string{"substation", "feeder", "transformer", "site"}

// holds reports whether p holds at an instant.
func (p *Parent) holds(at gridloom.Millis) bool { return p.From <= at && (p.To == 0 || at < p.To) }

// ParentAt returns the node of the parent that holds at an instant, "" if none does.
func ParentAt(parents []Parent, at gridloom.Millis) string {
	for i := range parents {
		if parents[i].holds(at) {
			return parents[i].Node
		}
	}
	return ""
}

// Milli is a decimal number in thousandths: 17250.5 is 17250500.
type Milli int64

// String returns the shortest decimal.
func (m Milli) String() string {
	whole, part := int64(m)/1000, int64(m)%1000
	if part == 0 {
		return strconv.FormatInt(whole, 10)
	}
	return strings.TrimRight(fmt.Sprintf("%d.%03d", whole, part), "0")
}

// MarshalJSON implements json.Marshaler.
func (m Milli) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// parseMilli reads a decimal of at most three places, from above 0 to gridloom.MaxValue.
func parseMilli(s string) (Milli, error) {
	whole, part, _ := strings.Cut(s, ".")
	if len(part) > 3 || len(whole) > 15 || whole == "" {
		return 0, errNumber
	}
	n, err := strconv.ParseUint(whole+part+"000"[len(part):], 10, 63)
	if err != nil || n == 0 || n > uint64(gridloom.MaxValue) {
		return 0, errNumber
	}
	return Milli(n), nil
}

var errNumber = fmt.Errorf("%w: want a number above 0 and up to 10^12, of at most three decimals, such as 17250", gridloom.ErrInvalid)

type instantText gridloom.Millis

// MarshalText implements encoding.TextMarshaler.
func (t instantText) MarshalText() ([]byte, error) { return []byte(gridloom.Millis(t).String()), nil }

// MarshalJSON implements json.Marshaler.
func (p Parent) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Node string      `json:"node"`
		From instantText `json:"from,omitzero"`
		To   instantText `json:"to,omitzero"`
	}{p.Node, instantText(p.From), instantText(p.To)})
}

// MarshalJSON implements json.Marshaler. The same entry always gives the same bytes.
func (m Meter) MarshalJSON() ([]byte, error) {
	type plain Meter
	cadence := ""
	if m.Cadence > 0 {
		cadence = cadenceText(m.Cadence)
	}
	return json.Marshal(struct {
		plain
		Cadence string `json:"cadence,omitempty"`
	}{plain(m), cadence})
}

// cadenceText returns a span as 15m, 1h, 10s.
func cadenceText(c gridloom.Millis) string {
	s := c.Duration().String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Location returns the zone of a meter, nil if none is told. An entry that was parsed has one that is known.
func (m *Meter) Location() *time.Location {
	if m.Zone == "" {
		return nil
	}
	zone, err := time.LoadLocation(m.Zone)
	if err != nil {
		return nil
	}
	return zone
}

// LabelKeys returns the keys of labels in rising order.
func LabelKeys(labels map[string]string) []string { return sortedKeys(labels) }
