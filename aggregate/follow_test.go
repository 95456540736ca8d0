package aggregate

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/pane"
)

// cutLog is a log whose first reader loses its connection at once.
type cutLog struct {
	*memLog
	followed atomic.Int32
}

func (l *cutLog) Follow(ctx context.Context, partition int, head gridloom.Head) (Reader, error) {
	r, err := l.memLog.Follow(ctx, partition, head)
	if l.followed.Add(1) == 1 && err == nil {
		r.Close()
		return lostReader{}, nil
	}
	return r, err
}

type lostReader struct{}

func (lostReader) Next(context.Context) ([]Frame, error) {
	return nil, fmt.Errorf("%w: the connection is gone", gridloom.ErrUnavailable)
}
func (lostReader) Close() {}

// TestAProblemOfTheLogIsOverWhenItIsFollowedAgain: no frame has to come before the
// partition counts as well, since none may come for hours.
func TestAProblemOfTheLogIsOverWhenItIsFollowedAgain(t *testing.T) {
	disk, err := blob.OpenDir(t.TempDir(), blob.OS{})
	if err != nil {
		t.Fatal(err)
	}
	log := &cutLog{memLog: newMemLog(func() gridloom.Millis { return testStart })}
	cfg := Config{Generation: 1, Partitions: 1, Window: testWindow, Now: func() gridloom.Millis { return testStart }}
	w := New(cfg, log, newMemHeads(), pane.NewStore(disk, pane.StoreOptions{}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }() // ends with cancel
	await(t, "the log is followed again and nothing is in the way", func() bool {
		st := w.owned(0).snapshotStatus()
		return log.followed.Load() == 2 && st.State == "running" && st.Problem == ""
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
