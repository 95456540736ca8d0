package protocol_test

import (
	"os"
	"strings"
	"testing"
)

// TestEveryOrderOfMovesKeepsThePromises searches everything that can happen within some
// bounds (docs/PROTOCOL.md tells the moves, and what they leave out): two owners that
// claim, read, commit, merge, sweep and purge, that crash at any point or are held up
// for any time, whose puts of heads arrive late, often or never; one query; time; a log
// that is rolled back; a head that is lost. In every state check holds it against the
// promises. The transition functions are those that aggregate, stream and query run.
//
// No scope has everything at once, and none has more than 3 frames, 3 epochs, or one
// query, cut and loss: what needs more than that is not found. GRIDLOOM_MODEL=large
// searches the large scopes as well, for some minutes.
func TestEveryOrderOfMovesKeepsThePromises(t *testing.T) {
	f := func(name string, in bounds) {
		t.Run(name, func(t *testing.T) {
			r := run(&model{bounds: in}, 0)
			t.Logf("%s: the head at the end of the log in %d, a query answered in %d, a partition stopped in %d", r, r.finished, r.answered, r.stopped)
			if r.violation != "" {
				t.Fatalf("%s\n\t%s", r.violation, strings.Join(r.trace, "\n\t"))
			}
			r.wantCovered(t, &in)
		})
	}
	f("takeover", bounds{frames: 2, epochs: 2, perEpoch: 2, ids: 3, snapshots: true})
	f("purge", bounds{frames: 2, epochs: 3, perEpoch: 1, ids: 3, purges: true})
	f("query", bounds{frames: 2, epochs: 2, perEpoch: 1, ids: 2, queries: 1, purges: true})
	f("merge", bounds{frames: 2, epochs: 2, perEpoch: 3, ids: 3, merges: true})
	f("merge of an older epoch", bounds{frames: 1, epochs: 3, perEpoch: 2, ids: 5, merges: true, steady: true})
	f("sweep", bounds{frames: 1, epochs: 2, perEpoch: 2, ids: 3, sweeps: true, merges: true, steady: true})
	f("sweep beneath a query", bounds{frames: 1, epochs: 1, perEpoch: 3, ids: 3, sweeps: true, merges: true, queries: 1})
	f("cut log", bounds{frames: 2, epochs: 2, perEpoch: 1, ids: 2, cuts: 1, purges: true})
	f("cut log and a query", bounds{frames: 2, epochs: 1, perEpoch: 1, ids: 2, cuts: 1, purges: true, queries: 1})
	f("lost head", bounds{frames: 1, epochs: 2, perEpoch: 1, ids: 3, losses: 1})
	f("lost head and a query", bounds{frames: 2, epochs: 1, perEpoch: 1, ids: 2, losses: 1, queries: 1, purges: true})

	if os.Getenv("GRIDLOOM_MODEL") != "large" {
		return
	}
	f("takeover, large", bounds{frames: 3, epochs: 3, perEpoch: 2, ids: 3, snapshots: true, purges: true})
	f("query, large", bounds{frames: 2, epochs: 2, perEpoch: 2, ids: 3, queries: 1, purges: true})
	f("merge, large", bounds{frames: 2, epochs: 3, perEpoch: 3, ids: 4, merges: true})
	f("sweep, large", bounds{frames: 1, epochs: 2, perEpoch: 2, ids: 3, sweeps: true, merges: true})
	f("sweep beneath a query, large", bounds{frames: 1, epochs: 2, perEpoch: 2, ids: 3, sweeps: true, merges: true, queries: 1, steady: true})
	f("cut log and a query, large", bounds{frames: 2, epochs: 2, perEpoch: 1, ids: 2, cuts: 1, purges: true, queries: 1})
	f("lost head and a query, large", bounds{frames: 2, epochs: 2, perEpoch: 1, ids: 3, losses: 1, queries: 1, purges: true})
}

// wantCovered makes sure that a search has looked at what its bounds promise.
func (r *search) wantCovered(t *testing.T, in *bounds) {
	t.Helper()
	want := []kind{appends, claims, delivers, readsBack, consumes, reads, freezes, saves}
	add := func(on bool, more ...kind) {
		if on {
			want = append(want, more...)
		}
	}
	add(!in.steady, crashes)
	add(in.merges, compacts)
	add(in.sweeps, willSweep, sweeps, ticks)
	add(in.purges, willPurge, purges)
	add(in.cuts > 0, cuts)
	add(in.losses > 0, losesHead)
	add(in.queries > 0, asks, answers, stands, completes)
	for _, k := range want {
		if r.moves[k] == 0 {
			t.Errorf("no move %q was ever made", kindTexts[k])
		}
	}
	if r.finished == 0 || in.queries > 0 && r.answered == 0 || in.merges && r.rewritten == 0 || in.cuts+in.losses > 0 && r.stopped == 0 {
		t.Errorf("nothing came of it: the log was committed in %d states, a query answered in %d, a partition stopped in %d, merges applied %d",
			r.finished, r.answered, r.stopped, r.rewritten)
	}
}
