package wire

import (
	"math/bits"

	"github.com/gridloom/gridloom"
)

// Builder gathers rows of several Columns in one, such as the batch that an agent
// has open. The zero value is ready. Not safe for concurrent use.
type Builder struct {
	columns Columns
	bytes   int
	order   gridloom.Order // of the last row

	// Meter and agent of the last row, which the next one often shares, and their places.
	meter, agent      string
	place, agentPlace uint32
}

// Reset empties b and keeps its memory.
func (b *Builder) Reset() {
	b.columns.Reset()
	*b = Builder{columns: b.columns}
}

// AppendRow copies one row of src, its strings interned anew.
func (b *Builder) AppendRow(src *Columns, row int) {
	if m := src.Meters[src.Meter[row]]; m != b.meter || b.columns.Len() == 0 {
		before := len(b.columns.Meters)
		b.place = b.columns.AddMeter(m)
		b.meter = m
		b.bytes += 6 // meter, start and shape of an object
		if len(b.columns.Meters) > before {
			b.bytes += len(m) + 2
		}
	}
	if o := src.Order[row]; o != b.order {
		b.order = o
		b.bytes += 4
	}
	b.bytes += bits.Len64(zigzag(src.Value[row]))/7 + 1
	if a := src.Agents[src.Agent[row]]; a != b.agent || b.columns.Len() == 0 {
		b.agent, b.agentPlace = a, b.columns.AddAgent(a)
	}
	serial := uint32(0)
	if s := src.Serial[row]; s != 0 {
		serial = b.columns.AddSerial(src.Serials[s])
	}
	b.columns.Append(b.place, src.Register[row], src.Start[row], src.Length[row], src.Value[row], src.Void[row],
		src.Quality[row], src.Order[row], b.agentPlace, serial)
}

// Columns returns what was gathered; it is b's own and valid until Reset.
func (b *Builder) Columns() *Columns { return &b.columns }

// Bytes estimates the length of the frame that AppendFrame would write. It is
// seldom below the truth, and then by the strings of agents and serials.
func (b *Builder) Bytes() int { return b.bytes + 64 }
