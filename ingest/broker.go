package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/gridloom/gridloom"
)

// BrokerConfig configures the embedded MQTT broker. At least one of Listen and
// TLSListen is required; every other zero value means the default that stands with it.
type BrokerConfig struct {
	Listen    string // TCP address, such as 127.0.0.1:1883; "" for none
	TLSListen string // TLS address, such as :8883; "" for none

	CertFile, KeyFile string // PEM, for TLSListen
	ClientCAFile      string // PEM: clients must show a certificate of one of these; its common name is the agent. "" asks for none

	Users map[string]string // password by username; none: anyone may connect. A username may publish only under the agent of that name

	MaxConnections int           // 10,000
	MaxPacketBytes int           // of one MQTT packet; 1 MiB
	MaxInFlight    int           // messages of one connection that are taken and not answered, 1 to 65,535; 1024
	WriteTimeout   time.Duration // in which a device must take what is written to it; 10 s

	RetainedFile string       // where retained messages are kept over a restart; "" forgets them
	Logger       *slog.Logger // nil: no log lines

	more net.Listener // of tests
}

// Validate fills in defaults, or fails with ErrInvalid and the name of the field.
func (c *BrokerConfig) Validate() error {
	if c.Listen == "" && c.TLSListen == "" {
		return fmt.Errorf("%w: ingest: neither Listen nor TLSListen is set", gridloom.ErrInvalid)
	}
	if c.TLSListen != "" && (c.CertFile == "" || c.KeyFile == "") {
		return fmt.Errorf("%w: ingest: TLSListen needs CertFile and KeyFile", gridloom.ErrInvalid)
	}
	orDefault(&c.MaxConnections, 10_000)
	orDefault(&c.MaxPacketBytes, 1<<20)
	orDefault(&c.MaxInFlight, 1024)
	orDefault(&c.WriteTimeout, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.MaxConnections < 1:
		return fmt.Errorf("%w: ingest: MaxConnections is %d, want at least 1", gridloom.ErrInvalid, c.MaxConnections)
	case c.MaxPacketBytes < 128 || c.MaxPacketBytes > 256<<20:
		return fmt.Errorf("%w: ingest: MaxPacketBytes is %d, want 128 to 256 MiB", gridloom.ErrInvalid, c.MaxPacketBytes)
	case c.MaxInFlight < 1 || c.MaxInFlight > 65_535:
		return fmt.Errorf("%w: ingest: MaxInFlight is %d, want 1 to 65535", gridloom.ErrInvalid, c.MaxInFlight)
	case c.WriteTimeout < 0:
		return fmt.Errorf("%w: ingest: WriteTimeout is negative", gridloom.ErrInvalid)
	}
	return nil
}

// brokerBufferBytes is mochi's buffer per connection: what readings leave for it is little.
const brokerBufferBytes = 512

// readBufferBytes is the buffer of a connection's intake. At 200 bytes a message,
// 4 KiB makes one read of twenty; ten thousand connections take 40 MiB.
const readBufferBytes = 4 << 10

// pendingWrites bounds what waits to be written to a subscriber, in packets. mochi
// makes room for so many per connection at once: 8192, its default, costs 71 KiB.
const pendingWrites = 32

// sessionExpirySeconds is how long the session of a client that has gone is kept.
const sessionExpirySeconds = 24 * 60 * 60

// stopWriteTimeout replaces WriteTimeout while Run ends.
const stopWriteTimeout = 500 * time.Millisecond

// Broker is the embedded MQTT broker (3.1, 3.1.1 and 5) in front of a Bridge.
// Messages on gridloom/v1/<site>/<agent>/readings go into the bridge and are
// answered when they are stored; state messages and wills are retained and handed
// to subscribers as any broker does.
type Broker struct {
	cfg      BrokerConfig
	bridge   *Bridge
	server   *mqtt.Server
	retained *retained
	plain    *listener // nil if not configured
	secure   *listener
	more     *listener // of tests

	conns sync.WaitGroup // goroutines of connections
	sends sync.WaitGroup // goroutines that send answers

	stopping atomic.Bool

	mu          sync.Mutex
	open        map[*conn]struct{}
	established int
}

// Open listens on the configured addresses and reads the retained messages.
// Connections are served by Run. A taken port is ErrUnavailable.
func Open(cfg BrokerConfig, bridge *Bridge) (_ *Broker, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg, bridge: bridge, open: make(map[*conn]struct{})}
	if b.retained, err = openRetained(cfg.RetainedFile, cfg.Logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.closeListeners())
		}
	}()
	if cfg.Listen != "" {
		if b.plain, err = b.listen("tcp", cfg.Listen, nil); err != nil {
			return nil, err
		}
	}
	if cfg.TLSListen != "" {
		settings, err := serverTLS(cfg)
		if err != nil {
			return nil, err
		}
		if b.secure, err = b.listen("tls", cfg.TLSListen, settings); err != nil {
			return nil, err
		}
	}
	if cfg.more != nil {
		b.more = newListener(b, "more", cfg.more)
	}
	return b, nil
}

// listen opens one listener.
func (b *Broker) listen(id, address string, settings *tls.Config) (*listener, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address) // a literal address or a local name: nothing to wait for
	if err != nil {
		return nil, fmt.Errorf("%w: MQTT: %w", gridloom.ErrUnavailable, err)
	}
	if settings != nil {
		l = tls.NewListener(l, settings)
	}
	return newListener(b, id, l), nil
}

// serverTLS reads the files that cfg names.
func serverTLS(cfg BrokerConfig) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: MQTT certificate: %w", gridloom.ErrInvalid, err)
	}
	t := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if cfg.ClientCAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(cfg.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: MQTT client CA: %w", gridloom.ErrInvalid, err)
	}
	t.ClientCAs, t.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: MQTT client CA %s: no certificate in it", gridloom.ErrInvalid, cfg.ClientCAFile)
	}
	return t, nil
}

// Addr returns the address of the TCP listener, nil if there is none.
func (b *Broker) Addr() net.Addr { return address(b.plain) }

// TLSAddr returns the address of the TLS listener, nil if there is none.
func (b *Broker) TLSAddr() net.Addr { return address(b.secure) }

func address(l *listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// Close closes the listeners of a broker whose Run is not called. It returns nil.
func (b *Broker) Close() error { return b.closeListeners() }

// Run serves connections and runs the bridge until ctx ends; then it accepts
// nothing more, stores and answers what was taken (within the bridge's
// FinishTimeout) and closes the connections. It is called once.
func (b *Broker) Run(ctx context.Context) error {
	b.server = mqtt.New(b.options())
	if err := b.server.AddHook(&hook{broker: b}, nil); err != nil {
		return errors.Join(fmt.Errorf("start the broker: %w", err), b.closeListeners())
	}
	for _, l := range b.listeners() {
		if err := b.server.AddListener(l); err != nil {
			return errors.Join(fmt.Errorf("start the broker: %w", err), b.closeListeners())
		}
	}
	saving, stopSaving := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSaving()
	var saver sync.WaitGroup
	saver.Go(func() { b.retained.run(saving) })

	if err := b.server.Serve(); err != nil {
		stopSaving()
		saver.Wait()
		return errors.Join(fmt.Errorf("start the broker: %w", err), b.closeListeners())
	}
	err := b.bridge.Run(ctx) // returns when what was taken is stored, or the time for that is over

	err = errors.Join(err, b.closeListeners())
	for _, l := range b.listeners() {
		<-l.ended
	}
	b.hangUp()
	b.conns.Wait() // the will of each is published and retained now
	b.sends.Wait()
	err = errors.Join(err, b.server.Close())
	stopSaving()
	saver.Wait()
	return err
}

// options are mochi's settings; see the package's documentation of limits.
func (b *Broker) options() *mqtt.Options {
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumPacketSize = uint32(b.cfg.MaxPacketBytes)
	caps.ReceiveMaximum = uint16(b.cfg.MaxInFlight)
	caps.MaximumInflight = 1024
	caps.MaximumClientWritesPending = pendingWrites
	caps.MaximumSessionExpiryInterval = sessionExpirySeconds
	caps.MaximumMessageExpiryInterval = 0 // the default forgets retained messages after a day
	caps.TopicAliasMaximum = 0            // mochi asks OnACLCheck before it resolves one
	return &mqtt.Options{
		Capabilities:            caps,
		ClientNetReadBufferSize: brokerBufferBytes,
		Logger:                  slog.New(slog.DiscardHandler), // what matters is logged by hook and conn
		SysTopicResendInterval:  24 * 60 * 60,                  // it stops the world for its figures; ours are metrics
	}
}

func (b *Broker) listeners() (all []*listener) {
	for _, l := range []*listener{b.plain, b.secure, b.more} {
		if l != nil {
			all = append(all, l)
		}
	}
	return all
}

func (b *Broker) closeListeners() error {
	for _, l := range b.listeners() {
		l.Close(nil)
	}
	return nil
}

// hangUp closes every connection after the answers that are on their way.
func (b *Broker) hangUp() {
	b.stopping.Store(true)
	b.mu.Lock()
	all := make([]*conn, 0, len(b.open))
	for c := range b.open {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		// A write that a device does not take may have begun with the long timeout.
		_ = c.SetWriteDeadline(time.Now().Add(stopWriteTimeout))
		c.shutDown(codeShuttingDown)
	}
}

func (b *Broker) writeTimeout() time.Duration {
	if b.stopping.Load() {
		return min(stopWriteTimeout, b.cfg.WriteTimeout)
	}
	return b.cfg.WriteTimeout
}

// remember notes a new connection; false if there are too many sockets.
func (b *Broker) remember(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) >= b.cfg.MaxConnections+spareSockets {
		return false
	}
	b.open[c] = struct{}{}
	b.bridge.metrics.connections.Set(float64(len(b.open)))
	return true
}

// forget removes a closed connection.
func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.open[c]; !ok {
		return
	}
	delete(b.open, c)
	if c.established {
		b.established--
	}
	b.bridge.metrics.connections.Set(float64(len(b.open)))
}

// establish counts c against MaxConnections. A client that comes back while its
// old connection still seems open takes the place of that.
func (b *Broker) establish(c *conn) refusal {
	old, known := b.server.Clients.Get(c.client.ID)
	returns := known && !old.Closed()
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, open := b.open[c]; !open || b.stopping.Load() {
		return refusedClosing
	}
	if b.established >= b.cfg.MaxConnections && !returns {
		return refusedFull
	}
	c.established = true
	b.established++
	return ""
}

// refused counts a connection that was not established.
func (b *Broker) refused(r refusal) { b.bridge.metrics.refused.WithLabelValues(string(r)).Inc() }
