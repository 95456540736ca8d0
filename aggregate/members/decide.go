package members

import (
	"slices"
	"time"
)

// Head is what the head of a partition says of its owner. The zero value is a
// partition that nobody has claimed yet.
type Head struct {
	Epoch uint64
	Owner string
	Node  string
}

// Question is what Decide is asked with.
type Question struct {
	Me    Beat // as the process would say it now
	Now   time.Time
	Count int // of partitions

	// Heads has what was read now of the heads that Wanted asks for; what is missing is
	// left for the next time.
	Heads map[int]Head
	// Running says of a partition in Me.Holds whether it is served and may be handed over.
	Running func(partition int) bool
	// Busy: a partition is being handed over. One at a time keeps each one's pause short.
	Busy bool
	// Wait names partitions that were claimed in vain a moment ago.
	Wait func(partition int) bool
}

// Plan is what a process should do now.
type Plan struct {
	Claim   []int
	Release []int // hand over: another node's turn
	Yield   []int // another has claimed it already: drop it
}

// Wanted returns the partitions whose heads Decide needs: those that it may have to claim.
// At a start that is all of them, as some may bear the own name.
func (r *Roster) Wanted(q *Question, starting bool) []int {
	targets := Targets(r.Nodes(q.Me, q.Now), q.Count)
	var list []int
	for p := range q.Count {
		if _, held := q.Me.Holds[p]; !held && (starting || targets != nil && targets[p] == q.Me.Node) && !q.Wait(p) {
			list = append(list, p)
		}
	}
	return list
}

// Decide tells the process what to do. It claims
//
//   - at once what a head names under its own node, of a process that is no more,
//   - of what it is the target of: at once what nobody has claimed, what its owner
//     released or left behind, and after Silence what a silent owner holds,
//
// and nothing else: what a live owner holds is that owner's until it gives it up, even
// where both differ on whose turn it is. So two that see different members do not
// fight; each keeps what it has. It hands over what it holds of another live node's
// turn, once the nodes have been the same for Settle.
func (r *Roster) Decide(q *Question) Plan {
	var plan Plan
	nodes := r.Nodes(q.Me, q.Now)
	for p, epoch := range q.Me.Holds {
		if epoch > 0 && r.superseded(p, epoch, q.Now) {
			plan.Yield = append(plan.Yield, p)
		}
	}
	slices.Sort(plan.Yield)
	if q.Me.Leaving || !r.Listening(q.Now, Introduction) {
		return plan
	}
	targets := Targets(nodes, q.Count)
	for p := range q.Count {
		if _, held := q.Me.Holds[p]; held {
			continue
		}
		if h, known := q.Heads[p]; known && r.mayClaim(q, p, h, targets[p] == q.Me.Node) {
			plan.Claim = append(plan.Claim, p)
		}
	}
	if q.Busy || len(nodes) < 2 || q.Now.Sub(r.stable) < Settle {
		return plan
	}
	for p := range q.Count {
		epoch := q.Me.Holds[p]
		if epoch > 0 && targets[p] != q.Me.Node && q.Running(p) && !slices.Contains(plan.Yield, p) {
			plan.Release = append(plan.Release, p)
			break
		}
	}
	return plan
}

// superseded reports whether a live member holds a partition in a later epoch.
func (r *Roster) superseded(p int, epoch uint64, now time.Time) bool {
	for _, m := range r.members {
		if m.live(now) && m.Holds[p] > epoch {
			return true
		}
	}
	return false
}

// mayClaim reports whether a partition that this process does not hold may be claimed by it.
func (r *Roster) mayClaim(q *Question, p int, h Head, target bool) bool {
	owner, known := r.members[h.Owner]
	if h.Node == q.Me.Node && h.Owner != q.Me.Owner && (!known || !owner.live(q.Now)) {
		return true
	}
	switch {
	case !target:
		return false
	case h.Epoch == 0, h.Owner == q.Me.Owner:
		return true
	case known && (owner.Gone || owner.Released[p] == h.Epoch):
		return true
	case known && owner.live(q.Now):
		return false
	}
	// Its silence counts from when we have listened.
	return r.Listening(q.Now, Silence)
}
