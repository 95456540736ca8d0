// Package pane keeps what an owner has made of a partition: Parquet segments of
// readings, panes and snapshots, and the manifests that list them. Bytes are laid
// out as docs/format/segment.md says.
//
// Store (store.go, cache.go) writes and reads files of a blob.Store, checks the
// CRC-32C of each and names the file that it refuses; names.go says how files are called. Segment (segment.go,
// filter.go) says what a file may hold, so that a reader can pass it over; Manifest
// (manifest.go, seal.go) lists segments, the older ones in sealed lists. raw.go,
// rawwrite.go (from rawcolumns.go), panes.go and snapshot.go turn rows into columns and
// back, with the memory of writers.go; merge.go makes few segments of many, of readings
// by mergeraw.go. Below them, schema.go names the columns, rank.go
// and sort.go order rows, encode.go, footer.go, repeats.go, dictionary.go,
// hybridwrite.go and thriftwrite.go write Parquet, decode.go, pages.go and hybrid.go
// read it, delta.go does both for differences, and choose.go finds the rows
// that a Selector wants. tail.go holds what an owner answers beside the segments;
// question.go, tailencode.go and taildecode.go (by tailcolumns.go, flatcheck.go) carry question and
// answer between processes. inspect.go prints files for a person,
// survey.go sums what a store holds.
package pane
