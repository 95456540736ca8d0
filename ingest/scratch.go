package ingest

import (
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest/decode"
	"github.com/gridloom/gridloom/internal/wire"
)

// maxRejectsPerMessage bounds how many bad readings of one message are kept with
// their own place and detail; one more says how many there were. All are counted.
const maxRejectsPerMessage = 16

// rowsPerTurn is how many rows of a message go into a frame before it is looked at
// again whether the frame is full: a large message spreads over several frames.
const rowsPerTurn = 1024

// scratch is the memory with which one message is decoded and placed. It is used
// by one goroutine at a time and goes back to the bridge's pool.
type scratch struct {
	bridge *Bridge
	dec    decode.Decoder
	out    wire.Columns
	onBad  func(decode.Bad) // s.bad, bound once: a method value allocates

	m       *message
	objects int
	json    bool
	nbad    int
	bad     []gridloom.Reject

	partition []int32      // of each meter of out
	runs      [][]wire.Run // by partition, each of one meter and at most rowsPerTurn rows
	touched   []int32      // partitions that have runs
	last      []uint32     // by partition, see wire.FrameBuilder.Append
}

func newScratch(b *Bridge) *scratch {
	s := &scratch{bridge: b, runs: make([][]wire.Run, b.cfg.Partitions), last: make([]uint32, b.cfg.Partitions)}
	s.onBad = s.refuse
	return s
}

// decode fills s with the readings of m and with what is wrong in it.
func (s *scratch) decode(m *message) {
	s.m, s.nbad = m, 0
	s.out.Reset()
	s.json = isJSON(m.payload)
	s.objects = s.dec.Decode(m.source, m.payload, &s.out, s.onBad)
}

// isJSON reports whether decode takes the payload for JSON: its first byte that is
// not blank opens an object or an array.
func isJSON(payload []byte) bool {
	for _, c := range payload {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '{', '[':
			return true
		default:
			return false
		}
	}
	return false
}

// refuse notes one bad reading of the message.
func (s *scratch) refuse(bad decode.Bad) {
	s.bridge.metrics.reject(bad.Reason)
	s.nbad++
	if s.nbad > maxRejectsPerMessage {
		return
	}
	s.bad = append(s.bad, reject(s.m, bad, s.nbad == 1))
}

// reject makes the record of one refusal. Only the first of a message carries the
// payload, so that a message of a thousand bad readings is kept once.
func reject(m *message, bad decode.Bad, withPayload bool) gridloom.Reject {
	r := gridloom.Reject{
		At: m.source.Now, Reason: bad.Reason, Detail: bad.Detail, Place: bad.Place,
		Topic: m.source.Topic, Client: m.source.Client, Cut: !withPayload,
	}
	if withPayload {
		n := min(len(m.payload), gridloom.MaxRejectPayload)
		r.Payload, r.Cut = slices.Clone(m.payload[:n]), n < len(m.payload)
	}
	return r
}

// place puts the decoded readings and rejects into their lanes. On nil the answer
// to m is on its way or will come from the last lane that stores a part of it.
func (s *scratch) place(m *message, bytes int64) error {
	defer s.release()
	b := s.bridge
	rows := s.out.Len()
	result := stored
	if s.nbad > 0 && rows == 0 {
		result = outcomeOf(s.bad[0].Reason)
	}
	t := ticket{from: m.from, tag: m.tag, bytes: bytes, outcome: result}
	n := tally{objects: s.objects, bytes: len(m.payload), json: s.json}
	if rows == 0 && s.nbad == 0 { // an empty array is a message without readings
		b.metrics.taken(&n)
		b.finish(t)
		return nil
	}

	s.shard()
	w := wait{bridge: b, gone: m.gone, metric: b.metrics.waitPartition}
	if s.nbad == 0 && len(s.touched) == 1 && rows <= rowsPerTurn {
		return s.one(t, &n, &w)
	}
	return s.several(t, &n, &w)
}

// one places a message that lies in one partition: nothing is allocated for it.
func (s *scratch) one(t ticket, n *tally, w *wait) error {
	p := s.touched[0]
	l := s.bridge.lanes[p]
	if err := l.enter(w); err != nil {
		s.bridge.budget.give(t.bytes)
		return err
	}
	l.rows.Append(&s.out, s.runs[p], &s.last[p])
	l.open.count(n)
	l.open.tickets = append(l.open.tickets, t)
	l.leave()
	return nil
}

// several places a message that spans lanes or frames: it is answered when the
// last of them is stored.
func (s *scratch) several(t ticket, n *tally, w *wait) error {
	b := s.bridge
	t.many = &many{}
	t.many.left.Store(1) // this goroutine's hold, so that no lane can be the last before all are told
	err := s.spread(t, n, w)
	if err != nil {
		t.many.failed.Store(true)
	}
	if last := t.many.left.Add(-1) == 0; !last {
		return err // the last lane gives the budget back, and answers unless it failed
	}
	if err != nil {
		b.budget.give(t.bytes)
		return err
	}
	b.finish(t) // every lane was faster than this goroutine
	return nil
}

// spread gives each lane its part of the message.
func (s *scratch) spread(t ticket, n *tally, w *wait) error {
	b := s.bridge
	for _, p := range s.touched {
		runs := s.runs[p]
		for len(runs) > 0 {
			l := b.lanes[p]
			if err := l.enter(w); err != nil {
				return err
			}
			turn := firstTurn(runs)
			l.rows.Append(&s.out, runs[:turn], &s.last[p])
			runs = runs[turn:]
			l.open.count(n)
			t.many.left.Add(1)
			l.open.tickets = append(l.open.tickets, t)
			l.leave()
		}
	}
	if s.nbad == 0 {
		return nil
	}
	if more := s.nbad - len(s.bad); more > 0 {
		s.bad[len(s.bad)-1].Detail += moreBad(more)
	}
	if err := b.rejects.enter(w); err != nil {
		return err
	}
	f := b.rejects.open
	for _, r := range s.bad {
		f.reject(r)
	}
	f.count(n)
	t.many.left.Add(1)
	f.tickets = append(f.tickets, t)
	b.rejects.leave()
	return nil
}

// firstTurn returns how many of runs hold at most rowsPerTurn rows; at least 1.
func firstTurn(runs []wire.Run) (n int) {
	rows := uint32(0)
	for n < len(runs) {
		if rows += runs[n].To - runs[n].From; rows > rowsPerTurn {
			break
		}
		n++
	}
	return n
}

// shard fills s.touched with the partitions of the message and s.runs with each
// one's rows, in the message's order.
func (s *scratch) shard() {
	count := len(s.runs)
	s.partition = s.partition[:0]
	for _, meter := range s.out.Meters {
		s.partition = append(s.partition, int32(gridloom.PartitionOf(meter, count)))
	}
	meters := s.out.Meter
	for i := 0; i < len(meters); {
		m, j := meters[i], i+1
		for j < len(meters) && meters[j] == m && j-i < rowsPerTurn {
			j++
		}
		p := s.partition[m]
		if len(s.runs[p]) == 0 {
			s.touched = append(s.touched, p)
		}
		s.runs[p] = append(s.runs[p], wire.Run{From: uint32(i), To: uint32(j)})
		i = j
	}
}

// release forgets the message and keeps the memory.
func (s *scratch) release() {
	for _, p := range s.touched {
		s.runs[p] = s.runs[p][:0]
	}
	s.touched = s.touched[:0]
	clear(s.bad)
	s.bad = s.bad[:0]
	s.m = nil
}
