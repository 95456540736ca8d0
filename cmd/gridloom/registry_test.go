package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const streetYAML = `nodes:
  T1: {kind: transformer, parents: [{node: S}]}
  S: {kind: substation}
meters:
  m1: {zone: Europe/Amsterdam, registers: {energy_import: {dials: 9, rating: 17250}}, parents: [{node: T1}]}
  m2: {labels: {street: Dorpsweg}}
`

// registryCommand runs a command of the registry in this process.
func registryCommand(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	var stdout, stderr logFile
	code = run(t.Context(), append([]string{"registry"}, args...), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// TestRegistryFilesAreImportedAndSurvive: a file is checked as a whole, written once, and is there after a kill.
func TestRegistryFilesAreImportedAndSurvive(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := func(code int, out, said string, args ...string) {
		t.Helper()
		gotCode, gotOut, gotSaid := registryCommand(t, append(args, "--http", s.http)...)
		if gotCode != code || gotOut != out || !strings.Contains(gotSaid, said) {
			t.Errorf("registry %v = %d\n%s%s\nwant %d\n%s%s", args, gotCode, gotOut, gotSaid, code, out, said)
		}
	}
	street := file("street.yaml", streetYAML)
	bad := file("bad.yaml", strings.Replace(streetYAML, "Europe/Amsterdam", "Mars/X", 1))
	f(exitError, "", bad+`:5:8: meter "m1": zone: "Mars/X" is no zone`, "import", bad)
	f(exitError, "", "faults: 1; nothing was written", "import", bad)
	loose := file("loose.csv", "id,parent\nm9,T9\n")
	f(exitError, "", loose+`:2:1: meter "m9": node "T9" is not in the registry`, "import", loose)
	f(exitOK, "", "", "export")
	f(exitOK, "2 nodes and 2 meters to be written, 0 there as they are\n", "", "import", street, "--check")
	f(exitOK, "2 nodes and 2 meters written, 0 there as they are\n", "", "import", street)
	f(exitOK, "0 nodes and 0 meters written, 4 there as they are\n", "", "import", street)
	s.kill()
	s.start()
	f(exitOK, "0 nodes and 0 meters written, 4 there as they are\n", "", "import", street)
	f(exitOK, "0 nodes and 1 meters written, 0 there as they are\n", "", "import", file("one.csv", "id,parent,label.street\nm3,T1,Kerkweg\n"))
	_, exported, _ := registryCommand(t, "export", "--http", s.http)
	f(exitOK, "0 nodes and 0 meters written, 5 there as they are\n", "", "import", file("again.yaml", exported))
	f(exitUsage, "", "its name must end in", "import", file("x.txt", ""))
	f(exitUsage, "", "which file?", "import")
	f(exitUsage, "", "registry what?")
	s.stop()
	f(exitError, "", "is gridloom up or query running there?", "export")
}

// TestRegistryOfRolesApart: what one query role has written, another reads, whoever owns the partition.
func TestRegistryOfRolesApart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch(roleAggregate, "a1")
	s.launch(roleQuery, "q1")
	s.launch(roleQuery, "q2")
	for _, name := range []string{"a1", "q1", "q2"} {
		s.procs[name].awaitListeners()
	}
	s.awaitOwners("q1", map[string]int{"a1": 8})
	s.procs["q1"].awaitReady()
	street := filepath.Join(t.TempDir(), "street.yaml")
	if err := os.WriteFile(street, []byte(streetYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, said := registryCommand(t, "import", street, "--http", s.procs["q1"].http)
	if code != exitOK || !strings.HasPrefix(out, "2 nodes and 2 meters written") {
		t.Fatalf("%d %s%s", code, out, said)
	}
	code, out, said = registryCommand(t, "export", "--http", s.procs["q2"].http)
	if code != exitOK || !strings.Contains(out, "Dorpsweg") || !strings.Contains(out, "rating: 17250") {
		t.Errorf("%d %s%s", code, out, said)
	}
}
