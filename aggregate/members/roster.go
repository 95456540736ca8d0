package members

import (
	"maps"
	"slices"
	"time"
)

// Roster is what one process has heard of all, itself included. It is used by one
// goroutine; every method takes the time from its caller.
type Roster struct {
	me      string // owner
	members map[string]Member

	began  time.Time // first asked whether it hears
	heard  time.Time // own last beat that came back
	since  time.Time // when it began to listen without a gap; zero: it has not
	nodes  []string  // that were live when it was last asked
	stable time.Time // since when those are the same
}

// NewRoster returns the roster of a process that has heard nothing yet.
func NewRoster(owner string) *Roster {
	return &Roster{me: owner, members: map[string]Member{}}
}

// Hear takes a beat, also an own one that came back. It reports whether its sender was
// unknown, gave something up or left: then there may be something to do at once.
func (r *Roster) Hear(b Beat, now time.Time) (news bool) {
	if b.Owner == r.me {
		if r.deaf(now) {
			r.since = now
		}
		r.heard = now
		return false
	}
	m, known := r.members[b.Owner]
	if !known {
		m.First = now
	}
	news = !known || b.Gone && !m.Gone || b.Leaving && !m.Leaving || !maps.Equal(b.Released, m.Released)
	switch {
	case !b.Deaf:
		m.Cut = time.Time{}
	case m.Cut.IsZero():
		m.Cut = now
	}
	m.Beat, m.Last = b, now
	r.members[b.Owner] = m
	return news
}

// Forget drops who has been gone or silent for so long that nothing depends on them.
func (r *Roster) Forget(now time.Time) {
	maps.DeleteFunc(r.members, func(_ string, m Member) bool { return now.Sub(m.Last) > 10*Silence })
}

// deaf reports whether the process hears not even itself.
func (r *Roster) deaf(now time.Time) bool { return r.heard.IsZero() || now.Sub(r.heard) > Deaf }

// Cut reports whether the process is to say that it is deaf: it has had time to hear itself.
func (r *Roster) Cut(now time.Time) bool {
	if r.began.IsZero() {
		r.began = now
	}
	return r.deaf(now) && now.Sub(r.began) > Deaf
}

// Listening reports whether the process hears what is said, and has since at least d.
func (r *Roster) Listening(now time.Time, d time.Duration) bool {
	return !r.deaf(now) && now.Sub(r.since) >= d
}

// live reports whether a member can be expected to act. One that has been deaf for as
// long as another may be silent is as good as dead: what it says is heard, but it reads no
// log and swaps no head.
func (m *Member) live(now time.Time) bool {
	return !m.Gone && now.Sub(m.Last) <= Silence && (m.Cut.IsZero() || now.Sub(m.Cut) <= Silence)
}

// Nodes returns the live nodes that partitions may go to, me among them unless it leaves, sorted.
func (r *Roster) Nodes(me Beat, now time.Time) []string {
	set := map[string]bool{}
	if !me.Leaving && !me.Gone {
		set[me.Node] = true
	}
	for _, m := range r.members {
		if m.live(now) && !m.Leaving && !m.Deaf {
			set[m.Node] = true
		}
	}
	nodes := slices.Sorted(maps.Keys(set))
	if !slices.Equal(nodes, r.nodes) {
		r.nodes, r.stable = nodes, now
	}
	return nodes
}
