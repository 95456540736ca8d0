package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/registry"
	"github.com/gridloom/gridloom/internal/wire"
)

// Bounds of what is written at once.
const (
	maxBatchEntries = 2000
	maxBatchBytes   = 8 << 20
	maxBatchFaults  = 20 // that are told
)

// batch is entries that are to be written: nodes first, each class by id.
type batch struct {
	entries []batchEntry
	faults  []string
}

type batchEntry struct {
	class, id string
	text      json.RawMessage // the entry in the form in which it is stored
	parents   []registry.Parent
}

func (e *batchEntry) key() string { return pane.RecordKey(e.class, e.id) }

// add reads an entry; what is wrong with it is noted.
func (b *batch) add(c entryClass, id string, text []byte) {
	e := batchEntry{class: c.class, id: id}
	var entry any
	var err error
	if c.class == registry.ClassMeter {
		var m registry.Meter
		m, err = registry.ParseMeter(text)
		e.parents, entry = m.Parents, m
	} else {
		var n registry.Node
		n, err = registry.ParseNode(text)
		e.parents, entry = n.Parents, n
	}
	if idErr := registry.CheckID(id); idErr != nil {
		b.fault(&e, mendOf(idErr))
	}
	if faults, ok := errors.AsType[registry.Faults](err); ok {
		for i := range faults {
			b.fault(&e, faults[i].Error())
		}
		return
	}
	if e.text, err = json.Marshal(entry); err != nil {
		b.fault(&e, err.Error())
		return
	}
	b.entries = append(b.entries, e)
}

func (b *batch) fault(e *batchEntry, text string) {
	b.faults = append(b.faults, fmt.Sprintf("%s %q: %s", e.class, e.id, text))
}

// check compares the entries with the network that they would make, and tells all faults.
func (b *batch) check(ctx context.Context, s *Server) error {
	hangs := func(e batchEntry) bool { return len(e.parents) > 0 }
	if len(b.faults) == 0 && slices.ContainsFunc(b.entries, hangs) {
		all, err := s.versions(ctx, nil, 0, false)
		if err != nil {
			return err
		}
		nodes, err := entriesOf(all, registry.ClassNode, registry.ParseNode)
		if err != nil {
			return err
		}
		b.checkNetwork(nodes)
	}
	if len(b.faults) == 0 {
		return nil
	}
	more := ""
	if n := len(b.faults) - maxBatchFaults; n > 0 {
		b.faults, more = b.faults[:maxBatchFaults], fmt.Sprintf("; and %d more", n)
	}
	return &problem{
		kind: problemEntry, status: http.StatusUnprocessableEntity, detail: strings.Join(b.faults, "; ") + more,
		mend: "nothing was written: mend it and send all again; docs/registry.md tells the fields",
	}
}

// checkNetwork notes what is wrong with the parents of the entries, given the nodes that there are.
func (b *batch) checkNetwork(nodes registry.Topology) {
	for i := range b.entries {
		if e := &b.entries[i]; e.class == registry.ClassNode {
			nodes[e.id], _ = registry.ParseNode(e.text) // it was just read
		}
	}
	for i := range b.entries {
		e := &b.entries[i]
		var err error
		if e.class == registry.ClassNode {
			err = nodes.Check(e.id)
		} else {
			for _, p := range e.parents {
				err = errors.Join(err, nodes.CheckParent(p.Node))
			}
		}
		if err != nil {
			b.fault(e, strings.ReplaceAll(mendOf(err), "\n", "; "))
		}
	}
}

// putMany answers POST /registry: {"nodes": {id: entry}, "meters": {id: entry}}. All are checked before any is
// written, and those that are there as they are stay so.
func (s *Server) putMany(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	checkOnly := p.flag("check")
	if err := p.done(); err != nil {
		return err
	}
	if err := wantJSON(r); err != nil {
		return err
	}
	text, err := readBody(w, r, maxBatchBytes)
	if err != nil {
		return err
	}
	b, err := readBatch(text)
	if err != nil {
		return err
	}
	ctx, leave, err := s.admit(r)
	if err != nil {
		return err
	}
	defer leave()
	if err := b.check(ctx, s); err != nil {
		return err
	}
	keys := make([]string, len(b.entries))
	for i := range b.entries {
		keys[i] = b.entries[i].key()
	}
	slices.Sort(keys)
	there, err := s.versions(ctx, keys, 0, false)
	if err != nil {
		return err
	}
	var fresh []batchEntry
	for _, e := range b.entries {
		if v := there[e.key()]; !v.Exists() || string(v.Entry) != string(e.text) {
			fresh = append(fresh, e)
		}
	}
	if !checkOnly {
		if err := s.writeEntries(ctx, fresh); err != nil {
			return err
		}
	}
	return writeDoc(w, http.StatusOK, map[string]any{"written": len(fresh), "unchanged": len(b.entries) - len(fresh), "check": checkOnly})
}

func readBatch(text []byte) (*batch, error) {
	var doc struct {
		Nodes  map[string]json.RawMessage `json:"nodes"`
		Meters map[string]json.RawMessage `json:"meters"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, &problem{
			kind: problemEntry, status: http.StatusUnprocessableEntity, detail: "the body cannot be read: " + err.Error(),
			mend: `want {"nodes": {"T17": {…}}, "meters": {"m1": {…}}}`,
		}
	}
	if n := len(doc.Nodes) + len(doc.Meters); n > maxBatchEntries {
		return nil, overLimit("", fmt.Sprintf("%d entries are sent at once, the limit is %d", n, maxBatchEntries), "send them in several requests, nodes first")
	}
	b := &batch{}
	for _, id := range slices.Sorted(maps.Keys(doc.Nodes)) {
		b.add(entryClass{registry.ClassNode, "nodes"}, id, doc.Nodes[id])
	}
	for _, id := range slices.Sorted(maps.Keys(doc.Meters)) {
		b.add(entryClass{registry.ClassMeter, "meters"}, id, doc.Meters[id])
	}
	return b, nil
}

// writeEntries writes entries in few frames of each partition, in their order: nodes first.
func (s *Server) writeEntries(ctx context.Context, entries []batchEntry) error {
	type open struct {
		records []wire.Record
		bytes   int
	}
	parts := make([]open, s.cfg.Partitions)
	flush := func(p int) error {
		if len(parts[p].records) == 0 {
			return nil
		}
		_, err := s.write(ctx, p, wire.KindRegistry, nil, parts[p].records)
		parts[p] = open{}
		return err
	}
	flushAll := func() error {
		for p := range parts {
			if err := flush(p); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range entries {
		e := &entries[i]
		if i > 0 && e.class != entries[i-1].class {
			if err := flushAll(); err != nil {
				return err
			}
		}
		body, err := json.Marshal(registry.Change{Entry: e.text})
		if err != nil {
			return err
		}
		key := e.key()
		p := s.partitionOfKey(key)
		const overhead = 32 // of a record in a frame
		if parts[p].bytes+len(key)+len(body)+overhead > maxFrameBytes-1024 {
			if err := flush(p); err != nil {
				return err
			}
		}
		parts[p].records = append(parts[p].records, wire.Record{Key: key, Body: body})
		parts[p].bytes += len(key) + len(body) + overhead
	}
	return flushAll()
}
