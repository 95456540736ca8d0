package gridloom

// Reject is a message or a part of one that ingest could not take. It is stored
// before the sender gets its answer, so that bad content never blocks what is
// behind it and is not lost either.
type Reject struct {
	At       Millis `json:"at"`     // when ingest saw it
	Reason   string `json:"reason"` // one upper-case word, such as FUTURE; docs/format/topics.md lists them
	Detail   string `json:"detail"` // one line: what is wrong and how to mend it
	Place    string `json:"place"`  // where in the payload, such as readings[3].at
	Topic    string `json:"topic"`
	Client   string `json:"client,omitempty"`   // MQTT client id
	Payload  []byte `json:"payload"`            // the whole message, cut at MaxRejectPayload
	Cut      bool   `json:"cut,omitempty"`      // Payload is not all of it
	Sequence uint64 `json:"sequence,omitempty"` // place in the stream of rejects, set on reading
}

// MaxRejectPayload bounds how much of a refused message is kept.
const MaxRejectPayload = 64 << 10
