package stream

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/gridloom/gridloom"
)

// What processes that share partitions say of themselves goes over core NATS: nothing
// of it is stored, and it may be lost.
const memberSubjects = "gridloom.member."

// Bounds of what waits to be heard; beyond, it is lost.
const (
	beatsWaiting = 1024
	beatBytes    = 16 << 20
)

// Circle is the place of one process among those that share partitions.
type Circle struct {
	s       *Stream
	subject string
}

// Join takes a place under a node's name, which must fit a NATS subject. From now on
// until s is closed, hear is called with what anybody says, this process included, one
// at a time.
func (s *Stream) Join(node string, hear func(text []byte)) (*Circle, error) {
	sub, err := s.nc.Subscribe(memberSubjects+">", func(m *nats.Msg) { hear(m.Data) })
	if err == nil {
		err = sub.SetPendingLimits(beatsWaiting, beatBytes)
	}
	if err != nil {
		return nil, kindOf("hear the other members", err)
	}
	return &Circle{s: s, subject: memberSubjects + node}, nil
}

// Say tells everybody.
func (c *Circle) Say(text []byte) error {
	if err := c.s.nc.Publish(c.subject, text); err != nil {
		return fmt.Errorf("tell the other members: %w: %w", gridloom.ErrUnavailable, err)
	}
	return nil
}
