package agent

import (
	"errors"
	"io"

	"github.com/gridloom/gridloom/edge-agent/spool"
)

// flights are the batches that one connection has taken from the spool, from the first
// one that is not acknowledged on. They decide what leaves the spool: the oldest alone,
// when it is acknowledged; all else is read again by the next connection.
type flights struct {
	p        *publisher
	r        *spool.Reader
	inFlight []*flight // oldest first
	next     *flight   // to be sent; nil if none is known
	atEnd    bool      // the spool had nothing more
}

// takeOff returns the flights of a new connection. end it.
func (p *publisher) takeOff() *flights { return &flights{p: p, r: p.a.spool.Reader()} }

func (f *flights) end() { f.r.Close() }

// fill looks for the next batch if there is room for one in the window. errUndated
// says that it has to wait for the clock, another error is of the disk.
func (f *flights) fill() (err error) {
	if f.next != nil || f.atEnd || len(f.inFlight) >= f.p.a.cfg.Window {
		return nil
	}
	if f.next, err = f.p.next(f.r); errors.Is(err, io.EOF) {
		f.atEnd, err = true, nil
	}
	return err
}

// sent notes that the connection has taken the next batch.
func (f *flights) sent() {
	if len(f.inFlight) == 0 {
		f.p.oldest.Store(int64(f.next.record.At))
	}
	f.inFlight = append(f.inFlight, f.next)
	f.p.published.Add(1)
	f.next = nil
}

// oldest returns the first batch in flight, nil if there is none.
func (f *flights) oldest() *flight {
	if len(f.inFlight) == 0 {
		return nil
	}
	return f.inFlight[0]
}

// acknowledged lets the oldest batch leave the spool.
func (f *flights) acknowledged() {
	f.p.a.spool.Ack(&f.inFlight[0].record)
	f.inFlight = f.inFlight[1:]
	if head := f.oldest(); head != nil {
		f.p.oldest.Store(int64(head.record.At))
	}
}

// landed reports whether nothing is in flight and nothing more is in the spool, and
// then settles what was damaged there.
func (f *flights) landed() bool {
	if !f.atEnd || f.next != nil || len(f.inFlight) > 0 {
		return false
	}
	f.p.a.spool.Settle(f.r)
	f.p.oldest.Store(0)
	return true
}

var errUndated = errors.New("waits for the clock to be set")

// next returns the next batch of the spool as a flight.
func (p *publisher) next(r *spool.Reader) (*flight, error) {
	for {
		rec, err := r.Next()
		if err != nil {
			return nil, err
		}
		f := &flight{record: rec, payload: rec.Payload, topic: p.a.topic("readings")}
		if rec.Kind == spool.Held {
			payload, ok, err := p.a.dating.date(&rec)
			switch {
			case err != nil: // its CRC is right, so it was written so
				p.a.log.Error("a batch of the spool cannot be dated and is left out", "epoch", rec.Epoch, "seq", rec.Seq, "count", rec.Readings, "err", err)
				continue
			case !ok:
				r.Back(&rec)
				return nil, errUndated
			}
			f.payload = payload
		}
		return f, nil
	}
}
