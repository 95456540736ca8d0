package main

import (
	"flag"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDocsNameEveryFlagAndKey: docs/benchmarks.md has a section for each command, with
// each flag in a table and nothing there that is no flag, and with each JSON key.
func TestDocsNameEveryFlagAndKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	f := func(command string, flags *flag.FlagSet, reports ...any) {
		t.Helper()
		_, section, ok := strings.Cut(string(page), "\n## "+command+"\n")
		if !ok {
			t.Errorf("docs/benchmarks.md has no section %q", command)
			return
		}
		section, _, _ = strings.Cut(section, "\n## ")
		var told []string
		for _, row := range regexp.MustCompile("(?m)^\\| (`--[^|]*)\\|").FindAllStringSubmatch(section, -1) {
			for _, m := range regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(row[1], -1) {
				told = append(told, m[1])
			}
		}
		flags.VisitAll(func(fl *flag.Flag) {
			if i := slices.Index(told, fl.Name); i >= 0 {
				told = slices.Delete(told, i, i+1)
			} else if fl.Name != "json" { // which is the same for all
				t.Errorf("%s: --%s is in no table of its section", command, fl.Name)
			}
		})
		if len(told) > 0 {
			t.Errorf("%s: its section tells of flags that it does not have, or twice: %q", command, told)
		}
		for _, r := range reports {
			for _, key := range jsonKeys(reflect.TypeOf(r)) {
				if !strings.Contains(section, "`"+key+"`") {
					t.Errorf("%s: its section does not explain the key %s", command, key)
				}
			}
		}
	}
	f("load", loadFlags(&loadConfig{}), loadReport{})
	f("crash", crashFlags(&crashConfig{}), crashReport{}, rolesReport{})
	f("soak", soakFlags(&soakConfig{}), soakReport{}, survivor{})
	f("compare ingest", compareFlags(&compareConfig{}), compareReport{}, stackFigure{})
	f("late", lateFlags(&lateConfig{}), lateReport{})
	f("floor", floorFlags(&floorConfig{}), floorReport{}, figure{})
}

func jsonKeys(t reflect.Type) (keys []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name != "":
			keys = append(keys, name)
		case f.Anonymous:
			keys = append(keys, jsonKeys(f.Type)...)
		}
	}
	return keys
}
