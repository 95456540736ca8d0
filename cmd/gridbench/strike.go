package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

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
