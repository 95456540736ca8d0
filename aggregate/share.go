package aggregate

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/members"
)

// Times of sharing, beside those of package members.
const (
	beatEvery    = 500 * time.Millisecond
	decideEvery  = 100 * time.Millisecond
	headsTimeout = time.Second / 2 // of reading the heads that a decision needs; two of them and a beat are less than members.Deaf
	headsAtOnce  = 256             // of them, so that the others hear of this process meanwhile
	beatsAtOnce  = 256             // that are heard before a decision
	leaveAtOnce  = 4               // partitions that a leaving process gives up at the same time, so that each one's pause is short
	leaveTurns   = 2 * time.Second // after that all the rest
	handedFor    = 3 * time.Second // how long a handed-over partition may wait for its claimer before the next one goes
	claimPause   = time.Second     // after a claim in vain; half to one and a half times that
)

// share is the part of a Worker that owns partitions together with other processes:
// it says what it holds, hears what the others hold, and starts and ends the loops of
// partitions as package members decides. Who owns what is settled by claims alone.
// Everything here belongs to the goroutine of run.
type share struct {
	w      *Worker
	me     members.Beat // but for Holds, which tenures tell
	said   time.Time    // when the others were told last
	roster *members.Roster

	tenures map[int]*tenure
	ended   chan *tenure
	changed chan struct{} // capacity 1: a partition was claimed
	unread  int           // heads that were not read yet since the start
	turn    int           // where the next heads are read from, if these were not all

	vain    map[int]time.Time // until when not to claim after a claim in vain
	unsure  map[int]bool      // whether the head names this process is not known
	handing int               // the partition that is being handed over; -1: none
	handed  time.Time         // when it was released
	fatal   error
}

// tenure is one time of owning a partition, with state of its own.
type tenure struct {
	p      *partition
	cancel context.CancelFunc
	began  time.Time // when it was told to end
	err    error     // what the whole process must stop for
}

// running reports whether the partition is served and nobody has told it to end.
func (t *tenure) running() bool { return t.began.IsZero() && t.p.snapshotStatus().State == "running" }

func newShare(w *Worker) *share {
	return &share{
		w: w, me: members.Beat{Node: w.cfg.Node, Owner: w.cfg.Owner, Hello: true, Released: map[int]uint64{}},
		roster:  members.NewRoster(w.cfg.Owner),
		tenures: map[int]*tenure{}, ended: make(chan *tenure, len(w.slots)), changed: make(chan struct{}, 1), unread: len(w.slots),
		vain: map[int]time.Time{}, unsure: map[int]bool{}, handing: -1,
	}
}

// run shares until ctx ends, then gives everything up and leaves.
func (s *share) run(ctx context.Context) error {
	beat, decide := time.NewTicker(beatEvery), time.NewTicker(decideEvery)
	defer beat.Stop()
	defer decide.Stop()
	s.say()
	for s.fatal == nil {
		select {
		case <-ctx.Done():
			s.leave()
			return s.fatal
		case b := <-s.w.cfg.Peers.Beats():
			if !s.hear(b) {
				continue
			}
		case <-beat.C:
			s.say()
			s.roster.Forget(s.w.cfg.Clock())
			continue
		case <-decide.C:
		case <-s.changed:
			s.say()
			continue
		case t := <-s.ended:
			s.end(t)
		}
		s.act(ctx)
	}
	s.leave()
	return s.fatal
}

// hear takes a beat; it reports whether there may be something to do at once.
func (s *share) hear(b members.Beat) bool {
	news := s.roster.Hear(b, s.w.cfg.Clock())
	if b.Hello && b.Owner != s.me.Owner {
		s.say()
	}
	if epoch := b.Holds[s.handing]; s.handing >= 0 && epoch > s.me.Released[s.handing] {
		s.handing, news = -1, true
	}
	return news
}

// say tells the others what is so now.
func (s *share) say() {
	if err := s.w.cfg.Peers.Say(s.beat()); err != nil {
		s.w.cfg.Logger.Debug("the other members do not hear of this one", "err", err)
	}
	s.me.Hello, s.said = false, s.w.cfg.Clock()
}

// keepUp hears what waits, and tells the others if it is time. Heads that cannot be read
// hold up each decision: if beats came in their turn then, the live would seem dead to
// each other, and the dead alive.
func (s *share) keepUp() {
	for range beatsAtOnce {
		select {
		case b := <-s.w.cfg.Peers.Beats():
			s.hear(b)
			continue
		default:
		}
		break
	}
	if s.w.cfg.Clock().Sub(s.said) >= beatEvery {
		s.say()
	}
}

func (s *share) beat() members.Beat {
	b := s.me
	b.Deaf = s.roster.Cut(s.w.cfg.Clock())
	b.Released = maps.Clone(s.me.Released)
	b.Holds = make(map[int]uint64, len(s.tenures))
	for id, t := range s.tenures {
		b.Holds[id] = t.p.snapshotStatus().Epoch
	}
	return b
}

// act decides and starts what was decided.
func (s *share) act(ctx context.Context) {
	s.keepUp()
	now := s.w.cfg.Clock()
	if s.handing >= 0 && !s.handed.IsZero() && now.Sub(s.handed) > handedFor {
		s.handing = -1
	}
	q := &members.Question{
		Me: s.beat(), Now: now, Count: len(s.w.slots), Busy: s.handing >= 0,
		Running: func(id int) bool { return s.tenures[id].running() },
		Wait:    func(id int) bool { return now.Before(s.vain[id]) },
	}
	s.w.metrics.members.Set(float64(len(s.roster.Nodes(q.Me, now))))
	hctx, cancel := context.WithTimeout(ctx, headsTimeout)
	s.settle(hctx)
	if s.roster.Listening(now, members.Introduction) {
		q.Heads = s.readHeads(hctx, s.roster.Wanted(q, s.unread > 0))
	}
	cancel()
	plan := s.roster.Decide(q)
	for _, id := range plan.Claim {
		s.claim(ctx, id)
	}
	for _, id := range plan.Yield {
		if s.giveUp(id) {
			s.w.metrics.yields.Inc()
			s.w.cfg.Logger.Warn("another process has claimed the partition", "partition", id)
		}
	}
	for _, id := range plan.Release {
		s.handing, s.handed = id, time.Time{}
		s.giveUp(id)
	}
	if len(plan.Claim) > 0 {
		s.say()
	}
}

// readHeads reads the heads of partitions, as far as it comes.
func (s *share) readHeads(ctx context.Context, wanted []int) map[int]members.Head {
	n := len(wanted)
	if n == 0 {
		s.unread = 0
		return nil
	}
	s.turn %= n
	wanted = append(wanted[s.turn:n:n], wanted[:s.turn]...)[:min(n, headsAtOnce)]
	heads := make(map[int]members.Head, len(wanted))
	defer func() { s.turn, s.unread = s.turn+len(heads), s.unread-len(heads) }() // the next time goes on from there
	for _, id := range wanted {
		h, _, err := s.w.heads.LoadHead(ctx, id)
		switch {
		case errors.Is(err, gridloom.ErrNotFound), errors.Is(err, gridloom.ErrCorrupt): // the claim says what is wrong
			heads[id] = members.Head{}
		case err != nil:
			s.turn++ // it may be the only one
			return heads
		default:
			heads[id] = members.Head{Epoch: h.Epoch, Owner: h.Owner, Node: h.Node}
		}
	}
	return heads
}

// claim starts a tenure.
func (s *share) claim(ctx context.Context, id int) {
	// The end of ctx is told to the others first (leave).
	tctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &tenure{p: newPartition(id, s.w), cancel: cancel}
	serve := s.w.cfg.Serve
	t.p.serve = func(id int, epoch uint64) func() {
		select {
		case s.changed <- struct{}{}:
		default: // it is going to look
		}
		return serve(id, epoch)
	}
	delete(s.me.Released, id)
	s.tenures[id] = t
	s.w.slots[id].Store(t.p)
	go func() { // ends with leave at the latest, which waits for it
		t.err = t.p.run(tctx)
		s.ended <- t // has room for all
	}()
}

// giveUp tells a tenure to end with a last commit; false if it was told before.
func (s *share) giveUp(id int) bool {
	t := s.tenures[id]
	if !t.began.IsZero() {
		return false
	}
	t.began = s.w.cfg.Clock()
	t.cancel()
	return true
}

// end takes note of a tenure that has ended, and tells the others at once.
func (s *share) end(t *tenure) {
	t.cancel()
	id, epoch, now := t.p.id, t.p.head.Epoch, s.w.cfg.Clock()
	s.w.slots[id].Store(nil)
	t.p.drop() // what its tail counted is free for the others
	delete(s.tenures, id)
	if t.err != nil && s.fatal == nil {
		s.fatal = t.err
	}
	switch state := t.p.snapshotStatus().State; {
	case state == "fenced":
		s.vain[id] = now.Add(claimPause/2 + rand.N(claimPause))
	case epoch > 0:
		s.me.Released[id] = epoch
	default:
		s.unsure[id] = true
	}
	if s.handing == id {
		s.handed = now
		s.w.metrics.handovers.Inc()
		s.w.cfg.Logger.Info("partition handed over", "partition", id, "epoch", epoch, "took", now.Sub(t.began))
	}
	s.say()
}

// settle finds out whether heads name this process that it gave up before it knew
// that it had them: a claim may succeed without an answer.
func (s *share) settle(ctx context.Context) {
	for id := range s.unsure {
		h, _, err := s.w.heads.LoadHead(ctx, id)
		if err != nil && !errors.Is(err, gridloom.ErrNotFound) {
			return
		}
		if _, again := s.tenures[id]; !again && h.Owner == s.me.Owner {
			s.me.Released[id] = h.Epoch
		}
		delete(s.unsure, id)
	}
}

// leave tells the others, gives everything up, telling each as it is done, and is gone.
func (s *share) leave() {
	s.me.Leaving = true
	s.say()
	hurry := time.NewTimer(leaveTurns)
	defer hurry.Stop()
	most := leaveAtOnce
	for len(s.tenures) > 0 { // each ends within releaseTimeout, a little more if its store is slow to give up
		ending := 0
		for _, t := range s.tenures {
			if !t.began.IsZero() {
				ending++
			}
		}
		for id := range s.tenures {
			if ending < most && s.giveUp(id) {
				ending++
			}
		}
		select {
		case t := <-s.ended:
			s.end(t)
		case <-hurry.C:
			most = len(s.tenures)
		case <-s.changed:
			s.say()
		case <-s.w.cfg.Peers.Beats(): // nothing is decided any more
		}
	}
	s.me.Gone = true
	s.say()
}
