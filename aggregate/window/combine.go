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

// Combine makes one pane of the panes of a series that lie in step, a span of whole
// windows: panes are in time order and without repetition, empty ones are skipped. ok
// is false if there are none.
//
// Counts, sums, energies and coverage add up, qualities are joined. The step is closed
// when each of its panes is and the watermark has passed its end; after its last
// reading a counter or gauge also waits out the bridging limit where windows are
// missing, since a reading to come may still reach back over them. A closed step that
// is not covered is MISSING, whether a pane says so or a window has no pane at all.
// The result has no Carry; Revision and ComputedAt are the latest, Meter and Register
// those of the first.
func (c *Config) Combine(k gridloom.Kind, step gridloom.Window, watermark gridloom.Millis, panes []gridloom.Pane) (p gridloom.Pane, ok bool) {
	p = gridloom.Pane{Start: step.Start, Length: step.Length(), Closed: watermark >= step.End}
	var sum, energy gridloom.Int128
	end := step.Start // of the last pane
	for i := range panes {
		q := &panes[i]
		if IsEmpty(q) {
			continue
		}
		if !ok {
			p.Meter, p.Register, ok = q.Meter, q.Register, true
		}
		p.Revision, p.ComputedAt = max(p.Revision, q.Revision), max(p.ComputedAt, q.ComputedAt)
		p.Closed = p.Closed && q.Closed
		p.Coverage += q.Coverage
		p.Quality |= q.Quality
		p.TimeWeighted = p.TimeWeighted.Add(q.TimeWeighted)
		p.HasEnergy = p.HasEnergy || q.HasEnergy
		energy = energy.Add(wide(q.Energy))
		if q.N > 0 {
			if p.N == 0 {
				p.Min, p.Max, p.First, p.FirstAt = q.Min, q.Max, q.First, q.FirstAt
			}
			p.Min, p.Max = min(p.Min, q.Min), max(p.Max, q.Max)
			p.Last, p.LastAt = q.Last, q.LastAt
			p.N += q.N
			sum = sum.Add(wide(q.Sum))
		}
		end = q.Start + q.Length
	}
	if !ok {
		return EmptyPane(step.Start, step.Length()), false
	}
	var fits bool
	if p.Sum, fits = clamp(sum); !fits {
		p.Quality |= gridloom.Range
	}
	if p.Energy, fits = clamp(energy); !fits {
		p.Quality |= gridloom.Range
	}
	bridged := k == gridloom.Counter || k == gridloom.Gauge
	if bridged && end < step.End && watermark < step.End+c.Bridge {
		p.Closed = false
	}
	if p.Closed && k != gridloom.Event && p.Coverage < p.Length {
		p.Quality |= gridloom.Missing
	}
	return p, true
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
