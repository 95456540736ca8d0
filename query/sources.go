package query

import (
	"context"
	"fmt"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// openAtOnce is how many segments are read side by side. Each holds its file and a row
// group's columns; what is beyond, the smallest ones, is read into memory first. Where
// that would be too many rows, such as the days of a month of a whole fleet, more are
// read side by side, within Limits.Open.
const openAtOnce = 48

// A segment that is read holds up to openRows rows decoded, of openRowBytes each, beside
// its file: 90 days of 320,000 panes took 8.3 MB each, of which 1.4 MB was the file.
const openRows, openRowBytes = 32 << 10, 216

// sideBySide returns how many of the segments, which are sorted by size, the largest
// first, are to be read side by side: openAtOnce, or if the rest has more rows than may be
// buffered, as many as take openBytes. (To sort rows in memory costs twice the time and
// the memory of reading their files side by side.) Of named meters few rows are read.
func sideBySide(segments []scanSegment, sel *pane.Selector, buffered, openBytes int64) int {
	n := min(len(segments), openAtOnce)
	var beyond, open int64
	for i := range segments[n:] {
		beyond += segments[n+i].Rows
	}
	if beyond <= buffered || sel.Meters != nil {
		return n
	}
	for i := range segments {
		open += segments[i].Bytes + min(segments[i].Rows, openRows)*openRowBytes
		if open > openBytes {
			return max(i, n)
		}
	}
	return len(segments)
}

// paneSources opens the panes of a scan: a source for each large segment, one for
// the small ones, one for each tail.
func (s *Server) paneSources(ctx context.Context, sc *scan, q *windowsQuery) ([]*source[gridloom.Pane], error) {
	columns := paneColumns(q)
	var sources []*source[gridloom.Pane]
	for _, snap := range sc.snaps {
		if snap.tail != nil && len(snap.tail.Panes) > 0 {
			sources = append(sources, fromTail(sc, snap.partition, snap.tail.Panes, s.order.ofPane))
		}
	}
	return fromSegments(ctx, sc, &s.limits, sources, s.order.ofPane, func(seg *scanSegment, fn func(*gridloom.Pane) error) error {
		sel := sc.sel
		sel.From = max(sel.From, seg.bounds.PanesFrom) // a day's start: no pane lies across it
		return s.store.ReadPanes(ctx, seg.Segment, sel, columns, fn)
	})
}

// readingSources opens the readings of a scan in the same way.
func (s *Server) readingSources(ctx context.Context, sc *scan) ([]*source[gridloom.Reading], error) {
	var sources []*source[gridloom.Reading]
	for _, snap := range sc.snaps {
		if snap.tail != nil && len(snap.tail.Readings) > 0 {
			sources = append(sources, fromTail(sc, snap.partition, snap.tail.Readings, s.order.ofReading))
		}
	}
	return fromSegments(ctx, sc, &s.limits, sources, s.order.ofReading, func(seg *scanSegment, fn func(*gridloom.Reading) error) error {
		from := seg.bounds.RawFrom
		return s.store.ReadRaw(ctx, seg.Segment, sc.sel, func(r *gridloom.Reading) error {
			if r.Start < from {
				return nil
			}
			return fn(r)
		})
	})
}

// fromTail makes a source of what an owner holds. It sorts the rows.
func fromTail[T any](sc *scan, partition int, rows []T, keyOf func(*T) key) *source[T] {
	sc.buffered += int64(len(rows))
	slices.SortFunc(rows, func(a, b T) int {
		ka, kb := keyOf(&a), keyOf(&b)
		switch {
		case ka.less(&kb):
			return -1
		case kb.less(&ka):
			return 1
		}
		return 0
	})
	return inMemory(fmt.Sprintf("the tail of partition %d", partition), tailRank, rows)
}

// fromSegments adds sources for the segments of a scan. On failure it stops those that it made.
func fromSegments[T any](
	ctx context.Context, sc *scan, limits *Limits, sources []*source[T], keyOf func(*T) key,
	read func(seg *scanSegment, fn func(*T) error) error,
) ([]*source[T], error) {
	segments := slices.Clone(sc.segments)
	slices.SortStableFunc(segments, func(a, b scanSegment) int { return int(b.Rows - a.Rows) })
	large := segments[:sideBySide(segments, &sc.sel, limits.Buffered-sc.buffered, limits.Open)]
	small, err := buffer(ctx, sc, limits.Buffered, segments[len(large):], keyOf, read)
	if err != nil {
		return nil, err
	}
	if small != nil {
		sources = append(sources, small)
	}
	for _, seg := range large {
		sources = append(sources, stream(ctx, seg.Path, seg.rank, func(fn func(*T) error) error {
			if err := read(&seg, fn); err != nil {
				return segmentFailed(&seg, err)
			}
			return nil
		}))
	}
	return sources, nil
}

// buffer reads the rows of small segments into one sorted source, nil if there are none.
func buffer[T any](
	ctx context.Context, sc *scan, most int64, segments []scanSegment, keyOf func(*T) key,
	read func(seg *scanSegment, fn func(*T) error) error,
) (*source[T], error) {
	var rows []T
	var ranks []int32
	for i := range segments {
		seg := &segments[i]
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := read(seg, func(row *T) error {
			if sc.buffered++; sc.buffered > most {
				return overLimit("from", fmt.Sprintf("the rows asked for lie in %d files, and more than %d of them would be held in memory to sort them", len(sc.segments), most),
					"ask for a shorter span or fewer meters")
			}
			rows, ranks = append(rows, *row), append(ranks, seg.rank)
			return nil
		})
		if err != nil {
			return nil, segmentFailed(seg, err)
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	order := make([]int32, len(rows))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		ka, kb := keyOf(&rows[a]), keyOf(&rows[b])
		switch {
		case ka.less(&kb):
			return -1
		case kb.less(&ka):
			return 1
		}
		return 0
	})
	sorted, sortedRanks := make([]T, len(rows)), make([]int32, len(rows))
	for to, from := range order {
		sorted[to], sortedRanks[to] = rows[from], ranks[from]
	}
	s := inMemory("small segments", 0, sorted)
	s.ranks = sortedRanks
	return s, nil
}

// segmentFailed names the segment, unless the failure is the reader's own wish to stop.
func segmentFailed(seg *scanSegment, err error) error {
	if asProblem(err) != nil || err == errStopped { //nolint:errorlint // it is our own, handed back as it is
		return err
	}
	return fileFailed(seg.partition, seg.Path, err)
}
