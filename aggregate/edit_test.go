package aggregate

import (
	"context"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/pane"
)

// TestACommitCarriesAnEdit: an edit that comes while nothing else is to be committed
// starts a commit of its own, is in the manifest that the head names, and what it
// dropped is listed beside the manifest before.
func TestACommitCarriesAnEdit(t *testing.T) {
	r := newRig(t, testStart)
	r.start(func(c *Config) { c.CommitEvery, c.SnapshotEvery = 10*time.Millisecond, time.Hour })
	r.append(oneReading(t, testStart, 1000))
	p := r.worker.owned(0)
	await(t, "a first commit", func() bool {
		c := p.shown.Load()
		return c != nil && c.head.NextSeq == 2
	})
	before := p.shown.Load()
	done := make(chan struct{})
	p.edits <- &edit{
		amend: func(_ context.Context, m *pane.Manifest) ([]string, error) {
			m.RawFrom = testStart - gridloom.Day
			return []string{"an/input"}, nil
		},
		done: func() { close(done) },
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("no commit has carried the edit")
	}
	h, _, err := r.heads.LoadHead(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := pane.NewStore(r.disk, pane.StoreOptions{}).ReadManifest(t.Context(), h.Manifest)
	if err != nil || m.RawFrom != testStart-gridloom.Day || len(m.Recent) != len(before.manifest.Recent) {
		t.Fatalf("manifest %+v, %v", m, err)
	}
	list := p.takeDropped()
	p.giveDropped(list)
	if n := len(list); n < 2 || list[n-1].path != "an/input" || list[n-2].path != before.head.Manifest.Path {
		t.Fatalf("dropped %+v, want the manifest %s and the input last", list, before.head.Manifest.Path)
	}
	r.check("after an edit")
	r.stop()
}
