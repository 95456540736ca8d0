package aggregate

import (
	"testing"
	"time"

	"github.com/gridloom/gridloom"
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
