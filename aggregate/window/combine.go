package window

import (
	"math"

	"github.com/gridloom/gridloom"
)

// EmptyPane returns the row that supersedes the stored pane of the window [start,
// start+width) when a refold from start or earlier no longer gives one, as when a void
// withdrew its only reading: no readings, no energy, closed, quality 0. Queries skip such
// rows: see IsEmpty.
func EmptyPane(start, width gridloom.Millis) gridloom.Pane {
	return gridloom.Pane{Start: start, Length: width, Closed: true}
}

// IsEmpty reports whether p is a row that EmptyPane made. A pane that readings
// gave has readings, coverage, or a quality that says why it is there.
func IsEmpty(p *gridloom.Pane) bool {
	return p.N == 0 && p.Coverage == 0 && p.Quality == 0 && !p.HasEnergy
}

// Combination adds up the panes of one series that lie in one step, a span of whole
// windows. The zero value holds none. It keeps no pane, so that a step may be as long
// as it likes.
type Combination struct {
	pane        gridloom.Pane
	sum, energy gridloom.Int128
	end         gridloom.Millis // of the last pane
	open        bool            // some pane is
	some        bool
}

// Add adds a pane. They come in time order and without repetition; empty ones are skipped.
//
// Counts, sums, energies and coverage add up, qualities are joined. Revision and
// ComputedAt are the latest, Meter and Register those of the first.
func (c *Combination) Add(q *gridloom.Pane) {
	if IsEmpty(q) {
		return
	}
	p := &c.pane
	if !c.some {
		p.Meter, p.Register, c.some = q.Meter, q.Register, true
	}
	p.Revision, p.ComputedAt = max(p.Revision, q.Revision), max(p.ComputedAt, q.ComputedAt)
	c.open = c.open || !q.Closed
	p.Coverage += q.Coverage
	p.Quality |= q.Quality
	p.TimeWeighted = p.TimeWeighted.Add(q.TimeWeighted)
	p.HasEnergy = p.HasEnergy || q.HasEnergy
	c.energy = c.energy.Add(wide(q.Energy))
	if q.N > 0 {
		if p.N == 0 {
			p.Min, p.Max, p.First, p.FirstAt = q.Min, q.Max, q.First, q.FirstAt
		}
		p.Min, p.Max = min(p.Min, q.Min), max(p.Max, q.Max)
		p.Last, p.LastAt = q.Last, q.LastAt
		p.N += q.N
		c.sum = c.sum.Add(wide(q.Sum))
	}
	c.end = q.Start + q.Length
}

// Holds reports whether a pane was added, and of which series.
func (c *Combination) Holds() (meter string, register gridloom.RegisterID, ok bool) {
	return c.pane.Meter, c.pane.Register, c.some
}

// Pane makes one pane of those that were added, for the step that they lie in. ok is
// false if there were none.
//
// The step is closed when each of its panes is and the watermark has passed its end;
// after its last reading a counter or gauge also waits out the bridging limit where
// windows are missing, since a reading to come may still reach back over them. A
// closed step that is not covered is MISSING, whether a pane says so or a window has
// no pane at all. The result has no Carry.
func (c *Combination) Pane(cfg *Config, k gridloom.Kind, step gridloom.Window, watermark gridloom.Millis) (p gridloom.Pane, ok bool) {
	if !c.some {
		return EmptyPane(step.Start, step.Length()), false
	}
	p = c.pane
	p.Start, p.Length, p.Closed = step.Start, step.Length(), watermark >= step.End && !c.open
	var fits bool
	if p.Sum, fits = clamp(c.sum); !fits {
		p.Quality |= gridloom.Range
	}
	if p.Energy, fits = clamp(c.energy); !fits {
		p.Quality |= gridloom.Range
	}
	bridged := k == gridloom.Counter || k == gridloom.Gauge
	if bridged && c.end < step.End && watermark < step.End+cfg.Bridge {
		p.Closed = false
	}
	if p.Closed && k != gridloom.Event && p.Coverage < p.Length {
		p.Quality |= gridloom.Missing
	}
	return p, true
}

// Combine makes one pane of the panes of a series that lie in step: a Combination of them all.
func (c *Config) Combine(k gridloom.Kind, step gridloom.Window, watermark gridloom.Millis, panes []gridloom.Pane) (p gridloom.Pane, ok bool) {
	var all Combination
	for i := range panes {
		all.Add(&panes[i])
	}
	return all.Pane(c, k, step, watermark)
}

func wide(v int64) gridloom.Int128 { return gridloom.Int128{Hi: v >> 63, Lo: uint64(v)} }

// clamp cuts x to ±(2^63-1); ok is false if it had to.
func clamp(x gridloom.Int128) (v int64, ok bool) {
	v, ok = x.Int64()
	switch {
	case ok && v != math.MinInt64:
		return v, true
	case x.Hi < 0:
		return -math.MaxInt64, false
	}
	return math.MaxInt64, false
}

// SamePane reports whether a and b say the same of a window, whenever and for
// whichever series they were made: Meter, Register, Revision and ComputedAt are not compared.
func SamePane(a, b *gridloom.Pane) bool {
	return a.Start == b.Start && a.Length == b.Length && a.Closed == b.Closed &&
		a.N == b.N && a.Coverage == b.Coverage && a.Quality == b.Quality &&
		a.Sum == b.Sum && a.Min == b.Min && a.Max == b.Max && a.First == b.First && a.Last == b.Last &&
		a.FirstAt == b.FirstAt && a.LastAt == b.LastAt && a.TimeWeighted == b.TimeWeighted &&
		a.Energy == b.Energy && a.HasEnergy == b.HasEnergy &&
		(a.Carry == nil) == (b.Carry == nil) && string(a.Carry) == string(b.Carry)
}
