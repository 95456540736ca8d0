package registry

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gridloom/gridloom"
)

// Classes of keys of records: "meter/m1", "node/T17".
const (
	ClassMeter = "meter"
	ClassNode  = "node"
)

// Change is the body of a record of the registry: the whole entry, or that there is none any more.
type Change struct {
	If      *uint64         `json:"if,omitempty"` // counts only if this is the version that holds before; 0: if there is no entry
	Deleted bool            `json:"deleted,omitempty"`
	Entry   json.RawMessage `json:"entry,omitempty"`
}

// Version is one version of an entry.
type Version struct {
	Number   uint64 // log sequence of its record; 0: there never was an entry
	LoggedAt gridloom.Millis
	Deleted  bool
	Entry    json.RawMessage // nil if Deleted
}

// Exists reports whether v is an entry.
func (v *Version) Exists() bool { return v.Number != 0 && !v.Deleted }

// Next returns the version after the record of a frame, whose body is a Change. One whose condition
// does not hold leaves v as it is: counts is false. So of two who write at once, the log decides whose change counts, for everybody
// alike. A body that is none is ErrCorrupt.
func (v Version) Next(sequence uint64, loggedAt gridloom.Millis, body []byte) (next Version, counts bool, err error) {
	var c Change
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil || c.Deleted == (len(c.Entry) > 0) {
		return v, false, fmt.Errorf("%w: record of the registry in frame %d is not one that this gridloom knows: was it written by a newer one?", gridloom.ErrCorrupt, sequence)
	}
	holds := v.Number
	if !v.Exists() {
		holds = 0
	}
	if c.If != nil && *c.If != holds {
		return v, false, nil
	}
	return Version{Number: sequence, LoggedAt: loggedAt, Deleted: c.Deleted, Entry: c.Entry}, true, nil
}
