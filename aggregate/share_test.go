package aggregate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/members"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/internal/wire"
)

// herd is workers that share the partitions of one log, heads and store.
type herd struct {
	t     *testing.T
	log   *memLog
	heads *memHeads
	disk  blob.Store
	count int

	mu    sync.Mutex
	alive map[string]*sheep // by node
	turn  int               // of frames
}

// sheep is one worker of a herd: log, heads and store as long as it lives, and an ear.
type sheep struct {
	Log
	Heads
	h      *herd
	beats  chan members.Beat
	cut    atomic.Bool // hears nobody and is not heard
	slow   atomic.Bool // gets no answer about heads
	said   time.Time   // when it was heard last; guarded by h.mu
	quiet  time.Duration
	dead   atomic.Bool
	put    *crashBlob
	worker *Worker
	cancel context.CancelFunc
	done   chan error
}

func newHerd(t *testing.T, count int) *herd {
	t.Helper()
	disk, err := blob.OpenDir("/store", faultfs.New())
	if err != nil {
		t.Fatal(err)
	}
	return &herd{
		t: t, log: newMemLog(func() gridloom.Millis { return gridloom.MillisOf(time.Now()) }), heads: newMemHeads(), disk: disk,
		count: count, alive: map[string]*sheep{},
	}
}

// Say implements Peers.
func (s *sheep) Say(b members.Beat) error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if !s.said.IsZero() {
		s.quiet = max(s.quiet, time.Since(s.said))
	}
	s.said = time.Now()
	for _, o := range s.h.alive {
		if s.cut.Load() || o.cut.Load() || s.dead.Load() {
			continue
		}
		select {
		case o.beats <- b:
		default:
		}
	}
	return nil
}

// Beats implements Peers.
func (s *sheep) Beats() <-chan members.Beat { return s.beats }

// LoadHead waits in vain while the process is slow.
func (s *sheep) LoadHead(ctx context.Context, partition int) (gridloom.Head, uint64, error) {
	if s.slow.Load() {
		<-ctx.Done()
		return gridloom.Head{}, 0, fmt.Errorf("%w: %w", gridloom.ErrUnavailable, ctx.Err())
	}
	return s.Heads.LoadHead(ctx, partition)
}

// SwapHead and its like reach nobody any more once the process is dead.
func (s *sheep) SwapHead(ctx context.Context, h gridloom.Head, revision uint64) (uint64, error) {
	if s.dead.Load() {
		return 0, errCrashed
	}
	return s.Heads.SwapHead(ctx, h, revision)
}

func (s *sheep) CreateHead(ctx context.Context, h gridloom.Head) (uint64, error) {
	if s.dead.Load() {
		return 0, errCrashed
	}
	return s.Heads.CreateHead(ctx, h)
}

func (s *sheep) Append(ctx context.Context, partition int, frame []byte) (uint64, error) {
	if s.dead.Load() {
		return 0, errCrashed
	}
	return s.Log.Append(ctx, partition, frame)
}

// start starts a process under a node's name.
func (h *herd) start(node string) *sheep {
	s := &sheep{Log: h.log, Heads: h.heads, h: h, beats: make(chan members.Beat, 64), put: &crashBlob{Store: h.disk}, done: make(chan error, 1)}
	cfg := Config{Generation: 1, Partitions: h.count, Window: testWindow, Node: node, CommitEvery: time.Second, CompactEvery: -1, Peers: s}
	s.worker = New(cfg, s, s, pane.NewStore(s.put, pane.StoreOptions{}))
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	h.mu.Lock()
	h.alive[node] = s
	h.mu.Unlock()
	go func() { s.done <- s.worker.Run(ctx) }()
	return s
}

// stop releases what a process owns.
func (h *herd) stop(node string) {
	h.t.Helper()
	s := h.alive[node]
	s.cancel()
	if err := <-s.done; err != nil {
		h.t.Errorf("Run of %s: %v", node, err)
	}
	h.mu.Lock()
	delete(h.alive, node)
	h.mu.Unlock()
}

// kill lets nothing that a process does reach anybody any more.
func (h *herd) kill(node string) {
	s := h.alive[node]
	s.dead.Store(true)
	s.put.closed.Store(true)
	h.mu.Lock()
	delete(h.alive, node)
	h.mu.Unlock()
	s.cancel()
	go func() { <-s.done }() // its end is of no interest, but the bubble waits for it
}

// feed appends a reading to each partition.
func (h *herd) feed() {
	h.t.Helper()
	h.turn++
	id, _ := gridloom.RegisterByName("energy_import")
	for p := range h.count {
		var c wire.Columns
		c.Reset()
		c.AppendReading(&gridloom.Reading{
			Meter: fmt.Sprint("m", p), Register: id, Start: gridloom.MillisOf(time.Now()), Value: int64(h.turn * (p + 1)),
		})
		if _, err := h.log.Append(context.Background(), p, wire.AppendFrame(nil, wire.FrameInfo{Kind: wire.KindReadings, Generation: 1, Partition: p}, &c)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// answers reports whether the owner that the head names answers for a partition.
func (h *herd) answers(p int) bool {
	head, _, err := h.heads.LoadHead(context.Background(), p)
	s := h.alive[head.Node]
	if err != nil || s == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	tail, err := s.worker.Tail(ctx, p, pane.Selector{Only: pane.KindRaw})
	return err == nil && tail.Head.Epoch == head.Epoch
}

// loads returns how many partitions each node owns, by the heads, in the order of nodes.
func (h *herd) loads(nodes ...string) []int {
	loads := make([]int, len(nodes))
	for p := range h.count {
		head, _, err := h.heads.LoadHead(context.Background(), p)
		if i := slices.Index(nodes, head.Node); err == nil && i >= 0 {
			loads[i]++
		}
	}
	return loads
}

// run lets d pass, with a reading for each partition every 100 ms, and returns the
// longest time that the owner of one partition did not answer, each looked at every 10 ms.
func (h *herd) run(d time.Duration) (longest time.Duration) {
	h.t.Helper()
	since := make([]time.Time, h.count) // it did not answer
	for end := time.Now().Add(d); time.Now().Before(end); {
		h.feed()
		for range 10 {
			<-time.After(10 * time.Millisecond)
			for p := range h.count {
				switch now := time.Now(); {
				case h.answers(p):
					since[p] = time.Time{}
				case since[p].IsZero():
					since[p] = now
				default:
					longest = max(longest, now.Sub(since[p]))
				}
			}
		}
	}
	return longest
}

// check compares what the partitions hold with the fold of the whole log. Whoever
// asks has started anew, so that stored state and log must give it.
func (h *herd) check(when string) {
	h.t.Helper()
	w := New(Config{Generation: 1, Partitions: h.count, Window: testWindow, CompactEvery: -1}, h.log, h.heads, pane.NewStore(h.disk, pane.StoreOptions{}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for p := range h.count {
		r := &rig{t: h.t, log: h.log, heads: h.heads, disk: h.disk, worker: w, partition: p}
		v := r.view()
		want := r.wantReadings()
		if len(v.readings) != len(want) || len(want) != h.turn {
			h.t.Errorf("%s: partition %d holds %d readings, the log %d, %d were sent", when, p, len(v.readings), len(want), h.turn)
		}
		for id, x := range want {
			if got := v.readings[id]; !got.SameValue(&x) {
				h.t.Errorf("%s: partition %d: reading %v is %+v, want %+v", when, p, id, got, x)
			}
		}
		panes := map[string]gridloom.Pane{}
		for k, x := range v.panes {
			panes[k] = clean(x)
		}
		if diff := cmp.Diff(r.want(nil), panes); diff != "" {
			h.t.Errorf("%s: panes of partition %d differ from the fold of the log:\n%s", when, p, diff)
		}
	}
	cancel()
	if err := <-done; err != nil {
		h.t.Error(err)
	}
}

// TestWorkersSharePartitions goes through what happens to aggregates of a site: they
// come, go, crash, come back, are cut off. Each time the partitions are owned by those
// who are there, and in the end the panes are those of the whole log.
func TestWorkersSharePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHerd(t, 6)
		expect := func(what string, want []int, nodes ...string) {
			t.Helper()
			if got := h.loads(nodes...); !slices.Equal(got, want) {
				t.Errorf("%s: %v own %v partitions, want %v", what, nodes, got, want)
			}
		}
		pause := func(what string, got, most time.Duration) {
			t.Helper()
			t.Logf("%s: longest pause of a partition %s", what, got)
			if got > most {
				t.Errorf("%s: a partition did not answer for %s, at most %s is allowed", what, got, most)
			}
		}
		h.start("a")
		h.run(time.Second)
		expect("one alone", []int{6}, "a")

		h.start("b")
		h.start("c")
		pause("two join", h.run(5*time.Second), time.Second)
		expect("three", []int{2, 2, 2}, "a", "b", "c")

		h.kill("b")
		pause("one is killed", h.run(8*time.Second), 4*time.Second)
		expect("one killed", []int{3, 0, 3}, "a", "b", "c")

		h.start("b")
		pause("it comes back", h.run(5*time.Second), time.Second)
		expect("it is back", []int{2, 2, 2}, "a", "b", "c")

		h.kill("b")
		h.start("b")
		pause("killed and started at once", h.run(5*time.Second), time.Second)
		expect("it has its own", []int{2, 2, 2}, "a", "b", "c")

		c := h.alive["c"]
		c.cut.Store(true)
		pause("one is cut off", h.run(10*time.Second), 4*time.Second)
		expect("one cut off", []int{3, 3, 0}, "a", "b", "c")
		c.cut.Store(false)
		pause("it is heard again", h.run(6*time.Second), time.Second)
		expect("it is a member again", []int{2, 2, 2}, "a", "b", "c")

		h.stop("c")
		pause("one leaves", h.run(5*time.Second), time.Second)
		expect("two", []int{3, 3, 0}, "a", "b", "c")
		h.stop("a")
		h.run(time.Second)
		expect("one stays", []int{0, 6, 0}, "a", "b", "c")
		h.stop("b")
		h.check("in the end")
		synctest.Wait()
	})
}

// TestAnOwnerThatMissedItsSuccessorFindsOut: one is cut off, the other takes what it
// held and dies before the first hears of it. No reading comes that would make it
// commit, and be fenced; all the same the partitions are owned again.
func TestAnOwnerThatMissedItsSuccessorFindsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHerd(t, 4)
		a := h.start("a")
		h.start("b")
		h.run(5 * time.Second)
		<-time.After(5 * time.Minute) // every pane is closed, and all is committed
		a.cut.Store(true)
		<-time.After(10 * time.Second)
		if got := h.loads("a", "b"); !slices.Equal(got, []int{0, 4}) {
			t.Fatalf("a was cut off: a and b own %v", got)
		}
		h.kill("b")
		a.cut.Store(false)
		<-time.After(2 * time.Minute)
		for p := range h.count {
			if !h.answers(p) {
				head, _, _ := h.heads.LoadHead(t.Context(), p)
				t.Errorf("partition %d is not answered for; its head names %s, epoch %d", p, head.Node, head.Epoch)
			}
		}
		h.stop("a")
		h.check("in the end")
		synctest.Wait()
	})
}

// TestBeatsComeWhileHeadsAreSlow: one dies and with it a server of NATS, say; the others
// cannot read the heads that they want to claim until another server leads. They go on
// telling that they live, and hear it of each other, so that then the claims are made at once
// and of the dead one's partitions alone.
func TestBeatsComeWhileHeadsAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHerd(t, 6)
		h.start("a")
		others := []*sheep{h.start("b"), h.start("c")}
		h.run(5 * time.Second)
		for _, s := range others {
			s.slow.Store(true)
		}
		h.kill("a")
		h.run(30 * time.Second)
		for _, s := range others {
			s.slow.Store(false)
		}
		if pause := h.run(2 * time.Second); pause > time.Second {
			t.Errorf("a partition is not answered for %s after the heads can be read", pause)
		}
		if got := h.loads("b", "c"); !slices.Equal(got, []int{3, 3}) {
			t.Errorf("b and c own %v", got)
		}
		for _, s := range others {
			h.mu.Lock()
			if s.quiet > 2*time.Second {
				t.Errorf("one said nothing for %s", s.quiet)
			}
			h.mu.Unlock()
		}
		h.stop("b")
		h.stop("c")
		h.check("in the end")
		synctest.Wait()
	})
}
