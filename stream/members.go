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
	sub     *nats.Subscription
	dropped int // by the subscription, as counted; Say's alone
}

// Unheard says why something said was not taken in.
type Unheard string

// The reasons. Heard is none.
const (
	Heard      Unheard = ""
	Unreadable Unheard = "unreadable"
	Waiting    Unheard = "waiting" // as much as is kept waits already
)

// Join takes a place under a node's name, which must fit a NATS subject. From now on
// until s is closed, hear is called with what anybody says, this process included, one
// at a time; what it does not take in is counted.
func (s *Stream) Join(node string, hear func(text []byte) Unheard) (*Circle, error) {
	sub, err := s.nc.Subscribe(memberSubjects+">", func(m *nats.Msg) {
		if why := hear(m.Data); why != Heard {
			s.met.unheard.WithLabelValues(string(why)).Inc()
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(beatsWaiting, beatBytes)
	}
	if err != nil {
		return nil, kindOf("hear the other members", err)
	}
	return &Circle{s: s, subject: memberSubjects + node, sub: sub}, nil
}

// Say tells everybody. It is not for two goroutines at once.
func (c *Circle) Say(text []byte) error {
	if n, err := c.sub.Dropped(); err == nil && n > c.dropped {
		c.s.met.unheard.WithLabelValues("dropped").Add(float64(n - c.dropped))
		c.dropped = n
	}
	if err := c.s.nc.Publish(c.subject, text); err != nil {
		return fmt.Errorf("tell the other members: %w: %w", gridloom.ErrUnavailable, err)
	}
	return nil
}
