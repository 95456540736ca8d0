package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// An ordeal is one run of gridbench crash --roles, or of gridbench soak: a cluster, a
// fleet that publishes to it, and what is done to it meanwhile.
type ordeal struct {
	cfg     *crashConfig
	dir     string
	cluster *cluster
	fleet   *fleet
	rng     *rand.Rand
	out     io.Writer // progress
	report  rolesReport
}

// crashRoles torments a cluster of role processes.
func crashRoles(ctx context.Context, cfg *crashConfig, progress io.Writer) (*rolesReport, error) {
	o := newOrdeal(cfg, progress)
	err := o.run(ctx, func(ctx context.Context) error {
		if err := o.kills(ctx); err != nil {
			return err
		}
		if err := o.zombies(ctx); err != nil {
			return err
		}
		if err := o.rolling(ctx); err != nil {
			return err
		}
		return o.scale(ctx)
	})
	return &o.report, err
}

func newOrdeal(cfg *crashConfig, progress io.Writer) *ordeal {
	o := &ordeal{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.seed, 2)), out: progress}
	o.report.Seed = cfg.seed
	o.report.KillsByRole, o.report.KillsByPoint, o.report.Zombies = map[string]int{}, map[string]int{}, map[string]int{}
	o.report.RecoveryMsMax = map[string]float64{}
	return o
}

// run opens the cluster, lets torment do its work while the fleet publishes, and checks.
func (o *ordeal) run(ctx context.Context, torment func(context.Context) error) error {
	begun := time.Now()
	err := o.open(ctx)
	if err == nil {
		err = o.live(ctx, torment)
	}
	o.report.Seconds = time.Since(begun).Seconds()
	clean := err == nil && o.report.clean()
	if o.cluster != nil {
		err = errors.Join(err, o.cluster.close())
	}
	if o.fleet != nil {
		err = errors.Join(err, o.fleet.close())
	}
	if clean && err == nil {
		return os.RemoveAll(o.dir)
	}
	o.report.Dir = o.dir
	if err != nil {
		return fmt.Errorf("%w (work directory %s, seed %d)", err, o.dir, o.cfg.seed)
	}
	return nil
}

// open makes the work directory and starts the cluster.
func (o *ordeal) open(ctx context.Context) (err error) {
	if o.dir, err = workDir(o.cfg.dir); err != nil {
		return err
	}
	binary, err := serverBinary(ctx, o.cfg.server, o.dir)
	if err != nil {
		return err
	}
	nats, err := natsBinary(ctx, o.cfg.natsServer, o.dir)
	if err != nil {
		return err
	}
	o.cluster, err = newCluster(ctx, o.dir, binary, nats, o.cfg.partitions, strings.Fields(o.cfg.serverArgs))
	if err != nil {
		return err
	}
	o.cluster.haste = o.cfg.killsEach > 0
	if err := o.cluster.nats.exec(""); err != nil {
		return err
	}
	for role, n := range map[string]int{ingestRole: o.cfg.ingests, aggregateRole: o.cfg.aggregates, queryRole: o.cfg.queries} {
		spare := 0 // that run only while there are more
		if role == aggregateRole && o.cfg.scale > 0 {
			spare = max(0, slices.Max(scaleSteps)-n)
		}
		for i := range n + spare {
			m, err := o.cluster.add(role)
			if err == nil && i < n {
				err = m.exec("")
			}
			if err != nil {
				return err
			}
		}
	}
	if err := o.settle(ctx); err != nil {
		return err
	}
	o.fleet, err = newFleet(o.dir, o.cfg.connections, o.cfg.meters, o.cfg.rate, o.cfg.seed)
	return err
}

// live lets the fleet publish while the cluster is tormented, has everything
// acknowledged at the end and checks.
func (o *ordeal) live(ctx context.Context, torment func(context.Context) error) error {
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	g, gctx := errgroup.WithContext(publishing)
	for i, s := range o.fleet.senders {
		g.Go(func() error { return o.publish(gctx, i, s) })
	}
	err := torment(gctx)
	if ctx.Err() == nil && gctx.Err() != nil { // an agent has found something
		err = nil
	}
	stop()
	if err = errors.Join(g.Wait(), err); err != nil {
		return err
	}
	if err := o.settle(ctx); err != nil {
		return err
	}
	if err := o.fleet.drain(ctx, o.cluster.mqtt); err != nil {
		return err
	}
	if err := waitForLag(ctx, o.cluster.http(), o.cfg.partitions); err != nil {
		return err
	}
	o.report.Acknowledged, o.report.Sent = o.fleet.counts()
	fmt.Fprintf(o.out, "%d readings acknowledged; checking\n", o.report.Acknowledged)
	o.report.findings, err = o.fleet.check(ctx, o.cluster.http(), o.report.Acknowledged, nil, o.out)
	return err
}

// publish lets agent i publish to whatever ingest serves until ctx ends.
func (o *ordeal) publish(ctx context.Context, i int, s *sender) error {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		if at := o.cluster.mqtt(i); at != "" {
			if err := s.session(ctx, at, false); err != nil {
				return err
			}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// settle waits until the cluster does its whole job. A member that ended by itself is
// started again, as a service manager would.
func (o *ordeal) settle(ctx context.Context) error {
	_, err := o.settleWith(ctx)
	return err
}

func (o *ordeal) settleWith(ctx context.Context) (last string, err error) {
	return o.cluster.settle(ctx, func(m *member) error {
		o.report.UnexpectedExits++
		fmt.Fprintf(o.out, "\n%s ended by itself (%s): %s\n", m, m.proc.cmd.ProcessState, m.lastWords())
		if o.report.UnexpectedExits > maxUnexpectedExits {
			return fmt.Errorf("%d processes ended by themselves: %w", o.report.UnexpectedExits, errFound)
		}
		return m.exec("")
	})
}

// maxUnexpectedExits is after how many processes that end by themselves a run gives up.
const maxUnexpectedExits = 100

// slowRecovery is after how long a recovery is told with what was waited for.
const slowRecovery = 5 * time.Second

// recover starts what was killed, waits for the whole cluster and notes how long
// that took since the blow.
func (o *ordeal) recover(ctx context.Context, what string, blow time.Time, gone ...*member) error {
	for _, m := range gone {
		if err := m.exec(""); err != nil {
			return err
		}
	}
	last, err := o.settleWith(ctx)
	if err != nil {
		return err
	}
	took := time.Since(blow)
	if took > slowRecovery {
		fmt.Fprintf(o.out, "%s: the recovery took %.0f ms until %s; the last that was not ready was %s\n", what, millisOf(took), time.Now().UTC().Format("15:04:05.000"), last)
	}
	ms := millisOf(took)
	o.report.RecoveryMsMax[what] = max(o.report.RecoveryMsMax[what], ms)
	return nil
}

// pause lets the fleet publish for a random time.
func (o *ordeal) pause(ctx context.Context) error {
	d := o.cfg.minKill
	if o.cfg.maxKill > d {
		d += time.Duration(o.rng.Int64N(int64(o.cfg.maxKill - d)))
	}
	return rest(ctx, d)
}

// rest waits for d unless ctx ends before.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// workDir makes the directory of a run.
func workDir(given string) (string, error) {
	if given == "" {
		return os.MkdirTemp("", "gridbench-crash-")
	}
	dir, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	return dir, os.Mkdir(dir, 0o700)
}
