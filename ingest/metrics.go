package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// encodings are the values of the label encoding, by tally.encoding.
var encodings = [2]string{"protobuf", "json"}

// reasons are the reject reasons that have a counter of their own from the start;
// docs/format/topics.md lists them.
var reasons = []string{
	"FUTURE", "PAST", "TIME", "VALUE", "UNIT", "METER", "REGISTER", "LENGTH", "QUALITY", "SERIAL",
	"EPOCH", "AGENT", "TOPIC", "SYNTAX", "SIZE", "COUNT",
}

// metrics are the counters of one bridge and of the broker on top of it.
type metrics struct {
	messages, objects, bytes [2]prometheus.Counter
	readings                 prometheus.Counter
	rejectsBy                map[string]prometheus.Counter
	rejectsOther             prometheus.Counter

	frames, frameBytes prometheus.Counter
	rejectBatches      prometheus.Counter
	appendSeconds      prometheus.Histogram
	unavailable        prometheus.Gauge
	withheld           prometheus.Counter

	waitConnection, waitBytes, waitPartition prometheus.Counter

	answers     prometheus.Counter
	answerWrite prometheus.Counter
	connections prometheus.Gauge
	refused     *prometheus.CounterVec
	closed      *prometheus.CounterVec
	qos         [3]prometheus.Counter
	retainedNot prometheus.Counter
}

// newMetrics makes the metrics of b and registers them on r, if there is one.
func newMetrics(b *Bridge, r prometheus.Registerer) *metrics {
	m := &metrics{rejectsBy: make(map[string]prometheus.Counter, len(reasons))}
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "gridloom_ingest_" + name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gridloom_ingest_" + name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "gridloom_ingest_" + name, Help: help})
		all = append(all, g)
		return g
	}
	gaugeFunc := func(name, help string, f func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "gridloom_ingest_" + name, Help: help}, f))
	}

	messages := counters("messages_total", "Messages of readings that are stored.", "encoding")
	objects := counters("objects_total", "Objects (items of a message) that are stored or rejected.", "encoding")
	bytes := counters("payload_bytes_total", "Bytes of the payloads of those messages.", "encoding")
	for i, e := range encodings {
		m.messages[i], m.objects[i], m.bytes[i] = messages.WithLabelValues(e), objects.WithLabelValues(e), bytes.WithLabelValues(e)
	}
	m.readings = counter("readings_total", "Readings that are stored in the log, repetitions included.")
	rejects := counters("rejects_total", "Readings and messages that were refused, by reason.", "reason")
	for _, reason := range reasons {
		m.rejectsBy[reason] = rejects.WithLabelValues(reason)
	}
	m.rejectsOther = rejects.WithLabelValues("OTHER")

	m.frames = counter("frames_total", "Frames that are stored in the log.")
	m.frameBytes = counter("frame_bytes_total", "Bytes of those frames.")
	m.rejectBatches = counter("reject_batches_total", "Messages of rejects that are stored.")
	m.appendSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "gridloom_ingest_append_seconds", Help: "From the sealing of a frame until it is stored, attempts included.",
		Buckets: []float64{.00025, .0005, .001, .002, .004, .008, .016, .032, .064, .128, .256, 1, 4, 16},
	})
	all = append(all, m.appendSeconds)
	m.unavailable = gauge("unavailable_partitions", "Partitions (and rejects) whose last attempt to store failed.")
	m.withheld = counter("withheld_messages_total", "Messages that were not stored and got no answer.")

	waits := counters("wait_seconds_total", "Time that senders were kept waiting, by what was full.", "full")
	m.waitConnection = waits.WithLabelValues("connection")
	m.waitBytes = waits.WithLabelValues("bytes")
	m.waitPartition = waits.WithLabelValues("partition")
	gaugeFunc("in_flight_bytes", "Payload bytes taken and not answered.", func() float64 { return float64(b.budget.used.Load()) })
	gaugeFunc("in_flight_bytes_limit", "Bound of in_flight_bytes.", func() float64 { return float64(b.budget.limit) })

	m.answers = counter("answers_total", "PUBACK and PUBREC packets written by the bridge.")
	m.answerWrite = counter("answer_writes_total", "Writes to connections that carried them.")
	m.connections = gauge("connections", "Connections that have been accepted and are open.")
	m.refused = counters("refused_connections_total", "Connections that were refused, by reason.", "reason")
	m.closed = counters("closed_connections_total", "Connections that ingest closed, by reason.", "reason")
	qos := counters("publishes_total", "PUBLISH packets on topics for readings, by quality of service.", "qos")
	for i := range m.qos {
		m.qos[i] = qos.WithLabelValues(string(rune('0' + i)))
	}
	m.retainedNot = counter("retained_refused_total", "Messages that were not retained because that many are.")

	if r != nil {
		r.MustRegister(all...)
	}
	return m
}

// reject counts one refused reading or message.
func (m *metrics) reject(reason string) {
	if c, ok := m.rejectsBy[reason]; ok {
		c.Inc()
		return
	}
	m.rejectsOther.Inc()
}

// taken counts a message that no frame holds, because there is nothing in it.
func (m *metrics) taken(n *tally) {
	e := n.encoding()
	m.messages[e].Inc()
	m.objects[e].Add(float64(n.objects))
	m.bytes[e].Add(float64(n.bytes))
}

// frameStored counts f, which l has stored in the time d.
func (m *metrics) frameStored(l *lane, f *openFrame, d time.Duration) {
	m.appendSeconds.Observe(d.Seconds())
	for e := range encodings {
		m.messages[e].Add(float64(f.messages[e]))
		m.objects[e].Add(float64(f.objects[e]))
		m.bytes[e].Add(float64(f.bytes[e]))
	}
	if l.partition == rejectsLane {
		m.rejectBatches.Inc()
		return
	}
	m.frames.Inc()
	m.frameBytes.Add(float64(len(l.buf)))
	m.readings.Add(float64(f.readings))
}
