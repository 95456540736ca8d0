// Package protocol holds the decisions of the head protocol: who may move the head
// of a partition and to what, whether a log is the one that was read, what may be
// purged, when an owner may answer, and whether an answer stands. claim.go, commit.go
// and swap.go move the head; position.go proves the log; purge.go and answer.go
// say what may be forgotten and told.
//
// It is pure: values in, values out; no I/O, clock or goroutine. Packages aggregate,
// stream and query do what it decides.
package protocol
