// Package spool keeps sealed batches on the device's disk until somebody has
// acknowledged them.
//
// A spool is a directory of append-only segment files (segment.go) of records
// with a CRC-32C each (record.go), written by one goroutine (spool.go: Open,
// append.go: Append, Sync) and read by another (reader.go: Reader, Ack). Open
// looks at every record (recover.go): it cuts a torn end off the newest file and
// names whatever else is damaged. cursor.go keeps how far the acknowledgements
// have come; losing that only means sending again. epoch.go keeps the agent's
// epoch, which must never come twice; lock_unix.go keeps a second process out,
// and inspect.go shows a spool to a person.
//
// The record format is told in docs/edge-agent.md.
package spool
