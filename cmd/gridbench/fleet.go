package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom"
)

// A fleet is the agents that publish while servers are tormented, with their ledgers.
type fleet struct {
	dir     string
	meters  int // of each agent
	senders []*sender
}

// newFleet makes the agents of a run and their ledgers in dir.
func newFleet(dir string, connections, meters, rate int, seed uint64) (*fleet, error) {
	reg, err := lookUpRegisters()
	if err != nil {
		return nil, err
	}
	f := &fleet{dir: dir, meters: meters}
	epoch := gridloom.EpochAt(gridloom.MillisOf(time.Now()))
	every := time.Duration(float64(time.Second) * float64(connections) * readingsPerBatch / float64(rate))
	for i := range connections {
		name := fmt.Sprintf("crash-%02d", i)
		l, err := createLedger(f.ledgerPath(i))
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.senders = append(f.senders, newSender(name, newTraffic(name, epoch, meters, seed+uint64(i), reg), l, every))
	}
	return f, nil
}

func (f *fleet) ledgerPath(i int) string {
	return filepath.Join(f.dir, fmt.Sprintf("acknowledged-%02d.ledger", i))
}

func (f *fleet) close() error {
	var errs []error
	for _, s := range f.senders {
		errs = append(errs, s.ledger.close())
	}
	return errors.Join(errs...)
}

// counts returns the readings of acknowledged and of all sent messages.
func (f *fleet) counts() (acked, sent int64) {
	for _, s := range f.senders {
		a, n := s.counts()
		acked, sent = acked+a, sent+n
	}
	return acked, sent
}

// drainTimeout is how long servers may take to acknowledge and read everything at the end.
const drainTimeout = 2 * time.Minute

// drain sends what is left until all of it is acknowledged. at says where agent i connects.
func (f *fleet) drain(ctx context.Context, at func(i int) string) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range f.senders {
		s.makeRest()
		g.Go(func() error {
			pause := time.NewTicker(50 * time.Millisecond)
			defer pause.Stop()
			for s.left() > 0 && gctx.Err() == nil {
				if err := s.session(gctx, at(i), true); err != nil {
					return err
				}
				<-pause.C
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, s := range f.senders {
		if n := s.left(); n > 0 {
			return fmt.Errorf("%s: %d batches were not acknowledged within %s: %w", s.name, n, drainTimeout, errFound)
		}
	}
	return nil
}

// checkPatience is how long the checker repeats a question that is answered with 503.
const checkPatience = time.Minute

// check compares the ledgers with what the server at http serves.
// ed may be nil.
func (f *fleet) check(ctx context.Context, http string, acknowledged int64, ed *editor, notes io.Writer) (findings, error) {
	c := checker{api: newAPI(http), width: gridloom.DefaultWidth, bridge: gridloom.DefaultBridge, notes: notes}
	defer c.api.close()
	names := map[string]string{}
	for i, s := range f.senders {
		if err := readLedger(f.ledgerPath(i), names, func(e entry) { c.acked = append(c.acked, e) }); err != nil {
			return c.found, err
		}
		c.unacked = append(c.unacked, s.unacknowledged()...)
	}
	if int64(len(c.acked)) != acknowledged {
		return c.found, fmt.Errorf("the ledgers hold %d readings, and %d were acknowledged", len(c.acked), acknowledged)
	}
	c.api.patience = checkPatience
	if ed != nil {
		answered, err := readEdits(ed.file.Name())
		if err == nil && int64(len(answered)) != ed.answered {
			err = fmt.Errorf("the ledger holds %d edits, and %d were answered", len(answered), ed.answered)
		}
		if err == nil {
			err = c.settleEdits(ctx, answered, ed.unanswered)
		}
		if err != nil {
			return c.found, err
		}
	}
	err := c.run(ctx)
	if ed != nil {
		ed.found = c.trail
	}
	if c.api.repeated > 0 {
		fmt.Fprintf(notes, "  %d questions were answered with 503 and asked again\n", c.api.repeated)
	}
	return c.found, err
}

// waitForLag waits until a server tells of all partitions, 0 of them if any number
// will do, and that each has been read to its end.
func waitForLag(ctx context.Context, http string, partitions int) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	a := newAPI(http)
	defer a.close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ps, err := a.status(ctx)
		if err == nil && len(ps) >= cmp.Or(partitions, 1) && !slices.ContainsFunc(ps, func(p partitionStatus) bool { return p.Lag > 0 }) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the log was not read to its end: %w", errors.Join(ctx.Err(), err))
		}
	}
}
