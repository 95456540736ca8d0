package wire

import "github.com/gridloom/gridloom"

// Columns holds readings as columns: what a payload decodes to, what a frame is
// encoded from and decodes to. All row slices have equal length. Strings are
// interned in the tables Meters, Agents and Serials, whose index 0 of Agents and
// Serials is always "" (not told). A Columns is reused by Reset; who holds it owns
// its slices until then. Not safe for concurrent use.
type Columns struct {
	Meters  []string // in order of first appearance, without duplicates in a frame
	Agents  []string
	Serials []string

	Meter    []uint32 // index into Meters
	Register []gridloom.RegisterID
	Start    []gridloom.Millis
	Length   []gridloom.Millis // 0 for an instant
	Value    []int64           // 0 where Void
	Void     []bool
	Quality  []gridloom.Quality
	Order    []gridloom.Order
	Agent    []uint32 // index into Agents
	Serial   []uint32 // index into Serials
}

// Reset empties c and keeps its memory.
func (c *Columns) Reset() {
	c.Meters = c.Meters[:0]
	c.Agents = append(c.Agents[:0], "")
	c.Serials = append(c.Serials[:0], "")
	c.Meter, c.Register, c.Start, c.Length = c.Meter[:0], c.Register[:0], c.Start[:0], c.Length[:0]
	c.Value, c.Void, c.Quality, c.Order = c.Value[:0], c.Void[:0], c.Quality[:0], c.Order[:0]
	c.Agent, c.Serial = c.Agent[:0], c.Serial[:0]
}

// Len returns the number of readings.
func (c *Columns) Len() int { return len(c.Start) }

// Reading returns row i as a Reading without its place in the log.
func (c *Columns) Reading(i int) gridloom.Reading {
	return gridloom.Reading{
		Meter: c.Meters[c.Meter[i]], Register: c.Register[i], Start: c.Start[i], Length: c.Length[i],
		Value: c.Value[i], Void: c.Void[i], Quality: c.Quality[i], Order: c.Order[i],
		Serial: c.Serials[c.Serial[i]], Agent: c.Agents[c.Agent[i]],
	}
}
