package query

import (
	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

// paneSink takes panes in the order (register, meter, start). The pane is the
// caller's again when take returns. end is called once, after the last.
type paneSink interface {
	take(p *gridloom.Pane) error
	end() error
}

// newestPanes hands on, of all rows of one series and start, the one that counts:
// the tail's, else the one with the greatest revision, else of the later segment.
// A pane that came to hold nothing, because all its readings were withdrawn, is
// stored as an empty row over the older ones and is left out.
type newestPanes struct {
	from, to gridloom.Millis // panes that overlap [from, to) are handed on
	next     paneSink

	best  gridloom.Pane
	rank  int32
	holds bool
}

func (n *newestPanes) take(p *gridloom.Pane, rank int32) error {
	if p.Start >= n.to || p.Start+p.Length <= n.from {
		return nil
	}
	if n.holds && p.Start == n.best.Start && p.Register == n.best.Register && p.Meter == n.best.Meter {
		if rank == tailRank || n.rank != tailRank &&
			(p.Revision > n.best.Revision || p.Revision == n.best.Revision && rank > n.rank) {
			n.best, n.rank = *p, rank
		}
		return nil
	}
	if err := n.flush(); err != nil {
		return err
	}
	n.best, n.rank, n.holds = *p, rank, true
	return nil
}

func (n *newestPanes) flush() error {
	if !n.holds || window.IsEmpty(&n.best) {
		return nil
	}
	return n.next.take(&n.best)
}

func (n *newestPanes) end() error {
	if err := n.flush(); err != nil {
		return err
	}
	return n.next.end()
}

// paneColumns returns the columns that the answer to q is made of.
func paneColumns(q *windowsQuery) pane.PaneColumns {
	if q.group == noGrouping || q.fill != fillNone { // a gap is told by the readings at its ends
		return pane.AllColumns &^ pane.ColCarry
	}
	// What decides which row counts and whether it holds anything, and what a group tells.
	columns := pane.ColRevision | pane.ColComputedAt | pane.ColClosed | pane.ColN | pane.ColCoverage | pane.ColQuality | pane.ColMin | pane.ColMax
	kinds := kindsOf(q.registers)
	if kinds[gridloom.Counter] || kinds[gridloom.Interval] {
		columns |= pane.ColEnergy
	}
	if kinds[gridloom.Gauge] {
		columns |= pane.ColTimeWeighted
	}
	if kinds[gridloom.Event] {
		columns |= pane.ColSum
	}
	return columns
}

// kindsOf returns which kinds of registers are chosen; none chosen is all of them.
func kindsOf(ids []gridloom.RegisterID) (kinds [gridloom.Event + 1]bool) {
	for _, id := range ids {
		kinds[id.Info().Kind] = true
	}
	if len(ids) == 0 {
		kinds = [gridloom.Event + 1]bool{true, true, true, true, true}
	}
	return kinds
}

// countSeries passes panes on and refuses more series than an answer may hold.
type countSeries struct {
	most, seen int
	meter      string
	register   gridloom.RegisterID
	next       paneSink
}

func (c *countSeries) take(p *gridloom.Pane) error {
	if c.seen == 0 || p.Register != c.register || p.Meter != c.meter {
		if c.seen++; c.seen > c.most {
			return tooManySeries(c.most)
		}
		c.meter, c.register = p.Meter, p.Register
	}
	return c.next.take(p)
}

func (c *countSeries) end() error { return c.next.end() }
