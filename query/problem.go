package query

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gridloom/gridloom"
)

// problemKind names a kind of failure; it ends the type URI of a problem document.
type problemKind string

const (
	problemParameter   problemKind = "parameter"   // a parameter that cannot be read or is not known
	problemFormat      problemKind = "format"      // no form that the client accepts
	problemLimit       problemKind = "limit"       // more than one request may ask for
	problemGrid        problemKind = "grid"        // steps that would cut stored windows
	problemNotFound    problemKind = "not-found"   // no such meter or path
	problemEntry       problemKind = "entry"       // an entry of the registry that cannot be used
	problemCondition   problemKind = "condition"   // If-Match or If-None-Match does not hold
	problemConflict    problemKind = "conflict"    // what is asked for no longer fits what is there
	problemMethod      problemKind = "method"      // a method that the path does not have
	problemBusy        problemKind = "busy"        // too many heavy queries at once
	problemDeadline    problemKind = "deadline"    // the answer took longer than it may
	problemUnavailable problemKind = "unavailable" // a partition, the heads or the log do not answer
	problemCorrupt     problemKind = "corrupt"     // a stored file is not what was written
	problemInternal    problemKind = "internal"    // our fault
)

// problem is an RFC 9457 problem document, and the error that becomes one.
type problem struct {
	kind      problemKind
	status    int
	parameter string // at fault, or ""
	value     string // of the parameter
	detail    string
	mend      string // what the client can do
	retry     int    // seconds; 0: none told
	cause     error
}

// badParam says that a parameter's value cannot be used, and how to mend it.
func badParam(name, value, mend string) *problem {
	return &problem{
		kind: problemParameter, status: http.StatusBadRequest, parameter: name, value: value, mend: mend,
		detail: fmt.Sprintf("%s=%q cannot be used", name, value),
	}
}

// overLimit says that a request asks for more than one may.
func overLimit(parameter, detail, mend string) *problem {
	return &problem{kind: problemLimit, status: http.StatusUnprocessableEntity, parameter: parameter, detail: detail, mend: mend}
}

func (p *problem) Error() string {
	s := p.detail
	if p.mend != "" {
		s += ": " + p.mend
	}
	return s
}

func (p *problem) Unwrap() error {
	if p.cause != nil {
		return p.cause
	}
	if p.status < http.StatusInternalServerError {
		return gridloom.ErrInvalid
	}
	return nil
}

var problemTitles = map[problemKind]string{
	problemParameter: "A parameter cannot be used", problemFormat: "No such format", problemLimit: "More than one request may ask for",
	problemGrid: "Steps would cut stored windows", problemNotFound: "Not found", problemConflict: "It no longer fits what is there", problemEntry: "An entry cannot be used", problemCondition: "The condition does not hold", problemMethod: "Method not allowed", problemBusy: "Too many heavy queries at once",
	problemDeadline: "The answer took too long", problemUnavailable: "Not available now", problemCorrupt: "A stored file is damaged",
	problemInternal: "Internal error",
}

// problemTypeBase begins the type URI of every problem; docs/api.md lists them.
const problemTypeBase = "urn:gridloom:problem:"

func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Disposition")
	if p.retry > 0 {
		h.Set("Retry-After", fmt.Sprint(p.retry))
	}
	w.WriteHeader(p.status)
	doc := struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Detail    string `json:"detail"`
		Mend      string `json:"mend,omitempty"`
		Parameter string `json:"parameter,omitempty"`
		Value     string `json:"value,omitempty"`
		Instance  string `json:"instance"`
	}{problemTypeBase + string(p.kind), problemTitles[p.kind], p.status, p.detail, p.mend, p.parameter, p.value, r.URL.RequestURI()}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(doc) // the client may be gone: nobody is left to tell
}

// asProblem returns err's problem document, or nil if it has none yet.
func asProblem(err error) *problem {
	p, _ := errors.AsType[*problem](err)
	return p
}
