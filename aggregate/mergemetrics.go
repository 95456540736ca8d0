package aggregate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom/internal/pane"
)

// mergeMetrics counts what compaction does, by kind of segment.
type mergeMetrics struct {
	inputs, outputs, rows, readBytes, writtenBytes *prometheus.CounterVec
	failed, thrownAway                             *prometheus.CounterVec
	seconds                                        *prometheus.HistogramVec
	running                                        prometheus.Gauge
}

func newMergeMetrics(reg prometheus.Registerer) *mergeMetrics {
	c := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gridloom_aggregate_merge" + name, Help: help}, []string{"kind"})
	}
	m := &mergeMetrics{
		inputs:       c("_inputs_total", "Segments that compaction replaced."),
		outputs:      c("_outputs_total", "Segments that compaction put in their place."),
		rows:         c("_rows_total", "Rows of those."),
		readBytes:    c("_input_bytes_total", "Bytes of the segments that compaction replaced."),
		writtenBytes: c("_output_bytes_total", "Bytes of the segments that it put in their place."),
		failed:       c("s_failed_total", "Merges that failed; they are tried again."),
		thrownAway:   c("s_thrown_away_total", "Merges whose inputs were not listed any more when they were done."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gridloom_aggregate_merge_seconds", Help: "Time that a merge took, without the commit that names its outputs.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
		}, []string{"kind"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gridloom_aggregate_merges_running", Help: "Merges that run now, at most one in a process."}),
	}
	vecs := []*prometheus.CounterVec{m.inputs, m.outputs, m.rows, m.readBytes, m.writtenBytes, m.failed, m.thrownAway}
	for _, kind := range mergedKinds {
		for _, vec := range vecs {
			vec.WithLabelValues(string(kind)) // from the start on, so that a rate sees the first one
		}
		m.seconds.WithLabelValues(string(kind))
	}
	if reg != nil {
		for _, vec := range vecs {
			reg.MustRegister(vec)
		}
		reg.MustRegister(m.seconds, m.running)
	}
	return m
}

func (m *mergeMetrics) begin() { m.running.Inc() }

func (m *mergeMetrics) end(kind pane.Kind, took time.Duration) {
	m.running.Dec()
	m.seconds.WithLabelValues(string(kind)).Observe(took.Seconds())
}

// count notes a merge that a commit has put in place.
func (m *mergeMetrics) count(kind pane.Kind, inputs, outputs []pane.Segment) {
	k := string(kind)
	m.inputs.WithLabelValues(k).Add(float64(len(inputs)))
	m.outputs.WithLabelValues(k).Add(float64(len(outputs)))
	for i := range inputs {
		m.readBytes.WithLabelValues(k).Add(float64(inputs[i].Bytes))
	}
	for i := range outputs {
		m.rows.WithLabelValues(k).Add(float64(outputs[i].Rows))
		m.writtenBytes.WithLabelValues(k).Add(float64(outputs[i].Bytes))
	}
}
