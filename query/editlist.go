package query

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/gridloom/gridloom"
)

// editsQuery is a request for /edits.
type editsQuery struct {
	meters   []string
	who      string
	from, to gridloom.Millis // log time, [from, to); to 0: no end
	before   uint64          // an id; 0: from the newest
	limit    int64
	asOf     gridloom.Millis
	partial  bool
	format   string
}

func (p *params) editsParams() (editsQuery, error) {
	q := editsQuery{meters: p.meters(), who: p.one("who"), before: uint64(p.count("before", 0, 1<<53)), limit: p.count("limit", 100, 1000)}
	q.from, q.to, q.asOf = p.maybeInstant("from"), p.maybeInstant("to"), p.maybeInstant("as_of")
	if q.to != 0 && q.from >= q.to {
		p.fail("from", q.from.String(), "it must lie before to, which is "+q.to.String())
	}
	q.partial, q.format = p.flag("partial"), p.one("format")
	return q, p.done()
}

// maybeInstant reads a time, 0 if it is not told.
func (p *params) maybeInstant(name string) gridloom.Millis {
	s := p.one(name)
	if s == "" {
		return 0
	}
	at, err := parseInstant(s, p.now, p.zone)
	if err != nil {
		p.fail(name, s, mendOf(err))
	}
	return at
}

// listEdits answers GET /edits: the audit trail, newest first.
func (s *Server) listEdits(w http.ResponseWriter, r *http.Request) error {
	q, err := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits).editsParams()
	if err != nil {
		return err
	}
	f, err := formatOf(r, q.format)
	if err != nil {
		return err
	}
	ctx, leave, err := s.admit(r)
	if err != nil {
		return err
	}
	defer leave()
	list, silent, err := s.audit(ctx, q.meters, 0, q.asOf, q.partial)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b auditEntry) int { return cmp.Compare(b.id, a.id) })
	markPartial(w, silent)
	return s.answer(w, r, f, editTable(silent), func(enc encoder) error {
		left := q.limit
		for i := range list {
			a := &list[i]
			switch {
			case left == 0:
				return nil
			case q.before != 0 && a.id >= q.before, q.who != "" && a.Who != q.who, a.loggedAt < q.from, q.to != 0 && a.loggedAt >= q.to:
				continue
			}
			left--
			if err := enc.row(editRow(a)); err != nil {
				return err
			}
		}
		return nil
	})
}

func editTable(silent bool) *table {
	return &table{noun: "edits", head: []field{{"partial", kindBool, truth(silent)}}, columns: []column{
		{name: "edit", kind: kindInt},
		{name: "logged_at", kind: kindInstant},
		{name: "who"},
		{name: "why"},
		{name: "op"},
		{name: "meter"},
		{name: "registers", kind: kindList},
		{name: "from"},
		{name: "to"},
		{name: "readings", kind: kindInt},
		{name: "undoes", kind: kindInt},
		{name: "undone_by", kind: kindInt},
	}}
}

func editRow(a *auditEntry) []cell {
	names := aliasesOf(a.Registers)
	return []cell{
		number(int64(a.id)), instant(a.loggedAt), text(a.Who), text(a.Why), text(string(a.Op)), text(a.Meter),
		{list: &names},
		text(a.From), text(a.To), number(a.Readings), when(a.Undoes != 0, int64(a.Undoes)), when(a.undoneBy != 0, int64(a.undoneBy)),
	}
}

// aliasesOf names registers as answers do; a code that is not known here stays as it is.
func aliasesOf(codes []string) []string {
	names := make([]string, len(codes))
	for i, code := range codes {
		names[i] = code
		if id, ok := gridloom.RegisterByName(code); ok {
			names[i] = id.Info().Alias
		}
	}
	return names
}

// oneEdit answers GET /edits/{edit}: all that its record says.
func (s *Server) oneEdit(w http.ResponseWriter, r *http.Request) error {
	p := newParams(r.URL.RawQuery, s.cfg.Now(), &s.limits)
	asOf := p.maybeInstant("as_of")
	if err := p.done(); err != nil {
		return err
	}
	id, err := strconv.ParseUint(chi.URLParam(r, "edit"), 10, 53)
	if err != nil || id == 0 {
		return badParam("edit", chi.URLParam(r, "edit"), "want the id of an edit, a whole number above 0")
	}
	ctx, leave, err := s.admit(r)
	if err != nil {
		return err
	}
	defer leave()
	a, err := s.findEdit(ctx, "edit", id, nil, asOf)
	if err != nil {
		return err
	}
	a.Registers = aliasesOf(a.Registers)
	return writeDoc(w, http.StatusOK, struct {
		Edit     uint64 `json:"edit"`
		LoggedAt string `json:"logged_at"`
		UndoneBy uint64 `json:"undone_by,omitempty"`
		*editRecord
	}{a.id, a.loggedAt.String(), a.undoneBy, &a.editRecord})
}
