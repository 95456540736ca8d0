package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom/aggregate/protocol"
)

// sweepMetrics counts what sweeping does.
type sweepMetrics struct {
	files, bytes  *prometheus.CounterVec
	failed        prometheus.Counter
	orphans, last prometheus.Gauge
}

func newSweepMetrics(reg prometheus.Registerer) *sweepMetrics {
	c := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gridloom_aggregate_swept_" + name, Help: help}, []string{"kind", "reason"})
	}
	m := &sweepMetrics{
		files: c("files_total", "Files deleted because no manifest names them any more (dropped) or ever will (orphan)."),
		bytes: c("bytes_total", "Bytes of those."),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridloom_aggregate_sweeps_failed_total", Help: "Rounds of sweeping that ended early; the next one goes on.",
		}),
		orphans: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gridloom_aggregate_orphan_files", Help: "Files of earlier owners that no manifest names and that are not deleted yet.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gridloom_aggregate_last_sweep_timestamp_seconds", Help: "When a partition was last swept to the end.",
		}),
	}
	for _, kind := range []string{"raw", "pane", "snapshot", "expired", "list", "manifest"} {
		for _, why := range []protocol.Verdict{protocol.Dropped, protocol.Orphan} {
			m.files.WithLabelValues(kind, why.String())
			m.bytes.WithLabelValues(kind, why.String())
		}
	}
	if reg != nil {
		reg.MustRegister(m.files, m.bytes, m.failed, m.orphans, m.last)
	}
	return m
}

// deleted notes a file that is gone. Its kind stands in its name, as gridloom wrote it.
func (m *sweepMetrics) deleted(kind string, why protocol.Verdict, bytes int64) {
	m.files.WithLabelValues(kind, why.String()).Inc()
	m.bytes.WithLabelValues(kind, why.String()).Add(float64(bytes))
}
