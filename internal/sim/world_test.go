package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate"
	"github.com/gridloom/gridloom/aggregate/window"
	"github.com/gridloom/gridloom/internal/pane"
)

const (
	worldStart = gridloom.Millis(1_770_000_000_000) // 2026-02-02T02:40Z
	partitions = 2
	generation = 1
	eventsEach = 2000 // of a seed
)

var (
	worldWindow  = window.Config{Width: gridloom.DefaultWidth, Lateness: gridloom.DefaultLateness, Bridge: gridloom.DefaultBridge}
	worldCreated = time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC) // of the log
)

// world is everything that a seed has made. All of it is stepped by one goroutine.
type world struct {
	ctx    context.Context //nolint:containedctx // the world's own, never cancelled: no step may wait for anything
	rnd    *rand.Rand
	out    io.Writer // gets a line for every event; nil: nobody
	now    gridloom.Millis
	names  uint64
	event  int
	calm   bool    // nothing fails any more
	brief  bool    // readings are kept for a day, panes for two, and days pass
	rates  rates   // of failures
	broken *broken // promises that this world does not keep; nil: none
	stats  stats

	log      simLog
	heads    simHeads
	blobs    simBlobs
	late     []func() // messages that the network still holds
	slow     []slowQuery
	ledger   ledger
	reader   *pane.Store // of queries
	stations []*station
	bridges  []*bridge
	edits    []madeEdit // not undone
	owners   []*owner
}

// rates are chances in a thousand. Some worlds are quiet, some are wild.
type rates struct{ log, heads, blobs, disk, stale, crash, delay int }

// stats says what a world has been through: a run that never crashed proves nothing.
type stats struct {
	Promised, Frames, Readings, Commits, Merges, Swept, Retained, Expired, Claims, Fenced, Crashes, Losses, Ambiguous, Late, Stale, Answers, Refused, Edits, Undos int
	Lost, Duplicated                                                                                                                                               int
}

func (s *stats) add(o *stats) {
	s.Promised += o.Promised
	s.Frames += o.Frames
	s.Readings += o.Readings
	s.Commits += o.Commits
	s.Merges += o.Merges
	s.Swept += o.Swept
	s.Retained += o.Retained
	s.Expired += o.Expired
	s.Claims += o.Claims
	s.Fenced += o.Fenced
	s.Crashes += o.Crashes
	s.Losses += o.Losses
	s.Ambiguous += o.Ambiguous
	s.Late += o.Late
	s.Stale += o.Stale
	s.Answers += o.Answers
	s.Refused += o.Refused
	s.Edits += o.Edits
	s.Undos += o.Undos
	s.Lost += o.Lost
	s.Duplicated += o.Duplicated
}

// violation is a promise that was broken; it ends the world.
type violation struct{ text string }

func (v *violation) Error() string { return v.text }

// run makes the world of a seed and lets events happen in it, and then lets everything
// recover and come to an end. out gets a line for each event, if it is not nil.
func run(ctx context.Context, seed uint64, events int, out io.Writer, b *broken) (st stats, err error) {
	w := newWorld(ctx, seed, out, b)
	defer func() {
		st = w.stats
		switch r := recover().(type) {
		case nil:
		case *violation:
			err = fmt.Errorf("event %d: %s", w.event, r.text)
		default:
			panic(r)
		}
	}()
	total := 0
	for i := range kinds {
		total += kinds[i].weight
	}
	for w.event = 1; w.event <= events; {
		if w.happen(w.rnd.IntN(total)) {
			w.event++
		}
	}
	w.conclude()
	return w.stats, nil
}

func newWorld(ctx context.Context, seed uint64, out io.Writer, b *broken) *world {
	w := &world{ctx: ctx, rnd: rand.New(rand.NewPCG(seed, 0x6772_6964)), out: out, now: worldStart, broken: b, brief: seed%3 == 2}
	wild := w.rnd.IntN(4)
	w.rates = rates{log: 40 * wild, heads: 60 * wild, blobs: 12 * wild, disk: 8 * wild, stale: 50 * wild, crash: 60 * wild}
	w.rates.delay = []int{0, 20, 200}[w.rnd.IntN(3)]
	w.log.w, w.heads.w, w.blobs.w = w, w, w
	w.ledger.open(w)
	w.reader = pane.NewStore(&w.blobs.calm, pane.StoreOptions{CacheBytes: -1}) // a cache would hide what was swept
	w.blobs.calm.b = &w.blobs
	for i := range 2 {
		w.stations = append(w.stations, newStation(w, i))
		w.bridges = append(w.bridges, newBridge(w, i))
	}
	return w
}

// retention is how long the owners of the world keep what they have.
func (w *world) retention() aggregate.Retention {
	if !w.brief {
		return aggregate.Retention{}
	}
	return aggregate.Retention{Raw: 24 * time.Hour, Panes: 48 * time.Hour}
}

// happen lets the event happen that a roll of the dice names; false if it cannot at present.
func (w *world) happen(roll int) bool {
	for i := range kinds {
		if roll -= kinds[i].weight; roll < 0 {
			return kinds[i].do(w)
		}
	}
	panic("the dice fell off the table")
}

// note writes what happens into the trace.
func (w *world) note(format string, args ...any) {
	if w.out != nil {
		fmt.Fprintf(w.out, "%4d %s %s\n", w.event, w.now, fmt.Sprintf(format, args...))
	}
}

// logger is for the log lines of a process, which go into the trace.
func (w *world) logger(process string) *slog.Logger {
	if w.out == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w.out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).With("process", process)
}

// fail ends the world for a broken promise.
func (w *world) fail(format string, args ...any) {
	v := &violation{fmt.Sprintf(format, args...)}
	w.note("VIOLATION: %s", v.text)
	panic(v)
}

// chance is true so many times in a thousand, and never in a calm world.
func (w *world) chance(perMille int) bool {
	return !w.calm && perMille > 0 && w.rnd.IntN(1000) < perMille
}

// name returns what has not been a name before.
func (w *world) name() string {
	w.names++
	return fmt.Sprintf("n%d", w.names)
}

// comesLate keeps a message for later. The network holds no more than a few.
func (w *world) comesLate(deliver func()) {
	w.stats.Late++
	if w.late = append(w.late, deliver); len(w.late) > 8 {
		w.deliverLate(0)
	}
}

func (w *world) deliverLate(i int) {
	deliver := w.late[i]
	w.late = append(w.late[:i:i], w.late[i+1:]...)
	deliver()
}

func pick[T any](w *world, list []T) T { return list[w.rnd.IntN(len(list))] }
