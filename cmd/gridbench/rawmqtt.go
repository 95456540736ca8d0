package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The packet types of MQTT 3.1.1 (section 2.2.1) that a publisher meets, as the
// upper four bits of a packet's first byte.
const (
	packetConnect    = 1
	packetConnack    = 2
	packetPublish    = 3
	packetPuback     = 4
	packetPingreq    = 12
	packetPingresp   = 13
	packetDisconnect = 14
)

// dialTimeout bounds connecting and waiting for the CONNACK.
const dialTimeout = 5 * time.Second

// maxAnswerBytes bounds a packet from the server: short ones to a publisher, to a
// subscriber what gridbench published itself.
const maxAnswerBytes = 1 << 20

// appendConnect appends a CONNECT for a clean session without will or keep-alive.
func appendConnect(dst []byte, clientID string) []byte {
	dst = append(dst, packetConnect<<4)
	dst = appendRemaining(dst, 10+2+len(clientID))
	dst = appendString(dst, "MQTT")
	dst = append(dst, 4, 2, 0, 0) // protocol level 4, clean session, keep-alive off
	return appendString(dst, clientID)
}

// appendPublish appends a QoS 1 PUBLISH with the given packet id, 1 to 65535.
func appendPublish(dst []byte, topic string, id uint16, payload []byte) []byte {
	dst = append(dst, packetPublish<<4|1<<1)
	dst = appendRemaining(dst, 2+len(topic)+2+len(payload))
	dst = appendString(dst, topic)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, payload...)
}

// appendRemaining appends a packet's remaining length, 7 bits a byte.
func appendRemaining(dst []byte, n int) []byte { return binary.AppendUvarint(dst, uint64(n)) }

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// dialMQTT connects and waits until the server accepts the client. The reader
// that it returns must be used for everything that follows.
func dialMQTT(ctx context.Context, addr, clientID string) (net.Conn, *bufio.Reader, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(c, 16<<10)
	if err := greet(c, r, clientID); err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("connect %s to %s: %w", clientID, addr, err)
	}
	return c, r, nil
}

func greet(c net.Conn, r *bufio.Reader, clientID string) error {
	if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(appendConnect(nil, clientID)); err != nil {
		return err
	}
	kind, body, err := readPacket(r, nil)
	if err != nil {
		return err
	}
	if kind>>4 != packetConnack || len(body) < 2 || body[1] != 0 {
		return fmt.Errorf("the server answered %#x % x instead of a good CONNACK", kind, body)
	}
	return c.SetDeadline(time.Time{})
}

// readPacket reads one packet and returns its first byte and its body, which
// reuses buf where that is large enough.
func readPacket(r *bufio.Reader, buf []byte) (kind byte, body []byte, err error) {
	kind, err = r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, nil, err
	}
	if n > maxAnswerBytes {
		return 0, nil, fmt.Errorf("packet %#x of %d bytes", kind, n)
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	_, err = io.ReadFull(r, buf)
	return kind, buf, err
}

// errRefused is a PUBACK with an MQTT 5 reason code above 0x7f. A 3.1.1 server
// cannot send one; it is looked for so that nothing refused counts as taken.
var errRefused = errors.New("the server refused a message")

// readPuback waits for the next PUBACK and returns its packet id.
func readPuback(r *bufio.Reader, buf []byte) (uint16, error) {
	for {
		kind, body, err := readPacket(r, buf)
		if err != nil {
			return 0, err
		}
		if kind>>4 != packetPuback {
			continue
		}
		if len(body) < 2 {
			return 0, fmt.Errorf("PUBACK of %d bytes", len(body))
		}
		if len(body) > 2 && body[2] > 0x7f {
			return 0, fmt.Errorf("%w: reason %#x", errRefused, body[2])
		}
		return binary.BigEndian.Uint16(body), nil
	}
}
