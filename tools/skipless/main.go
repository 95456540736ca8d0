// Skipless reads the output of go test -json on standard input, prints what go
// test would have printed (main.go), and fails if a test failed, a package did
// not build, or, with -require, a test was skipped: a suite that quietly runs
// less than it seems to is worse than a red one.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// An event is one line of go test -json (cmd/test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// A summary is what one run came to.
type summary struct {
	passed  int
	skipped []string // "package test: why"
	failed  []string
}

func main() {
	require := flag.Bool("require", false, "fail if any test was skipped")
	flag.Parse()
	s, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "skipless:", err)
		os.Exit(1)
	}
	s.print(os.Stdout)
	if len(s.failed) > 0 || *require && len(s.skipped) > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

// read follows the events: it passes on the lines of packages and of failed
// tests and keeps the rest to itself.
func read(r io.Reader, w io.Writer) (summary, error) {
	var s summary
	said := map[string][]string{} // output of tests that are not done
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil { // a compiler's words on standard error, merged in
			fmt.Fprintln(w, lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if e.Test != "" {
				said[key] = append(said[key], e.Output)
			} else {
				fmt.Fprint(w, e.Output)
			}
		case "build-fail":
			s.failed = append(s.failed, e.ImportPath+" (build)")
		case "pass", "skip", "fail":
			s.count(e, said[key], w)
			delete(said, key)
		}
	}
	return s, lines.Err()
}

// count notes the end of a test or package.
func (s *summary) count(e event, said []string, w io.Writer) {
	switch {
	case e.Action == "fail" && e.Test == "":
		s.failed = append(s.failed, e.Package)
	case e.Action == "fail":
		s.failed = append(s.failed, e.Package+" "+e.Test)
		for _, line := range said {
			fmt.Fprint(w, line)
		}
	case e.Test == "": // a package without tests "skips"
	case e.Action == "skip":
		s.skipped = append(s.skipped, e.Package+" "+e.Test+": "+reason(said))
	default:
		s.passed++
	}
}

// reason is the line that t.Skip left.
func reason(said []string) string {
	for _, line := range said {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

func (s *summary) print(w io.Writer) {
	slices.Sort(s.skipped)
	for _, t := range s.skipped {
		fmt.Fprintln(w, "SKIP", t)
	}
	for _, t := range s.failed {
		fmt.Fprintln(w, "FAIL", t)
	}
	fmt.Fprintf(w, "%d passed, %d skipped, %d failed\n", s.passed, len(s.skipped), len(s.failed))
}
