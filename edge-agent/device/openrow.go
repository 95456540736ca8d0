package device

import (
	"fmt"

	"github.com/gridloom/gridloom"
)

// openRow is the last row of a file whose rows do not tell how long their intervals
// are: each is open until the next one begins.
type openRow struct {
	row, next Chunk
	line      int
	length    gridloom.Millis // of the row before it, of the same meter; 0: not known
}

// readOpen appends the readings of the row in hand; if the next row is to tell their
// length, those of the row before it.
func (f *replayFile) readOpen(r *Replay, c *Chunk) error {
	if f.columns.longest == 0 {
		return f.read(r, c)
	}
	o := &f.open
	o.next.Reset()
	if err := f.read(r, &o.next); err != nil || o.next.Len() == 0 {
		return err
	}
	same, gap := false, gridloom.Millis(0)
	if o.row.Len() > 0 {
		same, gap = o.row.Meters[o.row.Meter[0]] == o.next.Meters[o.next.Meter[0]], o.next.Start[0]-o.row.Start[0]
	}
	if !same {
		gap = 0
	}
	f.closeOpen(r, c, gap)
	if !same {
		o.length = 0
	}
	o.row, o.next, o.line = o.next, o.row, f.rows.line
	return nil
}

// closeOpen appends the open row, if there is one. It is as long as the gap to the next
// row of its meter, or if that says nothing, as the row before it was.
func (f *replayFile) closeOpen(r *Replay, c *Chunk, gap gridloom.Millis) {
	o := &f.open
	if o.row.Len() == 0 {
		return
	}
	if gap >= gridloom.Second && gap <= f.columns.longest {
		o.length = gap
	}
	if o.length == 0 {
		f.refuse(r, o.line, fmt.Errorf("%w: its length is not known: no row of its meter follows within %s", gridloom.ErrInvalid, f.columns.longest.Duration()))
	} else {
		for i := range o.row.Start {
			reading := o.row.Reading(i)
			reading.Length = o.length
			c.AppendReading(&reading)
		}
	}
	o.row.Reset()
}
