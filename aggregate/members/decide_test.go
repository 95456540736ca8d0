package members

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDecide tells one rule a case: what a process "me" does about partition 0, whose
// target is told, after having listened for long.
func TestDecide(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const count = 64
	targets := Targets([]string{"me", "you"}, count)
	mine, yours := slices.Index(targets, "me"), slices.Index(targets, "you")

	type state struct {
		head   Head
		holds  map[int]uint64 // of me
		you    Beat           // of node "you", owner "y2", unless told otherwise
		quiet  time.Duration  // since you was heard
		cut    time.Duration  // since you said that it is deaf, as it still does
		deaf   bool
		listen time.Duration // how long me has; default a minute
		stable time.Duration // of the nodes; default a minute
		busy   bool
		leaves bool
	}
	f := func(name string, p int, s state, want Plan) {
		t.Helper()
		if s.listen == 0 {
			s.listen = time.Minute
		}
		if s.stable == 0 {
			s.stable = time.Minute
		}
		r := NewRoster("m2")
		me := Beat{Node: "me", Owner: "m2", Holds: s.holds, Leaving: s.leaves}
		r.Hear(me, now.Add(-s.listen))
		if s.you.Node == "" {
			s.you.Node = "you"
		}
		if s.you.Owner == "" {
			s.you.Owner = "y2"
		}
		if s.cut > 0 {
			s.you.Deaf = true
			r.Hear(s.you, now.Add(-s.cut))
		}
		r.Hear(s.you, now.Add(-s.quiet))
		r.heard = now
		if s.deaf {
			r.heard = now.Add(-2 * Deaf)
		}
		r.Nodes(me, now)
		r.stable = now.Add(-s.stable)
		q := &Question{
			Me: me, Now: now, Count: count, Heads: map[int]Head{p: s.head}, Busy: s.busy,
			Running: func(int) bool { return true }, Wait: func(int) bool { return false },
		}
		if diff := cmp.Diff(want, r.Decide(q)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	claim := func(p int) Plan { return Plan{Claim: []int{p}} }
	none := Plan{}
	old := Head{Epoch: 7, Owner: "y2", Node: "you"}

	f("nobody has claimed it, and it is mine", mine, state{}, claim(mine))
	f("nobody has claimed it, and it is yours", yours, state{}, none)
	f("it was mine before I started", yours, state{head: Head{Epoch: 7, Owner: "m1", Node: "me"}}, claim(yours))
	f("another process has my name", yours, state{head: Head{Epoch: 7, Owner: "m1", Node: "me"}, you: Beat{Node: "me", Owner: "m1"}}, none)
	f("I gave it up, and it is mine again", mine, state{head: Head{Epoch: 7, Owner: "m2", Node: "me"}}, claim(mine))
	f("I gave it up for you", yours, state{head: Head{Epoch: 7, Owner: "m2", Node: "me"}}, none)
	f("you hold what is mine", mine, state{head: old, you: Beat{Holds: map[int]uint64{mine: 7}}}, none)
	f("you claimed it and have not said so yet", mine, state{head: old}, none)
	f("you released it", mine, state{head: old, you: Beat{Released: map[int]uint64{mine: 7}}}, claim(mine))
	f("you released it once, and claimed it again", mine, state{head: old, you: Beat{Released: map[int]uint64{mine: 6}}}, none)
	f("you are leaving and have not released it", mine, state{head: old, you: Beat{Leaving: true}}, none)
	f("you are gone", mine, state{head: old, you: Beat{Gone: true}}, claim(mine))
	f("you are gone, and I leave too", mine, state{head: old, you: Beat{Gone: true}, leaves: true}, none)
	f("you were silent for less than it takes", mine, state{head: old, quiet: Silence}, none)
	f("you were silent for long", mine, state{head: old, quiet: Silence + 1}, claim(mine))
	f("you were silent, but I am deaf", mine, state{head: old, quiet: time.Minute, deaf: true}, none)
	f("you were silent, but I have just begun to listen", mine, state{head: old, quiet: time.Minute, listen: Silence - 1}, none)
	deaf := Beat{Holds: map[int]uint64{mine: 7}}
	f("you hold what is mine and are deaf", mine, state{head: old, you: deaf, cut: Silence}, none)
	f("you hold what is mine and have been deaf for long", mine, state{head: old, you: deaf, cut: Silence + 1}, claim(mine))
	f("nobody has claimed it, it is yours, and you are deaf", yours, state{cut: 1}, claim(yours))
	f("its owner was never heard", mine, state{head: Head{Epoch: 7, Owner: "x", Node: "else"}}, claim(mine))
	f("its owner was never heard, but I listen only now", mine, state{head: Head{Epoch: 7, Owner: "x", Node: "else"}, listen: Silence - 1}, none)
	f("I have not been introduced", mine, state{listen: Introduction - 1}, none)

	held := map[int]uint64{yours: 7}
	f("I hold what is yours", yours, state{holds: held}, Plan{Release: []int{yours}})
	f("I hold what is yours, and you have just come", yours, state{holds: held, stable: Settle - 1}, none)
	f("I hold what is yours, and hand over another", yours, state{holds: held, busy: true}, none)
	f("I hold what was yours before you fell silent", yours, state{holds: held, quiet: Silence + 1}, none)
	f("I hold what is yours, and you leave", yours, state{holds: held, you: Beat{Leaving: true}}, none)
	f("I am claiming what is yours", yours, state{holds: map[int]uint64{yours: 0}}, none)
	f("you hold it in a later epoch", yours, state{holds: held, you: Beat{Holds: map[int]uint64{yours: 8}}}, Plan{Yield: []int{yours}})
	f("you held it in an earlier one", mine, state{holds: map[int]uint64{mine: 7}, you: Beat{Holds: map[int]uint64{mine: 6}}}, none)
}

// world is several processes, their heads and their beats, in steps of 100 ms.
type world struct {
	rng   *rand.Rand
	now   time.Time
	count int
	heads map[int]Head
	procs map[string]*process // by owner
	post  []letter
	loss  float64 // of beats

	claims, vain int
}

type process struct {
	node, owner string
	roster      *Roster
	holds       map[int]uint64
	released    map[int]uint64
	vain        map[int]time.Time
	handing     int
	handed      time.Time
	starting    bool
	hello       bool
	asleep      time.Time // until when it is stopped, as by SIGSTOP
	cut         time.Time // until when nothing goes to or from it
	deaf        time.Time // until when nothing goes to it
	beatAt      time.Time
}

type letter struct {
	at time.Time
	to string
	b  Beat
}

func (w *world) start(node string, generation int) {
	owner := fmt.Sprintf("%s#%d", node, generation)
	w.procs[owner] = &process{
		node: node, owner: owner, roster: NewRoster(owner), holds: map[int]uint64{}, released: map[int]uint64{},
		vain: map[int]time.Time{}, handing: -1, starting: true, hello: true,
	}
}

func (p *process) beat() Beat {
	b := Beat{Node: p.node, Owner: p.owner, Hello: p.hello, Holds: maps.Clone(p.holds), Released: maps.Clone(p.released)}
	p.hello = false
	return b
}

// say sends a beat to everybody, itself included, with a delay, unless it is lost.
func (w *world) say(p *process) {
	b := p.beat()
	b.Deaf = p.roster.Cut(w.now)
	p.beatAt = w.now.Add(500 * time.Millisecond)
	for _, to := range slices.Sorted(maps.Keys(w.procs)) {
		if w.now.Before(p.cut) || w.now.Before(w.procs[to].cut) || w.now.Before(w.procs[to].deaf) || w.rng.Float64() < w.loss {
			continue
		}
		w.post = append(w.post, letter{w.now.Add(time.Duration(w.rng.IntN(40)) * time.Millisecond), to, b})
	}
}

// step lets 100 ms pass.
func (w *world) step() {
	w.now = w.now.Add(100 * time.Millisecond)
	for _, owner := range slices.Sorted(maps.Keys(w.procs)) {
		p := w.procs[owner]
		if w.now.Before(p.asleep) {
			continue
		}
		answer := false
		w.post = slices.DeleteFunc(w.post, func(l letter) bool {
			if l.to != owner || l.at.After(w.now) {
				return false
			}
			p.roster.Hear(l.b, w.now)
			answer = answer || l.b.Hello && l.b.Owner != owner
			if p.handing >= 0 && l.b.Holds[p.handing] > p.released[p.handing] {
				p.handing = -1
			}
			return true
		})
		if answer || !w.now.Before(p.beatAt) {
			w.say(p)
		}
		w.act(p)
	}
}

// act carries out what p decides. A partition of p whose head names another is found
// lost now and then only, as by an owner's next commit.
func (w *world) act(p *process) {
	for id := range p.holds {
		if w.heads[id].Owner != p.owner && w.rng.IntN(50) == 0 {
			delete(p.holds, id)
			p.vain[id] = w.now.Add(time.Second)
		}
	}
	if p.handing >= 0 && w.now.Sub(p.handed) > 3*time.Second {
		p.handing = -1
	}
	q := &Question{
		Me: Beat{Node: p.node, Owner: p.owner, Holds: p.holds, Released: p.released}, Now: w.now, Count: w.count, Heads: map[int]Head{}, Busy: p.handing >= 0,
		Running: func(int) bool { return true }, Wait: func(id int) bool { return w.now.Before(p.vain[id]) },
	}
	if p.roster.Listening(w.now, Introduction) && !w.now.Before(p.cut) && !w.now.Before(p.deaf) {
		for _, id := range p.roster.Wanted(q, p.starting) {
			q.Heads[id] = w.heads[id]
		}
		p.starting = false
	}
	plan := p.roster.Decide(q)
	for _, id := range plan.Yield {
		delete(p.holds, id)
		p.released[id] = 0
	}
	for _, id := range plan.Claim {
		w.claims++
		if w.heads[id] != q.Heads[id] { // somebody was first
			w.vain++
			p.vain[id] = w.now.Add(500*time.Millisecond + time.Duration(w.rng.IntN(1000))*time.Millisecond)
			continue
		}
		h := Head{Epoch: w.heads[id].Epoch + 1, Owner: p.owner, Node: p.node}
		w.heads[id], p.holds[id] = h, h.Epoch
		delete(p.released, id)
	}
	for _, id := range plan.Release {
		p.released[id] = p.holds[id]
		delete(p.holds, id)
		p.handing, p.handed = id, w.now
	}
	if len(plan.Claim)+len(plan.Release)+len(plan.Yield) > 0 {
		w.say(p)
	}
}

// TestDeafMemberHoldsNothingUp: what a process held, or is the target of, that is heard but hears
// nothing any more belongs to the others before long, and it gets its share again when it hears.
func TestDeafMemberHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := &world{rng: rand.New(rand.NewPCG(5, 5)), now: time.Unix(1_800_000_000, 0), count: 12, heads: map[int]Head{}, procs: map[string]*process{}}
	w.start("a", 1)
	w.start("b", 1)
	steps := func(n int) {
		for range n {
			w.step()
		}
	}
	held := func(node string) (n int) {
		for _, h := range w.heads {
			if h.Node == node {
				n++
			}
		}
		return n
	}
	steps(100)
	if held("a") != 6 || held("b") != 6 {
		t.Fatalf("a holds %d, b %d, want 6 each", held("a"), held("b"))
	}
	w.procs["b#1"].deaf = w.now.Add(time.Hour)
	steps(100)
	if held("a") != 12 {
		t.Errorf("10 s after b went deaf a holds %d of 12", held("a"))
	}
	w.procs["b#1"].deaf = time.Time{}
	steps(200)
	if held("a") != 6 || held("b") != 6 {
		t.Errorf("a holds %d, b %d, want 6 each after b hears again", held("a"), held("b"))
	}
}

// TestMembersSettle: whatever happens to processes and their beats, once it is over
// every partition is owned by its target, and then nobody claims anything any more.
func TestMembersSettle(t *testing.T) {
	t.Parallel()
	const trouble, quiet, watched = 200, 400, 100 // steps
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 77))
		w := &world{
			rng: rng, now: time.Unix(1_800_000_000, 0), count: 1 + rng.IntN(20), heads: map[int]Head{}, procs: map[string]*process{},
			loss: []float64{0, 0.1, 0.5}[rng.IntN(3)],
		}
		generation := 0
		nodes := nodesOf(1 + rng.IntN(5))
		for range trouble {
			if rng.IntN(10) == 0 {
				node := nodes[rng.IntN(len(nodes))]
				owner := ""
				for o, p := range w.procs {
					if p.node == node {
						owner = o
					}
				}
				switch what := rng.IntN(6); {
				case owner == "":
					generation++
					w.start(node, generation)
				case what == 0: // kill -9
					delete(w.procs, owner)
				case what == 1: // and a new start at once
					delete(w.procs, owner)
					generation++
					w.start(node, generation)
				case what == 2:
					w.procs[owner].asleep = w.now.Add(time.Duration(rng.IntN(10_000)) * time.Millisecond)
				case what == 3:
					w.procs[owner].cut = w.now.Add(time.Duration(rng.IntN(10_000)) * time.Millisecond)
				case what == 4:
					w.procs[owner].deaf = w.now.Add(time.Duration(rng.IntN(10_000)) * time.Millisecond)
				}
			}
			w.step()
		}
		w.loss = 0
		if len(w.procs) == 0 {
			generation++
			w.start(nodes[0], generation)
		}
		for range quiet {
			w.step()
		}
		var live []string
		for _, p := range w.procs {
			live = append(live, p.node)
		}
		targets := Targets(live, w.count)
		for id, h := range w.heads {
			p := w.procs[h.Owner]
			if p == nil || p.node != targets[id] || p.holds[id] != h.Epoch {
				t.Errorf("seed %d: partition %d of %v belongs to %+v, its target is %s", seed, id, live, h, targets[id])
			}
		}
		if len(w.heads) != w.count {
			t.Errorf("seed %d: %d of %d partitions have an owner", seed, len(w.heads), w.count)
		}
		before := w.claims
		for range watched {
			w.step()
		}
		if w.claims != before {
			t.Errorf("seed %d: %d claims after everything had settled", seed, w.claims-before)
		}
		if t.Failed() {
			return
		}
	}
}
