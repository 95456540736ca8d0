package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// retainMetrics counts what retention does, by kind of segment.
type retainMetrics struct {
	segments, rows, bytes *prometheus.CounterVec
	expired, failed       prometheus.Counter
}

func newRetainMetrics(reg prometheus.Registerer, w *Worker) *retainMetrics {
	c := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gridloom_aggregate_retention_" + name, Help: help}, []string{"kind"})
	}
	m := &retainMetrics{
		segments: c("segments_total", "Segments that retention took out of manifests."),
		rows:     c("rows_total", "Rows of those."),
		bytes:    c("bytes_total", "Bytes of those."),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridloom_aggregate_expired_readings_total", Help: "Readings that came when their time was past retention; /api/v1/rejects?reason=EXPIRED lists them.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridloom_aggregate_retention_failed_total", Help: "Rounds of retention that dropped nothing because of an error; they are tried again.",
		}),
	}
	vecs := []*prometheus.CounterVec{m.segments, m.rows, m.bytes}
	for _, kind := range []pane.Kind{pane.KindRaw, pane.KindPane, pane.KindExpired} {
		for _, vec := range vecs {
			vec.WithLabelValues(string(kind))
		}
	}
	if reg != nil {
		reg.MustRegister(m.segments, m.rows, m.bytes, m.expired, m.failed)
		for kind, of := range map[pane.Kind]func(pane.Bounds) gridloom.Millis{
			pane.KindRaw:  func(b pane.Bounds) gridloom.Millis { return b.RawFrom },
			pane.KindPane: func(b pane.Bounds) gridloom.Millis { return b.PanesFrom },
		} {
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "gridloom_aggregate_retention_bound_timestamp_seconds", ConstLabels: prometheus.Labels{"kind": string(kind)},
				Help: "Where retention stands: rows before are past it. Of the partitions that are owned here the latest, 0 if nothing is past it.",
			}, func() float64 { return float64(w.latestBound(of)) / float64(gridloom.Second) }))
		}
	}
	return m
}

// latestBound returns the latest of a bound over all partitions.
func (w *Worker) latestBound(of func(pane.Bounds) gridloom.Millis) (latest gridloom.Millis) {
	for _, p := range w.all() {
		if shown := p.shown.Load(); shown != nil {
			latest = max(latest, of(shown.manifest.Bounds()))
		}
	}
	return latest
}

// count notes what a commit has dropped.
func (m *retainMetrics) count(gone []pane.Segment) {
	for i := range gone {
		k := string(gone[i].Kind)
		m.segments.WithLabelValues(k).Inc()
		m.rows.WithLabelValues(k).Add(float64(gone[i].Rows))
		m.bytes.WithLabelValues(k).Add(float64(gone[i].Bytes))
	}
}
