package sim

import (
	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/ingest"
)

// link is an MQTT connection between a device and an ingest process, and what is on its
// way. Each end notices for itself that it is gone, sooner or later.
type link struct {
	station *station
	bridge  *bridge
	server  *ingest.Link // nil when the process at the other end has noticed, or died

	up     []*packet // to ingest
	down   []uint16  // PUBACKs to the device
	nextID uint16
	sent   []*packet // by the device and not yet acknowledged to it, oldest first
	taken  map[uint16]*packet
	closed bool // by ingest
}

// packet is a PUBLISH.
type packet struct {
	id      uint16
	batch   *batch
	topic   string
	payload []byte
	good    []bool // of its readings, by ingest's clock whenever it came
	acked   bool   // the device has the PUBACK
}

// batch is what a device has sealed, and what became of it.
type batch struct {
	epoch, seq uint32
	readings   []gridloom.Reading
	spooled    bool // the device was told that it is on its disk
	acked      bool // the device has got a PUBACK for it
}

// arrive hands the oldest packet to ingest. A repeated one stays, to arrive again.
func (l *link) arrive(repeated bool) {
	p := l.up[0]
	if !repeated {
		l.up = l.up[1:]
	}
	now := l.bridge.now()
	for i := range p.batch.readings {
		r := &p.batch.readings[i]
		ok := r.Start+r.Length <= now+gridloom.MaxAhead
		if l.taken[p.id] == nil {
			p.good = append(p.good, ok)
		} else {
			p.good[i] = p.good[i] && ok
		}
	}
	l.taken[p.id] = p
	l.bridge.w.note("%s takes packet %d of %s (batch %d/%d)", l.bridge.name, p.id, l.station.name, p.batch.epoch, p.batch.seq)
	l.server.Publish(p.topic, p.id, p.payload)
}

// answer sends the PUBACKs that ingest has gathered: from now on it has promised.
func (l *link) answer() bool {
	w := l.bridge.w
	ids, closed := l.server.Send()
	for _, id := range ids {
		p := l.taken[id]
		if p == nil {
			w.fail("%s acknowledges packet %d, which it never got", l.bridge.name, id)
		}
		w.note("%s acknowledges packet %d to %s (batch %d/%d)", l.bridge.name, id, l.station.name, p.batch.epoch, p.batch.seq)
		for i := range p.batch.readings {
			if p.good[i] {
				w.ledger.promise(&p.batch.readings[i])
			}
		}
	}
	l.down = append(l.down, ids...)
	if closed {
		w.note("%s closes the connection of %s", l.bridge.name, l.station.name)
		l.closed = true
		l.drop()
	}
	return len(ids) > 0 || closed
}

// drop is ingest's end of the connection: what has not arrived never will.
func (l *link) drop() {
	l.server, l.up = nil, nil
	for i, other := range l.bridge.links {
		if other == l {
			l.bridge.links = append(l.bridge.links[:i:i], l.bridge.links[i+1:]...)
			break
		}
	}
}
