package main

import (
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDependencies keeps the agent small: it may link only what is listed here.
func TestDependencies(t *testing.T) {
	allow := []string{
		"github.com/gridloom/gridloom$",
		"github.com/gridloom/gridloom/internal/wire$",
		"github.com/gridloom/gridloom/internal/blob$",
		"github.com/gridloom/gridloom/edge-agent",
		"github.com/eclipse/paho.mqtt.golang",
		"github.com/gorilla/websocket$",
		"golang.org/x/net/",
		"golang.org/x/sync/",
	}
	// go list runs outside this process, where the test cache cannot see what it
	// reads. Reading the files here makes a change of any of them a change of this
	// test's inputs.
	for _, dir := range []string{".", "../internal/wire", "../internal/blob", "../go.mod"} {
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && (strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".mod")) {
				_, err = os.ReadFile(path)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, arch := range []string{"amd64", "arm64", "arm"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
		cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "GOARM=6", "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		found := strings.Fields(string(out))
		if len(found) < 5 {
			t.Fatalf("go list names only %q", found)
		}
	next:
		for _, p := range found {
			for _, a := range allow {
				if strings.HasPrefix(p+"$", a) {
					continue next
				}
			}
			t.Errorf("the agent for %s links %s", arch, p)
		}
	}
}

// maxBinary is the target of DESIGN section 11.
const maxBinary = 8 << 20

// TestBinaryIsSmallAndStatic builds the agent as it is shipped.
func TestBinaryIsSmallAndStatic(t *testing.T) {
	for _, env := range [][]string{{"GOOS=linux", "GOARCH=amd64"}, {"GOOS=linux", "GOARCH=arm", "GOARM=6"}, {"GOOS=linux", "GOARCH=arm64"}} {
		path := build(t, env...)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", strings.Join(env, " "), info.Size())
		if info.Size() > maxBinary {
			t.Errorf("%s: %d bytes, want at most %d", strings.Join(env, " "), info.Size(), maxBinary)
		}
		f, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
			t.Errorf("%s: linked to %v (%v), want a static binary", strings.Join(env, " "), libs, err)
		}
		_ = f.Close()
	}
}
