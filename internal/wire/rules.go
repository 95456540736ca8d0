package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// The limits of a message (docs/format/topics.md).
const (
	MaxMeterBytes  = 128
	MaxAgentBytes  = 64
	MaxSerialBytes = 64
	MaxObjects     = 10_000  // of one message
	MaxReadings    = 100_000 // of one message: ten registers for each of the objects
	MaxPacketBytes = 1 << 20 // of one message
)

// The reasons for which a message or a part of it is refused. They are part of
// the interface: they stand in rejects and metrics (docs/format/topics.md).
const (
	Future   = "FUTURE"   // more than MaxAhead ahead of ingest's clock
	Past     = "PAST"     // before MinInstant
	Time     = "TIME"     // unreadable or missing
	Value    = "VALUE"    // unreadable, missing or beyond MaxValue
	Unit     = "UNIT"     // unknown or of another quantity
	Meter    = "METER"    // missing or not an id
	Register = "REGISTER" // not in the catalog
	Length   = "LENGTH"   // unreadable, or does not fit the register
	Quality  = "QUALITY"  // not a quality that a device may set
	Serial   = "SERIAL"   // not a serial number
	Epoch    = "EPOCH"    // epoch or seq unreadable, or the epoch ahead of time
	Agent    = "AGENT"    // the payload's agent is not the topic's
	Topic    = "TOPIC"    // not a topic of gridloom
	Syntax   = "SYNTAX"   // not JSON, not a batch, or a key twice
	Size     = "SIZE"     // longer than MaxPacketBytes
	Count    = "COUNT"    // more than MaxObjects or MaxReadings
)

// maxEpochAhead is how many seconds an agent's epoch may lie ahead of ingest's clock.
const maxEpochAhead = 86_400

// CheckMeter accepts a meter id: 1 to MaxMeterBytes bytes of printable UTF-8.
func CheckMeter(id string) error { return checkName("meter", id, MaxMeterBytes) }

// CheckSerial accepts a serial number: at most MaxSerialBytes bytes of printable UTF-8.
func CheckSerial(serial string) error {
	if serial == "" {
		return nil
	}
	return checkName("serial", serial, MaxSerialBytes)
}

// CheckAgent accepts the name of an agent or a site as it stands in a topic: 1 to
// MaxAgentBytes bytes of printable UTF-8 without / + and #, and not with { or [ as
// the first, by which JSON is told from a batch.
func CheckAgent(what, id string) error {
	if err := checkName(what, id, MaxAgentBytes); err != nil {
		return err
	}
	if id[0] == '{' || id[0] == '[' {
		return fmt.Errorf("%w: %s %q begins as JSON does", gridloom.ErrInvalid, what, id)
	}
	for _, c := range []byte(id) {
		if c == '/' || c == '+' || c == '#' {
			return fmt.Errorf("%w: %s %q: / + and # are signs of MQTT topics", gridloom.ErrInvalid, what, id)
		}
	}
	return nil
}

// CheckOrder accepts an agent's epoch and seq: seq at most MaxSeq, epoch at most a
// day ahead of now.
func CheckOrder(epoch, seq uint32, now gridloom.Millis) error {
	if seq > gridloom.MaxSeq {
		return fmt.Errorf("%w: seq %d is above %d: start a new epoch", gridloom.ErrInvalid, seq, gridloom.MaxSeq)
	}
	if limit := int64(gridloom.EpochAt(now)) + maxEpochAhead; int64(epoch) > limit {
		return fmt.Errorf("%w: epoch %d is more than a day ahead: seconds since 2020 at the agent's start, at most %d now", gridloom.ErrInvalid, epoch, limit)
	}
	return nil
}

// Settle returns the register to which a reading with or without a length
// belongs. A counter with a length becomes its interval sibling; an interval
// register without one, and any other register with one, is ErrInvalid.
func Settle(id gridloom.RegisterID, length gridloom.Millis) (gridloom.RegisterID, error) {
	r := id.Info()
	if length == 0 {
		if r.Kind == gridloom.Interval {
			return id, fmt.Errorf("%w: %s is an interval register: a reading needs a length, such as \"15m\"", gridloom.ErrInvalid, r.Alias)
		}
		return id, nil
	}
	if length < gridloom.Second || length > gridloom.MaxInterval {
		return id, fmt.Errorf("%w: length %d ms: want 1 s to 31 days and an hour", gridloom.ErrInvalid, int64(length))
	}
	if r.Kind == gridloom.Interval {
		return id, nil
	}
	if s, ok := gridloom.IntervalSibling(id); ok {
		return s, nil
	}
	return id, fmt.Errorf("%w: %s is a %s register: its readings have no length", gridloom.ErrInvalid, r.Alias, r.Kind)
}

// CheckTime tells whether a reading at [start, start+length) is acceptable at now:
// reason is "" or Past or Future. A now of 0 knows no future.
func CheckTime(start, length, now gridloom.Millis) (reason string) {
	if start < gridloom.MinInstant {
		return Past
	}
	// Compared so that no sum can overflow.
	if now != 0 && (start > now+gridloom.MaxAhead || length > now+gridloom.MaxAhead-start) {
		return Future
	}
	return ""
}

// checkName accepts 1 to limit bytes of printable UTF-8.
func checkName(what, s string, limit int) error {
	if len(s) == 0 || len(s) > limit {
		return fmt.Errorf("%w: %s of %d bytes: want 1 to %d", gridloom.ErrInvalid, what, len(s), limit)
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return fmt.Errorf("%w: %s %q is not UTF-8", gridloom.ErrInvalid, what, s)
			}
		}
		if !unicode.IsPrint(r) {
			return fmt.Errorf("%w: %s %q holds %U, which does not print", gridloom.ErrInvalid, what, s, r)
		}
	}
	return nil
}

// TimeDetail explains to a person what CheckTime refused.
func TimeDetail(start, length, now gridloom.Millis) string {
	if start < gridloom.MinInstant {
		return fmt.Sprintf("%d ms is before %s: the device's clock was never set", int64(start), gridloom.MinInstant)
	}
	return fmt.Sprintf("%d ms (and %d ms long) is more than %d min ahead of ingest's clock, %s",
		int64(start), int64(length), int64(gridloom.MaxAhead/gridloom.Minute), now)
}

// Detail is an error's text for a reject: without the kind that it wraps, which the reason says already.
func Detail(err error) string {
	return strings.TrimPrefix(err.Error(), gridloom.ErrInvalid.Error()+": ")
}
