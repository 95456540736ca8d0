package gridloom

// MaxValue bounds the absolute value of a reading, in thousandths of the
// register's unit: 10^15, a terawatt-hour in mWh.
const MaxValue int64 = 1_000_000_000_000_000

// Series names one register of one meter.
type Series struct {
	Meter    string
	Register RegisterID
}

// Identity is what makes two readings the same reading: of one identity the
// greatest (Order, Sequence, Place) counts.
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

// Outranks reports whether r wins over o, a reading of the same identity.
func (r *Reading) Outranks(o *Reading) bool {
	if r.Order != o.Order {
		return r.Order > o.Order
	}
	if r.Sequence != o.Sequence {
		return r.Sequence > o.Sequence
	}
	return r.Place > o.Place
}

// SameValue reports whether r and o say the same: equal value (or both void) and quality.
func (r *Reading) SameValue(o *Reading) bool {
	return r.Void == o.Void && r.Value == o.Value && r.Quality == o.Quality
}
