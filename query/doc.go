// Package query answers HTTP: the REST API under /api/v1, health and, on a
// loopback listener, profiles. docs/api.md tells users what it promises.
//
// A request is read by params.go (times and spans in instant.go), guarded by
// limit.go, and answered by a handler (handlers.go; windows.go and rows.go for the
// two that read much). What an answer is read from is one snapshot per partition
// (snapshot.go): the manifest that the owner's tail names, and that tail on top.
// Segments and tails are sources that merge.go walks in the order (register,
// meter, start); panes.go and readings.go decide which of several stored rows
// counts, asof.go folds readings into the panes that were known at an earlier
// time, fill.go (with likeday.go) spreads what was caught up over a gap, steps.go joins
// panes into longer steps or, with banded.go, into the bands of a calendar (bands.go), and
// groups.go joins series; demand.go finds the greatest means. Which steps there are is
// told by grid.go, of days, months and years by calendar.go. The rows that come out are
// cells of a table (table.go), written by json.go, csv.go or arrow.go as they come, so
// that memory does not grow with the answer. decimal.go prints thousandths without a
// floating point number in between. Failures become RFC 9457 problems (problem.go) in one
// table (server.go). What is written goes into the log, and is read back as records (records.go): the
// registry (registry.go, registrybatch.go of many entries at once, registrylist.go; registered.go chooses meters by it),
// and edits, whose form is read by form.go and editform.go, whose rows edits.go, estimate.go and undo.go work out, and
// which editlist.go lists.
package query
