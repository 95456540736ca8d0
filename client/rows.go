package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"

	"github.com/gridloom/gridloom"
)

// Query chooses rows. The zero value is every series over the last day.
type Query struct {
	Meters    []string
	Registers []string        // aliases or OBIS codes
	From, To  gridloom.Millis // [From, To); 0: a day before To, and now
	AsOf      gridloom.Millis // 0: as it is known now
}

func (q *Query) values() url.Values {
	v := url.Values{}
	for _, m := range q.Meters {
		v.Add("meter", m)
	}
	for _, r := range q.Registers {
		v.Add("register", r)
	}
	for name, at := range map[string]gridloom.Millis{"from": q.From, "to": q.To, "as_of": q.AsOf} {
		if at != 0 {
			v.Set(name, strconv.FormatInt(int64(at), 10))
		}
	}
	return v
}

// Reading is a row of /api/v1/readings.
type Reading struct {
	Meter    string
	Register string // alias
	Start    gridloom.Millis
	Length   gridloom.Millis // 0: an instant
	Value    Value
	Quality  gridloom.Quality
	Serial   string
}

// UnmarshalJSON reads a row of the REST API.
func (r *Reading) UnmarshalJSON(b []byte) error {
	var row struct {
		Meter    string    `json:"meter"`
		Register string    `json:"register"`
		Start    instant   `json:"start"`
		Length   span      `json:"length"`
		Value    Value     `json:"value"`
		Quality  qualities `json:"quality"`
		Serial   string    `json:"serial"`
	}
	if err := json.Unmarshal(b, &row); err != nil {
		return err
	}
	*r = Reading{
		row.Meter, row.Register, gridloom.Millis(row.Start), gridloom.Millis(row.Length), row.Value, gridloom.Quality(row.Quality), row.Serial,
	}
	return nil
}

// Readings yields the winning readings that start in [From, To), by (register code, meter, start).
func (c *Client) Readings(ctx context.Context, q Query) iter.Seq2[Reading, error] {
	return rows[Reading](ctx, c, "/api/v1/readings", q.values())
}

// WindowsQuery chooses windows.
type WindowsQuery struct {
	Query
	Step    gridloom.Millis // equal steps on the grid of UTC; 0: the width of a window
	Every   string          // instead of Step, a step of Zone's calendar: "1d", "1w", "1mo", "3mo", "1y"
	Zone    string          // IANA name, such as Europe/Amsterdam; "": UTC, and no LocalStart
	GroupBy string          // "", "meter" or "register"
	Agg     string          // of GroupBy: "" is sum
	Closed  bool            // only closed ones
}

// Window is a row of /api/v1/windows. With GroupBy, Meter or Register is empty and
// Series counts what was joined.
type Window struct {
	Meter, Register string
	Unit            string
	Start, End      gridloom.Millis
	LocalStart      string // Start on the clock of the query's Zone, or the day, month or year: "2026-11-22"
	UTCOffset       string // of that clock at Start: "+01:00"
	Energy          Value
	Coverage        float64 // 0 to 1
	N               int64
	Sum, Min, Max   Value
	Mean            Value
	First, Last     Value
	Quality         gridloom.Quality
	Closed          bool
	Revision        uint64
	ComputedAt      gridloom.Millis
	Series          int64
}

// UnmarshalJSON reads a row of the REST API.
func (w *Window) UnmarshalJSON(b []byte) error {
	var row struct {
		Meter      string    `json:"meter"`
		Register   string    `json:"register"`
		Unit       string    `json:"unit"`
		Start      instant   `json:"start"`
		End        instant   `json:"end"`
		LocalStart string    `json:"local_start"`
		UTCOffset  string    `json:"utc_offset"`
		Energy     Value     `json:"energy"`
		Coverage   float64   `json:"coverage"`
		N          int64     `json:"n"`
		Sum        Value     `json:"sum"`
		Min        Value     `json:"min"`
		Max        Value     `json:"max"`
		Mean       Value     `json:"mean"`
		First      Value     `json:"first"`
		Last       Value     `json:"last"`
		Quality    qualities `json:"quality"`
		Closed     bool      `json:"closed"`
		Revision   uint64    `json:"revision"`
		ComputedAt instant   `json:"computed_at"`
		Meters     int64     `json:"meters"`
		Registers  int64     `json:"registers"`
	}
	if err := json.Unmarshal(b, &row); err != nil {
		return err
	}
	*w = Window{
		Meter: row.Meter, Register: row.Register, Unit: row.Unit, Start: gridloom.Millis(row.Start), End: gridloom.Millis(row.End),
		LocalStart: row.LocalStart, UTCOffset: row.UTCOffset,
		Energy: row.Energy, Coverage: row.Coverage, N: row.N, Sum: row.Sum, Min: row.Min, Max: row.Max, Mean: row.Mean,
		First: row.First, Last: row.Last, Quality: gridloom.Quality(row.Quality), Closed: row.Closed, Revision: row.Revision,
		ComputedAt: gridloom.Millis(row.ComputedAt), Series: row.Meters + row.Registers,
	}
	return nil
}

// Windows yields the windows that overlap [From, To), by (register code, meter, start)
// or (group, start).
func (c *Client) Windows(ctx context.Context, q WindowsQuery) iter.Seq2[Window, error] {
	v := q.values()
	switch {
	case q.Every != "":
		v.Set("step", q.Every)
	case q.Step != 0:
		v.Set("step", strconv.FormatInt(int64(q.Step), 10)+"ms")
	}
	if q.Zone != "" {
		v.Set("tz", q.Zone)
	}
	if q.GroupBy != "" {
		v.Set("group_by", q.GroupBy)
	}
	if q.Agg != "" {
		v.Set("agg", q.Agg)
	}
	if q.Closed {
		v.Set("closed", "true")
	}
	return rows[Window](ctx, c, "/api/v1/windows", v)
}
