package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes adds to a role's own handler what every role serves.
func (p *pipeline) routes(own http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(p.reg, promhttp.HandlerOpts{}))
	if isLoopback(hostOf(p.listener.Addr())) {
		mux.Handle("GET /debug/inspect/{kind}", inspectHandler(p.stream))
	}
	mux.Handle("/", own)
	return mux
}

// health serves /healthz and /readyz of a role that answers no queries, in the form
// that package query gives them, and profiles to this machine.
func (p *pipeline) health() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		code, problems := http.StatusOK, append([]string{}, p.problems(r.Context())...)
		if len(problems) > 0 {
			code = http.StatusServiceUnavailable
		}
		writeHealth(w, code, struct {
			Ready    bool     `json:"ready"`
			Problems []string `json:"problems"`
		}{len(problems) == 0, problems})
	})
	if isLoopback(hostOf(p.listener.Addr())) {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func writeHealth(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who went away needs no answer
}

// problems tells what keeps this process from doing its whole job. The query tier
// asks the partitions itself.
func (p *pipeline) problems(context.Context) []string {
	var list []string
	if err := p.stream.Writable(); err != nil && p.cfg.role != roleQuery {
		list = append(list, err.Error())
	} else if p.bridge != nil {
		if text := p.bridge.Problem(); text != "" {
			list = append(list, "ingest: "+text)
		}
	}
	if p.guard != nil && p.cfg.role != roleQuery { // which answers all the same
		if err := p.guard.Ready(); err != nil {
			list = append(list, "ingest: "+err.Error())
		}
	}
	if p.cfg.role == roleAggregate {
		if err := p.worker.Ready(); err != nil {
			list = append(list, err.Error())
		}
	}
	return list
}
