package main

import (
	"cmp"
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

// crashReport is what gridbench crash prints; docs/benchmarks.md explains the keys.
type crashReport struct {
	findings
	editFindings
	Acknowledged int64          `json:"acknowledged"` // readings in PUBACKed messages
	Sent         int64          `json:"sent"`
	Kills        int            `json:"kills"`
	KillsByPoint map[string]int `json:"kills_by_point"`
	CommitKills  int            `json:"kills_during_commit"`
	ClaimKills   int            `json:"kills_during_claim"`
	UpkeepKills  int            `json:"kills_during_upkeep"` // compaction and sweep
	UncleanStops int            `json:"unclean_stops"`       // SIGTERM, and an exit status other than 0
	RestartMsMax float64        `json:"restart_ms_max"`
	Seconds      float64        `json:"seconds"`
	Seed         uint64         `json:"seed"`
	Dir          string         `json:"dir,omitempty"` // kept, because something was found
}

func runCrash(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseCrash(args, stderr)
	if err != nil {
		return err
	}
	var r interface {
		print(w io.Writer) error
		verdict(cfg *crashConfig) error
	}
	if cfg.roles {
		r, err = crashRoles(ctx, cfg, stderr)
	} else {
		r, err = crash(ctx, cfg, stderr)
	}
	if err != nil {
		return err
	}
	if err := tell(stdout, r, cfg.json); err != nil {
		return err
	}
	return r.verdict(cfg)
}

// A torment is one run of gridbench crash.
type torment struct {
	cfg     *crashConfig
	dir     string
	server  *server
	fleet   *fleet
	editor  *editor // nil without --edits
	rng     *rand.Rand
	out     io.Writer // progress
	report  crashReport
	started bool // a first life has served
}

func crash(ctx context.Context, cfg *crashConfig, progress io.Writer) (*crashReport, error) {
	t := &torment{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.seed, 1)), out: progress}
	t.report.KillsByPoint = map[string]int{}
	t.report.Seed = cfg.seed
	begun := time.Now()
	if err := t.open(ctx); err != nil {
		return nil, err
	}
	err := t.run(ctx)
	t.report.Seconds = time.Since(begun).Seconds()
	if cerr := t.close(err == nil && t.report.clean()); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("%w (work directory %s, seed %d)", err, t.dir, cfg.seed)
	}
	return &t.report, nil
}

// open makes the work directory with the binary, the server's log and the ledgers.
func (t *torment) open(ctx context.Context) error {
	var err error
	if t.dir, err = workDir(t.cfg.dir); err != nil {
		return err
	}
	binary, err := serverBinary(ctx, t.cfg.server, t.dir)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(t.dir, "server.log"))
	if err != nil {
		return err
	}
	t.server = &server{binary: binary, args: strings.Fields(t.cfg.serverArgs), data: filepath.Join(t.dir, "data"), haste: true, log: log}
	if t.fleet, err = newFleet(t.dir, t.cfg.connections, t.cfg.meters, t.cfg.rate, t.cfg.seed); err != nil || t.cfg.edits == 0 {
		return err
	}
	t.editor, err = newEditor(filepath.Join(t.dir, "edits.ledger"), t.fleet.senders, t.cfg.edits, t.cfg.seed)
	return err
}

func (t *torment) close(clean bool) error {
	err := t.server.log.Close()
	if t.fleet != nil {
		err = errors.Join(err, t.fleet.close())
	}
	if t.editor != nil {
		err = errors.Join(err, t.editor.close())
	}
	if !clean {
		t.report.Dir = t.dir
		return err
	}
	return errors.Join(err, os.RemoveAll(t.dir))
}

// run kills the server as often as told, lets it work everything off and checks.
func (t *torment) run(ctx context.Context) error {
	for i, b := range killPlan(t.cfg.kills, t.rng) {
		if err := t.killOnce(ctx, b); err != nil {
			return fmt.Errorf("kill %d (%s): %w", i+1, b, err)
		}
		fmt.Fprintf(t.out, "\rkill %d of %d (%s), slowest restart %.0f ms   ", i+1, t.cfg.kills, b, t.report.RestartMsMax)
	}
	fmt.Fprintln(t.out)
	l, err := t.start(ctx, "")
	if err != nil {
		return err
	}
	defer l.kill()
	if err := t.fleet.drain(ctx, func(int) string { return l.mqtt }); err != nil {
		return err
	}
	if err := waitForLag(ctx, l.http, 0); err != nil {
		return err
	}
	t.report.Acknowledged, t.report.Sent = t.fleet.counts()
	fmt.Fprintf(t.out, "%d readings acknowledged; checking\n", t.report.Acknowledged)
	t.report.findings, err = t.fleet.check(ctx, l.http, t.report.Acknowledged, t.editor, t.out)
	if t.editor != nil {
		t.report.editFindings = t.editor.found
	}
	return err
}

// The places at which the server kills itself when told by GRIDLOOM_FAULT.
var (
	claimPoints  = []string{"claim.loaded", "claim.swapped"}
	commitPoints = []string{"commit.raw", "commit.panes", "commit.snapshot", "commit.manifest", "commit.swapped"}
	appendPoints = []string{"append.sealed", "append.stored"}
	upkeepPoints = []string{"compact.merged", "compact.edited", "sweep.deleted"}
)

// A blow is one kill of the plan.
type blow struct {
	point string // "" for any moment
	stop  bool   // SIGTERM first: the point is in the last commit of a clean stop
}

func (b blow) String() string { return cmp.Or(b.point, "random") }

// killPlan says for each kill at which point it happens: a fifth in claims, a
// quarter in commits, a tenth in appends, a fifth in compaction and sweep, the rest at random. Every other commit is
// that of a clean stop, and so are those that write a snapshot, which come every
// two minutes otherwise.
func killPlan(n int, rng *rand.Rand) []blow {
	plan := make([]blow, n)
	take := func(from, count int, points []string) int {
		for i := range count {
			p := points[i%len(points)]
			commit := slices.Contains(commitPoints, p)
			plan[from+i] = blow{p, commit && (i%2 == 1 || p == "commit.snapshot")}
		}
		return from + count
	}
	at := take(0, n/5, claimPoints)
	at = take(at, n/4, commitPoints)
	at = take(at, n/10, appendPoints)
	take(at, n/5, upkeepPoints)
	rng.Shuffle(n, func(a, b int) { plan[a], plan[b] = plan[b], plan[a] })
	return plan
}

// killOnce lives through one life of the server and its end.
func (t *torment) killOnce(ctx context.Context, b blow) error {
	fault := ""
	switch {
	case slices.Contains(appendPoints, b.point): // somewhere in the stream of frames
		fault = fmt.Sprintf("%s:%d", b.point, 1+t.rng.IntN(200))
	case slices.Contains(claimPoints, b.point): // of one of four partitions
		fault = fmt.Sprintf("%s:%d", b.point, 1+t.rng.IntN(4))
	case slices.Contains(upkeepPoints, b.point): // the first ones come soon after the start
		fault = fmt.Sprintf("%s:%d", b.point, 1+t.rng.IntN(6))
	case b.point != "":
		fault = b.point
	}
	l, err := t.start(ctx, fault)
	if errors.Is(err, errDied) && b.point != "" && l.killed() {
		t.count(b.point)
		return nil
	}
	if err != nil {
		return err
	}
	return t.live(ctx, l, b)
}

func (t *torment) count(point string) {
	t.report.Kills++
	t.report.KillsByPoint[cmp.Or(point, "random")]++
	switch {
	case slices.Contains(claimPoints, point):
		t.report.ClaimKills++
	case slices.Contains(commitPoints, point):
		t.report.CommitKills++
	case slices.Contains(upkeepPoints, point):
		t.report.UpkeepKills++
	}
}

// faultPatience is how long a life may take to reach its fault point: commits
// come every 15 s by default, and a clean stop takes 5 s at most.
const faultPatience = 60 * time.Second

// live publishes to a life until it is killed or kills itself.
func (t *torment) live(ctx context.Context, l *life, b blow) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, s := range t.fleet.senders {
		g.Go(func() error { return s.session(gctx, l.mqtt, false) })
	}
	if t.editor != nil {
		g.Go(func() error { return t.editor.session(gctx, l.http) })
	}
	if b.point == "" || b.stop {
		l.await(gctx, t.randomDelay())
	}
	if b.stop {
		l.stop()
	}
	if b.point != "" {
		l.await(gctx, faultPatience)
	}
	itself := l.ended()
	l.kill()
	if err := g.Wait(); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case b.stop && !l.killed(): // it had nothing to commit, or gave up
		if !l.cmd.ProcessState.Success() {
			t.report.UncleanStops++
			fmt.Fprintf(t.out, "\nunclean stop: %s\n", t.server.lastWords())
		}
		return t.killOnce(ctx, blow{point: periodic(b.point)})
	case !l.killed() || itself && b.point == "":
		return t.server.explain(l, errors.New("the server ended by itself"))
	case itself:
		t.count(b.point)
	default: // by us; a point that was not reached in time is no kill at that point
		t.count("")
	}
	return nil
}

// periodic is a point that a commit passes every 15 s, near to the given one.
func periodic(point string) string {
	if point == "commit.snapshot" {
		return "commit.manifest"
	}
	return point
}

func (t *torment) randomDelay() time.Duration {
	d := t.cfg.minKill
	if t.cfg.maxKill > d {
		d += time.Duration(t.rng.Int64N(int64(t.cfg.maxKill - d)))
	}
	return d
}

func (t *torment) start(ctx context.Context, fault string) (*life, error) {
	l, err := t.server.start(ctx, fault)
	if err == nil && t.started { // the first start creates everything
		t.report.RestartMsMax = max(t.report.RestartMsMax, float64(l.ready.Microseconds())/1e3)
	}
	t.started = t.started || err == nil
	return l, err
}

func (r *crashReport) clean() bool { return r.findings.clean() && r.editFindings.clean() }

// verdict is errFound for a run that shows a fault, and an error for one that shows less than it should.
func (r *crashReport) verdict(cfg *crashConfig) error {
	const enough = 10 // kills in claims and in commits, of a run of 60 or more
	switch {
	case !r.clean():
		return errFound
	case r.RestartMsMax > float64(cfg.maxRestart.Milliseconds()):
		return fmt.Errorf("a restart took %.0f ms, more than %s: %w", r.RestartMsMax, cfg.maxRestart, errFound)
	case cfg.kills >= 60 && min(r.ClaimKills, r.CommitKills, r.UpkeepKills) < enough:
		return fmt.Errorf("only %d kills hit a claim, %d a commit and %d compaction or sweep, which shows too little: want %d each",
			r.ClaimKills, r.CommitKills, r.UpkeepKills, enough)
	}
	return nil
}

func (r *crashReport) print(w io.Writer) error {
	text := fmt.Appendf(nil, `%d kills (%d in commits, %d in claims, %d in compaction and sweep), slowest restart %.0f ms, %.0f s, seed %d
  %d readings acknowledged of %d sent; %d identities and %d windows checked
  lost %d, duplicated %d, altered %d, unsent %d, wrong_panes %d; unclean stops %d
  %d edits in the audit trail, %d of them unanswered; lost %d, duplicated %d, altered %d
`, r.Kills, r.CommitKills, r.ClaimKills, r.UpkeepKills, r.RestartMsMax, r.Seconds, r.Seed,
		r.Acknowledged, r.Sent, r.Readings, r.Panes, r.Lost, r.Duplicated, r.Altered, r.Unsent, r.WrongPanes, r.UncleanStops, r.Edits, r.EditsUnanswered, r.EditsLost, r.EditsDuplicated, r.EditsAltered)
	points := make([]string, 0, len(r.KillsByPoint))
	for p, n := range r.KillsByPoint {
		points = append(points, fmt.Sprintf("%s %d", p, n))
	}
	slices.Sort(points)
	text = fmt.Appendf(text, "  kills by point: %s\n", strings.Join(points, ", "))
	if r.Dir != "" {
		text = fmt.Appendf(text, "  kept for a look: %s\n", r.Dir)
	}
	_, err := w.Write(text)
	return err
}
