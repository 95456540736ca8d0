// Package floor holds the least that each stage's work can cost on a machine, and
// our stage beside it, for gridbench floor to measure in one run.
//
// What takes MQTT messages is served for a load generator in another process
// (serve.go): a bare listener that only counts and acknowledges (counter.go), the
// broker that ingest uses with a hook that only counts (hook.go), ingest over a log
// that stores nothing, and ingest over the real log (ingest.go). The rest runs where
// it is called and tells what it took (work.go): a write and fsync, a bare JetStream
// publish and stream's Append of frames of one size (frames.go), an array loop and
// the window kernel over the same readings (kernel.go), arrow's own Parquet writer
// and our segments of the same rows (segment.go).
//
// It is the one package outside the stages that knows several of them and their
// libraries; nothing that judges a server (cmd/gridbench) may use it for that.
package floor
