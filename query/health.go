package query

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/gridloom/gridloom/internal/pane"
)

// healthz says that the process runs. It asks nobody, so it answers also when
// everything behind it stands still.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	var notes []string
	if s.cfg.Notes != nil {
		notes = s.cfg.Notes(r.Context())
	}
	return writeJSON(w, http.StatusOK, struct {
		Status string   `json:"status"`
		Notes  []string `json:"notes,omitempty"`
	}{"ok", notes})
}

// readyz answers 200 if every partition runs and nothing else is in the way, else
// 503 with the reasons.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	var problems []string
	if s.cfg.Problems != nil {
		problems = s.cfg.Problems(r.Context())
	}
	status, err := s.owners.Status(r.Context())
	if err != nil {
		problems = append(problems, err.Error())
	} else {
		problems = append(problems, notRunning(status, s.cfg.Partitions)...)
	}
	code := http.StatusOK
	if len(problems) > 0 {
		code = http.StatusServiceUnavailable
	}
	return writeJSON(w, code, struct {
		Ready    bool     `json:"ready"`
		Problems []string `json:"problems"`
	}{len(problems) == 0, append([]string{}, problems...)})
}

func notRunning(status []pane.Status, partitions int) []string {
	var problems []string
	owned := make([]bool, partitions)
	for _, st := range status {
		if st.Partition >= 0 && st.Partition < partitions {
			owned[st.Partition] = true
		}
		switch {
		case st.Problem != "":
			problems = append(problems, fmt.Sprintf("partition %d: %s: %s", st.Partition, st.State, st.Problem))
		case st.State != "running":
			problems = append(problems, fmt.Sprintf("partition %d: %s", st.Partition, st.State))
		}
	}
	for p, ok := range owned {
		if !ok {
			problems = append(problems, fmt.Sprintf("partition %d: no owner", p))
		}
	}
	return problems
}

func writeJSON(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
	return nil
}

// isLoopback reports whether only this machine can reach addr.
func isLoopback(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

func mountProfiles(r chi.Router) {
	r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
	r.HandleFunc("/debug/pprof/*", pprof.Index)
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(openAPI) // a client that went away needs no answer
	return nil
}

const indexPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>gridloom</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}code{font-size:.95em}li{margin:.3rem 0}</style>
<h1>gridloom {{.Version}}</h1>
<p>{{.Partitions}} partitions, windows of {{.Window}}.</p>
<ul>
<li><a href="/api/v1/status">/api/v1/status</a> position, lag and watermark of each partition
<li><a href="/api/v1/meters">/api/v1/meters</a> what reports, and since when not
<li><a href="/api/v1/windows?group_by=register&amp;from=-1d&amp;step=1h">/api/v1/windows?group_by=register&amp;from=-1d&amp;step=1h</a> the last day of the fleet
<li><a href="/api/v1/readings?from=-15m&amp;format=csv">/api/v1/readings?from=-15m&amp;format=csv</a> what came in during the last quarter of an hour
<li><a href="/api/v1/demand?from=-7d">/api/v1/demand?from=-7d</a> the maximum demand of each meter and day
<li><a href="/api/v1/rejects">/api/v1/rejects</a> what could not be taken, and why
<li><a href="/api/v1/openapi.yaml">/api/v1/openapi.yaml</a> all of it as OpenAPI 3.1
<li><a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a>, <a href="/metrics">/metrics</a>
</ul>
`

func (s *Server) index(w http.ResponseWriter, _ *http.Request) error {
	page, err := template.New("index").Parse(indexPage)
	if err != nil {
		panic("query: the index page does not parse: " + err.Error())
	}
	var out strings.Builder
	err = page.Execute(&out, struct {
		Version, Window string
		Partitions      int
	}{s.cfg.Version, spanString(s.cfg.Window.Width), s.cfg.Partitions})
	if err != nil {
		return fmt.Errorf("index page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(out.String())) // a client that went away needs no answer
	return nil
}
