package query

import (
	"context"
	_ "embed" // the OpenAPI document
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// Owners answers for the partitions that are owned now, wherever that is. Tail
// fails with ErrUnavailable if no owner answers and ErrFenced if it has just lost
// the partition. The rows of an answer are the caller's.
type Owners interface {
	Tail(ctx context.Context, partition int, sel pane.Selector) (*pane.Tail, error)
	Series(ctx context.Context, partition int) ([]pane.SeriesInfo, error)
	Status(ctx context.Context) ([]pane.Status, error)
}

// Heads reads the head of a partition as it is now, never an older one. It fails
// with ErrNotFound if there is none, and says how that is mended if it should be there.
type Heads interface {
	LoadHead(ctx context.Context, partition int) (gridloom.Head, uint64, error)
}

// RejectLog reads what ingest refused, newest first, from below the sequence
// before; 0 is from the newest.
type RejectLog interface {
	Rejects(ctx context.Context, before uint64, limit int) ([]gridloom.Reject, error)
}

// Config says how to answer. Partitions is required; other zero values mean their default.
type Config struct {
	Partitions int           // of the generation that is served
	Generation uint32        // of the log; what is written says so
	Log        Log           // what is written through the API goes there; nil: nothing can be
	Window     window.Config // as the owners have it
	Limits     Limits
	OwnerWait  time.Duration          // how long an owner may take to answer; default 2 s
	Now        func() gridloom.Millis // default: the wall clock
	Logger     *slog.Logger           // default: none
	Registerer prometheus.Registerer  // default: none

	// Calendars are those of calendar=, each with a name of its own. Default: none.
	Calendars []*Calendar
	// Problems names, for /readyz, what keeps this process from working beside its
	// partitions, such as a full disk. Default: nothing.
	Problems func(ctx context.Context) []string
	// Notes says, for /healthz, what an operator should know, such as relaxed durability. Default: nothing.
	Notes func(ctx context.Context) []string
	// Listener is the address that the handler is served on. Profiles are served
	// only if it is a loopback address; nil is taken for any other.
	Listener net.Addr
	// Version is told at / and /api/v1/status.
	Version string
}

// Validate names the field that cannot be used.
func (c *Config) Validate() error {
	if c.Partitions < 1 {
		return fmt.Errorf("%w: query: Partitions is %d, want at least 1", gridloom.ErrInvalid, c.Partitions)
	}
	if c.Window.Width <= 0 {
		return fmt.Errorf("%w: query: Window.Width is %d, want above 0", gridloom.ErrInvalid, c.Window.Width)
	}
	return nil
}

// Server answers queries. Its methods may be called at once.
type Server struct {
	cfg     Config
	limits  Limits
	store   *pane.Store
	owners  Owners
	heads   Heads
	rejects RejectLog
	order   codeOrder
	gate    *gate
	editing chan struct{} // capacity 1: held while an edit is made
	metrics *metrics
	log     *slog.Logger
}

// New returns a server over one generation of partitions, or ErrInvalid. rejects
// may be nil if there are none.
func New(cfg Config, store *pane.Store, owners Owners, heads Heads, rejects RejectLog) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, limits: cfg.Limits, store: store, owners: owners, heads: heads, rejects: rejects, order: newCodeOrder()}
	s.limits.setDefaults()
	if s.cfg.OwnerWait <= 0 {
		s.cfg.OwnerWait = 2 * time.Second
	}
	if s.cfg.Now == nil {
		s.cfg.Now = func() gridloom.Millis { return gridloom.MillisOf(time.Now()) }
	}
	if s.log = cfg.Logger; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.gate, s.editing = newGate(&s.limits), make(chan struct{}, 1)
	s.metrics = newMetrics(cfg.Registerer)
	return s, nil
}

//go:embed openapi.yaml
var openAPI []byte

// Routes returns the handler of every path: /, /api/v1, /healthz, /readyz, and
// /debug/pprof if the listener is a loopback address.
func (s *Server) Routes() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.GetHead) // load balancers ask for health so
	r.Get("/", s.handle("index", s.index))
	r.Get("/healthz", s.handle("healthz", s.healthz))
	r.Get("/readyz", s.handle("readyz", s.readyz))
	r.Route("/api/v1", func(r chi.Router) {
		r.Get("/meters", s.handle("meters", s.listMeters))
		r.Get("/meters/{meter}", s.handle("meter", s.oneMeter))
		r.Get("/readings", s.handle("readings", s.listReadings))
		r.Get("/windows", s.handle("windows", s.listWindows))
		r.Get("/demand", s.handle("demand", s.listDemand))
		r.Get("/status", s.handle("status", s.status))
		r.Post("/edits", s.handle("edit", s.postEdit))
		r.Get("/edits", s.handle("edits", s.listEdits))
		r.Get("/edits/{edit}", s.handle("edits", s.oneEdit))
		r.Get("/rejects", s.handle("rejects", s.listRejects))
		r.Get("/openapi.yaml", s.handle("openapi", s.openAPI))
		s.mountRegistry(r)
	})
	if isLoopback(s.cfg.Listener) {
		mountProfiles(r)
	}
	r.NotFound(s.handle("none", func(_ http.ResponseWriter, r *http.Request) error {
		return &problem{
			kind: problemNotFound, status: http.StatusNotFound, detail: "there is nothing at " + r.URL.Path,
			mend: "GET / lists what there is",
		}
	}))
	r.MethodNotAllowed(s.handle("none", func(w http.ResponseWriter, r *http.Request) error {
		allow := allowed(r)
		w.Header().Set("Allow", allow)
		return &problem{kind: problemMethod, status: http.StatusMethodNotAllowed, detail: r.URL.Path + " has no " + r.Method, mend: "use " + strings.TrimSuffix(allow, ", HEAD")}
	}))
	return r
}

// allowed lists the methods that a path has.
func allowed(r *http.Request) string {
	var have []string
	routes := chi.RouteContext(r.Context()).Routes
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		asked := method
		if method == http.MethodHead {
			asked = http.MethodGet
		}
		if routes.Match(chi.NewRouteContext(), asked, r.URL.Path) {
			have = append(have, method)
		}
	}
	return strings.Join(have, ", ")
}

// handle turns what a handler returns into a response. A failure after the status
// went out cuts the connection, so that no client takes half an answer for a whole one.
func (s *Server) handle(route string, h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		code := http.StatusOK
		defer func() { s.metrics.served(route, code, time.Since(begin)) }()
		err := h(w, r)
		if err == nil {
			return
		}
		p := problemOf(err)
		code = p.status
		if p.status >= http.StatusInternalServerError && r.Context().Err() == nil && p.kind != problemBusy {
			s.log.Warn("query failed", "err", fmt.Errorf("%s: %w", route, err))
		}
		if errors.Is(err, errCutOff) {
			panic(http.ErrAbortHandler)
		}
		p.write(w, r)
	}
}

// errCutOff marks a failure after the answer had begun.
var errCutOff = errors.New("the answer was cut off")

// problemOf translates an error: the one table from kinds of failure to HTTP.
func problemOf(err error) *problem {
	if p := asProblem(err); p != nil {
		return p
	}
	text := err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{
			kind: problemDeadline, status: http.StatusServiceUnavailable, detail: "the answer was not ready within its time", cause: err,
			mend: "ask for a shorter span, fewer meters or a longer step, or give it longer with timeout=5m (at most 10m)",
		}
	case errors.Is(err, context.Canceled):
		return &problem{kind: problemUnavailable, status: http.StatusServiceUnavailable, detail: "the request was given up", cause: err}
	case errors.Is(err, gridloom.ErrCorrupt) && errors.Is(err, gridloom.ErrUnavailable):
		// Its owner has stopped a whole partition: lost heads, a log that was rolled back, a manifest.
		return &problem{
			kind: problemUnavailable, status: http.StatusServiceUnavailable, detail: text, cause: err,
			mend: "the partition stays stopped until that is mended and gridloom is started again; GET /api/v1/status shows each partition",
		}
	case errors.Is(err, gridloom.ErrCorrupt):
		return &problem{
			kind: problemCorrupt, status: http.StatusInternalServerError, detail: text, cause: err,
			mend: "the named file is not what was written: restore it from a copy; nothing of it is served meanwhile",
		}
	case errors.Is(err, gridloom.ErrNotFound):
		mend := "if the heads were lost, stop all roles and run: gridloom repair head"
		if strings.Contains(text, "gridloom repair head") {
			mend = ""
		}
		return &problem{kind: problemUnavailable, status: http.StatusServiceUnavailable, detail: text, mend: mend, cause: err}
	case errors.Is(err, gridloom.ErrUnavailable), errors.Is(err, gridloom.ErrFenced):
		return &problem{kind: problemUnavailable, status: http.StatusServiceUnavailable, detail: text, retry: 2, cause: err, mend: "try again; GET /api/v1/status shows each partition"}
	case errors.Is(err, gridloom.ErrInvalid):
		return &problem{kind: problemParameter, status: http.StatusBadRequest, detail: mendOf(err), cause: err}
	}
	return &problem{kind: problemInternal, status: http.StatusInternalServerError, detail: text, cause: err}
}

// answer writes one table. fill calls row for each of its rows.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, f format, t *table, fill func(enc encoder) error) error {
	b := &body{w: w, most: s.limits.Bytes}
	w.Header().Set("Content-Type", f.mediaType())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Accept")
	enc, err := newEncoder(f, t, b)
	if err == nil {
		counted := &countRows{encoder: enc, most: s.limits.Rows}
		if err = fill(counted); err == nil {
			err = enc.finish()
		}
		s.metrics.rows.Add(float64(counted.rows))
	}
	if err == nil {
		err = b.commit()
	}
	if err != nil && b.committed {
		return fmt.Errorf("%w: %w", errCutOff, err)
	}
	return err
}
