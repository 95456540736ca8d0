package gridloom_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/gridloom/gridloom"
)

// TestCatalogIsSound holds every entry to what its users rely on.
func TestCatalogIsSound(t *testing.T) {
	code := regexp.MustCompile(`^[0-9]-[0-9]:[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{1,3}$`)
	alias := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	reserved := map[string]bool{
		"meter": true, "at": true, "ts": true, "length": true, "unit": true, "serial": true, "quality": true,
		"register": true, "value": true, "agent": true, "epoch": true, "seq": true, "readings": true,
	}
	for id := range gridloom.RegisterID(gridloom.Registers()) {
		r := id.Info()
		if !code.MatchString(r.Code) || !alias.MatchString(r.Alias) || reserved[r.Alias] {
			t.Errorf("register %d: code %q, alias %q", id, r.Code, r.Alias)
		}
		for _, name := range []string{r.Code, r.Alias} {
			if got, ok := gridloom.RegisterByName(name); !ok || got != id {
				t.Errorf("RegisterByName(%q) = %d, %t, want %d", name, got, ok, id)
			}
		}
		if _, err := gridloom.ScaleFor(id, ""); err != nil {
			t.Errorf("%s has no scale: %v", r.Alias, err)
		}
		if strings.HasPrefix(r.Kind.String(), "kind(") || r.Kind == 0 {
			t.Errorf("%s has kind %d", r.Alias, r.Kind)
		}
		if sibling, ok := gridloom.IntervalSibling(id); ok {
			s := sibling.Info()
			if r.Kind != gridloom.Counter || s.Kind != gridloom.Interval || s.Unit != r.Unit || s.Code != strings.Replace(r.Code, ".8.", ".29.", 1) {
				t.Errorf("%v has the interval sibling %v", *r, *s)
			}
		}
		if r.Kind == gridloom.Interval {
			counter, ok := gridloom.RegisterByName(strings.TrimSuffix(r.Alias, "_interval"))
			if s, has := gridloom.IntervalSibling(counter); !ok || !has || s != id {
				t.Errorf("%s is no sibling of a counter", r.Alias)
			}
		}
	}
}

func TestCatalogHasWhatTheDesignPromises(t *testing.T) {
	for code := range strings.FieldsSeq(`1-0:1.8.0 1-0:1.8.1 1-0:1.8.2 1-0:2.8.0 1-0:2.8.1 1-0:3.8.0 1-0:4.8.0 1-0:1.29.0 1-0:2.29.0
		1-0:1.7.0 1-0:2.7.0 1-0:16.7.0 1-0:21.7.0 1-0:41.7.0 1-0:61.7.0 1-0:22.7.0 1-0:42.7.0 1-0:62.7.0 1-0:32.7.0 1-0:52.7.0
		1-0:72.7.0 1-0:31.7.0 1-0:51.7.0 1-0:71.7.0 1-0:14.7.0 1-0:13.7.0 1-0:1.4.0 1-0:1.6.0 0-1:24.2.1 0-4:24.2.1`) {
		if _, ok := gridloom.RegisterByName(code); !ok {
			t.Errorf("no register %s", code)
		}
	}
	if id, ok := gridloom.RegisterByName("energy"); ok {
		t.Errorf("RegisterByName(energy) = %v, want none", id)
	}
}
