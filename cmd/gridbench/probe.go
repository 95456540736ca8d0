package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gridloom/gridloom"
)

// A prober asks how long after its PUBACK a reading shows up in a query: it
// publishes one, waits for the PUBACK, then asks for it until it is there.
type prober struct {
	name   string
	api    *api
	conn   net.Conn
	reader *bufio.Reader
	buf    []byte
	known  histogram // of a meter that the server has seen before
	fresh  histogram // of a meter that it has not
	polls  int
}

// pollEvery is the pause between two questions, and with it the finest step of the result.
const pollEvery = 2 * time.Millisecond

// probeTimeout is how long a probe may stay invisible before the run fails.
const probeTimeout = 30 * time.Second

func newProber(ctx context.Context, mqtt, name string, a *api) (*prober, error) {
	conn, reader, err := dialMQTT(ctx, mqtt, name)
	if err != nil {
		return nil, err
	}
	return &prober{name: name, api: a, conn: conn, reader: reader, buf: make([]byte, 64)}, nil
}

// run sends n probes, one per tick at most, known and new meters in turn.
func (p *prober) run(ctx context.Context, n int, every time.Duration) error {
	stop := context.AfterFunc(ctx, func() { p.conn.Close() })
	defer stop()
	defer p.conn.Close()
	run := gridloom.MillisOf(time.Now())
	known := fmt.Sprintf("%s-%d-known", p.name, run)
	if _, err := p.probe(ctx, known); err != nil { // from now on it is known
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range n {
		meter, h := known, &p.known
		if i%2 == 1 {
			meter, h = fmt.Sprintf("%s-%d-new-%d", p.name, run, i), &p.fresh
		}
		d, err := p.probe(ctx, meter)
		if err != nil {
			return err
		}
		h.add(d)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// probe returns the time from the PUBACK to the end of the first answer that holds the reading.
func (p *prober) probe(ctx context.Context, meter string) (time.Duration, error) {
	at := gridloom.MillisOf(time.Now())
	value := int64(at % 1_000_000)
	body := fmt.Appendf(nil, `{"meter":%q,"at":%d,"power_import":%d}`, meter, at, value)
	topic := "gridloom/v1/bench/" + p.name + "/readings"
	if err := p.conn.SetDeadline(time.Now().Add(probeTimeout)); err != nil {
		return 0, err
	}
	if _, err := p.conn.Write(appendPublish(nil, topic, 1, body)); err != nil {
		return 0, fmt.Errorf("probe %s: %w", meter, err)
	}
	if _, err := readPuback(p.reader, p.buf); err != nil {
		return 0, fmt.Errorf("probe %s: %w", meter, err)
	}
	acked := time.Now()
	pause := time.NewTimer(pollEvery)
	defer pause.Stop()
	for {
		seen := false
		p.polls++
		err := rows(ctx, p.api, "/api/v1/readings", selectMeters([]string{meter}, at, at+1), func(r *servedReading) error {
			v, err := parseThousandths(r.Value.String())
			if err == nil && v != value*1000 {
				err = fmt.Errorf("want value %s", strconv.FormatInt(value, 10))
			}
			seen = seen || err == nil
			return err
		})
		d := time.Since(acked)
		switch {
		case err != nil:
			return 0, err
		case seen:
			return d, nil
		case d > probeTimeout:
			return 0, fmt.Errorf("the reading of %s at %s was acknowledged %s ago and no query shows it: %w", meter, at, d.Round(time.Second), errFound)
		}
		pause.Reset(pollEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
