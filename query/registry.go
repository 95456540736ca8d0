package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/registry"
	"github.com/gridloom/gridloom/internal/wire"
)

// mountRegistry adds the paths of the registry below /api/v1.
func (s *Server) mountRegistry(r chi.Router) {
	r.Post("/registry", s.handle("registry", s.putMany))
	for _, c := range []entryClass{{registry.ClassMeter, "meters"}, {registry.ClassNode, "nodes"}} {
		path := "/registry/" + c.plural
		r.Get(path, s.handle("registry", func(w http.ResponseWriter, r *http.Request) error { return s.listEntries(w, r, c) }))
		r.Get(path+"/{id}", s.handle("registry", func(w http.ResponseWriter, r *http.Request) error { return s.getEntry(w, r, c) }))
		r.Put(path+"/{id}", s.handle("registry", func(w http.ResponseWriter, r *http.Request) error { return s.putEntry(w, r, c) }))
		r.Delete(path+"/{id}", s.handle("registry", func(w http.ResponseWriter, r *http.Request) error { return s.deleteEntry(w, r, c) }))
		r.Get(path+"/{id}/versions", s.handle("registry", func(w http.ResponseWriter, r *http.Request) error { return s.listVersions(w, r, c) }))
	}
}

// entryClass is the meters or the nodes of the registry.
type entryClass struct{ class, plural string }

// entryDoc is one version of an entry as it is answered.
type entryDoc struct {
	ID       string          `json:"id"`
	Version  uint64          `json:"version"`
	LoggedAt string          `json:"logged_at"`
	Deleted  bool            `json:"deleted,omitempty"`
	Entry    json.RawMessage `json:"entry,omitempty"`
}

func docOf(id string, v *registry.Version) entryDoc {
	return entryDoc{id, v.Number, v.LoggedAt.String(), v.Deleted, v.Entry}
}

// versions returns the version of each key that holds at asOf (0: now), deleted ones included; with partial without what
// silent owners hold.
func (s *Server) versions(ctx context.Context, keys []string, asOf gridloom.Millis, partial bool) (map[string]registry.Version, error) {
	records, _, err := s.records(ctx, pane.KindRegistry, keys, asOf, partial)
	if err != nil {
		return nil, err
	}
	all := map[string]registry.Version{}
	for i := range records { // of a key in the order of the log
		r := &records[i]
		if all[r.Key], _, err = all[r.Key].Next(r.Sequence, r.LoggedAt, r.Body); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// history returns every version that a key has had, oldest first: the records whose condition held.
func (s *Server) history(ctx context.Context, key string) (list []registry.Version, err error) {
	records, _, err := s.records(ctx, pane.KindRegistry, []string{key}, 0, false)
	if err != nil {
		return nil, err
	}
	var v registry.Version
	for i := range records {
		var counts bool
		if v, counts, err = v.Next(records[i].Sequence, records[i].LoggedAt, records[i].Body); err != nil {
			return nil, err
		}
		if counts {
			list = append(list, v)
		}
	}
	return list, nil
}

// entriesOf returns the entries of one class among versions, by id.
func entriesOf[T any](all map[string]registry.Version, class string, parse func(text []byte) (T, error)) (map[string]T, error) {
	entries := map[string]T{}
	for key, v := range all {
		c, id := pane.SplitRecordKey(key)
		if c != class || !v.Exists() {
			continue
		}
		e, err := parse(v.Entry)
		if err != nil {
			return nil, fmt.Errorf("%w: %s %q, version %d: %s", gridloom.ErrCorrupt, class, id, v.Number, err.Error())
		}
		entries[id] = e
	}
	return entries, nil
}

// version returns the version of one key that holds.
func (s *Server) version(ctx context.Context, key string, asOf gridloom.Millis) (registry.Version, error) {
	all, err := s.versions(ctx, []string{key}, asOf, false)
	return all[key], err
}

// entryID reads the id in the path.
func entryID(r *http.Request) (string, error) {
	id, err := pathParam(r, "id")
	if err == nil {
		err = registry.CheckID(id)
	}
	if err != nil {
		return "", badParam("id", id, mendOf(err))
	}
	return id, nil
}

// entry holds what every request about one entry begins with.
func (s *Server) entry(r *http.Request, c entryClass) (ctx context.Context, id, key string, leave func(), err error) {
	if id, err = entryID(r); err != nil {
		return nil, "", "", nil, err
	}
	ctx, leave, err = s.admit(r)
	return ctx, id, pane.RecordKey(c.class, id), leave, err
}

// admit lets a request in that reads records, within the time that it may take; leave is to be called when it is answered.
func (s *Server) admit(r *http.Request) (ctx context.Context, leave func(), err error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.Deadline)
	out, err := s.gate.enter(ctx)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, func() { out(); cancel() }, nil
}

// getEntry answers GET /registry/{class}/{id}.
func (s *Server) getEntry(w http.ResponseWriter, r *http.Request, c entryClass) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	asOf := p.maybeInstant("as_of")
	if err := p.done(); err != nil {
		return err
	}
	ctx, id, key, leave, err := s.entry(r, c)
	if err != nil {
		return err
	}
	defer leave()
	v, err := s.version(ctx, key, asOf)
	if err != nil {
		return err
	}
	if !v.Exists() {
		return noEntry(c, id)
	}
	return writeEntry(w, http.StatusOK, id, &v)
}

func noEntry(c entryClass, id string) error {
	return &problem{
		kind: problemNotFound, status: http.StatusNotFound, parameter: "id", value: id,
		detail: fmt.Sprintf("the registry has no %s %q", c.class, id), mend: "GET /api/v1/registry/" + c.plural + " lists them; ids are case-sensitive",
	}
}

// listVersions answers GET /registry/{class}/{id}/versions: newest first.
func (s *Server) listVersions(w http.ResponseWriter, r *http.Request, c entryClass) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	if err := p.done(); err != nil {
		return err
	}
	ctx, id, key, leave, err := s.entry(r, c)
	if err != nil {
		return err
	}
	defer leave()
	versions, err := s.history(ctx, key)
	if err != nil {
		return err
	}
	list := make([]entryDoc, 0, len(versions))
	for i := range versions {
		list = append(list, docOf(id, &versions[i]))
	}
	if len(list) == 0 {
		return noEntry(c, id)
	}
	slices.Reverse(list)
	return writeDoc(w, http.StatusOK, map[string]any{"versions": list, "rows": len(list)})
}

// condition reads If-Match and If-None-Match: nil is none, 0 that there must be no entry.
func condition(r *http.Request, now *registry.Version) (want *uint64, err error) {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	var v uint64
	switch {
	case match != "" && none != "" || none != "" && none != "*":
		return nil, badParam("If-None-Match", none, "want * for an entry that must be new, or If-Match with the ETag of the version that you have seen")
	case none == "*":
		return &v, nil
	case match == "":
		return nil, nil
	case match == "*":
		if v = now.Number; !now.Exists() {
			return nil, changed("there is no entry")
		}
		return &v, nil
	}
	text, ok := strings.CutPrefix(match, `"`)
	text, ok2 := strings.CutSuffix(text, `"`)
	if v, err = strconv.ParseUint(text, 10, 64); err != nil || !ok || !ok2 || v == 0 {
		return nil, badParam("If-Match", match, `want the ETag of an entry, such as "41"`)
	}
	return &v, nil
}

// meets returns 412 unless the condition holds of the version that is there.
func meets(want *uint64, now *registry.Version) error {
	switch {
	case want == nil || *want == 0 && !now.Exists() || now.Exists() && *want == now.Number:
		return nil
	case now.Exists():
		return changed(fmt.Sprintf("version %d holds", now.Number))
	}
	return changed("there is no entry")
}

func changed(what string) error {
	return &problem{
		kind: problemCondition, status: http.StatusPreconditionFailed, detail: "the condition does not hold: " + what,
		mend: "GET the entry, make the change again and send its ETag in If-Match",
	}
}

// putEntry answers PUT /registry/{class}/{id}: the whole entry is replaced.
func (s *Server) putEntry(w http.ResponseWriter, r *http.Request, c entryClass) error {
	text, err := readBody(w, r, registry.MaxBody)
	if err != nil {
		return err
	}
	return s.change(w, r, c, text)
}

// deleteEntry answers DELETE /registry/{class}/{id}.
func (s *Server) deleteEntry(w http.ResponseWriter, r *http.Request, c entryClass) error {
	return s.change(w, r, c, nil)
}

// change writes a new version of an entry: text, or without one that there is none.
func (s *Server) change(w http.ResponseWriter, r *http.Request, c entryClass, text []byte) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	if err := p.done(); err != nil {
		return err
	}
	ctx, id, key, leave, err := s.entry(r, c)
	if err != nil {
		return err
	}
	defer leave()
	before, err := s.version(ctx, key, 0)
	if err != nil {
		return err
	}
	want, err := condition(r, &before)
	if err == nil {
		err = meets(want, &before)
	}
	if err != nil {
		return err
	}
	record := registry.Change{If: want, Deleted: text == nil}
	if text == nil && !before.Exists() {
		return noEntry(c, id)
	}
	if text != nil {
		b := &batch{}
		b.add(c, id, text)
		if err := b.check(ctx, s); err != nil {
			return err
		}
		if record.Entry = b.entries[0].text; before.Exists() && string(before.Entry) == string(record.Entry) {
			return writeEntry(w, http.StatusOK, id, &before) // it is there
		}
	}
	body, err := json.Marshal(record)
	if err != nil {
		return err
	}
	seq, err := s.write(ctx, s.partitionOfKey(key), wire.KindRegistry, nil, []wire.Record{{Key: key, Body: body}})
	if err != nil {
		return err
	}
	now, err := s.version(ctx, key, 0)
	if err != nil {
		return err
	}
	if want != nil && now.Number != seq { // somebody else was before us in the log, or has gone over it since
		versions, err := s.history(ctx, key)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(versions, func(v registry.Version) bool { return v.Number == seq }) {
			return changed(fmt.Sprintf("version %d was written first", now.Number))
		}
	}
	if text == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	status := http.StatusOK
	if !before.Exists() {
		status = http.StatusCreated
	}
	return writeEntry(w, status, id, &registry.Version{Number: seq, LoggedAt: now.LoggedAt, Entry: record.Entry})
}

// readBody reads what a client sends, at most so many bytes.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, overLimit("", fmt.Sprintf("the body is longer than %d bytes", over.Limit), "send less at once")
	}
	if err != nil {
		return nil, &problem{kind: problemParameter, status: http.StatusBadRequest, detail: "the body did not come whole: " + err.Error(), mend: "send it again"}
	}
	return text, nil
}

func writeEntry(w http.ResponseWriter, status int, id string, v *registry.Version) error {
	w.Header().Set("ETag", fmt.Sprintf("%q", fmt.Sprint(v.Number)))
	return writeDoc(w, status, docOf(id, v))
}

// writeDoc answers with one JSON document.
func writeDoc(w http.ResponseWriter, status int, doc any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // the client may be gone: nobody is left to tell
	return nil
}

// windowsAsOf returns the function from a series to how it is folded, which is as cfg says but for what the registry
// said at a time; 0 is now.
func (s *Server) windowsAsOf(ctx context.Context, cfg window.Config, meters []string, asOf gridloom.Millis) (func(meter string, register gridloom.RegisterID) window.Config, error) {
	var keys []string
	for _, m := range meters {
		keys = append(keys, pane.RecordKey(registry.ClassMeter, m))
	}
	all, err := s.versions(ctx, keys, asOf, false)
	if err != nil {
		return nil, err
	}
	parsed, err := entriesOf(all, registry.ClassMeter, registry.ParseMeter)
	if err != nil {
		return nil, err
	}
	return func(meter string, register gridloom.RegisterID) window.Config {
		r := parsed[meter].Registers[register.Info().Alias]
		return cfg.Limited(r.Dials, int64(r.Rating))
	}, nil
}
