package registry

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadYAML reads a file of entries:
//
//	nodes:
//	  T1: {kind: transformer}
//	meters:
//	  m1: {zone: Europe/Amsterdam, parents: [{node: T1}]}
//
// Every fault is told with its place; there is no entry to be used unless there is none.
func ReadYAML(data []byte) (File, []FileFault) {
	f := &fileReader{seen: map[string]bool{}}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		f.fail(yamlLine(err), 1, strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: "))
		return f.file, f.faults
	}
	if len(doc.Content) == 0 {
		return f.file, nil // an empty file
	}
	f.yamlPairs(doc.Content[0], "nodes and meters", func(key, value *yaml.Node) {
		class := map[string]string{"nodes": ClassNode, "meters": ClassMeter}[key.Value]
		if class == "" {
			f.fail(key.Line, key.Column, fmt.Sprintf("%q is not known here; known are meters, nodes", key.Value))
			return
		}
		f.yamlPairs(value, key.Value+" by id", func(id, entry *yaml.Node) { f.yamlEntry(class, id, entry) })
	})
	return f.file, f.sorted()
}

var lineOfError = regexp.MustCompile(`line (\d+)`)

func yamlLine(err error) int {
	if m := lineOfError.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1]) // digits
		return max(1, n)
	}
	return 1
}

// yamlPairs calls do with each key and value of a mapping.
func (f *fileReader) yamlPairs(n *yaml.Node, what string, do func(key, value *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		f.fail(n.Line, n.Column, "want a mapping of "+what)
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		do(n.Content[i], n.Content[i+1])
	}
}

func (f *fileReader) yamlEntry(class string, id, entry *yaml.Node) {
	before := len(f.faults)
	tree := f.yamlTree(entry, 0)
	if len(f.faults) > before {
		return
	}
	text, err := json.Marshal(tree)
	if err != nil {
		f.fail(entry.Line, entry.Column, err.Error())
		return
	}
	f.add(class, id.Value, text, id.Line, id.Column, func(path []string) (line, column int) {
		at := find(entry, path)
		return at.Line, at.Column
	})
}

// maxYAMLDepth is deeper than any entry.
const maxYAMLDepth = 8

// yamlTree returns a node as JSON has it. Aliases are refused: a few lines of them would be gigabytes.
func (f *fileReader) yamlTree(n *yaml.Node, depth int) any {
	switch {
	case depth > maxYAMLDepth:
		f.fail(n.Line, n.Column, "nothing of an entry lies so deep")
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if _, twice := m[key.Value]; twice || key.Kind != yaml.ScalarNode {
				f.fail(key.Line, key.Column, fmt.Sprintf("key %q stands twice, or is none", key.Value))
			}
			m[key.Value] = f.yamlTree(n.Content[i+1], depth+1)
		}
		return m
	case n.Kind == yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, x := range n.Content {
			list[i] = f.yamlTree(x, depth+1)
		}
		return list
	case n.Kind == yaml.AliasNode:
		f.fail(n.Line, n.Column, "aliases are not read: write it out")
	case n.Tag == "!!int", n.Tag == "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.Number(n.Value)
		}
		return n.Value
	case n.Tag == "!!bool":
		return n.Value == "true"
	case n.Tag == "!!null":
		return nil
	}
	return n.Value
}

// find returns the node that lies deepest on a path.
func find(n *yaml.Node, path []string) *yaml.Node {
	for ; len(path) > 0; path = path[1:] {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if key := n.Content[i]; key.Value == path[0] {
					if next = n.Content[i+1]; len(path) == 1 || next.Kind == yaml.ScalarNode {
						return key
					}
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(path[0]); err == nil && i < len(n.Content) {
				next = n.Content[i]
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// AppendYAML appends entries in the form that ReadYAML reads.
func AppendYAML(dst []byte, nodes, meters map[string]json.RawMessage) ([]byte, error) {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	for _, part := range []struct {
		key     string
		entries map[string]json.RawMessage
	}{{"nodes", nodes}, {"meters", meters}} {
		if len(part.entries) == 0 {
			continue
		}
		list := &yaml.Node{Kind: yaml.MappingNode}
		for _, id := range sortedKeys(part.entries) {
			d := json.NewDecoder(strings.NewReader(string(part.entries[id])))
			d.UseNumber()
			var tree any
			if err := d.Decode(&tree); err != nil {
				return nil, fmt.Errorf("entry %q: %w", id, err)
			}
			list.Content = append(list.Content, textNode(id), nodeOf(tree))
		}
		doc.Content = append(doc.Content, textNode(part.key), list)
	}
	if len(doc.Content) == 0 {
		return dst, nil
	}
	text, err := yaml.Marshal(doc)
	return append(dst, text...), err
}

func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	n.Tag = "!!str"
	return n
}

func nodeOf(tree any) *yaml.Node {
	switch v := tree.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range sortedKeys(v) {
			n.Content = append(n.Content, textNode(key), nodeOf(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, x := range v {
			n.Content = append(n.Content, nodeOf(x))
		}
		return n
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	case string:
		return textNode(v)
	}
	panic(fmt.Sprintf("registry: an entry holds %v", tree)) // no entry has a truth value or null
}
