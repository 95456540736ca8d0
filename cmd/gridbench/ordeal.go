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
	o.report.findings, err = o.fleet.check(ctx, o.cluster.http(), o.report.Acknowledged, o.out)
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

// A roleBlow is one kill of a cluster's plan: a member of role, all of them if role is
// everyone, at a point or at any moment.
type roleBlow struct {
	role  string
	point string // "" for any moment
	stop  bool   // SIGTERM first: the point is passed on the way out
}

// everyone is the blow that hits all processes at once.
const everyone = "all at once"

func (b roleBlow) String() string {
	if b.point == "" {
		return b.role
	}
	return b.role + " at " + b.point
}

// rolePlan says whom each blow hits and where: n of each role, of nats-server and of
// all at once. A third of ingest's come at its points, and all of aggregate's: a third each
// in claims, in commits, and in merges and sweeps.
func rolePlan(n int, rng *rand.Rand) []roleBlow {
	var plan []roleBlow
	for _, role := range []string{ingestRole, aggregateRole, queryRole, natsRole, everyone} {
		for i := range n {
			b := roleBlow{role: role}
			switch {
			case role == ingestRole && i%3 == 0:
				b.point = appendPoints[i/3%len(appendPoints)]
			case role == aggregateRole && i%3 == 0:
				b.point = claimPoints[i/3%len(claimPoints)]
			case role == aggregateRole && i%3 == 1:
				b.point = commitPoints[i/3%len(commitPoints)]
				b.stop = i/3%2 == 1 || b.point == "commit.snapshot"
			case role == aggregateRole:
				b.point = upkeepPoints[i/3%len(upkeepPoints)]
			}
			plan = append(plan, b)
		}
	}
	rng.Shuffle(len(plan), func(a, b int) { plan[a], plan[b] = plan[b], plan[a] })
	return plan
}

func (o *ordeal) kills(ctx context.Context) error {
	plan := rolePlan(o.cfg.killsEach, o.rng)
	for i, b := range plan {
		if err := o.strike(ctx, b); err != nil {
			return fmt.Errorf("kill %d (%s): %w", i+1, b, err)
		}
		acked, _ := o.fleet.counts()
		fmt.Fprintf(o.out, "kill %d of %d: %s; %d readings acknowledged\n", i+1, len(plan), b, acked)
	}
	return o.calm(ctx)
}

// calm starts the aggregates anew without haste, for what is measured after the kills.
func (o *ordeal) calm(ctx context.Context) error {
	if !o.cluster.haste {
		return nil
	}
	o.cluster.haste = false
	for _, m := range o.cluster.of(aggregateRole) {
		if m.running() {
			if err := o.restart(ctx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// strike lets the fleet publish for a while, kills and waits for the recovery.
func (o *ordeal) strike(ctx context.Context, b roleBlow) error {
	if b.point != "" {
		return o.strikeAt(ctx, o.pick(b.role), b)
	}
	if err := o.pause(ctx); err != nil {
		return err
	}
	hit := slices.DeleteFunc(o.cluster.all(), func(m *member) bool { return !m.running() })
	if b.role != everyone {
		hit = []*member{o.pick(b.role)}
	}
	blow := time.Now()
	for _, m := range hit {
		_ = m.proc.cmd.Process.Kill() // all before any is waited for
	}
	for _, m := range hit {
		m.kill()
	}
	o.count(b.role, "")
	return o.recover(ctx, b.role, blow, hit...)
}

// pick takes one of the running members of a role.
func (o *ordeal) pick(role string) *member {
	ms := slices.DeleteFunc(o.cluster.of(role), func(m *member) bool { return !m.running() })
	return ms[o.rng.IntN(len(ms))]
}

func (o *ordeal) count(role, point string) {
	o.report.KillsByRole[role]++
	if point == "" {
		point = "random"
	}
	o.report.KillsByPoint[point]++
}

// strikeAt starts a member anew so that it kills itself at a point. One that does not
// come there in time is killed and counts as a random kill.
func (o *ordeal) strikeAt(ctx context.Context, m *member, b roleBlow) error {
	if o.rng.IntN(2) == 0 {
		m.kill()
	} else {
		m.stop(ctx, 10*time.Second)
	}
	fault := b.point
	switch {
	case slices.Contains(appendPoints, b.point):
		fault = fmt.Sprintf("%s:%d", b.point, 1+o.rng.IntN(200))
	case slices.Contains(upkeepPoints, b.point): // the first ones come soon after the start
		fault = fmt.Sprintf("%s:%d", b.point, 1+o.rng.IntN(6))
	case slices.Contains(claimPoints, b.point): // of those that it claims
		fault = fmt.Sprintf("%s:%d", b.point, 1+o.rng.IntN(max(1, o.cfg.partitions/max(1, o.cfg.aggregates))))
	}
	if err := m.exec(fault); err != nil {
		return err
	}
	if b.stop {
		if err := o.settle(ctx); err != nil && !m.proc.ended() {
			return err
		}
		if err := o.pause(ctx); err != nil {
			return err
		}
		m.proc.stop()
	}
	for end := time.Now().Add(faultPatience); time.Now().Before(end) && !m.proc.ended() && ctx.Err() == nil; {
		m.look() // agents connect meanwhile
		m.proc.await(ctx, 20*time.Millisecond)
	}
	blow := time.Now()
	reached := m.proc.ended() && m.proc.killed()
	exited := m.proc.ended() && !reached
	m.kill()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case exited && b.stop: // it had nothing to commit
		if err := o.recover(ctx, b.role, blow, m); err != nil {
			return err
		}
		return o.strikeAt(ctx, m, roleBlow{role: b.role, point: periodic(b.point)})
	case exited:
		o.report.PointsMissed++
		o.report.UnexpectedExits++
		fmt.Fprintf(o.out, "%s ended by itself on its way to %s (%s): %s\n", m, b.point, m.proc.cmd.ProcessState, m.lastWords())
	case reached:
		o.count(b.role, b.point)
	default:
		o.report.PointsMissed++
		o.count(b.role, "")
	}
	return o.recover(ctx, b.role, blow, m)
}

// zombieSpans are how long processes are stopped.
var zombieSpans = []time.Duration{time.Second, 10 * time.Second, 30 * time.Second}

// zombies stops processes for a while and lets them go on as if nothing had been. An
// owner is every other one: its partitions have another by then.
func (o *ordeal) zombies(ctx context.Context) error {
	others := []string{ingestRole, natsRole, queryRole}
	for i := range o.cfg.zombies {
		role := aggregateRole
		if i%2 == 1 {
			role = others[i/2%len(others)]
		}
		span := zombieSpans[(i+i/6)%len(zombieSpans)] // each role meets each span
		if err := o.pause(ctx); err != nil {
			return err
		}
		m := o.pick(role)
		if err := o.freeze(ctx, m, span); err != nil {
			return fmt.Errorf("zombie %d, %s for %s: %w", i+1, m, span, err)
		}
		o.report.Zombies[fmt.Sprintf("%s %s", role, span)]++
		acked, _ := o.fleet.counts()
		fmt.Fprintf(o.out, "zombie %d of %d: %s for %s; %d readings acknowledged\n", i+1, o.cfg.zombies, m, span, acked)
	}
	return nil
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
