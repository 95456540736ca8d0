package query

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom/internal/wire"
)

// metrics of the query tier.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	rows     prometheus.Counter
	retries  prometheus.Counter
	partial  prometheus.Counter
	written  *prometheus.CounterVec

	edits        *prometheus.CounterVec
	editsRefused *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gridloom_query_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gridloom_query_request_seconds", Help: "Time from a request to the end of its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"route"}),
		rows: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridloom_query_rows_total", Help: "Rows written into answers.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridloom_query_snapshot_retries_total", Help: "Snapshots thrown away because the partition changed its owner meanwhile.",
		}),
		partial: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridloom_query_partial_total", Help: "Partitions answered without their owner, for requests with partial=true.",
		}),
	}
	m.written = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gridloom_query_written_frames_total", Help: "Frames that were written into the log for the API: registry and edit.",
	}, []string{"kind"})
	for _, kind := range []wire.Kind{wire.KindRegistry, wire.KindEdit} {
		m.written.WithLabelValues(kind.String()) // from the start on, so that a rate sees the first one
	}
	m.edits = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gridloom_query_edits_total", Help: "Edits that were made, by what they do.",
	}, []string{"op"})
	for _, op := range editOps {
		m.edits.WithLabelValues(string(op))
	}
	m.editsRefused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gridloom_query_edits_refused_total", Help: "Requests to edit that were refused or failed, by the kind of the problem.",
	}, []string{"reason"})
	for _, kind := range []problemKind{problemParameter, problemFormat, problemLimit, problemNotFound, problemConflict, problemBusy, problemDeadline, problemUnavailable, problemCorrupt, problemInternal} {
		m.editsRefused.WithLabelValues(string(kind))
	}
	if reg != nil {
		reg.MustRegister(m.edits, m.editsRefused)
		reg.MustRegister(m.written, m.requests, m.seconds, m.rows, m.retries, m.partial)
	}
	return m
}

func (m *metrics) served(route string, code int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(code)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
