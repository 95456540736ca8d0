package stream_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/stream"
	"github.com/gridloom/gridloom/stream/streamtest"
)

func TestTheFirstDecidesTheLayoutAndAllOthersTakeIt(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(3))
	for name, want := range map[string]map[string]string{
		stream.LogName:           {"generation": "1", "partitions": "3", "ready": "1"},
		"KV_" + stream.HeadsName: {"generation": "1", "partitions": "3", "ready": "1"},
		stream.RejectsName:       {"ready": "1"},
	} {
		st, err := operator(t, srv).Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if got := st.CachedInfo().Config.Metadata[k]; got != v {
				t.Errorf("%s: metadata %s = %q, want %q", name, k, got, v)
			}
		}
	}
	other, err := stream.Connect(testContext(t), stream.Config{InProcess: srv.NATS, Partitions: 7, MaxBytes: 128 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, want := other.Layout(), srv.Stream.Layout(); got != want {
		t.Errorf("layout of the second = %+v, want %+v", got, want)
	}
	if u, err := other.Usage(testContext(t)); err != nil || u.MaxBytes != 128<<20 {
		t.Errorf("MaxBytes = %d, %v; want raised to 128 MiB", u.MaxBytes, err)
	}
}

func TestThoseWhoStartAtOnceAgree(t *testing.T) {
	srv := streamtest.Start(t)
	srv.Stop()
	srv.Dir = t.TempDir()
	srv.StartServer()
	layouts := make([]stream.Layout, 6)
	var wg sync.WaitGroup
	for i := range layouts {
		wg.Go(func() {
			s, err := stream.Connect(testContext(t), stream.Config{InProcess: srv.NATS, Partitions: i + 1, MaxBytes: 1 << 20})
			if err != nil {
				t.Errorf("Connect %d: %v", i, err)
				return
			}
			layouts[i] = s.Layout()
			s.Close()
		})
	}
	wg.Wait()
	for i, l := range layouts {
		if l != layouts[0] || l.Partitions == 0 {
			t.Errorf("layout %d = %+v, want %+v", i, l, layouts[0])
		}
	}
}

// TestLogWithoutReadyIsFinished stands for a creator that died between create and update.
func TestLogWithoutReadyIsFinished(t *testing.T) {
	srv := streamtest.Start(t)
	srv.Stop()
	srv.Dir = t.TempDir()
	srv.StartServer()
	cfg := logOf(jetstream.StreamConfig{Metadata: map[string]string{"generation": "5", "partitions": "2"}})
	if _, err := operator(t, srv).CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	s, err := stream.Connect(testContext(t), stream.Config{InProcess: srv.NATS})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if l := s.Layout(); l.Generation != 5 || l.Partitions != 2 {
		t.Errorf("layout = %+v, want generation 5 with 2 partitions", l)
	}
	if seq := mustAppend(t, s, 1, "frame"); seq != 1 {
		t.Errorf("sequence %d, want 1", seq)
	}
}

// logOf completes c to a log's settings.
func logOf(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Name, c.Subjects, c.MaxBytes = stream.LogName, []string{"gridloom.log.>"}, 1<<20
	if c.Discard == jetstream.DiscardOld && c.Description == "" {
		c.Discard = jetstream.DiscardNew
	}
	return c
}

func TestStreamsThatWouldLoseFramesAreRefused(t *testing.T) {
	layout := map[string]string{"generation": "1", "partitions": "2"}
	f := func(word string, cfg jetstream.StreamConfig) {
		t.Helper()
		srv := streamtest.Start(t)
		srv.Stop()
		srv.Dir = t.TempDir()
		srv.StartServer()
		if _, err := operator(t, srv).CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		_, err := stream.Connect(testContext(t), stream.Config{InProcess: srv.NATS})
		if !errors.Is(err, gridloom.ErrInvalid) || !strings.Contains(err.Error(), word) {
			t.Errorf("Connect = %v, want ErrInvalid that says %q", err, word)
		}
	}
	f("discard must be new", logOf(jetstream.StreamConfig{Description: "old goes", Metadata: layout}))
	f("retention must be limits", logOf(jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy, Metadata: layout}))
	f("max age", logOf(jetstream.StreamConfig{MaxAge: 1 << 40, Metadata: layout}))
	f("storage must be file", logOf(jetstream.StreamConfig{Storage: jetstream.MemoryStorage, Metadata: layout}))
	f("no gridloom layout", logOf(jetstream.StreamConfig{}))
	f("no gridloom layout", logOf(jetstream.StreamConfig{Metadata: map[string]string{"generation": "0", "partitions": "2"}}))
}

func TestHeadsOfAnotherLayoutAreRefused(t *testing.T) {
	srv := streamtest.Start(t, streamtest.Partitions(2))
	js := operator(t, srv)
	if err := js.DeleteStream(t.Context(), stream.LogName); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Connect(testContext(t), stream.Config{InProcess: srv.NATS, Partitions: 3, MaxBytes: 1 << 20})
	if !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("Connect with heads of 2 and a log of 3 partitions = %v, want ErrCorrupt", err)
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	f := func(word string, c stream.Config) {
		t.Helper()
		if _, err := stream.Connect(t.Context(), c); !errors.Is(err, gridloom.ErrInvalid) || !strings.Contains(err.Error(), word) {
			t.Errorf("Connect = %v, want ErrInvalid that says %q", err, word)
		}
	}
	f("Conn, InProcess and URL", stream.Config{})
	f("Conn, InProcess and URL", stream.Config{Conn: new(nats.Conn), URL: "nats://127.0.0.1"})
	f("Partitions", stream.Config{URL: "nats://127.0.0.1", Partitions: -1})
	f("free space", stream.Config{URL: "nats://127.0.0.1", Disk: stream.Disk{Dir: "/no/such/directory"}})
}

func TestConnectGivesUpWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "nats://" + l.Addr().String()
	if err := l.Close(); err != nil { // nobody answers there now
		t.Fatal(err)
	}
	ctx, cancel := contextFor(t, shortWatch)
	defer cancel()
	if _, err := stream.Connect(ctx, stream.Config{URL: url}); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), url) {
		t.Errorf("Connect = %v, want ErrUnavailable that names %s", err, url)
	}
}

func TestClaimToFsyncIsCheckedWithTheMonitor(t *testing.T) {
	f := func(body string, want error) {
		t.Helper()
		mon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jsz" {
				_, _ = io.WriteString(w, body)
			}
		}))
		defer mon.Close()
		srv := streamtest.Start(t)
		s, err := stream.Connect(testContext(t), stream.Config{InProcess: srv.NATS, FsyncAlways: true, MonitorURL: mon.URL + "/"})
		if err == nil {
			s.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("a monitor that answers %q: %v, want %v", body, err, want)
		}
	}
	f(`{"config":{"sync_always":true}}`, nil)
	f(`{"config":{"sync_interval":120000000000}}`, gridloom.ErrInvalid)
	f(`not JSON`, gridloom.ErrUnavailable)
}
