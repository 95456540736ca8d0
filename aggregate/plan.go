package aggregate

import (
	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// Levels of segments. A row is written when it is committed, once more into a sorted
// and compressed segment of about an hour of log time, and once more if the segments of
// a day are small: three times at most.
const (
	levelCommitted = 0
	levelHour      = 1
	levelDay       = 2
)

// mergeLimits bounds one merge.
type mergeLimits struct {
	files int   // inputs; so many committed segments are merged before their hour is over, and twice as many of hours into a day
	bytes int64 // of memory, by pane.Segment.MergeBytes
	large int64 // an hourly segment of this size is left as it is
}

// merge is what is to be written anew: neighbours among the segments of their kind, to
// a level above theirs.
type merge struct {
	inputs []pane.Segment
	level  int
}

// nextMerge chooses the oldest merge that is due among the segments of one kind, in the
// order of their commits; ok is false if there is none. now is the wall clock, which
// decides when a merge happens but never what an answer is. Segments that skip names are
// never inputs.
func nextMerge(list []pane.Segment, now gridloom.Millis, limit mergeLimits, skip map[string]bool) (m merge, ok bool) {
	for _, period := range []struct {
		level  int
		length gridloom.Millis
	}{{levelCommitted, gridloom.Hour}, {levelHour, gridloom.Day}} {
		for at := 0; at < len(list); {
			group := neighbours(list[at:], period.level, period.length, skip)
			if len(group) == 0 {
				at++
				continue
			}
			end := group[0].MaxLogged.Floor(period.length) + period.length
			last := at + len(group)
			over := now >= end || last < len(list) && list[last].MaxLogged >= end
			switch inputs, full := fitting(group, limit); {
			case period.level == levelCommitted && (over || full):
				return merge{inputs, levelHour}, true
			case period.level == levelHour && over:
				// Commits of 15 s make four segments an hour. Their day in one file takes a
				// tenth less than in two, as series are twice as long (BenchmarkMergedSize).
				ofADay := limit
				ofADay.files *= 2
				if inputs = smallOnes(group, ofADay); inputs != nil {
					return merge{inputs, levelDay}, true
				}
			}
			at = last
		}
	}
	return merge{}, false
}

// neighbours returns the segments at the beginning of list that are of one level and
// whose last rows were logged in one period.
func neighbours(list []pane.Segment, level int, period gridloom.Millis, skip map[string]bool) []pane.Segment {
	n := 0
	for n < len(list) && list[n].Level == level && !skip[list[n].Path] &&
		list[n].MaxLogged.Floor(period) == list[0].MaxLogged.Floor(period) {
		n++
	}
	return list[:n]
}

// fitting returns as many segments of the beginning of group as one merge may take, and
// at least one; full is whether no more would do.
func fitting(group []pane.Segment, limit mergeLimits) (inputs []pane.Segment, full bool) {
	var bytes int64
	for n := range group {
		bytes += group[n].MergeBytes()
		if n > 0 && (n == limit.files || bytes > limit.bytes) {
			return group[:n], true
		}
	}
	return group, len(group) >= limit.files || bytes >= limit.bytes
}

// smallOnes returns the first neighbours of group, two or more, that are small and fit
// into one merge; nil if there are none.
func smallOnes(group []pane.Segment, limit mergeLimits) []pane.Segment {
	for len(group) > 0 {
		n := 0
		for n < len(group) && group[n].Bytes < limit.large {
			n++
		}
		for small := group[:n]; len(small) > 1; {
			inputs, _ := fitting(small, limit)
			if len(inputs) > 1 {
				return inputs
			}
			small = small[1:]
		}
		group = group[min(n+1, len(group)):]
	}
	return nil
}
