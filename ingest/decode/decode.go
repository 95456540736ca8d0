package decode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// Source says where a payload comes from.
type Source struct {
	Topic  string
	Site   string
	Agent  string // of the topic; "" if the topic names none
	Client string // MQTT client id
	Now    gridloom.Millis
}

// Bad is a reading, or a whole message, that was refused.
type Bad struct {
	Reason string // one of the constants of internal/wire, such as wire.Future
	Detail string // one line: what is wrong and how to mend it
	Place  string // in the payload, such as readings[3].at; "" for all of it
}

// Decoder decodes payloads one after the other and keeps its working memory. The
// zero value is ready. Not safe for concurrent use: each connection or worker has
// its own.
type Decoder struct {
	src  Source
	out  *wire.Columns
	from int // rows of out before this payload
	bads []Bad

	// The JSON payload and how far it is read (scan.go).
	p      []byte
	i      int
	broken string // what is wrong with the syntax at i; "" while all is well
	text   []byte // strings that had escapes, unescaped

	// The message (message.go).
	envelope envelope
	list     string // name of the array of readings in places: "readings" or ""
	index    int    // of the reading in the array, -1 if there is none
	objects  int
	refused  *wire.Refusal // of the whole message

	// A batch (internal/wire), kept to allocate it once.
	batch wire.Batch
	onBad func(place, reason, detail string)

	// One reading object (object.go).
	top, item object
	rules     []rule // by register
	shape     []predicted
	lengths   lengthMemo
}

// Decode appends the good readings of one payload to out, with agent and order
// set, and reports each bad one. It returns how many objects the payload held:
// items of JSON, or distinct (meter, instant) that a batch states one after the
// other; 0 if the message was refused as a whole, for which bad is called once and
// out keeps the rows it had. bad is called after the last row was appended. Decode
// never panics, whatever the payload; it keeps nothing of it.
func (d *Decoder) Decode(src Source, payload []byte, out *wire.Columns, bad func(Bad)) (objects int) {
	d.src, d.out, d.from = src, out, out.Len()
	d.bads, d.refused, d.objects = d.bads[:0], nil, 0
	d.envelope = envelope{}

	if len(payload) > wire.MaxPacketBytes {
		d.refuse(wire.Size, "", fmt.Sprintf("message of %d bytes: at most %d", len(payload), wire.MaxPacketBytes))
	} else if isJSON(payload) {
		d.decodeJSON(payload)
	} else {
		d.decodeBatch(payload)
	}
	if !d.tooMany() && d.refused == nil {
		d.finish()
	}
	if r := d.refused; r != nil {
		out.Truncate(d.from)
		d.objects = 0
		d.bads = append(d.bads[:0], Bad{r.Reason, r.Detail, r.Place})
	}
	for _, b := range d.bads {
		bad(b)
	}
	clear(d.bads)
	d.src, d.out, d.p, d.batch = Source{}, nil, nil, wire.Batch{}
	return d.objects
}

// isJSON tells the encodings apart: JSON begins with { or [. A batch begins with
// the key of a field, 0x0a being the agent's; that is a line feed too, but then the
// agent's name would have to begin with { or [, which CheckAgent refuses.
func isJSON(p []byte) bool {
	for _, c := range p {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '{' || c == '['
		}
	}
	return false
}

// refuse refuses the whole message; the first reason stands.
func (d *Decoder) refuse(reason, place, detail string) {
	if d.refused == nil {
		d.refused = &wire.Refusal{Reason: reason, Place: place, Detail: detail}
	}
}

// decodeBatch decodes protobuf.
func (d *Decoder) decodeBatch(payload []byte) {
	if len(payload) == 0 {
		d.refuse(wire.Syntax, "byte 0", "the message is empty")
		return
	}
	if d.onBad == nil {
		d.onBad = func(place, reason, detail string) { d.bads = append(d.bads, Bad{reason, detail, place}) }
	}
	b := &d.batch
	*b = wire.Batch{Columns: d.out, Now: d.src.Now}
	if err := wire.DecodeBatch(payload, b, d.onBad); err != nil {
		d.refused = refusalOf(err)
		return
	}
	d.objects = b.Objects
	d.envelope = envelope{agent: b.Agent, epoch: b.Epoch, seq: b.Seq, hasEpoch: b.HasOrder, hasSeq: b.HasOrder}
}

// refusalOf returns why wire refused a message; it has no other errors.
func refusalOf(err error) (r *wire.Refusal) {
	if !errors.As(err, &r) {
		panic(fmt.Sprintf("decode: a batch was refused without a reason: %v", err))
	}
	return r
}

// finish checks what the message says of itself and sets agent and order of its rows.
func (d *Decoder) finish() {
	e := &d.envelope
	agent := e.agent
	if agent == "" {
		agent = d.src.Agent
	}
	if d.src.Agent != "" && agent != d.src.Agent {
		d.refuse(wire.Agent, "agent", fmt.Sprintf("agent %q publishes under the topic of %q", clip(agent), d.src.Agent))
		return
	}
	if e.agent != "" && d.src.Agent == "" {
		if err := wire.CheckAgent("agent", agent); err != nil {
			d.refuse(wire.Agent, "agent", wire.Detail(err))
			return
		}
	}
	if err := wire.CheckOrder(e.epoch, e.seq, d.src.Now); err != nil {
		d.refuse(wire.Epoch, "epoch", wire.Detail(err))
		return
	}
	order := gridloom.Order(0)
	if e.agent != "" && e.hasEpoch && e.hasSeq {
		order = gridloom.NewOrder(gridloom.ClassDevice, e.epoch, e.seq)
	}
	place := d.out.AddAgent(agent)
	agents, orders := d.out.Agent[d.from:], d.out.Order[d.from:]
	for i := range agents {
		agents[i], orders[i] = place, order
	}
}

// clip bounds a foreign string for a message, without cutting a rune in two.
func clip(s string) string {
	if len(s) <= wire.MaxMeterBytes {
		return s
	}
	return strings.ToValidUTF8(s[:wire.MaxMeterBytes], "")
}

// maxFaults bounds what one message can put into rejects; beyond it the message is
// refused whole, which keeps its payload as well.
const maxFaults = wire.MaxObjects

// tooMany refuses a message with more than maxFaults and reports whether it did.
func (d *Decoder) tooMany() bool {
	if len(d.bads) <= maxFaults {
		return false
	}
	d.refuse(wire.Count, "", fmt.Sprintf("more than %d faults in a message", maxFaults))
	return true
}
