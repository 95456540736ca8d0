package decode

import (
	"errors"
	"sort"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// printable is the rule of names, by other means than wire's.
func printable(s string, limit int) bool {
	return len(s) <= limit && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// sorted sorts rows by everything that tells rows of one message apart.
func sorted(rows []gridloom.Reading) []gridloom.Reading {
	sort.SliceStable(rows, func(i, k int) bool {
		a, b := &rows[i], &rows[k]
		switch {
		case a.Meter != b.Meter:
			return a.Meter < b.Meter
		case a.Register != b.Register:
			return a.Register < b.Register
		case a.Start != b.Start:
			return a.Start < b.Start
		case a.Length != b.Length:
			return a.Length < b.Length
		case a.Value != b.Value:
			return a.Value < b.Value
		case a.Quality != b.Quality:
			return a.Quality < b.Quality
		}
		return a.Serial < b.Serial
	})
	return rows
}

// seeds are payloads of every shape and fault.
var seeds = []string{
	`{"agent":"gw-17","epoch":42,"seq":981,"readings":[{"meter":"m1","register":"energy_import","at":"2026-11-22T20:15:00Z","value":5415414.19}]}`,
	`{"meter":"m1","at":1795378500000,"energy_import":5415414.19,"power_import":432.1}`,
	`[{"meter":"m1","register":"1-0:1.8.0","ts":1795378500000,"value":5415.41419,"unit":"kWh","serial":"S1","quality":["TEST","OUTAGE"]}]`,
	`[{"meter":"m1","at":"2026-11-22T19:00:00.5+01:00","length":"30m","energy_import":1.5,"voltage_l1":230,"frequency":null}]`,
	`[{"meter":"m\u00e4\ud83d\ude00","at":1.7953785e12,"length":900000,"1-0:1.29.0":-0.5e-2,"foo":{"a":[1,true,"\n"]},"power":"x"},7,null,{}]`,
	`[{"meter":"m1","at":1795378500000,"power":1234567.0005},{"meter":"m1","at":1795378500001,"power":0.00049999999999999999999999999999999}]`,
	`{"meter":"m1","at":1795378500000,"energy_import":1e3,"unit":"J"}`,
	`{"readings":[{"meter":"","at":1,"power":1},{"meter":"m1","power":1},{"at":1795378500000,"power":1}],"agent":"gw-18"}`,
	`{"readings":[],"x":1}`, `[]`, `{}`, `[1,2`, `{"a":01}`, `{"a":"` + "\x01" + `"}`, `[{"meter":"m1"}] x`, ` `, `[[[[]]]]`, `{"epoch":4294967296}`,
	`{"at":"2026-11-22T20:15:00Z","meter":"m1","value":null,"register":"power"}`,
	`{"meter":"m1","at":12345678901,"power":9007199254740993.5}`,
}

// FuzzJSON compares Decode with encoding/json: the same payloads are valid, the same
// readings are good.
func FuzzJSON(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	var d Decoder // one for all payloads: nothing of one may show in the next
	f.Fuzz(func(t *testing.T, payload []byte) {
		got := decode(&d, string(payload))
		syntax := len(got.Bads) == 1 && got.Bads[0].Reason == wire.Syntax && strings.HasPrefix(got.Bads[0].Place, "byte ")
		if syntax && (len(got.Rows) > 0 || got.Objects > 0) {
			t.Fatalf("%d rows of a broken message", len(got.Rows))
		}
		for _, b := range got.Bads {
			if b.Reason == "" || b.Detail == "" || !utf8.ValidString(b.Place) || len(b.Place) > 400 {
				t.Errorf("refusal %+v", b)
			}
		}
		if !isJSON(payload) {
			return
		}
		want, valid, ok := reference(payload)
		if !ok {
			return
		}
		if valid == syntax {
			// A message that is refused for what it says is not read to its end.
			if valid || !whole1(got) {
				t.Fatalf("%q: valid %t, refused %v", payload, valid, got.Bads)
			}
			return
		}
		if diff := cmp.Diff(sorted(want), sorted(got.Rows)); diff != "" {
			t.Errorf("%q (-encoding/json +Decode):\n%s\nrefused: %v", payload, diff, got.Bads)
		}
		if valid && len(got.Rows) == 0 && len(got.Bads) == 0 && got.Objects > 0 {
			t.Errorf("%q: nothing taken and nothing refused", payload)
		}
	})
}

// whole1 reports whether a message was refused as a whole.
func whole1(r decoded) bool { return len(r.Rows) == 0 && r.Objects == 0 && len(r.Bads) == 1 }

func FuzzTopic(f *testing.F) {
	for _, s := range []string{"gridloom/v1/north/gw-17/readings", "gridloom/v1/north/gw-17/cmd/reboot", "gridloom/v1/a/b/", "gridloom/v1//b/c", "gridloom/v2/a/b/c", "gridloom/v1/+/b/c", "", "a/b/c/d/e/f/g/h/i"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		site, agent, leaf, err := ParseTopic(topic)
		if err != nil {
			if !errors.Is(err, gridloom.ErrInvalid) || site+agent+leaf != "" {
				t.Fatalf("ParseTopic(%q) = %q, %q, %q, %v", topic, site, agent, leaf, err)
			}
			return
		}
		if topic != "gridloom/v1/"+site+"/"+agent+"/"+leaf || !printable(site, 64) || !printable(agent, 64) || site == "" || agent == "" || leaf == "" ||
			strings.ContainsAny(topic, "+#") || strings.Count(topic, "/") > 7 {
			t.Errorf("ParseTopic(%q) = %q, %q, %q", topic, site, agent, leaf)
		}
	})
}
