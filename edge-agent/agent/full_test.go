package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

// away is a Dial without a broker until there is one.
type away struct {
	broker atomic.Pointer[brokertest.Broker]
}

func (a *away) dial(context.Context) (net.Conn, error) {
	if b := a.broker.Load(); b != nil {
		return b.Dial()
	}
	return nil, errors.New("away")
}

// TestAFullSpoolHoldsFilesBack: a source that can wait waits, and loses nothing.
func TestAFullSpoolHoldsFilesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net away
		cfg := config(t, "mqtt://127.0.0.1:1")
		cfg.Dial, cfg.SpoolMax, cfg.BatchReadings, cfg.BatchBytes = net.dial, 64<<10, 500, 16<<10
		a := start(t, cfg, sim(t, 50, 400)) // 60,000 readings and more do not fit
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		sleep(time.Minute)
		if st := a.Stats(); st.Ended || st.SpoolBytes > cfg.SpoolMax || st.SpoolBytes < cfg.SpoolMax/2 {
			t.Errorf("without a broker: %+v", st)
		}
		b := brokertest.New()
		net.broker.Store(b)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		cancel()
		b.Close()
		sleep(writeTimeout)
		if st := a.Stats(); uint64(len(readings(t, b.Messages()))) != st.Read || st.Refused != 0 || st.Read < 60_000 {
			t.Errorf("%d readings arrived; stats %+v", len(readings(t, b.Messages())), st)
		}
	})
}

// TestWhatALiveSourceSaysToAFullSpool is refused, or takes the place of the oldest;
// either way every reading is accounted for.
func TestWhatALiveSourceSaysToAFullSpool(t *testing.T) {
	for _, drop := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var net away
			cfg := config(t, "mqtt://127.0.0.1:1")
			cfg.Dial, cfg.SpoolMax, cfg.BatchBytes, cfg.DropOldest = net.dial, 64<<10, 16<<10, drop
			in := newFeed()
			a := start(t, cfg, in)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			const n = 2000
			for i := range gridloom.Millis(n) {
				in.give(simFrom + i)
				synctest.Wait()
			}
			b := brokertest.New()
			net.broker.Store(b)
			sleep(time.Minute)
			in.give(simFrom + n)
			close(in.in)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			b.Close()
			sleep(writeTimeout)
			got, st := readings(t, b.Messages()), a.Stats()
			if uint64(len(got))+st.Refused+st.Dropped != n+1 || len(got) < 100 || len(got) > n-100 || drop != (st.Dropped > 0) || drop != (st.Refused == 0) {
				t.Errorf("%d arrived; stats %+v", len(got), st)
			}
			_, first := got[gridloom.Identity{Series: gridloom.Series{Meter: "m"}, Start: simFrom}]
			_, last := got[gridloom.Identity{Series: gridloom.Series{Meter: "m"}, Start: simFrom + n}]
			if first == drop || !last {
				t.Errorf("drop-oldest %v: the first reading arrived: %v, the last: %v", drop, first, last)
			}
		})
	}
}

// TestAFullDiskIsOneLineAndPasses: readings are refused while the disk is full, and
// taken again when it is not.
func TestAFullDiskIsOneLineAndPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faultfs.New()
		var net away
		var log lockedBuffer
		cfg := config(t, "mqtt://127.0.0.1:1")
		cfg.Dir, cfg.FS, cfg.Dial, cfg.Logger = "/spool", f, net.dial, log.logger()
		in := newFeed()
		a := start(t, cfg, in)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		give := func(from, to gridloom.Millis) {
			for i := from; i < to; i++ {
				in.give(simFrom + i)
				synctest.Wait()
			}
		}
		give(0, 5)
		f.Inject(faultfs.FailFrom(1, &faultfs.Partial{Bytes: 7, Err: syscall.ENOSPC}))
		give(5, 15)
		f.Inject(nil)
		give(15, 20)
		b := brokertest.New()
		net.broker.Store(b)
		close(in.in)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		b.Close()
		sleep(writeTimeout)
		if got, st := readings(t, b.Messages()), a.Stats(); len(got) != 10 || st.Refused != 10 || st.Damaged != 0 {
			t.Errorf("%d arrived, want 10; stats %+v", len(got), st)
		}
		if text := log.String(); strings.Count(text, "new ones are refused") != 1 || strings.Count(text, "takes readings again") != 1 || !strings.Contains(text, "no space left") {
			t.Errorf("log:\n%s", text)
		}
	})
}

// TestSyncPolicies counts fsyncs: one a group of readings, or one a time.
func TestSyncPolicies(t *testing.T) {
	f := func(every time.Duration, low, high uint64) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			var net away
			cfg := config(t, "mqtt://127.0.0.1:1")
			cfg.Dial, cfg.Sync, cfg.BatchAge = net.dial, every, 10*time.Millisecond
			in := newFeed()
			a := start(t, cfg, in)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			for i := range gridloom.Millis(100) {
				in.give(simFrom + i)
				sleep(time.Second / 5)
			}
			syncs := a.spool.Stats().Syncs
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if syncs < low || syncs > high {
				t.Errorf("--sync=%s: %d fsyncs for 100 readings in 20 s, want %d to %d", every, syncs, low, high)
			}
		})
	}
	f(0, 100, 100)
	f(time.Second, 19, 21)
	f(10*time.Second, 1, 2)
}

// TestReadingsAreDurableBeforeTheyAreSent takes the power away at the first sight
// of each batch: with --sync=reading the spool has it.
func TestReadingsAreDurableBeforeTheyAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faultfs.New()
		b := brokertest.New()
		cfg := config(t, "mqtt://127.0.0.1:1")
		cfg.Dir, cfg.FS, cfg.Dial = "/spool", f, func(context.Context) (net.Conn, error) { return b.Dial() }
		first := make(chan uint32, 1)
		b.OnPublish = func(c *brokertest.Conn, m brokertest.Message) {
			if seq := seqOf(t, m); seq == 3 {
				f.PowerOff(nil)
				first <- seq
			}
		}
		in := newFeed()
		a := start(t, cfg, in)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		for i := range gridloom.Millis(5) {
			in.give(simFrom + i)
			synctest.Wait()
		}
		<-first
		cancel()
		<-done // its spool is dead: an error or not
		b.Close()
		sleep(writeTimeout)
		f.Restart()
		sp, err := spool.Open(spool.Options{Dir: "/spool", FS: f})
		if err != nil {
			t.Fatal(err)
		}
		r := sp.Reader()
		for want := uint32(1); want <= 3; want++ {
			if rec, err := r.Next(); err != nil || rec.Seq != want {
				t.Errorf("after the power loss batch %d (%v), want %d", rec.Seq, err, want)
			}
		}
		if stored, err := spool.LoadEpoch(f, "/spool"); err != nil || stored != a.Stats().Epoch {
			t.Errorf("epoch %d is stored (%v), %d was sent", stored, err, a.Stats().Epoch)
		}
	})
}

func TestTLSWithCertificatesOfBothSides(t *testing.T) {
	authority, key := certificate(t, "authority", nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	server := signed(t, "broker.test", authority, key)
	client := signed(t, "gw-17", authority, key)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := brokertest.New()
	b.Serve(l)
	t.Cleanup(b.Close)
	cfg := config(t, "mqtts://"+l.Addr().String())
	cfg.TLS = &tls.Config{RootCAs: pool, ServerName: "broker.test", MinVersion: tls.VersionTLS12}
	without := start(t, cfg, sim(t, 1, 1))
	if s, err := without.connect(t.Context()); err == nil { // TLS 1.3 tells a client late
		if _, err := without.publisher.serve(t.Context(), s); err == nil {
			t.Error("connected without a certificate")
		}
		s.close(nil)
	}
	if err := without.spool.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.TLS.Certificates = []tls.Certificate{client}
	a := runToEnd(t, cfg, sim(t, 1, 10))
	if got := len(readings(t, b.Messages())); got != 30 || a.Stats().Connects != 1 {
		t.Errorf("%d readings arrived over %d connections", got, a.Stats().Connects)
	}
	cfg.TLS.ServerName = "another.test"
	other := start(t, cfg, sim(t, 1, 1))
	if _, err := other.connect(t.Context()); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), "another.test") {
		t.Errorf("connect to a server of another name = %v", err)
	}
	if err := other.spool.Close(); err != nil {
		t.Fatal(err)
	}
}

func certificate(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c, key
}

func signed(t *testing.T, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	c, key := certificate(t, name, parent, parentKey)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	f := func(change func(*Config), kind error, want string) {
		t.Helper()
		cfg := config(t, "mqtt://127.0.0.1:1")
		change(&cfg)
		if _, err := New(cfg, newFeed()); !errors.Is(err, kind) || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %v with %q", err, kind, want)
		}
	}
	f(func(c *Config) { c.Agent = "" }, gridloom.ErrInvalid, "agent")
	f(func(c *Config) { c.Agent = "a/b" }, gridloom.ErrInvalid, "a/b")
	f(func(c *Config) { c.Site = "+" }, gridloom.ErrInvalid, "site")
	f(func(c *Config) { c.Connect = "http://x" }, gridloom.ErrInvalid, "mqtt://")
	f(func(c *Config) { c.Dir = "" }, gridloom.ErrInvalid, "directory")
	f(func(c *Config) { c.Window = 2000 }, gridloom.ErrInvalid, "2000")
	f(func(c *Config) { c.BatchReadings = -1 }, gridloom.ErrInvalid, "-1")
	f(func(c *Config) { c.BatchBytes = 1 << 20 }, gridloom.ErrInvalid, "1048576")
	f(func(c *Config) { c.SpoolMax = 1 << 10 }, gridloom.ErrInvalid, "1024")
	f(func(c *Config) { c.BackoffMax = 1 }, gridloom.ErrInvalid, "backoff")
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, "mqtt://127.0.0.1:1")
	cfg.Dir = file
	if _, err := New(cfg, newFeed()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("New with a file as its directory = %v, want an error that names it", err)
	}
}

var _ device.Source = (*feed)(nil)

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	out strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}
