package registry

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gridloom/gridloom"
)

// columnsOfCSV tells which columns there may be.
const columnsOfCSV = "known are id, zone, cadence, parent, parent_from, REGISTER.dials, REGISTER.rating and label.KEY of meters, and of nodes id, kind, zone, rating, parent, parent_from and label.KEY"

// csvColumn is a column of a file: the path of an entry's field that it holds.
type csvColumn struct {
	path   []string
	number bool
}

// ReadCSV reads a file of meters, a line each, by the names of its columns; or of nodes, if one of them is kind:
//
//	id,zone,parent,energy_import.dials,energy_import.rating,label.street
//	m1,Europe/Amsterdam,T1,9,17250,Dorpsweg
//
// An empty field is not told. Faults are as with ReadYAML.
func ReadCSV(data []byte) (File, []FileFault) {
	f := &fileReader{seen: map[string]bool{}}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff")))) // as spreadsheets write it
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return f.file, nil // an empty file
	}
	if err != nil {
		f.csvError(err)
		return f.file, f.faults
	}
	columns, class := f.csvHead(r, head)
	if len(f.faults) > 0 {
		return f.file, f.faults
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return f.file, f.sorted()
		}
		if err != nil {
			f.csvError(err)
			return f.file, f.sorted()
		}
		f.csvRow(r, class, columns, row)
	}
}

func (f *fileReader) csvError(err error) {
	if bad, ok := errors.AsType[*csv.ParseError](err); ok {
		f.fail(bad.Line, max(1, bad.Column), bad.Err.Error())
		return
	}
	f.fail(1, 1, err.Error())
}

// csvHead reads the names of the columns.
func (f *fileReader) csvHead(r *csv.Reader, head []string) (columns []csvColumn, class string) {
	class = ClassMeter
	seen := map[string]bool{}
	for _, name := range head {
		if name == "kind" {
			class = ClassNode
		}
	}
	for i, name := range head {
		c, ok := csvColumnOf(class, name)
		line, column := r.FieldPos(i)
		path := strings.Join(c.path, ".")
		switch {
		case !ok:
			f.fail(line, column, fmt.Sprintf("column %q is not known here; %s", name, columnsOfCSV))
		case seen[path]:
			f.fail(line, column, fmt.Sprintf("column %q stands twice", name))
		}
		seen[path] = true
		columns = append(columns, c)
	}
	if !seen["id"] {
		f.fail(1, 1, "there is no column id; "+columnsOfCSV)
	}
	if seen["parents.0.from"] && !seen["parents.0.node"] {
		f.fail(1, 1, "there is a column parent_from and none parent")
	}
	return columns, class
}

func csvColumnOf(class, name string) (c csvColumn, ok bool) {
	if key, ok := strings.CutPrefix(name, "label."); ok {
		return csvColumn{path: []string{"labels", key}}, true
	}
	switch name {
	case "id", "zone":
		return csvColumn{path: []string{name}}, true
	case "parent":
		return csvColumn{path: []string{"parents", "0", "node"}}, true
	case "parent_from":
		return csvColumn{path: []string{"parents", "0", "from"}}, true
	}
	if class == ClassNode {
		return csvColumn{path: []string{name}, number: name == "rating"}, name == "kind" || name == "rating"
	}
	if name == "cadence" {
		return csvColumn{path: []string{name}}, true
	}
	register, field, _ := strings.Cut(name, ".")
	for _, what := range []string{"dials", "rating"} { // an OBIS code has dots of its own
		if of, ok := strings.CutSuffix(name, "."+what); ok {
			register, field = of, what
		}
	}
	id, known := gridloom.RegisterByName(register)
	if !known || field != "dials" && field != "rating" {
		return c, false
	}
	return csvColumn{path: []string{"registers", id.Info().Alias, field}, number: true}, true
}

// csvRow reads one entry.
func (f *fileReader) csvRow(r *csv.Reader, class string, columns []csvColumn, row []string) {
	entry := map[string]any{}
	id, idAt := "", 0
	for i, text := range row {
		text = strings.TrimSpace(text)
		c := &columns[i]
		switch {
		case c.path[0] == "id":
			id, idAt = text, i
		case text == "":
		case c.number && json.Valid([]byte(text)):
			set(entry, c.path, json.Number(text))
		default:
			set(entry, c.path, text)
		}
	}
	line, column := r.FieldPos(idAt)
	if parent, ok := entry["parents"].(map[string]any); ok {
		entry["parents"] = []any{parent["0"]}
	}
	text, err := json.Marshal(entry)
	if err != nil {
		f.fail(line, column, err.Error())
		return
	}
	f.add(class, id, text, line, column, func(path []string) (int, int) {
		for ; len(path) > 0; path = path[:len(path)-1] { // of what is missing, where something beside it is
			for i := range columns {
				if n := len(path); len(columns[i].path) >= n && slices.Equal(columns[i].path[:n], path) && row[i] != "" {
					return r.FieldPos(i)
				}
			}
		}
		return line, column
	})
}

// set puts a value at a path, making the objects above it.
func set(m map[string]any, path []string, v any) {
	for ; len(path) > 1; path = path[1:] {
		next, ok := m[path[0]].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[path[0]] = next
		}
		m = next
	}
	m[path[0]] = v
}
