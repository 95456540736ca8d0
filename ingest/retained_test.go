package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
)

func TestRetainedIsBounded(t *testing.T) {
	r, err := openRetained("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	big := []byte(strings.Repeat("x", maxStateBytes))
	n := 0
	for ; r.fits(fmt.Sprint("t", n), len(big)); n++ {
		r.set(retainedMessage{Topic: fmt.Sprint("t", n), Payload: big})
	}
	if r.bytes > maxRetainedBytes || r.bytes < maxRetainedBytes-2*maxStateBytes {
		t.Errorf("full at %d bytes, want nearly %d", r.bytes, maxRetainedBytes)
	}
	if !r.fits("t0", len(big)) || !r.fits("new", 0) {
		t.Error("a retained message may be replaced and taken back when the store is full")
	}
	r.set(retainedMessage{Topic: "t0"})
	if !r.fits("new", len(big)-10) {
		t.Error("there is no room after one was taken back")
	}
}

func TestRetainedFileThatIsDamaged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "retained.json")
	f := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openRetained(file, nil); !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), file) {
			t.Errorf("openRetained(%q) = %v, want ErrCorrupt that names the file", content, err)
		}
	}
	f("")
	f(`{"format":1,"messages":[`)
	f(`{"format":2,"messages":[]}`)
}

func TestRetainedMessageExpires(t *testing.T) {
	r, _ := openRetained("", nil)
	r.set(retainedMessage{Topic: "old", Payload: []byte("x"), Expires: 1})
	r.set(retainedMessage{Topic: "new", Payload: []byte("x"), Expires: gridloom.MillisOf(time.Now().Add(time.Hour))})
	if all := r.all(); len(all) != 1 || all[0].Topic != "new" {
		t.Errorf("all() = %v, want the one that has not expired", all)
	}
}

// deadlines is a connection that notes its read deadlines.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.set = append(d.set, t); return nil }

// TestReadDeadlineFollowsTheKeepalive: it is never earlier than asked for, at most
// a second later, and seldom set.
func TestReadDeadlineFollowsTheKeepalive(t *testing.T) {
	d := new(deadlines)
	c := newConn(nil, d)
	if err := c.awaitConnect(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for range 1000 {
		now = now.Add(10 * time.Millisecond)
		want := now.Add(90 * time.Second)
		if err := c.SetDeadline(want); err != nil {
			t.Fatal(err)
		}
		if late := d.set[len(d.set)-1].Sub(want); late < 0 || late > time.Second {
			t.Fatalf("the deadline is %v later than asked for, want 0 to 1 s", late)
		}
	}
	if n := len(d.set); n > 15 {
		t.Errorf("it was set %d times in 10 s, want about one a second", n)
	}
	if err := c.SetDeadline(time.Time{}); err != nil || !d.set[len(d.set)-1].IsZero() {
		t.Error("a keepalive of 0 leaves a deadline")
	}
}
