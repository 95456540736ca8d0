package pane

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	written, writtenBytes, read, readBytes *prometheus.CounterVec
	cached, refused, rows, groups, passed  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, c *cache, w *writerPool) *metrics {
	count := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "gridloom_pane_" + name, Help: help})
	}
	byKind := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gridloom_pane_" + name, Help: help}, []string{"kind"})
	}
	m := &metrics{
		written:      byKind("written_files_total", "Files stored: raw, pane, expired, registry, audit, snapshot, list, manifest."),
		writtenBytes: byKind("written_bytes_total", "Bytes of files stored."),
		read:         byKind("read_files_total", "Files read from the store and found whole."),
		readBytes:    byKind("read_bytes_total", "Bytes of files read from the store."),
		cached:       count("cached_reads_total", "Reads answered from the cache of verified files."),
		refused:      count("refused_files_total", "Files that were not what was written, or are gone."),
		rows:         count("read_rows_total", "Rows of raw, pane and snapshot segments decoded for a reader."),
		groups:       count("read_groups_total", "Row groups looked into."),
		passed:       count("passed_groups_total", "Row groups passed over by their statistics."),
	}
	for _, kind := range []string{string(KindRaw), string(KindPane), string(KindSnapshot), string(KindExpired), string(KindRegistry), string(KindAudit), "list", "manifest"} {
		for _, vec := range []*prometheus.CounterVec{m.written, m.writtenBytes, m.read, m.readBytes} {
			vec.WithLabelValues(kind) // from the start on, so that a rate sees the first one
		}
	}
	if reg != nil {
		reg.MustRegister(m.written, m.writtenBytes, m.read, m.readBytes, m.cached, m.refused, m.rows, m.groups, m.passed,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_pane_cache_bytes", Help: "Bytes of verified files kept in memory."},
				func() float64 { return float64(c.size()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_pane_cache_bytes_max", Help: "Bound of cache_bytes."},
				func() float64 { return float64(max(0, c.max)) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_pane_writer_bytes", Help: "Bytes of files' buffers that wait for the next commit."},
				func() float64 { return float64(w.size()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_pane_writer_bytes_max", Help: "Bound of writer_bytes."},
				func() float64 { return maxFreeWriters * maxPooledBytes }))
	}
	return m
}
