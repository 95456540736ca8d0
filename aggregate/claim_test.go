package aggregate

import (
	"errors"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// TestEveryClaimRaisesTheEpoch: a query tells an owner that was replaced by it.
func TestEveryClaimRaisesTheEpoch(t *testing.T) {
	r := newRig(t, testStart)
	for want := uint64(1); want <= 3; want++ {
		r.start(nil)
		await(t, "the partition runs", func() bool { return r.state().State == "running" })
		h, _, err := r.heads.LoadHead(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if h.Epoch != want || r.state().Epoch != want {
			t.Errorf("claim %d: epoch %d in the head, %d in the status", want, h.Epoch, r.state().Epoch)
		}
		r.stop()
	}
}

// TestSeriesTellOfReadingsThatWaitForARefold: a late reading makes its series wait,
// and what comes after it is still the newest.
func TestSeriesTellOfReadingsThatWaitForARefold(t *testing.T) {
	r := newRig(t, testStart+gridloom.Hour)
	r.start(func(c *Config) { c.CommitEvery = time.Hour })
	r.append(ranked(t, testStart, 1000, 1))
	r.append(ranked(t, testStart-gridloom.Hour, 500, 2))
	r.append(ranked(t, testStart+gridloom.Minute, 1500, 3))
	list, err := r.worker.Series(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].LastAt != testStart+gridloom.Minute || list[0].LastValue != 1500 {
		t.Errorf("series %+v, want 1500 at %s", list, testStart+gridloom.Minute)
	}
	r.stop()
}

// TestAQuestionFindsALogThatWasRolledBack: the owner's reader has not noticed yet that the
// log was cut and has grown again, but an answer would lack what was acknowledged since.
func TestAQuestionFindsALogThatWasRolledBack(t *testing.T) {
	for _, grown := range []int{1, 2} { // frames that the log has got since: ends before, or at what was read
		r := newRig(t, testStart)
		r.start(func(c *Config) { c.CommitEvery = time.Hour })
		r.append(ranked(t, testStart, 1000, 1))
		r.append(ranked(t, testStart+gridloom.Minute, 1500, 2))
		if tl, err := r.worker.Tail(t.Context(), 0, pane.Selector{}); err != nil || len(tl.Readings) != 2 {
			t.Fatalf("Tail = %+v, %v, want two readings", tl, err)
		}
		r.log.mu.Lock()
		r.log.frames, r.log.part = r.log.frames[:0], r.log.part[:0]
		r.log.mu.Unlock()
		for i := range grown {
			if _, err := r.log.Append(t.Context(), 0, ranked(t, testStart+gridloom.Hour, 2000, uint32(3+i))); err != nil {
				t.Fatal(err)
			}
		}
		tl, err := r.worker.Tail(t.Context(), 0, pane.Selector{})
		if !errors.Is(err, gridloom.ErrUnavailable) || r.state().State != "stopped" {
			t.Errorf("%d frames after a rollback: Tail = %+v, %v, the partition is %s; want it stopped", grown, tl, err, r.state().State)
		}
		if err := r.worker.LogProblem(0); !errors.Is(err, gridloom.ErrCorrupt) {
			t.Errorf("LogProblem = %v, want ErrCorrupt: ingest must not go on", err)
		}
		r.stop()
	}
}
