package floor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
)

// The packet types that a publisher sends, as the upper four bits of a packet's first byte.
const (
	packetConnect = 1
	packetPublish = 3
	packetPingreq = 12
)

// maxPacketBytes is the longest packet taken, as in ingest.
const maxPacketBytes = 1 << 20

// serveCounter takes MQTT 3.1.1 packets, looks at nothing but their lengths and
// packet ids, and acknowledges all that one read brought with one write.
func serveCounter(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			count(c) // a publisher that breaks a rule or goes away ends its own connection
		})
	}
}

func count(c net.Conn) {
	in := make([]byte, 64<<10)
	var out []byte
	have := 0
	for {
		n, err := c.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		used := 0
		out = out[:0]
		for {
			size, head, err := packetSize(in[used:have])
			if err != nil {
				return
			}
			if size == 0 || used+size > have {
				if size > len(in) {
					in = slices.Concat(in, make([]byte, size-len(in)))
				}
				break
			}
			if out, err = appendAnswer(out, in[used:used+size], head); err != nil {
				return
			}
			used += size
		}
		have = copy(in, in[used:have])
		if len(out) == 0 {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// errPacket is what is no packet of a publisher.
var errPacket = errors.New("not a packet of a publisher")

// packetSize returns the size of the packet at the start of b and that of its fixed
// header; 0 if b does not hold the header.
func packetSize(b []byte) (size, head int, err error) {
	if len(b) < 2 {
		return 0, 0, nil
	}
	rest, n := binary.Uvarint(b[1:min(len(b), 5)])
	if n <= 0 && len(b) < 5 {
		return 0, 0, nil
	}
	if n <= 0 || rest > maxPacketBytes {
		return 0, 0, fmt.Errorf("%w: remaining length", errPacket)
	}
	return 1 + n + int(rest), 1 + n, nil
}

// appendAnswer appends what a whole packet is answered with.
func appendAnswer(out, packet []byte, head int) ([]byte, error) {
	body := packet[head:]
	switch packet[0] >> 4 {
	case packetConnect:
		return append(out, 0x20, 2, 0, 0), nil
	case packetPingreq:
		return append(out, 0xd0, 0), nil
	case packetPublish:
		if packet[0]&6 == 0 {
			return out, nil
		}
		if len(body) < 2 {
			return out, errPacket
		}
		at := 2 + int(binary.BigEndian.Uint16(body))
		if packet[0]&6 != 2 || at+2 > len(body) {
			return out, errPacket
		}
		return append(out, 0x40, 2, body[at], body[at+1]), nil
	}
	return out, errPacket // DISCONNECT too: nothing comes after it
}
