package wire

import (
	"slices"

	"github.com/gridloom/gridloom"
)

// Columns holds readings as columns: what a payload decodes to, what a frame is
// encoded from and decodes to. All row slices have equal length. Strings are
// interned in the tables Meters, Agents and Serials, whose index 0 of Agents and
// Serials is always "" (not told). A Columns is reused by Reset; who holds it owns
// its slices until then. The zero value is empty and may be appended to through
// its methods. Not safe for concurrent use.
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

	room                    int // rows for which all columns have memory, at least
	meters, agents, serials interner
	lastMeter               uint32 // index in meters of the one before
	scratch                 scratch
}

// Reset empties c and keeps its memory.
func (c *Columns) Reset() {
	c.Meters = c.Meters[:0]
	c.Agents = append(c.Agents[:0], "")
	c.Serials = append(c.Serials[:0], "")
	c.meters.reset()
	c.agents.reset()
	c.serials.reset()
	c.Truncate(0)
}

// Len returns the number of readings.
func (c *Columns) Len() int { return len(c.Start) }

// Truncate drops all rows from row n on. The tables keep their strings.
func (c *Columns) Truncate(n int) {
	c.Meter, c.Register, c.Start, c.Length = c.Meter[:n], c.Register[:n], c.Start[:n], c.Length[:n]
	c.Value, c.Void, c.Quality, c.Order = c.Value[:n], c.Void[:n], c.Quality[:n], c.Order[:n]
	c.Agent, c.Serial = c.Agent[:n], c.Serial[:n]
}

// Reading returns row i as a Reading without its place in the log.
func (c *Columns) Reading(i int) gridloom.Reading {
	return gridloom.Reading{
		Meter: c.Meters[c.Meter[i]], Register: c.Register[i], Start: c.Start[i], Length: c.Length[i],
		Value: c.Value[i], Void: c.Void[i], Quality: c.Quality[i], Order: c.Order[i],
		Serial: c.Serials[c.Serial[i]], Agent: c.Agents[c.Agent[i]],
	}
}

// AppendReading appends a row; Sequence, Place and LoggedAt of r are not kept.
func (c *Columns) AppendReading(r *gridloom.Reading) {
	v := r.Value
	if r.Void {
		v = 0
	}
	c.Append(c.AddMeter(r.Meter), r.Register, r.Start, r.Length, v, r.Void, r.Quality, r.Order, c.AddAgent(r.Agent), c.AddSerial(r.Serial))
}

// Append appends a row whose strings are in the tables already. Value must be 0 where void.
func (c *Columns) Append(meter uint32, register gridloom.RegisterID, start, length gridloom.Millis, value int64, void bool,
	quality gridloom.Quality, order gridloom.Order, agent, serial uint32,
) {
	i := c.Extend(1)
	c.Meter[i], c.Register[i], c.Start[i], c.Length[i] = meter, register, start, length
	c.Value[i], c.Void[i], c.Quality[i], c.Order[i] = value, void, quality, order
	c.Agent[i], c.Serial[i] = agent, serial
}

// Extend appends n rows whose contents are undefined and returns the index of the
// first: who appends several rows at once sets their columns by index.
func (c *Columns) Extend(n int) (first int) {
	first = len(c.Start)
	n += first
	// Memory grows for all columns at once, so that one check serves them all.
	if n > c.room {
		c.grow(n)
	}
	c.Truncate(n)
	return first
}

// grow makes room for n rows in every column.
func (c *Columns) grow(n int) {
	n = max(n, 2*len(c.Start), 16)
	c.Meter, c.Register = roomFor(c.Meter, n), roomFor(c.Register, n)
	c.Start, c.Length = roomFor(c.Start, n), roomFor(c.Length, n)
	c.Value, c.Void = roomFor(c.Value, n), roomFor(c.Void, n)
	c.Quality, c.Order = roomFor(c.Quality, n), roomFor(c.Order, n)
	c.Agent, c.Serial = roomFor(c.Agent, n), roomFor(c.Serial, n)
	c.room = n
}

// roomFor returns s with the capacity for n elements.
func roomFor[T any](s []T, n int) []T { return slices.Grow(s, max(0, n-len(s))) }

// AddMeter returns the index of a meter in Meters, appending it where it is new.
func (c *Columns) AddMeter(id string) uint32 {
	return c.meters.place(after(&c.meters, &c.lastMeter, id), &c.Meters)
}

// AddMeterBytes is AddMeter for an id in a buffer, which is not kept. It returns
// ErrInvalid, and adds nothing, if the id is not one that CheckMeter accepts; an
// id that c has seen costs neither the check nor an allocation.
func (c *Columns) AddMeterBytes(id []byte) (uint32, error) {
	i, ok := guess(&c.meters, c.lastMeter, id)
	if !ok {
		if i, ok = c.meters.known[string(id)]; !ok {
			s := string(id)
			if err := CheckMeter(s); err != nil {
				return 0, err
			}
			i = c.meters.learn(s)
		}
		c.meters.followed(c.lastMeter, i)
	}
	c.lastMeter = i
	return c.meters.place(i, &c.Meters), nil
}

// AddAgent returns the index of an agent in Agents, appending it where it is new.
func (c *Columns) AddAgent(id string) uint32 { return c.addOptional(&c.agents, &c.Agents, id) }

// AddSerial returns the index of a serial in Serials, appending it where it is new.
func (c *Columns) AddSerial(id string) uint32 { return c.addOptional(&c.serials, &c.Serials, id) }

// AddSerialBytes is AddSerial for a serial in a buffer, which is not kept. It
// returns ErrInvalid, and adds nothing, if CheckSerial does not accept it.
func (c *Columns) AddSerialBytes(serial []byte) (uint32, error) {
	if len(serial) == 0 {
		return 0, nil
	}
	s, ok := c.serials.knows(serial)
	if !ok {
		s = string(serial)
		if err := CheckSerial(s); err != nil {
			return 0, err
		}
	}
	return c.AddSerial(s), nil
}

// addOptional is add for a table whose index 0 is "".
func (c *Columns) addOptional(t *interner, table *[]string, s string) uint32 {
	if len(*table) == 0 {
		*table = append(*table, "")
	}
	if s == "" {
		return 0
	}
	return add(t, table, s)
}

// sized returns s with n elements, in its own memory where that suffices.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
