// Package window is the kernel of gridloom: it folds the readings of one series
// into panes. It is pure: no I/O, no clock, no goroutine, nothing but the root
// package and the standard library, so that the same readings give the same panes
// in an aggregator, in a query as of last Tuesday and in a test.
//
// A State (state.go) is what one series keeps between readings: its newest
// reading, what it carries from one window to the next (carry.go) and an
// accumulator for each pane that can still change (accumulator.go). Readings in
// order are added one at a time (add.go; in a short way those that stay in the newest pane, next.go, or
// open the next one, opening.go) by the rules of their register's kind
// (fold.go; counter.go, after judge.go has said what a counter's reading is); anything out of order is refolded from a stored carry (refold.go,
// overlap.go), or only a stretch of the past from one stored carry to another (restate.go). close.go turns accumulators into panes, codec.go a State into bytes,
// combine.go the panes of several windows into one of a longer step.
//
// The law of the package: whatever way the readings of a series came in, the panes
// are the same, byte for byte, in every column but Revision, ComputedAt and the
// quality bits LATE and HISTORICAL; and the same log gives those too.
// docs/SEMANTICS.md tells the rules to a user.
//
// Nothing here may be used by two goroutines at once, except a Config, which is
// only read.
package window

import (
	"cmp"

	"github.com/gridloom/gridloom"
)

// Config holds the limits of event time processing. The zero value is not usable;
// Defaults gives the usual one.
type Config struct {
	Width    gridloom.Millis // of a window; see gridloom.CheckWidth
	Lateness gridloom.Millis // how long after a window's end its readings still count as in time
	Bridge   gridloom.Millis // the longest gap, itself included, over which counters and gauges are interpolated
	Rating   int64           // what a counter can rise by in an hour at most; 0: DefaultRating
	Dials    int             // a counter wraps at 10^Dials of its unit, 1 to 12; 0: at any power of ten from 10^6 on

	// Final is the start of the day before which panes are final, because readings are gone: a
	// refold from there tells no earlier window what comes of the undecided. 0: there is none.
	Final gridloom.Millis
}

// DefaultRating is that of a connection of three phases with 63 A at 230 V, in mWh an hour: the
// largest that is metered without current transformers. The same number of thousandths of a
// litre is 43 m³ an hour, more than a household's meter for water (Q3 up to 16) or gas (G25, 40) can pass.
const DefaultRating = 43_470_000

// Limited returns c for a register that wraps at 10^dials of its unit (0: at any power of ten) and that can rise by
// rating thousandths of its unit in an hour (0: as c has it).
func (c *Config) Limited(dials int, rating int64) Config {
	w := *c
	w.Dials = dials
	w.Rating = cmp.Or(rating, w.Rating)
	return w
}

// Defaults returns windows of 15 minutes, a lateness of 10 minutes and a bridging limit of 2 hours.
func Defaults() Config {
	return Config{Width: gridloom.DefaultWidth, Lateness: gridloom.DefaultLateness, Bridge: gridloom.DefaultBridge, Rating: DefaultRating}
}

// Reading is one raw row of a series. Instants are at or after gridloom.MinInstant,
// values in thousandths of the register's unit and within gridloom.MaxValue. Length
// says something for interval registers only: there it is above 0 and at most
// gridloom.MaxInterval, elsewhere it is ignored.
type Reading struct {
	Start    gridloom.Millis
	Length   gridloom.Millis
	Value    int64
	Void     bool
	Quality  gridloom.Quality
	Order    gridloom.Order
	Sequence uint64
	Place    uint32
	LoggedAt gridloom.Millis // never falls from one (Sequence, Place) to the next
	Serial   string
}

// says reports whether r and o say the same, so that one of them only repeats the other.
func (r *Reading) says(o *Reading) bool {
	return r.Void == o.Void && (r.Void || r.Value == o.Value) && r.Quality == o.Quality
}

// rank returns what decides between r and other rows of its identity.
func (r *Reading) rank() gridloom.Rank {
	return gridloom.Rank{Order: r.Order, Sequence: r.Sequence, Place: r.Place}
}

// span returns how long r speaks for as an interval. A length that ingest would
// have refused speaks for nothing.
func (r *Reading) span() gridloom.Millis {
	if r.Length < 0 || r.Length > gridloom.MaxInterval {
		return 0
	}
	return r.Length
}

// Outcome is what Add did with a reading.
type Outcome uint8

// The outcomes of Add.
const (
	Folded    Outcome = iota + 1 // in order: the state has it
	Duplicate                    // repeats the newest reading and does not outrank it: need not be stored
	Ranked                       // of the newest reading's identity: the row is stored, no pane changes
	Disorder                     // the row is stored and the series must be refolded from AffectedFrom
)

var outcomeNames = [...]string{"", "folded", "duplicate", "ranked", "disorder"}

// String returns the outcome's word.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "outcome?"
}
