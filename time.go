package gridloom

import (
	"fmt"
	"time"
)

// Millis is an instant or a span in milliseconds. As an instant it counts from
// 1970-01-01T00:00:00Z without leap seconds.
type Millis int64

// Spans of time as Millis.
const (
	Second Millis = 1000
	Minute        = 60 * Second
	Hour          = 60 * Minute
	Day           = 24 * Hour
)

// MinInstant is 2000-01-01T00:00:00Z. A reading that claims to be older comes from
// a clock that was never set, and is refused.
const MinInstant Millis = 946_684_800_000

// MaxInterval is the longest interval reading that is accepted: one month of 31
// days and one hour (a local month may be an hour longer than its days).
const MaxInterval = 31*Day + Hour

// MaxAhead is how far a reading may lie ahead of ingest's clock (an interval: its end).
const MaxAhead = 5 * Minute

// MillisOf returns the instant t, cut down to the millisecond.
func MillisOf(t time.Time) Millis { return Millis(t.UnixMilli()) }

// SpanOf returns d in milliseconds, cut down.
func SpanOf(d time.Duration) Millis { return Millis(d.Milliseconds()) }

// Time returns m as an instant in UTC.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

// Duration returns m as a span.
func (m Millis) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// String formats m as an instant, RFC 3339 in UTC with milliseconds where there are any.
func (m Millis) String() string {
	if m%Second == 0 {
		return m.Time().Format("2006-01-02T15:04:05Z")
	}
	return m.Time().Format("2006-01-02T15:04:05.000Z")
}

// Floor returns the greatest multiple of width (counted from the Unix epoch) that is not after m.
// Requires width > 0.
func (m Millis) Floor(width Millis) Millis {
	r := m % width
	if r < 0 {
		r += width
	}
	return m - r
}

// ParseInstant reads RFC 3339 with an offset, or fails with ErrInvalid.
func ParseInstant(s string) (Millis, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%w: instant %q: want RFC 3339 with an offset, such as 2026-11-22T20:15:00Z", ErrInvalid, s)
	}
	return MillisOf(t), nil
}
