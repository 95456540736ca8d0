package query

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// gate lets a bounded number of queries run at once. A query that reads much takes
// a place among the heavy ones too: with one such place, the default, a second core
// is left to ingest and aggregation whatever is asked.
type gate struct {
	all, heavy chan struct{}
	wait       time.Duration
}

func newGate(l *Limits) *gate {
	return &gate{all: make(chan struct{}, l.Queries), heavy: make(chan struct{}, l.Heavy), wait: l.Wait}
}

// enter waits for a place; leave gives it back.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	return g.take(ctx, g.all, "queries")
}

// enterHeavy waits for a place among the heavy queries.
func (g *gate) enterHeavy(ctx context.Context) (leave func(), err error) {
	return g.take(ctx, g.heavy, "heavy queries")
}

func (g *gate) take(ctx context.Context, places chan struct{}, what string) (leave func(), err error) {
	leave = func() { <-places }
	select {
	case places <- struct{}{}:
		return leave, nil
	default:
	}
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	select {
	case places <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, &problem{
			kind: problemBusy, status: http.StatusServiceUnavailable, retry: int(g.wait/time.Second) + 1,
			detail: fmt.Sprintf("%d %s are running, which is as many as may", cap(places), what),
			mend:   "try again later, or ask for a shorter span, fewer meters or a longer step",
		}
	}
}

// withheldBytes is how much of an answer is kept back, so that what goes wrong
// early is still told as a problem with its own status.
const withheldBytes = 256 << 10

// body is an answer's body: it keeps the beginning back, counts bytes and refuses
// more than an answer may have.
type body struct {
	w         http.ResponseWriter
	most      int64
	sent      int64
	held      []byte
	committed bool // the status has gone out: a failure can only cut the answer off
}

func (b *body) Write(p []byte) (int, error) {
	if b.sent+int64(len(b.held)+len(p)) > b.most {
		return 0, overLimit("", fmt.Sprintf("the answer is longer than %d bytes", b.most), "ask for a shorter span, fewer meters or a longer step")
	}
	if !b.committed {
		b.held = append(b.held, p...)
		if len(b.held) < withheldBytes {
			return len(p), nil
		}
		return len(p), b.commit()
	}
	n, err := b.w.Write(p)
	b.sent += int64(n)
	return n, err
}

// commit sends what is held back.
func (b *body) commit() error {
	b.committed = true
	n, err := b.w.Write(b.held)
	b.sent += int64(n)
	b.held = nil
	return err
}

func tooManySeries(most int) error {
	return overLimit("meter", fmt.Sprintf("the answer has more than %d series", most), "name fewer meters or registers, or join them with group_by=register")
}

// countRows passes rows on and refuses more than an answer may have.
type countRows struct {
	encoder
	most, rows int64
}

func (c *countRows) row(cells []cell) error {
	if c.rows++; c.rows > c.most {
		return overLimit("", fmt.Sprintf("the answer has more than %d rows", c.most), "ask for a shorter span, fewer meters or a longer step")
	}
	return c.encoder.row(cells)
}
