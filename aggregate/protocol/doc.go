// Package protocol holds the decisions of the head protocol: who may move the head
// of a partition and to what, whether a log is the one that was read, what may be
// purged, swept and listed, when an owner may answer, and whether an answer stands.
// claim.go, commit.go and swap.go move the head; position.go proves the log; rewrite.go
// says what a commit may list, purge.go and sweep.go what may be forgotten, answer.go what
// may be told. docs/PROTOCOL.md tells the whole.
//
// It is pure: values in, values out; no I/O, clock or goroutine. Packages aggregate,
// stream and query do what it decides. Its tests search every order of what two owners,
// a query and the world around them can do within bounds (model_*.go, search_test.go),
// and find what each of a list of mistakes leads to (broken_test.go).
package protocol
