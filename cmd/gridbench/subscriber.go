package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A subscriber takes QoS 1 messages from a broker, counts them and acknowledges
// those that came together with one write.
type subscriber struct {
	conn     net.Conn
	messages atomic.Int64
	reader   sync.WaitGroup
	failed   atomic.Pointer[error]
	closed   atomic.Bool
}

// The packet types of a subscriber (MQTT 3.1.1, section 2.2.1).
const (
	packetSubscribe = 8
	packetSuback    = 9
)

// subscribe connects and returns when the broker has accepted the subscription.
func subscribe(ctx context.Context, addr, filter string) (*subscriber, error) {
	conn, r, err := dialMQTT(ctx, addr, "gridbench-subscriber")
	if err != nil {
		return nil, err
	}
	s := &subscriber{conn: conn}
	out := appendRemaining([]byte{packetSubscribe<<4 | 2}, 2+2+len(filter)+1)
	out = appendString(append(out, 0, 1), filter)
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if _, err := conn.Write(append(out, 1)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	kind, body, err := readPacket(r, nil)
	if err == nil && (kind>>4 != packetSuback || len(body) != 3 || body[2] != 1) {
		err = fmt.Errorf("the broker answered %#x % x instead of a good SUBACK", kind, body)
	}
	if err = errors.Join(err, conn.SetDeadline(time.Time{})); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.reader.Go(func() {
		if err := s.take(r); !s.closed.Load() {
			s.failed.Store(&err)
		}
	})
	return s, nil
}

// take reads messages until the connection ends.
func (s *subscriber) take(r *bufio.Reader) error {
	var buf, acks []byte
	for {
		kind, body, err := readPacket(r, buf)
		if err != nil {
			return err
		}
		buf = body[:0]
		if kind>>4 != packetPublish {
			continue
		}
		if kind&6 != 0 {
			at, err := packetIDAt(body)
			if err != nil {
				return err
			}
			acks = append(acks, packetPuback<<4, 2, body[at], body[at+1])
		}
		s.messages.Add(1)
		if r.Buffered() > 0 && len(acks) < writeBytes || len(acks) == 0 {
			continue
		}
		if _, err := s.conn.Write(acks); err != nil {
			return err
		}
		acks = acks[:0]
	}
}

// packetIDAt returns where in a PUBLISH its packet id stands: after the topic.
func packetIDAt(body []byte) (int, error) {
	if len(body) >= 2 {
		if at := 2 + int(binary.BigEndian.Uint16(body)); at+2 <= len(body) {
			return at, nil
		}
	}
	return 0, fmt.Errorf("PUBLISH of %d bytes without a packet id", len(body))
}

// err returns why nothing more comes; nil if something may.
func (s *subscriber) err() error {
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("the subscriber lost the broker: %w", *err)
	}
	return nil
}

func (s *subscriber) close() error {
	s.closed.Store(true)
	err := s.conn.Close()
	s.reader.Wait()
	return err
}
