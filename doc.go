// Package gridloom holds the words of the project: the nouns that every stage
// shares and the kinds of errors that cross its borders. It imports the
// standard library only and does no I/O.
//
// A reading (reading.go) is one value of a series, a meter's register
// (register.go, unit.go), at an instant or over an interval (time.go). It
// carries quality bits (quality.go) and an order by which readings of one
// identity compete (order.go). Readings are sharded into partitions
// (partition.go), woven into windows (window.go), and what an owner has made of
// a partition stands in its head (head.go). errors.go names the five kinds of
// failure. DESIGN's words are used as they stand; docs/SEMANTICS.md says what
// they mean to a user.
package gridloom
