package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/spool"
)

const (
	connectTimeout = 10 * time.Second // TCP, TLS and CONNACK
	writeTimeout   = 10 * time.Second
	keepAlive      = 30 * time.Second
	pingTimeout    = 10 * time.Second
	byeTimeout     = time.Second // for the offline message at a clean stop
)

// session is one MQTT connection with a client of its own: a token can then only
// complete without error by a PUBACK of this connection.
type session struct {
	client mqtt.Client
	conn   net.Conn
	lost   chan error // capacity 1: why the connection ended
	out    chan *flight
	sent   chan taken // capacity of the window: what the client has taken
	closed chan struct{}
}

// flight is a PUBLISH on its way.
type flight struct {
	record  spool.Record
	payload []byte
	topic   string
	retain  bool
	token   mqtt.Token // nil until the client has taken it
}

// taken is a flight that the client has taken.
type taken struct {
	flight *flight
	token  mqtt.Token
}

// State is the retained message on .../state.
type State struct {
	State   string `json:"state"` // online or offline
	Agent   string `json:"agent"`
	Epoch   uint32 `json:"epoch"`
	Version string `json:"version"`
}

func (a *Agent) topic(leaf string) string {
	return "gridloom/v1/" + a.cfg.Site + "/" + a.cfg.Agent + "/" + leaf
}

func (a *Agent) state(word string) *flight {
	payload, err := json.Marshal(State{word, a.cfg.Agent, a.publisher.epoch, a.cfg.Version})
	if err != nil {
		panic(fmt.Sprintf("agent: state does not encode: %v", err)) // strings and a number
	}
	return &flight{topic: a.topic("state"), payload: payload, retain: true}
}

// connect makes a connection and says online.
func (a *Agent) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := a.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", gridloom.ErrUnavailable, err)
	}
	s := &session{
		conn: conn, lost: make(chan error, 1), closed: make(chan struct{}),
		out: make(chan *flight), sent: make(chan taken, a.cfg.Window+2),
	}
	// paho must not decide anything by itself: no reconnecting (tokens would complete
	// without a PUBACK), no session (the spool is what remembers).
	o := mqtt.NewClientOptions().AddBroker("tcp://"+a.server.Host).
		SetClientID(a.cfg.ClientID).SetUsername(a.cfg.Username).SetPassword(a.cfg.Password).
		SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).SetResumeSubs(false).
		SetProtocolVersion(4).SetOrderMatters(false).
		SetKeepAlive(keepAlive).SetPingTimeout(pingTimeout).SetConnectTimeout(connectTimeout).SetWriteTimeout(writeTimeout).
		SetBinaryWill(a.topic("state"), a.state("offline").payload, 1, true).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			select {
			case s.lost <- err:
			default:
			}
		})
	s.client = mqtt.NewClient(o)
	token := s.client.Connect()
	select {
	case <-token.Done():
		err = token.Error()
	case <-ctx.Done():
		err = ctx.Err()
		_ = conn.Close() // ends the handshake
		<-token.Done()
	}
	if err != nil {
		s.client.Disconnect(0)
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", gridloom.ErrUnavailable, err)
	}
	go s.send() // until close, see there
	return s, nil
}

// dial opens the network connection.
func (a *Agent) dial(ctx context.Context) (net.Conn, error) {
	if a.cfg.Dial != nil {
		return a.cfg.Dial(ctx)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", a.server.Host)
	if err != nil || a.server.Scheme != "mqtts" {
		return conn, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.cfg.TLS != nil {
		cfg = a.cfg.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = a.server.Hostname()
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), conn.Close())
	}
	return secure, nil
}

// send hands flights to the client. The client's Publish blocks while the
// connection does, and up to writeTimeout after it is lost: in a goroutine of its
// own that holds nobody up.
func (s *session) send() {
	for {
		select {
		case f := <-s.out:
			token := s.client.Publish(f.topic, 1, f.retain, f.payload)
			s.sent <- taken{f, token} // never blocks: a window of flights and two state messages fit
		case <-s.closed:
			return
		}
	}
}

// acknowledged reports whether a flight whose token is done was acknowledged on this connection.
func (s *session) acknowledged(f *flight) error {
	if err := f.token.Error(); err != nil {
		return err
	}
	if !s.client.IsConnectionOpen() {
		return mqtt.ErrNotConnected
	}
	return nil
}

// close ends the connection; with bye it says offline first and takes its leave.
// The sender may need writeTimeout to notice a lost connection: it is not waited
// for, it holds nothing but the client.
func (s *session) close(bye *flight) {
	if bye != nil && s.client.IsConnectionOpen() {
		timer := time.NewTimer(byeTimeout)
		defer timer.Stop()
		select {
		case s.out <- bye:
			s.awaitBye(bye, timer.C)
		case <-timer.C:
		}
		s.client.Disconnect(250)
	}
	close(s.closed)
	_ = s.conn.Close()
	s.client.Disconnect(0)
}

func (s *session) awaitBye(bye *flight, timeout <-chan time.Time) {
	for {
		select {
		case t := <-s.sent:
			if t.flight != bye {
				continue
			}
			select {
			case <-t.token.Done():
			case <-timeout:
			}
			return
		case <-timeout:
			return
		}
	}
}
