package protocol_test

import (
	"os"
	"strings"
	"testing"
)

// TestEveryMistakeIsFound searches models that differ from what runs in one decision
// each, and prints one of the shortest ways to the promise that each breaks. Without
// its mistake the same search finds nothing.
func TestEveryMistakeIsFound(t *testing.T) {
	f := func(name string, b broken, in bounds, want string) {
		t.Run(name, func(t *testing.T) {
			r := run(&model{bounds: in, broken: b}, 0)
			t.Logf("%s after %s\n\t%s", r.violation, r, strings.Join(r.trace, "\n\t"))
			if !strings.Contains(r.violation, want) {
				t.Errorf("violation %q, want %q", r.violation, want)
			}
			if sound := run(&model{bounds: in}, 2*r.states); sound.violation != "" {
				t.Errorf("without the mistake: %s\n\t%s", sound.violation, strings.Join(sound.trace, "\n\t"))
			}
		})
	}
	f("a commit is put, whatever the revision", broken{blindPut: true},
		bounds{frames: 2, epochs: 2, perEpoch: 2, ids: 3}, "two heads were stored from one revision")
	f("what comes of that", broken{blindPut: true, lookAway: true},
		bounds{frames: 2, epochs: 2, perEpoch: 2, ids: 3}, "both owners hold epoch 2")
	f("a put counts as stored if the head has its epoch", broken{readBackByEpoch: true},
		bounds{frames: 1, epochs: 2, perEpoch: 1, ids: 2}, "both owners hold epoch 1")
	f("a head is created although the store holds files", broken{createAlways: true},
		bounds{frames: 1, epochs: 2, perEpoch: 1, ids: 2, losses: 1}, "a head began anew")
	f("a consumer is made anew without verification", broken{unverifiedConsumer: true},
		bounds{frames: 2, epochs: 1, perEpoch: 1, ids: 2, cuts: 1}, "an owner read on in a log")
	f("the log is purged without verification", broken{unverifiedPurge: true},
		bounds{frames: 2, epochs: 1, perEpoch: 1, ids: 2, cuts: 1, purges: true}, "a frame was purged")
	f("the log is purged over last_ref", broken{purgeToNext: true},
		bounds{frames: 2, epochs: 1, perEpoch: 2, ids: 3, purges: true}, "a frame was purged")
	f("the log is purged to where its owner has read", broken{purgeRead: true},
		bounds{frames: 2, epochs: 1, perEpoch: 2, ids: 3, purges: true}, "a frame was purged")
	f("an owner answers before it has read to the goal", broken{answerEarly: true},
		bounds{frames: 1, epochs: 2, perEpoch: 1, ids: 2, queries: 1}, "without a row that was acknowledged")
	f("an owner looks at the goal's sequence alone", broken{goalBySequence: true},
		bounds{frames: 1, epochs: 1, perEpoch: 1, ids: 2, queries: 1, cuts: 1}, "without a row that was acknowledged")
	f("a compaction puts the manifest back that it began with", broken{putManifestBack: true},
		bounds{frames: 2, epochs: 1, perEpoch: 3, ids: 3, merges: true}, "the head has next_seq 3, its manifest the rows {1}")
	f("a compaction is applied whatever is listed of its inputs", broken{inputsUnchecked: true, otherEpochs: true},
		bounds{frames: 1, epochs: 3, perEpoch: 2, ids: 5, merges: true, steady: true}, "a row stands in two segments")
	f("any file that the manifest does not name is swept", broken{sweepUnreferenced: true},
		bounds{frames: 1, epochs: 2, perEpoch: 1, ids: 2, sweeps: true}, "a file that is not there")
	f("files of the owner's own epoch are swept by age", broken{sweepOwn: true},
		bounds{frames: 1, epochs: 2, perEpoch: 1, ids: 2, sweeps: true}, "a file that is not there")
	f("files are swept without a lease", broken{sweepUnaged: true},
		bounds{frames: 1, epochs: 1, perEpoch: 2, ids: 3, merges: true, sweeps: true, queries: 1}, "beneath a query")

	if os.Getenv("GRIDLOOM_MODEL") != "large" {
		return
	}
	f("a compaction of an older epoch is applied", broken{otherEpochs: true},
		bounds{frames: 1, epochs: 3, perEpoch: 2, ids: 5, merges: true, sweeps: true, steady: true}, "a file that is not there")
	f("a query does not read the head again", broken{standsAlways: true},
		bounds{frames: 1, epochs: 2, perEpoch: 2, ids: 3, merges: true, sweeps: true, queries: 1, steady: true}, "beneath a query")
}
