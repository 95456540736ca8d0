// Package systemd holds units for a server, its roles apart, and an edge agent, and this test,
// which runs the programs with the flags that the units give them.
package systemd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unit is a unit file: section → key → values.
type unit map[string]map[string][]string

func parse(t *testing.T, name string) unit {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	u, section := unit{}, ""
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			u[section] = map[string][]string{}
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("%s:%d: %q is no key=value of a section", name, n+1, line)
			}
			u[section][key] = append(u[section][key], value)
		}
	}
	return u
}

// build builds a program of this module.
func build(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../"+pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

var flagName = regexp.MustCompile(`(?m)^\s+-{1,2}([a-z][a-z0-9-]*)`)

// TestUnitsStartWhatExists takes each unit's command and asks the program whether it knows every flag of it.
func TestUnitsStartWhatExists(t *testing.T) {
	built := map[string]string{}
	for name, program := range map[string]struct{ path, pkg string }{
		"gridloom.service":            {"/usr/bin/gridloom", "cmd/gridloom"},
		"gridloom-ingest.service":     {"/usr/bin/gridloom", "cmd/gridloom"},
		"gridloom-aggregate.service":  {"/usr/bin/gridloom", "cmd/gridloom"},
		"gridloom-query.service":      {"/usr/bin/gridloom", "cmd/gridloom"},
		"gridloom-edge-agent.service": {"/usr/bin/gridloom-edge-agent", "edge-agent"},
	} {
		u := parse(t, name)
		service := u["Service"]
		if len(service["ExecStart"]) != 1 || len(service["StateDirectory"]) != 1 || u["Install"]["WantedBy"] == nil {
			t.Fatalf("%s: want one ExecStart, a StateDirectory and WantedBy, have %v", name, u)
		}
		args := strings.Fields(service["ExecStart"][0])
		if args[0] != program.path {
			t.Errorf("%s starts %s, want %s", name, args[0], program.path)
		}
		if state := "/var/lib/" + service["StateDirectory"][0]; !strings.Contains(service["ExecStart"][0], " "+state) {
			t.Errorf("%s keeps its state elsewhere than in %s: %v", name, state, args)
		}
		if built[program.pkg] == "" {
			built[program.pkg] = build(t, program.pkg)
		}
		help, _ := exec.CommandContext(t.Context(), built[program.pkg], args[1], "-h").CombinedOutput() // some programs end with 2 after help
		known := map[string]bool{}
		for _, m := range flagName.FindAllSubmatch(help, -1) {
			known[string(m[1])] = true
		}
		flags := 0
		for _, arg := range args[2:] {
			if !strings.HasPrefix(arg, "-") {
				continue
			}
			flags++
			arg, _, _ = strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if !known[arg] {
				t.Errorf("%s gives --%s, which %s %s does not know:\n%s", name, arg, program.path, args[1], help)
			}
		}
		if flags == 0 {
			t.Errorf("%s gives no flags: %v", name, args)
		}
	}
}

// TestSystemdAcceptsTheUnits has systemd itself read them. The programs need not be installed for that.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		const why = "needs systemd-analyze of the Debian package systemd"
		if os.Getenv("GRIDLOOM_REQUIRE") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	dir := t.TempDir()
	for _, name := range []string{"gridloom.service", "gridloom-ingest.service", "gridloom-aggregate.service", "gridloom-query.service", "gridloom-edge-agent.service"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		// systemd wants the program to be there: any one will do.
		data = regexp.MustCompile(`/usr/bin/gridloom\S*`).ReplaceAll(data, []byte("/bin/true"))
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", filepath.Join(dir, name)).CombinedOutput()
		if said := about(out, name); err != nil || said != "" {
			t.Errorf("systemd-analyze verify %s: %v\n%s", name, err, out)
		}
	}
}

// about returns the lines on a unit: systemd also speaks of others that are installed.
func about(out []byte, name string) string {
	var lines []string
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte(name)) {
			lines = append(lines, string(line))
		}
	}
	return strings.Join(lines, "")
}
