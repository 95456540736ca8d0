package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is where a file stops being one story. Tests, which are many small
// ones, may be longer.
const maxLines = 500

// A source is one Go file of the module, tests included.
type source struct {
	path    string // below the module's root, with forward slashes
	pkg     string // its directory; "" for the root package
	test    bool
	imports []string
	doc     *ast.CommentGroup
	lines   int
}

func newSource(name string, imports []string) source {
	dir := path.Dir(name)
	if dir == "." {
		dir = ""
	}
	return source{path: name, pkg: dir, test: strings.HasSuffix(name, "_test.go"), imports: imports}
}

func (f source) base() string { return path.Base(f.path) }

// sources parses the Go files of the module, without nested modules, testdata
// and directories that the go tool ignores.
func sources(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipDir(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := parse(name, filepath.ToSlash(rel))
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files below %s: is this the module's root?", len(files), root)
	}
	return files
}

func skipDir(name, base string) bool {
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

func parse(name, rel string) (source, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return source{}, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	f := newSource(rel, nil)
	f.doc = file.Doc
	f.lines = bytes.Count(text, []byte("\n"))
	for _, imp := range file.Imports {
		f.imports = append(f.imports, strings.Trim(imp.Path.Value, "`\""))
	}
	return f, nil
}

// TestFilesStayShort keeps a reader in one room at a time.
func TestFilesStayShort(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test && f.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by what it tells", f.path, f.lines, maxLines)
		}
	}
}

// TestNamesSayWhatIsInside refuses the names under which anything may be put.
func TestNamesSayWhatIsInside(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "misc", "manager"}
	for _, f := range sources(t) {
		name := strings.TrimSuffix(strings.TrimSuffix(f.base(), ".go"), "_test")
		for _, n := range append(strings.Split(f.pkg, "/"), name) {
			if slices.Contains(vague, n) {
				t.Errorf("%s: %q says nothing; name it after what is in it", f.path, n)
			}
		}
	}
}
