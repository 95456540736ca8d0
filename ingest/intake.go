package ingest

import (
	"encoding/binary"
	"math"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// intake is what a connection has read and nobody has seen. The broker reads from
// the connection packet by packet; a PUBLISH of readings on the topic of the one
// before is taken out of the stream here and the broker never sees it. All else
// passes, byte for byte.
//
// The broker copies a packet twice to memory of its own and hands it through hooks
// in a struct of half a kilobyte. BenchmarkPublish takes 2.3 CPU s per million
// messages of one object that way, 1.1 this way, and 71 and 35 with a hundred
// objects (docs/adr/0006-readings-do-not-pass-the-broker.md).
type intake struct {
	buf    []byte
	r, w   int     // what of buf is read and not yet used
	small  []byte  // buf when there is no need for more
	large  *[]byte // of largeBuffers, while buf is that
	pass   int     // bytes of the current packet that are still to go to the broker
	extend bool    // a packet was taken since the deadline was set
}

// largeBufferBytes is the size of the buffers for packets that do not fit
// readBufferBytes. A connection holds one only while such a packet is in it.
const largeBufferBytes = 64 << 10

var largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBufferBytes); return &b }}

// Read gives the broker what it has to see: bytes of one packet at a time. Called by
// the read goroutine.
func (c *conn) Read(p []byte) (int, error) {
	in := &c.intake
	for {
		if in.pass > 0 {
			return c.passOn(p)
		}
		head, size := packetSize(in.buf[in.r:in.w])
		switch {
		case size == 0: // not even its length is there
			size = in.w - in.r + 1
		case !c.mayTake(in.buf[in.r], size):
			in.pass = size
			continue
		case size <= in.w-in.r:
			if c.take(in.buf[in.r:in.r+size], head) {
				in.r += size
				in.extend = true
			} else {
				in.pass = size
			}
			continue
		}
		if err := c.fill(size); err != nil {
			return 0, err
		}
	}
}

// passOn hands on bytes of the current packet.
func (c *conn) passOn(p []byte) (n int, err error) {
	in := &c.intake
	if in.r < in.w {
		n = copy(p, in.buf[in.r:min(in.w, in.r+min(in.pass, in.w))])
		in.r += n
	} else {
		n, err = c.Conn.Read(p[:min(len(p), in.pass)])
	}
	in.pass -= n
	return n, err
}

// packetSize returns the length of the packet that begins at b, and of its fixed
// header; 0 if b does not hold that yet. A length that is none makes everything one
// packet, for which the broker closes the connection.
func packetSize(b []byte) (head, size int) {
	for i := 1; i < len(b); i++ {
		size |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			return i + 1, i + 1 + size
		}
		if i == 4 {
			return i + 1, math.MaxInt
		}
	}
	return 0, 0
}

// mayTake reports whether a packet of this first byte and size may be one for the
// bridge: a PUBLISH at QoS 0 or 1, not retained, not larger than allowed, and not at QoS 0
// and a repetition, which is an error.
func (c *conn) mayTake(first byte, size int) bool {
	const retain, qos2, dup = 1, 4, 8
	return first>>4 == packets.Publish && first&(retain|qos2) == 0 && first != packets.Publish<<4|dup && size <= c.broker.cfg.MaxPacketBytes &&
		c.client != nil && c.route.kind == readings
}

// take hands a whole PUBLISH to the bridge if its topic is that of the one before,
// which the broker has found valid; false if the broker has to see it.
func (c *conn) take(packet []byte, head int) bool {
	qos := packet[0] >> 1 & 3
	b := packet[head:]
	if len(b) < 2 {
		return false
	}
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n > len(b) || string(b[:n]) != c.topic {
		return false
	}
	b = b[n:]
	id := uint16(0)
	if qos == 1 {
		if len(b) < 2 {
			return false
		}
		if id, b = binary.BigEndian.Uint16(b), b[2:]; id == 0 {
			return false
		}
	}
	if c.version >= 5 {
		if len(b) == 0 || b[0] != 0 { // it has properties
			return false
		}
		b = b[1:]
	}
	c.broker.publish(c, b, tag{id: id, qos: qos})
	return true
}

// fill reads more, so that in the end size bytes can lie in the buffer in one piece.
func (c *conn) fill(size int) error {
	in := &c.intake
	if in.extend && c.keepalive > 0 {
		if err := c.extendDeadline(time.Now().Add(c.keepalive)); err != nil {
			return err
		}
	}
	in.extend = false
	in.makeRoom(size)
	n, err := c.Conn.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// makeRoom sees to it that size bytes from the first unused one on lie in one piece,
// in the smallest buffer that does when nothing is in it.
func (in *intake) makeRoom(size int) {
	from := in.buf[in.r:in.w]
	old := in.large
	if len(from) == 0 || size > len(in.buf) {
		in.large = nil
		switch {
		case size <= readBufferBytes:
			if in.small == nil {
				in.small = make([]byte, readBufferBytes)
			}
			in.buf = in.small
		case size <= largeBufferBytes:
			in.large = largeBuffers.Get().(*[]byte)
			in.buf = *in.large
		default:
			in.buf = make([]byte, size)
		}
	}
	in.r, in.w = 0, copy(in.buf, from)
	if old != nil && in.large != old {
		largeBuffers.Put(old)
	}
}
