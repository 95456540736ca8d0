package protocol_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/protocol"
	"github.com/gridloom/gridloom/internal/pane"
)

// bounds are how far a search goes. Everything within them is searched: every order
// of moves, crashes at any point, puts that arrive late, often or never.
type bounds struct {
	frames, epochs uint8 // at most mostFrames, mostEpochs
	perEpoch       uint8 // files of each kind that one epoch may write, at most perEpoch
	ids            uint8 // commit ids of each owner: its claims and commits
	queries        uint8 // one at a time
	cuts, losses   uint8 // of the log, of the head
	steady         bool  // no process crashes
	merges         bool
	sweeps         bool  // with time passing
	retained       uint8 // manifests besides the head's whose files are not swept
	purges         bool
	snapshots      bool
}

// broken are the ways in which a model may differ from what runs. Each is a mistake
// that a reader of the protocol could make; the search must find where it leads.
type broken struct {
	blindPut           bool // a commit is put whatever revision it finds ...
	lookAway           bool // ... and the rule that says so is not checked, to see what comes of it
	readBackByEpoch    bool // a put counts as stored if the head has its epoch
	createAlways       bool // a first head although the store holds files
	unverifiedConsumer bool // a consumer is made anew without verification
	unverifiedPurge    bool // the log is purged without verification
	purgeToNext        bool // the log is purged to next_seq, over last_ref
	purgeRead          bool // the log is purged to where the owner has read
	answerEarly        bool // an owner answers before it has read to the goal
	goalBySequence     bool // ... or has read another frame in the goal's place
	standsAlways       bool // a query does not read the head again
	putManifestBack    bool // a compaction ends with the manifest that it began with
	inputsUnchecked    bool // a compaction's output is listed whatever is listed of its inputs
	otherEpochs        bool // a compaction of an older epoch is applied
	sweepUnreferenced  bool // any file that the head's manifest does not name is swept
	sweepUnaged        bool // files are swept by the rule, but without waiting for a lease
	sweepOwn           bool // files of the owner's own epoch are swept like older ones
}

// model is the protocol within bounds. yield takes each next state.
type model struct {
	bounds
	broken   broken
	yield    func(move, state)
	rewrites map[rewriteKey]rewritten
}

type kind uint8

const (
	appends kind = iota
	claims
	delivers
	readsBack
	consumes
	reads
	freezes
	saves
	compacts
	willSweep
	sweeps
	willPurge
	purges
	crashes
	cuts
	losesHead
	ticks
	asks
	answers
	stands
	completes
	kinds
)

var kindTexts = [kinds]string{
	appends: "frame %d is acknowledged", claims: "claims", delivers: "put arrives at the bucket", readsBack: "reads its put back",
	consumes: "makes a consumer", reads: "reads frame %d", freezes: "begins a commit, writes its segment", saves: "writes %s, puts the head",
	compacts: "merges into %s", willSweep: "is to delete %s", sweeps: "deletes %s", willPurge: "is to purge the log up to %d", purges: "purges the log up to %d",
	crashes: "crashes", cuts: "log is rolled back to %d", losesHead: "head is lost", ticks: "time passes",
	asks: "is asked by a query", answers: "answers the query", stands: "query reads the head again", completes: "query is answered",
}

// move names one step of a trace.
type move struct {
	kind     kind
	who, arg uint8
}

func (m move) String() string {
	text := kindTexts[m.kind]
	switch m.kind {
	case saves, compacts, willSweep, sweeps:
		text = fmt.Sprintf(text, fileName(m.arg))
	case appends, reads, willPurge, purges, cuts:
		text = fmt.Sprintf(text, m.arg)
	}
	switch m.kind {
	case appends, cuts, losesHead, ticks, stands, completes:
		return text
	}
	return ownerName(m.who) + " " + text
}

// moves yields all next states of s.
func (m *model) moves(s state) {
	m.acknowledge(s)
	for i := range s.net {
		m.deliver(s, i)
	}
	for o := range uint8(owners) {
		m.readBack(s, o)
		m.consume(s, o)
		m.read(s, o)
		m.freeze(s, o)
		m.save(s, o, false)
		m.save(s, o, true)
		m.compact(s, o)
		m.sweep(s, o)
		m.purge(s, o)
		m.claim(s, o)
		m.crash(s, o)
		m.ask(s, o)
	}
	m.answer(s)
	m.stand(s)
	m.complete(s)
	for to := range s.log.last {
		m.cut(s, to)
	}
	m.loseHead(s)
	if m.sweeps {
		m.tick(s)
	}
}

// mayAnswer decides whether the owner that a query has asked may answer it.
func (m *model) mayAnswer(s *state, w *owner) (bool, error) {
	switch {
	case m.broken.answerEarly:
		return true, nil
	case m.broken.goalBySequence:
		return w.next > s.q.goal, nil
	}
	var last gridloom.FrameRef
	if s.q.goal > 0 {
		last = gridloom.FrameRef{Seq: uint64(s.q.goal), CRC: crcOf(s.q.goal, s.q.goalEra)}
	}
	trail := w.trail()
	ok, err := protocol.MayAnswer(&trail, uint64(w.next), last)
	if errors.Is(err, protocol.ErrOvertaken) {
		return false, nil
	}
	return ok, err
}

type rewriteKey struct {
	segs, inputs uint16
	out          uint8
}

type rewritten struct {
	segs uint16
	ok   bool
}

// amend applies a compaction to the segments that a commit is about to list, as the
// owner does: by pane.Store.Replace.
func (m *model) amend(segs uint16, epoch uint8, c *merge) uint16 {
	h := head{epoch: epoch}.expand()
	if !protocol.MayList(&h, uint64(c.epoch)) && !m.broken.otherEpochs {
		return segs
	}
	out := uint16(1) << c.out
	switch {
	case m.broken.putManifestBack:
		return c.base&^c.inputs | out
	case m.broken.inputsUnchecked:
		return segs&^c.inputs | out
	}
	key := rewriteKey{segs, c.inputs, c.out}
	r, known := m.rewrites[key]
	if !known {
		var manifest pane.Manifest
		var inputs []string
		for i := range uint8(fileSlots) {
			if segs&(1<<i) != 0 {
				manifest.Recent = append(manifest.Recent, pane.Segment{Path: letter(i)})
			}
			if c.inputs&(1<<i) != 0 {
				inputs = append(inputs, letter(i))
			}
		}
		// A manifest without sealed lists is changed in memory alone.
		_, ok, err := pane.NewStore(nil, pane.StoreOptions{}).Replace(context.Background(), &manifest, inputs, []pane.Segment{{Path: letter(c.out)}})
		if err != nil {
			panic(err)
		}
		r.ok = ok
		for i := range manifest.Recent {
			r.segs |= 1 << manifest.Recent[i].Path[0]
		}
		m.rewrites[key] = r
	}
	return r.segs
}
