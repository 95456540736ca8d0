package stream

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gridloom/gridloom/internal/obs"
)

// metrics counts what passes and, above all, what is refused, repeated or dropped.
type metrics struct {
	appendSeconds  prometheus.Histogram
	appendBytes    prometheus.Counter
	appendFailures *prometheus.CounterVec // reason: full, disk, nats, foreign
	frames         prometheus.Counter
	frameBytes     prometheus.Counter
	recreations    *prometheus.CounterVec // reason: heartbeat, gap, stall, error, reconnect
	verifyFailures prometheus.Counter
	swaps          *prometheus.CounterVec // result: stored, read_back, repeated, fenced, unknown
	purged         prometheus.Counter
	createRetries  prometheus.Counter
	rejects        prometheus.Counter
	rejectFailures prometheus.Counter
	rejectsFallen  prometheus.Gauge
	logBytes       prometheus.Gauge
	logMaxBytes    prometheus.Gauge
	diskFree       prometheus.Gauge
	diskReserve    prometheus.Gauge
	closed         prometheus.Gauge
	watchFailures  prometheus.Counter
	statfsFailures prometheus.Counter
	answers        prometheus.Counter
	answerBytes    prometheus.Counter
	answerFailures prometheus.Counter
	askRetries     prometheus.Counter
	unheard        *prometheus.CounterVec // reason: unreadable, waiting, dropped
}

func newMetrics(r prometheus.Registerer) *metrics {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "gridloom", Subsystem: "stream", Name: n, Help: help}
	}
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(name(n, help)))
	}
	gauge := func(n, help string) prometheus.Gauge { return prometheus.NewGauge(prometheus.GaugeOpts(name(n, help))) }
	vec := func(n, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(name(n, help)), []string{label})
	}
	m := &metrics{
		appendSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "gridloom", Subsystem: "stream", Name: "append_seconds",
			Help:    "How long the log took to store a frame.",
			Buckets: prometheus.ExponentialBuckets(0.000_25, 2, 15), // 0.25 ms, about one fsync, to 4 s
		}),
		appendBytes:    counter("append_bytes_total", "Bytes of frames that the log stored for this process."),
		appendFailures: vec("append_failures_total", "Frames that the log did not take, by reason.", "reason"),
		frames:         counter("frames_read_total", "Frames that readers returned."),
		frameBytes:     counter("frames_read_bytes_total", "Bytes of frames that readers returned."),
		recreations:    vec("consumer_recreations_total", "Consumers made anew, by reason.", "reason"),
		verifyFailures: counter("verify_failures_total", "Times that the log was not the one that was read."),
		swaps:          vec("head_swaps_total", "Tries to move a head, by result.", "result"),
		purged:         counter("purged_frames_total", "Frames that this process purged after all partitions had committed them."),
		createRetries:  counter("create_retries_total", "Repeated tries to create or update a stream."),
		rejects:        counter("rejects_total", "Rejects stored by this process."),
		rejectFailures: counter("reject_failures_total", "Rejects that could not be stored; their message was not acknowledged."),
		rejectsFallen:  gauge("rejects_dropped_messages", "Messages of rejects that fell out of their stream since it was created."),
		logBytes:       gauge("log_bytes", "Size of the log."),
		logMaxBytes:    gauge("log_max_bytes", "Size at which the log takes no more."),
		diskFree:       gauge("disk_free_bytes", "Free bytes of the log's file system."),
		diskReserve:    gauge("disk_reserve_bytes", "Bytes that are kept free on the log's file system."),
		closed:         gauge("disk_closed", "1 while appends stop for want of disk, 2 while commits do too, else 0."),
		watchFailures:  counter("watch_failures_total", "Times that the log's state could not be read."),
		answers:        counter("answers_total", "Questions of other processes that owners here answered."),
		answerBytes:    counter("answer_bytes_total", "Bytes of those answers."),
		answerFailures: counter("answer_failures_total", "Questions of other processes that got no whole answer."),
		askRetries:     counter("ask_retries_total", "Repeated tries to ask the owner of a partition in another process."),
		unheard:        vec("beats_unheard_total", "What processes that share partitions said of themselves and this one did not take in, by reason.", "reason"),
		statfsFailures: counter("statfs_failures_total", "Times that the disk's free space could not be read."),
	}
	// From the start on, so that a rate sees the first one.
	for vec, values := range map[*prometheus.CounterVec][]string{
		m.appendFailures: {"full", "disk", "nats", "foreign"},
		m.recreations:    {"heartbeat", "gap", "stall", "error", "reconnect"},
		m.unheard:        {"unreadable", "waiting", "dropped"},
		m.swaps:          {"stored", "read_back", "repeated", "fenced", "unknown"},
	} {
		for _, v := range values {
			vec.WithLabelValues(v)
		}
	}
	obs.Register(r, m.appendSeconds, m.appendBytes, m.appendFailures, m.frames, m.frameBytes, m.recreations, m.verifyFailures,
		m.swaps, m.purged, m.createRetries, m.rejects, m.rejectFailures, m.rejectsFallen, m.logBytes, m.logMaxBytes,
		m.diskFree, m.diskReserve, m.closed, m.watchFailures, m.statfsFailures, m.answers, m.answerBytes, m.answerFailures, m.askRetries, m.unheard)
	return m
}
