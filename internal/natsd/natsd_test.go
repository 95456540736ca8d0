package natsd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

const testStream = "TEST"

func open(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func closed(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func jetStream(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// store makes a store whose one stream holds n frames and returns the stream's
// directory and creation time.
func store(t *testing.T, dir string, n int) (string, time.Time) {
	t.Helper()
	s := open(t, dir)
	js := jetStream(t, s)
	st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := js.Publish(t.Context(), "test", fmt.Appendf(nil, "frame %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, s)
	return filepath.Join(dir, "jetstream", "$G", "streams", testStream), st.CachedInfo().Created
}

func frames(t *testing.T, dir string) (count uint64, created time.Time, err error) {
	t.Helper()
	s := open(t, dir)
	defer closed(t, s)
	st, err := jetStream(t, s).Stream(t.Context(), testStream)
	if err != nil {
		return 0, time.Time{}, err
	}
	return st.CachedInfo().State.Msgs, st.CachedInfo().Created, nil
}

func TestStreamWithoutChecksumComesBackWithItsFrames(t *testing.T) {
	dir := t.TempDir()
	stream, created := store(t, dir, 10)
	if err := os.Remove(filepath.Join(stream, "meta.sum")); err != nil {
		t.Fatal(err)
	}
	for boot := range 2 {
		n, c, err := frames(t, dir)
		if err != nil || n != 10 || !c.Equal(created) {
			t.Fatalf("boot %d: %d frames of a stream created %v, %v; want 10 and %v", boot+1, n, c, err, created)
		}
	}
}

func TestStreamWhoseUpdateWasCutOffComesBack(t *testing.T) {
	dir := t.TempDir()
	stream, created := store(t, dir, 10)
	sum := filepath.Join(stream, "meta.sum")
	old, err := os.ReadFile(sum)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	js := jetStream(t, s)
	if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"test"}, Metadata: map[string]string{"ready": "1"}}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	// As a crash leaves it: meta.inf of the update, meta.sum from before.
	if err := os.WriteFile(sum, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(sum, created, created); err != nil {
		t.Fatal(err)
	}
	n, c, err := frames(t, dir)
	if err != nil || n != 10 || !c.Equal(created) {
		t.Errorf("%d frames of a stream created %v, %v; want 10 and %v", n, c, err, created)
	}
}

func TestDamagedSettingsWithFramesAreNamedAndLeftAlone(t *testing.T) {
	f := func(name string, damage func(t *testing.T, stream string)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			stream, _ := store(t, dir, 3)
			damage(t, stream)
			before := listing(t, stream)
			_, err := Open(Config{Dir: dir})
			if !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), stream) {
				t.Errorf("Open = %v, want ErrCorrupt that names %s", err, stream)
			}
			if after := listing(t, stream); after != before {
				t.Errorf("the stream's files changed:\n%s\nwere\n%s", after, before)
			}
		})
	}
	write := func(t *testing.T, path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f("torn", func(t *testing.T, s string) { write(t, filepath.Join(s, "meta.inf"), `{"name":"TE`) })
	f("empty", func(t *testing.T, s string) { write(t, filepath.Join(s, "meta.inf"), "") })
	f("missing", func(t *testing.T, s string) {
		if err := os.Remove(filepath.Join(s, "meta.inf")); err != nil {
			t.Fatal(err)
		}
	})
	f("of another stream", func(t *testing.T, s string) { write(t, filepath.Join(s, "meta.inf"), `{"name":"OTHER"}`) })
	f("bit rot", func(t *testing.T, s string) {
		inf := filepath.Join(s, "meta.inf")
		b, err := os.ReadFile(inf)
		if err != nil {
			t.Fatal(err)
		}
		write(t, inf, strings.Replace(string(b), `"max_bytes":-1`, `"max_bytes":91`, 1))
		long := time.Now().Add(-time.Hour)
		if err := os.Chtimes(inf, long, long); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStreamThatNeverHeldAFrameIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	stream, _ := store(t, dir, 0)
	if err := os.WriteFile(filepath.Join(stream, "meta.inf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(stream, "meta.sum")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := frames(t, dir); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("a stream without settings: %v, want not found", err)
	}
	store(t, dir, 5)
	if n, _, err := frames(t, dir); n != 5 || err != nil {
		t.Errorf("%d frames, %v; want 5", n, err)
	}
}

func TestSecondServerOnAStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("Open = %v, want ErrUnavailable that says who has it", err)
	}
	closed(t, s)
	closed(t, open(t, dir))
}

func TestUnwritableDirectoryIsOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: filepath.Join(file, "below")})
	if !errors.Is(err, gridloom.ErrUnavailable) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open = %v, want one line of ErrUnavailable", err)
	}
}

func TestServerSyncsAlwaysAndListensNowhere(t *testing.T) {
	s := open(t, t.TempDir())
	defer closed(t, s)
	if c := s.srv.JetStreamConfig(); c == nil || !c.SyncAlways {
		t.Errorf("JetStream config = %+v, want SyncAlways", c)
	}
	if a := s.srv.Addr(); a != nil {
		t.Errorf("the server listens on %v", a)
	}
}

func TestCloseWithBusyConnectionsEndsInTime(t *testing.T) {
	s := open(t, t.TempDir())
	js := jetStream(t, s)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{"test"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			try, end := context.WithTimeout(ctx, 100*time.Millisecond)
			_, _ = js.Publish(try, "test", make([]byte, 1<<10)) // fails once the server is closed
			end()
		}
	}()
	began := time.Now()
	closed(t, s)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	cancel()
	<-done
}

// listing is the name, size and content hash of what matters in a stream's directory.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, pattern := range []string{"meta.*", "msgs/*.blk"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			c, err := os.ReadFile(n)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %d %x\n", filepath.Base(n), len(c), c)
		}
	}
	return b.String()
}
