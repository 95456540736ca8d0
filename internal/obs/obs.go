// Package obs holds what every role needs to be observed and nothing more: the
// logger (obs.go), the metrics registry (obs.go) and the watch over the wall
// clock (clock.go, with its sources in clock_linux.go and clock_other.go).
package obs

import (
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Logger returns a logger that writes one line of text per event to w, usually
// stderr, from level on.
func Logger(w io.Writer, level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// Discard returns a logger that writes nothing; a nil *slog.Logger in a Config means this one.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Or returns log, or Discard where log is nil.
func Or(log *slog.Logger) *slog.Logger {
	if log == nil {
		return Discard()
	}
	return log
}

// Registry returns a registry of its own with the Go runtime's and the process's metrics.
func Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Register adds cs to r; a nil r means that nobody looks. It panics if a name is
// taken: two of one kind on one registry is a mistake in our own code.
func Register(r prometheus.Registerer, cs ...prometheus.Collector) {
	if r != nil {
		r.MustRegister(cs...)
	}
}
