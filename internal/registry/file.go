package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// File is what a file of `gridloom registry import` holds.
type File struct {
	Nodes, Meters []FileEntry
}

// FileEntry is one entry of a file, in the form in which it is stored.
type FileEntry struct {
	ID      string
	Text    json.RawMessage
	Parents []Parent
	node    Node
	Line    int // where its id stands
	Column  int
}

// FileFault is a fault and where it stands, both from 1.
type FileFault struct {
	Line, Column int
	Text         string
}

// fileReader gathers entries and faults.
type fileReader struct {
	file   File
	faults []FileFault
	seen   map[string]bool
}

func (f *fileReader) fail(line, column int, text string) {
	f.faults = append(f.faults, FileFault{line, column, text})
}

// add reads an entry, given as JSON; place tells where a path in it stands in the file.
func (f *fileReader) add(class, id string, text []byte, line, column int, place func(path []string) (line, column int)) {
	if err := CheckID(id); err != nil {
		f.fail(line, column, mendOf(err))
	}
	if key := class + "/" + id; f.seen[key] {
		f.fail(line, column, fmt.Sprintf("%s %q stands twice in this file", class, id))
	} else {
		f.seen[key] = true
	}
	e := FileEntry{ID: id, Line: line, Column: column}
	var entry any
	var err error
	if class == ClassMeter {
		var m Meter
		m, err = ParseMeter(text)
		e.Parents, entry = m.Parents, m
	} else {
		e.node, err = ParseNode(text)
		e.Parents, entry = e.node.Parents, e.node
	}
	if faults, ok := errors.AsType[Faults](err); ok {
		for i := range faults {
			at, col := place(faults[i].Path)
			f.fail(at, col, fmt.Sprintf("%s %q: %s", class, id, faults[i].Error()))
		}
		return
	}
	if e.Text, err = json.Marshal(entry); err != nil {
		f.fail(line, column, err.Error())
		return
	}
	if class == ClassMeter {
		f.file.Meters = append(f.file.Meters, e)
	} else {
		f.file.Nodes = append(f.file.Nodes, e)
	}
}

// sorted returns the faults by their place.
func (f *fileReader) sorted() []FileFault {
	slices.SortStableFunc(f.faults, func(a, b FileFault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return f.faults
}

// CheckNetwork compares a file with the nodes that are in the registry already, which it adds its own to, and puts
// the file's nodes into an order in which each comes after those that it hangs on.
func (f *File) CheckNetwork(nodes Topology) (faults []FileFault) {
	own := map[string]bool{}
	for i := range f.Nodes {
		own[f.Nodes[i].ID] = true
		nodes[f.Nodes[i].ID] = f.Nodes[i].node
	}
	fail := func(e *FileEntry, class string, err error) {
		if err != nil {
			faults = append(faults, FileFault{e.Line, e.Column, fmt.Sprintf("%s %q: %s", class, e.ID, mendOf(err))})
		}
	}
	for i := range f.Nodes {
		fail(&f.Nodes[i], ClassNode, nodes.Check(f.Nodes[i].ID))
	}
	for i := range f.Meters {
		for _, p := range f.Meters[i].Parents {
			fail(&f.Meters[i], ClassMeter, nodes.CheckParent(p.Node))
		}
	}
	if len(faults) == 0 {
		depth := map[string]int{}
		var depthOf func(id string, left int) int
		depthOf = func(id string, left int) int { // nodes can hang on one another at different times
			if d, ok := depth[id]; ok || left == 0 {
				return d
			}
			d := 0
			for _, p := range nodes[id].Parents {
				if own[p.Node] {
					d = max(d, 1+depthOf(p.Node, left-1))
				}
			}
			depth[id] = d
			return d
		}
		for i := range f.Nodes {
			depthOf(f.Nodes[i].ID, MaxDepth)
		}
		slices.SortStableFunc(f.Nodes, func(a, b FileEntry) int { return cmp.Compare(depth[a.ID], depth[b.ID]) })
	}
	return faults
}
