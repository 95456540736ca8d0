package ingest

import (
	"encoding/binary"

	"github.com/mochi-mqtt/server/v2/packets"
)

// outbox gathers the answers to the messages of one connection until they are sent,
// and knows when there will be no more of them. Not safe for concurrent use.
type outbox struct {
	answers []byte // packets to send
	count   int32  // messages that they answer, QoS 0 included
	sending bool   // somebody sends, or will be called by the one who set it
	closing byte   // reason code to close with when everything is sent; 0 for none
}

// add notes the answer to a message; ok is false if it is withheld. It reports whether
// sending has to be started.
func (o *outbox) add(t tag, code byte, ok bool) (start bool) {
	o.count++
	switch {
	case !ok:
		o.closing = codeServerBusy
	case o.closing == codeServerBusy || t.qos == 0:
		// Nothing is sent after a message whose answer is withheld: the device sends all again.
	default:
		o.answers = appendAnswer(o.answers, t, code)
	}
	return o.start()
}

// close has the connection closed with a reason code when everything is sent. It
// reports whether sending has to be started.
func (o *outbox) close(code byte) (start bool) {
	if o.closing == 0 {
		o.closing = code
	}
	return o.start()
}

func (o *outbox) start() bool {
	start := !o.sending
	o.sending = true
	return start
}

// take hands over what has gathered, n messages' worth, and goes on in spare. With n 0
// sending has ended.
func (o *outbox) take(spare []byte) (out []byte, n int32) {
	out, n = o.answers, o.count
	if n == 0 {
		o.sending = false
		return nil, 0
	}
	o.answers, o.count = spare[:0], 0
	return out, n
}

// appendAnswer appends the PUBACK or PUBREC of t.
func appendAnswer(dst []byte, t tag, code byte) []byte {
	kind := packets.Puback << 4
	if t.qos == 2 {
		kind = packets.Pubrec << 4
	}
	if code == codeSuccess {
		dst = append(dst, kind, 2)
		return binary.BigEndian.AppendUint16(dst, t.id)
	}
	dst = append(dst, kind, 3)
	return append(binary.BigEndian.AppendUint16(dst, t.id), code)
}

// countAnswers returns the number of packets in out.
func countAnswers(out []byte) (n int) {
	for len(out) > 0 {
		out = out[2+int(out[1]):]
		n++
	}
	return n
}
