// Package wire is what travels between the stages as bytes, and nothing else:
// no I/O, no clock, no configuration.
//
// Columns (columns.go) are readings as columns, their strings interned
// (intern.go); Builder (builder.go) gathers rows of several. A frame (frame.go,
// framedecode.go) is one message of a partition's log; FrameBuilder
// (framebuilder.go, shapes.go) encodes the one that is open. A batch (batch.go,
// batchdecode.go, batchplain.go) is what an agent publishes, described for other
// languages by
// reading.proto. rules.go says which meters, serials and lengths are accepted in
// any payload. Both forms are Protocol Buffers, coded by hand (proto.go): a
// columnar message is a handful of byte strings, for which a library would cost
// more than the coding itself.
//
// docs/format/wire.md is the page of both formats; testdata holds frozen samples.
package wire
