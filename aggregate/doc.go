// Package aggregate turns the log into panes: for each partition it owns, it reads
// frames, folds their readings into windows and moves position and result together
// by one compare-and-set of the partition's head.
//
// A Worker (worker.go) runs one partition loop (partition.go, tick.go) per partition: of all
// of them, or of the share (share.go) that package aggregate/members gives to one of several
// processes. step.go takes the same steps without goroutines, for the simulation.
// The loop claims the head and restores what the last commit left (restore.go), reads the log (follow.go),
// applies frames (apply.go; records.go of those that hold records, of which registered.go makes how each series is folded) to the table of series (series.go), of which most rest
// (rest.go), lists what is due to
// be closed (due.go), collects what came out of order and, but for what was said before (duplicates.go), refolds it from stored rows (refold.go), keeps what is not yet
// in a segment and answers queries from it (tail.go), and commits (commit.go).
// What works beside the loop changes the manifest by edits that a commit carries (edit.go):
// compaction (compact.go, mergemetrics.go) merges the segments that plan.go chooses.
// Files that nobody names any more are deleted by sweep.go (sweepmetrics.go).
// ports.go declares what it needs of the log, the heads and the store; metrics.go
// counts. The arithmetic of windows is package aggregate/window, which does no I/O.
package aggregate
