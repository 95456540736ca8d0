package ingest

import (
	"encoding/binary"
	"slices"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest/decode"
)

// Machine is a bridge without goroutines: whoever drives it decides when each step
// happens and what comes of what it stores. The steps are those that connections and
// lanes of a running Bridge take, which internal/sim so puts into every order, with
// every failure. It is used by one goroutine.
type Machine struct {
	b        *Bridge
	inFlight []*openFrame // by lane, nil where nothing is being stored
}

// NewMachine returns a machine with the bounds of cfg. It must be kept below them:
// where a Bridge would let a sender wait, the machine refuses.
func NewMachine(cfg BridgeConfig) (*Machine, error) {
	b, err := New(cfg, nil, nil)
	if err != nil {
		return nil, err
	}
	return &Machine{b: b, inFlight: make([]*openFrame, cfg.Partitions+1)}, nil
}

// Link is one MQTT 3.1.1 connection to a machine.
type Link struct {
	m     *Machine
	agent string
	out   outbox
	gone  chan struct{}
}

// Connect returns the connection of a client that may publish under one agent's name.
func (m *Machine) Connect(agent string) *Link {
	l := &Link{m: m, agent: agent, gone: make(chan struct{})}
	close(l.gone) // whoever would wait is told that it is of no use
	return l
}

// Publish takes a message at QoS 1. Its answer comes out of Send, once everything of it
// is stored. A message that cannot be taken has the connection closed.
func (l *Link) Publish(topic string, id uint16, payload []byte) {
	r := routeOf(topic, l.agent)
	m := message{
		source:  decode.Source{Topic: topic, Site: r.site, Agent: r.agent, Client: l.agent, Now: l.m.b.cfg.Now()},
		payload: payload, from: l, tag: tag{id: id, qos: 1}, gone: l.gone,
	}
	if err := l.m.b.hand(&m, &r); err != nil {
		l.out.close(codeServerBusy)
	}
}

// answer implements sender.
func (l *Link) answer(t tag, o outcome) (send bool) {
	code, ok := answerOf(4, o)
	return l.out.add(t, code, ok)
}

// send implements sender: the driver calls Send.
func (l *Link) send() {}

// Send returns the packet ids of the PUBACKs that have gathered, and whether the
// connection is to be closed after them.
func (l *Link) Send() (ids []uint16, closed bool) {
	out, _ := l.out.take(nil)
	for p := range slices.Chunk(out, 4) { // 3.1.1: no reason code
		ids = append(ids, binary.BigEndian.Uint16(p[2:]))
	}
	l.out.sending = false
	return ids, l.out.closing != 0
}

// Frame is what a lane stores next: a frame of a partition's log, or rejects. It is
// valid until Outcome.
type Frame struct {
	Partition int // or -1: Rejects
	Data      []byte
	Rejects   []gridloom.Reject
}

// Lanes returns how many lanes there are: one a partition and one for rejects, the last.
func (m *Machine) Lanes() int { return len(m.inFlight) }

// Seal returns what has gathered in a lane, to be stored; ok is false if there is
// nothing, or something is being stored already.
func (m *Machine) Seal(lane int) (f Frame, ok bool) {
	l := m.lane(lane)
	if m.inFlight[lane] != nil {
		return f, false
	}
	open := l.seal(false)
	if open == nil {
		return f, false
	}
	m.inFlight[lane] = open
	if l.partition == rejectsLane {
		return Frame{Partition: rejectsLane, Rejects: open.rejects}, true
	}
	return Frame{Partition: l.partition, Data: l.buf}, true
}

// Outcome settles what Seal returned: nil means that it is stored. An error that
// MayPass may be followed by another attempt instead.
func (m *Machine) Outcome(lane int, err error) {
	l := m.lane(lane)
	open := m.inFlight[lane]
	l.outcome(open, err, 0)
	l.spare, m.inFlight[lane] = open, nil
}

// MayPass reports whether a Bridge would try to store the same once more.
func MayPass(err error) bool { return mayPass(err) }

func (m *Machine) lane(i int) *lane {
	if i < len(m.b.lanes) {
		return m.b.lanes[i]
	}
	return m.b.rejects
}
