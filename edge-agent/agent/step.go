package agent

import (
	"context"
	"errors"
	"io"

	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
)

// Machine is an agent without goroutines, source and network: whoever drives it decides
// when each step happens and what comes of what it publishes. The steps are those of a
// running Agent's loops, which internal/sim so puts into every order, with every
// failure. It is used by one goroutine.
type Machine struct {
	a       *Agent
	gather  *gatherer
	flights *flights // nil without a connection
}

// NewMachine opens the spool and settles the epoch, as New does.
func NewMachine(cfg Config) (*Machine, error) {
	a, err := New(cfg, nil)
	if err != nil {
		return nil, err
	}
	m := &Machine{a: a, gather: &gatherer{a: a}}
	m.gather.open.Reset()
	return m, nil
}

// Take seals a chunk of a source that cannot wait as batches and appends them to the
// spool. It returns how many readings were refused, because the disk is full or failing.
func (m *Machine) Take(ctx context.Context, c *device.Chunk) (refused uint64) {
	before := m.a.refused.Load()
	m.gather.take(ctx, c)
	m.gather.seal()
	m.gather.flush(ctx)
	return m.a.refused.Load() - before
}

// Sealed returns the epoch and seq of the newest batch.
func (m *Machine) Sealed() (epoch, seq uint32) { return m.a.sealer.epoch, m.a.sealer.seq }

// Connected begins a connection, on which nothing is in flight.
func (m *Machine) Connected() { m.flights = m.a.publisher.takeOff() }

// Lost ends the connection: what was not acknowledged on it will be sent again.
func (m *Machine) Lost() {
	if m.flights != nil {
		m.flights.end()
		m.flights = nil
		m.SaveCursor()
	}
}

// Batch is a batch of the spool as it is published.
type Batch struct {
	Epoch, Seq uint32
	Topic      string
	Payload    []byte
}

// Publish returns the next batch to be sent on the connection; ok is false if there is
// none or the window is full. An error is of the disk: the connection has to be given up.
func (m *Machine) Publish() (b Batch, ok bool, err error) {
	select {
	case <-m.a.spool.Ready():
		m.flights.atEnd = false
	default:
	}
	if err := m.flights.fill(); err != nil && !errors.Is(err, errUndated) {
		return b, false, err
	}
	f := m.flights.next
	if f == nil {
		m.flights.landed()
		return b, false, nil
	}
	m.flights.sent()
	return Batch{f.record.Epoch, f.record.Seq, f.topic, f.payload}, true, nil
}

// Acknowledged notes that the oldest batch in flight was acknowledged on the connection.
func (m *Machine) Acknowledged() { m.flights.acknowledged() }

// SaveCursor writes how far acknowledgements have come, as an agent does every second.
func (m *Machine) SaveCursor() { m.a.publisher.saveCursor() }

// Waiting lists what the spool holds and was not acknowledged.
func (m *Machine) Waiting() (list []spool.Record, err error) {
	r := m.a.spool.Reader()
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, rec)
	}
}

// Close closes the spool, as at the end of Run.
func (m *Machine) Close() error {
	m.Lost()
	return m.a.spool.Close()
}
