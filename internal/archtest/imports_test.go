package archtest

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gridloom/gridloom"

// may lists, for each package, the packages of this module that it may import.
// "" is the root package, "*" all of them. A package that is not listed may
// import nothing of ours, so that a new one is put into this table on purpose.
var may = map[string][]string{
	"":                  {},
	"aggregate":         {"", "aggregate/members", "aggregate/protocol", "aggregate/window", "internal/obs", "internal/pane", "internal/registry", "internal/wire"},
	"aggregate/members": {}, // pure: who should own what
	"aggregate/window":  {""},
	"client":            {""},
	"cmd/gridloom":      {"*"},
	"cmd/gridbench":     {"", "client", "cmd/gridbench/floor", "internal/wire"}, // its checker shares no code with ingest or aggregate
	"edge-agent":        {"", "edge-agent/agent", "edge-agent/device", "edge-agent/spool"},
	"edge-agent/agent":  {"", "edge-agent/device", "edge-agent/spool", "internal/blob", "internal/wire"},
	"edge-agent/device": {"", "internal/wire"},
	"edge-agent/spool":  {"", "internal/blob", "internal/wire"},

	"aggregate/protocol": {""}, // pure: the decisions of the head protocol, which aggregate, stream and query run

	// Measures stages from inside, beside what they could cost at the least; judges none.
	"cmd/gridbench/floor": {"", "aggregate/window", "ingest", "internal/blob", "internal/natsd", "internal/pane", "stream"},

	"edge-agent/agent/brokertest": {}, // for tests: the other side of the agent's connection
	"ingest":                      {"", "ingest/decode", "internal/obs", "internal/wire"},
	"ingest/decode":               {"", "internal/wire"},
	"internal/archtest":           {},
	"internal/blob":               {""},

	"internal/blob/faultfs": {"", "internal/blob"}, // for tests: forgets what was not synced
	"internal/natsd":        {"", "internal/obs"},
	"internal/obs":          {""},
	"internal/pane":         {"", "internal/blob", "internal/obs"},
	"internal/registry":     {""}, // pure: what entries are and which of them holds
	"internal/script":       {"", "aggregate/window"},
	"internal/sim":          {}, // nothing but tests
	"internal/wire":         {""},
	"query":                 {"", "aggregate/protocol", "aggregate/window", "internal/obs", "internal/pane", "internal/registry", "internal/wire"}, // both are pure: as_of folds with window
	"stream":                {"", "aggregate/protocol", "internal/obs", "internal/wire"},
	"stream/streamtest":     {"", "internal/natsd", "stream"},
}

// mayTest adds what the tests of a package may import beyond may.
var mayTest = map[string][]string{
	"deploy/nats":      {"internal/natsd", "stream"},
	"edge-agent":       {"edge-agent/agent/brokertest", "internal/blob", "internal/wire"},
	"edge-agent/agent": {"edge-agent/agent/brokertest", "internal/blob/faultfs"},
	"edge-agent/spool": {"internal/blob/faultfs"},
	"internal/blob":    {"internal/blob/faultfs"},
	"internal/pane":    {"internal/blob/faultfs"},
	"internal/sim":     {"", "aggregate", "aggregate/protocol", "aggregate/window", "edge-agent/agent", "edge-agent/device", "ingest", "internal/blob", "internal/blob/faultfs", "internal/pane", "internal/wire"},
	"aggregate":        {"internal/blob", "internal/blob/faultfs", "internal/natsd", "stream", "stream/streamtest"},
	"query":            {"client", "internal/blob", "internal/blob/faultfs"},
	"stream":           {"internal/natsd", "stream/streamtest"},

	"aggregate/protocol": {"internal/pane"}, // the model replaces segments as the owner does
}

// only lists heavy libraries and the packages that may import them. The longest
// prefix decides.
var only = map[string][]string{
	"github.com/apache/arrow/":            {"internal/pane", "query", "cmd/gridbench/floor"},
	"github.com/eclipse/paho.mqtt.golang": {"edge-agent/agent", "ingest"},
	"github.com/go-chi/chi/":              {"query", "cmd/gridloom"},
	"github.com/mochi-mqtt/server/":       {"ingest", "cmd/gridbench/floor"},
	"github.com/nats-io/nats-server/":     {"internal/natsd", "stream/streamtest"},
	"github.com/nats-io/nats.go":          {"stream", "internal/natsd", "stream/streamtest", "cmd/gridbench/floor"},
	"github.com/nats-io/":                 {},
	"github.com/prometheus/":              {"ingest", "aggregate", "query", "stream", "internal/obs", "internal/pane", "internal/blob", "cmd/gridloom"},
	"go.yaml.in/yaml/":                    {"cmd/gridloom", "edge-agent", "internal/registry"},
	"github.com/klauspost/compress":       {"internal/pane", "internal/wire", "query"},
	"github.com/minio/highwayhash":        {"internal/natsd"}, // the checksum of JetStream's meta files
	"golang.org/x/":                       {"*"},
}

// inFile narrows only: a library that one file of a package wraps.
var inFile = map[string]string{
	"ingest github.com/eclipse/paho.mqtt.golang": "subscriber.go",

	"cmd/gridbench/floor github.com/apache/arrow/":      "segment.go",
	"cmd/gridbench/floor github.com/mochi-mqtt/server/": "hook.go",
	"cmd/gridbench/floor github.com/nats-io/nats.go":    "frames.go",
}

// testOnly may be imported by tests of any package and by nothing else.
var testOnly = []string{"github.com/google/go-cmp/", "testing"}

// TestImports checks what every source file of the module imports, its own
// tests included: those may use the standard library, go-cmp and, of ours, what
// their package may, the package itself, and mayTest. A test may use a heavy
// library (to be the other side of a wire, say): it is not linked into anything.
func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		for _, imp := range f.imports {
			if why := refused(f, imp); why != "" {
				t.Errorf("%s imports %s: %s", f.path, imp, why)
			}
		}
	}
}

// refused says why f must not import imp; "" if it may.
func refused(f source, imp string) string {
	if imp == module || strings.HasPrefix(imp, module+"/") {
		dep := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/")
		allowed := slices.Clone(may[f.pkg])
		if f.test {
			allowed = append(append(allowed, f.pkg), mayTest[f.pkg]...)
		}
		if slices.Contains(allowed, dep) || slices.Contains(allowed, "*") {
			return ""
		}
		return "of this module it may import only " + strings.Join(quoted(allowed), ", ")
	}
	if std(imp) && imp != "testing" || f.test {
		return ""
	}
	for _, p := range testOnly {
		if imp == p || strings.HasSuffix(p, "/") && strings.HasPrefix(imp, p) {
			if f.pkg == "stream/streamtest" {
				return ""
			}
			return "that is for tests"
		}
	}
	lib := library(imp)
	if lib == "" {
		return "list the library in archtest's table only, with the packages that may use it"
	}
	who := only[lib]
	if !slices.Contains(who, f.pkg) && !slices.Contains(who, "*") {
		return "only " + strings.Join(quoted(who), ", ") + " may"
	}
	if f.pkg == "" {
		return "the root package is standard library only"
	}
	if file := inFile[f.pkg+" "+lib]; file != "" && f.base() != file {
		return "only " + file + " of that package may"
	}
	return ""
}

// library returns the longest prefix of imp that only lists.
func library(imp string) string {
	var found string
	for lib := range only {
		if strings.HasPrefix(imp, lib) && len(lib) > len(found) {
			found = lib
		}
	}
	return found
}

// std reports whether imp is of the standard library: its first element has no dot.
func std(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".")
}

func quoted(pkgs []string) []string {
	q := make([]string, len(pkgs))
	for i, p := range pkgs {
		q[i] = `"` + p + `"`
	}
	return q
}

// TestRulesRefuse keeps the rules themselves honest: a table that refuses
// nothing would pass for ever.
func TestRulesRefuse(t *testing.T) {
	f := func(path, imp string, want bool) {
		t.Helper()
		if got := refused(newSource(path, nil), imp) != ""; got != want {
			t.Errorf("refused(%s, %s) = %t, want %t", path, imp, got, want)
		}
	}
	f("reading.go", "fmt", false)
	f("reading.go", "golang.org/x/sync/errgroup", true)
	f("ingest/bridge.go", module+"/stream", true)
	f("ingest/bridge.go", module+"/internal/wire", false)
	f("ingest/bridge.go", "github.com/eclipse/paho.mqtt.golang", true)
	f("ingest/subscriber.go", "github.com/eclipse/paho.mqtt.golang", false)
	f("aggregate/window/state.go", module+"/internal/wire", true)
	f("aggregate/protocol/swap.go", module+"/stream", true)
	f("stream/head.go", module+"/aggregate", true)
	f("stream/head.go", module+"/aggregate/protocol", false)
	f("aggregate/loop.go", "github.com/nats-io/nats.go/jetstream", true)
	f("stream/append.go", "github.com/nats-io/nats.go/jetstream", false)
	f("stream/append.go", "github.com/nats-io/nats-server/v2/server", true)
	f("edge-agent/agent/agent.go", "github.com/apache/arrow/go/v15/arrow", true)
	f("cmd/gridbench/check.go", module+"/aggregate/window", true)
	f("cmd/gridbench/check.go", module+"/ingest/decode", true)
	f("cmd/gridbench/floor/segment.go", "github.com/apache/arrow/go/v15/arrow", false)
	f("cmd/gridbench/floor/kernel.go", "github.com/apache/arrow/go/v15/arrow", true)
	f("query/params.go", "github.com/some/thing", true)
	f("query/params.go", "testing", true)
	f("newstage/x.go", module, true)
}

// TestTablesNameWhatExists keeps the tables from rotting: a package that is gone
// would leave a permission behind for the next one of its name. Names that DESIGN
// section 3 plans are listed until their issue builds them.
func TestTablesNameWhatExists(t *testing.T) {
	planned := []string{"client", "internal/obs", "internal/script"}
	have := map[string]bool{}
	for _, f := range sources(t) {
		have[f.pkg] = true
	}
	for _, p := range slices.Sorted(maps.Keys(may)) {
		if !have[p] && !slices.Contains(planned, p) {
			t.Errorf("the table of imports lists %q, which has no Go file", p)
		}
	}
}

// TestEveryPackageHasAComment demands the paragraph from which a newcomer
// guesses a package's file list.
func TestEveryPackageHasAComment(t *testing.T) {
	doc := map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		doc[f.pkg] += text(f.doc)
	}
	for _, p := range slices.Sorted(maps.Keys(doc)) {
		if n := len(strings.Fields(doc[p])); n < 8 {
			t.Errorf("package %q has a comment of %d words; say what it is for and what is where", p, n)
		}
	}
}

func text(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	return g.Text()
}
