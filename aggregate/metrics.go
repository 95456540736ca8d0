package aggregate

import "github.com/prometheus/client_golang/prometheus"

// metrics counts over all partitions of a worker; /status tells them apart.
type metrics struct {
	frames, readings, duplicates, disorder, refolds prometheus.Counter
	restated                                        prometheus.Counter
	ranked                                          prometheus.Counter
	commits, panes, unchanged, restored, fenced     prometheus.Counter
	retries                                         prometheus.Counter
	records                                         *prometheus.CounterVec
	handovers, yields                               prometheus.Counter
	members                                         prometheus.Gauge
	commitSeconds                                   prometheus.Histogram
	merges                                          *mergeMetrics
	series, awake, outdated                         prometheus.Gauge
	sweeps                                          *sweepMetrics
	retention                                       *retainMetrics
}

func newMetrics(reg prometheus.Registerer, w *Worker) *metrics {
	c := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "gridloom_aggregate_" + name, Help: help})
	}
	g := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "gridloom_aggregate_" + name, Help: help})
	}
	m := &metrics{
		merges:     newMergeMetrics(reg),
		sweeps:     newSweepMetrics(reg),
		retention:  newRetainMetrics(reg, w),
		frames:     c("frames_total", "Frames of the log folded in."),
		readings:   c("readings_total", "Readings of those frames."),
		duplicates: c("duplicates_total", "Readings that said again what was known, and were not stored."),
		ranked:     c("ranked_total", "Readings of a known identity that were stored and changed no pane: the same with a higher order, or another value with a lower one."),
		disorder:   c("disorder_total", "Readings that came out of order and waited for a refold."),
		refolds:    c("refolds_total", "Series folded anew from stored rows, up to their newest reading."),
		restated:   c("restated_total", "Stretches of the past folded anew because of late readings, from a stored carry to one that they arrive at again."),
		commits:    c("commits_total", "Commits whose head was swapped in."),
		panes:      c("panes_total", "Panes written by commits."),
		unchanged:  c("unchanged_panes_total", "Panes that a refold gave again as they were, and were not written."),
		restored:   c("restores_total", "Partitions restored from a manifest."),
		fenced:     c("fenced_total", "Partitions lost to another owner."),
		retries:    c("retries_total", "Attempts repeated because log or store were unavailable."),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gridloom_aggregate_records_total", Help: "Records of those frames, of the registry and of edits.",
		}, []string{"kind"}),
		series:    g("series", "Series that owners know, as of their last commits."),
		awake:     g("series_awake", "Those of them that had readings of late, and take three times the memory of the others."),
		outdated:  g("series_outdated", "Series that wait to be folded anew, because the registry says something else of them since."),
		handovers: c("handovers_total", "Partitions that were given to another process whose turn it was."),
		yields:    c("yields_total", "Partitions that were dropped because another process was heard to have claimed them."),
		members:   g("members", "Processes that share the partitions, as this one hears them; 0 where there is one process for all."),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gridloom_aggregate_commit_seconds", Help: "Time from freezing the tail to the swapped head.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	for _, kind := range recordKinds {
		m.records.WithLabelValues(string(kind)) // from the start on, so that a rate sees the first one
	}
	if reg != nil {
		reg.MustRegister(m.frames, m.readings, m.records, m.duplicates, m.ranked, m.disorder, m.refolds, m.restated, m.commits, m.panes, m.unchanged,
			m.restored, m.fenced, m.retries, m.series, m.awake, m.outdated, m.handovers, m.yields, m.members, m.commitSeconds,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_aggregate_partitions", Help: "Partitions that are owned here, or being claimed."},
				func() float64 { return float64(len(w.all())) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_aggregate_tail_bytes", Help: "Rows not yet in a segment, over all partitions."},
				func() float64 { return float64(w.budget.used.Load()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_aggregate_tail_bytes_max", Help: "Where owners stop reading the log until a commit has passed."},
				func() float64 { return float64(2 * w.budget.limit) }))
	}
	return m
}
