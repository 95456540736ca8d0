package query

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/registry"
)

// Entries in one answer of a list.
const (
	defEntries = 1000
	maxEntries = 10_000
)

// listEntries answers GET /registry/meters and /registry/nodes: by id, a page at a time. Of meters, with unknown=true,
// those that have reported and are not registered.
func (s *Server) listEntries(w http.ResponseWriter, r *http.Request, c entryClass) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	after, limit := p.one("after"), int(p.count("limit", defEntries, maxEntries))
	asOf := p.maybeInstant("as_of")
	unknown := c.class == registry.ClassMeter && p.flag("unknown")
	if unknown && asOf != 0 {
		p.fail("as_of", p.one("as_of"), "unknown=true tells of now: leave as_of out")
	}
	if err := p.done(); err != nil {
		return err
	}
	ctx, leave, err := s.admit(r)
	if err != nil {
		return err
	}
	defer leave()
	all, err := s.versions(ctx, nil, asOf, false)
	if err != nil {
		return err
	}
	if unknown {
		return s.listUnknown(ctx, w, all, after, limit)
	}
	list := []entryDoc{}
	for key, v := range all {
		if class, id := pane.SplitRecordKey(key); class == c.class && v.Exists() && id > after {
			list = append(list, docOf(id, &v))
		}
	}
	slices.SortFunc(list, func(a, b entryDoc) int { return cmp.Compare(a.ID, b.ID) })
	return writePage(w, c.plural, list, limit, func(d entryDoc) string { return d.ID })
}

// listUnknown answers the meters that have reported and are not in the registry.
func (s *Server) listUnknown(ctx context.Context, w http.ResponseWriter, all map[string]registry.Version, after string, limit int) error {
	infos, _, err := s.series(ctx, s.allPartitions(), false)
	if err != nil {
		return err
	}
	list := []map[string]string{}
	last := ""
	for i := range infos { // by meter
		id := infos[i].Meter
		v := all[pane.RecordKey(registry.ClassMeter, id)]
		if id == last || id <= after || v.Exists() {
			continue
		}
		last = id
		list = append(list, map[string]string{"id": id})
	}
	return writePage(w, "meters", list, limit, func(m map[string]string) string { return m["id"] })
}

// writePage answers the first limit entries of a list; next is told if there are more.
func writePage[T any](w http.ResponseWriter, noun string, list []T, limit int, id func(T) string) error {
	doc := map[string]any{}
	if len(list) > limit {
		list = list[:limit]
		doc["next"] = id(list[limit-1])
	}
	doc[noun], doc["rows"] = list, len(list)
	return writeDoc(w, http.StatusOK, doc)
}
