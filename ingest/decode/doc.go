// Package decode reads what agents publish: a payload becomes rows of a
// wire.Columns, and what is wrong with it becomes a list of refusals, each with
// its reason, its place and a line for a person. It knows no broker, log or clock.
//
// decode.go is the one entry and the rules of a whole message; topic.go reads
// topics. A payload that starts with { or [ is JSON: message.go walks its shapes
// (envelope, array, single reading), object.go gathers one reading object and turns
// it into rows, scan.go holds strings, numbers and what is skipped, instant.go
// times and lengths. Everything else is protobuf, for which wire.DecodeBatch does
// the work. docs/format/topics.md tells all of it to who writes a client.
package decode
