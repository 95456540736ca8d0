package gridloom

import "slices"

// MaxValue bounds the absolute value of a reading, in thousandths of the
// register's unit: 10^15, a terawatt-hour in mWh.
const MaxValue int64 = 1_000_000_000_000_000

// Series names one register of one meter.
type Series struct {
	Meter    string
	Register RegisterID
}

// Identity is what makes two readings the same reading: of one identity the greatest
// (Order, Sequence, Place) counts, of the rows that compete.
type Identity struct {
	Series
	Start, Length Millis
}

// Reading is one value of a series, at an instant (Length 0) or over the
// interval [Start, Start+Length). Value is in thousandths of the register's unit.
// A void is a reading without a value: it withdraws what stood at its identity.
type Reading struct {
	Meter    string
	Register RegisterID
	Start    Millis
	Length   Millis
	Value    int64 // 0 if Void
	Void     bool
	Quality  Quality
	Order    Order
	Serial   string // of the device, "" if not told
	Agent    string // that sent it, "" if not told
	Sequence uint64 // of its frame in the log
	Place    uint32 // in its frame, from 0
	LoggedAt Millis // log time of its frame
}

// Identity returns what r competes for.
func (r *Reading) Identity() Identity {
	return Identity{Series{r.Meter, r.Register}, r.Start, r.Length}
}

// Outranks reports whether r wins over o, a reading of the same identity, if both compete.
func (r *Reading) Outranks(o *Reading) bool { return r.Rank().Outranks(o.Rank()) }

// Rank is what decides between the rows of one identity.
type Rank struct {
	Order    Order
	Sequence uint64
	Place    uint32
}

// Outranks reports whether a row of rank k wins over one of rank o.
func (k Rank) Outranks(o Rank) bool {
	if k.Order != o.Order {
		return k.Order > o.Order
	}
	if k.Sequence != o.Sequence {
		return k.Sequence > o.Sequence
	}
	return k.Place > o.Place
}

// Rank returns r's rank.
func (r *Reading) Rank() Rank { return Rank{r.Order, r.Sequence, r.Place} }

// Competing returns, of all rows of one identity, those that compete: not the rows of an
// undo, and not those of the edits that they name. They keep their order and lie in the
// memory of rows. It is the one rule that the owner's fold, its raw rows and every query share; that it
// looks at no rows but those of one identity lets each of them apply it where the rows are.
func Competing[T any](rows []T, rank func(*T) Rank) []T {
	var undone []uint64
	for i := range rows {
		if edit, ok := rank(&rows[i]).Order.Undoes(); ok {
			undone = append(undone, edit)
		}
	}
	if undone == nil {
		return rows
	}
	return slices.DeleteFunc(rows, func(r T) bool {
		k := rank(&r)
		switch k.Order.Class() {
		case ClassUndo:
			return true
		case ClassEdit:
			return slices.Contains(undone, k.Sequence)
		case ClassArrival, ClassDevice, ClassImport:
		}
		return false
	})
}

// SameValue reports whether r and o say the same: equal value (or both void) and quality.
func (r *Reading) SameValue(o *Reading) bool {
	return r.Void == o.Void && r.Value == o.Value && r.Quality == o.Quality
}
