package ingest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/gridloom/gridloom"
)

const stateTopic = "gridloom/v1/home/gw-1/state"

// subscribe subscribes at QoS 1 and returns the code of the SUBACK.
func (d *device) subscribe(filter string) byte {
	d.t.Helper()
	b := []byte{0, 77}
	if d.version == 5 {
		b = append(b, 0)
	}
	d.write(mqttPacket(0x82, append(mqttString(b, filter), 1)))
	p := d.read()
	if p.kind != pSuback {
		d.t.Fatalf("got packet %d, want SUBACK", p.kind)
	}
	return p.body[len(p.body)-1]
}

// wantMessage reads a PUBLISH and acknowledges it.
func (d *device) wantMessage(topic, payload string) {
	d.t.Helper()
	p := d.read()
	if p.kind != pPublish || !bytes.Contains(p.body, []byte(topic)) || !bytes.HasSuffix(p.body, []byte(payload)) {
		d.t.Fatalf("got packet %d %q, want %s %s", p.kind, p.body, topic, payload)
	}
	n := 2 + int(binary.BigEndian.Uint16(p.body))
	if n+2 <= len(p.body) {
		d.write(mqttPacket(0x40, p.body[n:n+2]))
	}
}

func TestStateIsRetainedOverARestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "retained.json")
	keep := func(_ *BridgeConfig, b *BrokerConfig) { b.RetainedFile = file }
	r := start(t, nil, keep)
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	d.write(publishPacket(4, stateTopic, 1, 1, 1, []byte(`{"state":"online"}`)))
	d.wantAck(1)
	d.write(publishPacket(4, "gridloom/v1/home/gw-2/state", 2, 1, 1, []byte("gone")))
	d.wantAck(2)
	d.write(publishPacket(4, "gridloom/v1/home/gw-2/state", 3, 1, 1, nil)) // takes it back
	d.wantAck(3)
	d.write([]byte{0xe0, 0})
	r.stop()

	r = start(t, nil, keep)
	watcher := connect(t, r.Addr(), connectOptions{id: "w"})
	if code := watcher.subscribe("gridloom/v1/#"); code != 1 {
		t.Fatalf("SUBACK code %#x, want 1", code)
	}
	watcher.wantMessage(stateTopic, `{"state":"online"}`)
	watcher.wantSilence()
	r.stop()
	data, err := os.ReadFile(file)
	if err != nil || bytes.Contains(data, []byte("gw-2")) {
		t.Errorf("the file holds %s, %v", data, err)
	}
}

func TestStateSurvivesKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "retained.json")
	keep := func(_ *BridgeConfig, b *BrokerConfig) { b.RetainedFile = file }
	r := start(t, nil, keep)
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	d.write(publishPacket(4, stateTopic, 1, 1, 1, []byte("online")))
	d.wantAck(1)
	// No stop: what the file holds soon after is what a killed server leaves.
	eventually(t, "the file holds the state", func() bool {
		again, err := openRetained(file, slog.New(slog.DiscardHandler))
		return err == nil && len(again.all()) == 1
	})
}

func TestWillIsPublishedAndRetained(t *testing.T) {
	r := start(t, nil, nil)
	watcher := connect(t, r.Addr(), connectOptions{id: "w"})
	watcher.subscribe("gridloom/v1/+/+/state")
	d := connect(t, r.Addr(), connectOptions{id: "gw-1", willTopic: stateTopic, will: "offline"})
	d.conn.Close()
	watcher.wantMessage(stateTopic, "offline")
	late := connect(t, r.Addr(), connectOptions{id: "w2"})
	late.subscribe(stateTopic)
	late.wantMessage(stateTopic, "offline")
}

func TestWillIsTheOwnState(t *testing.T) {
	f := func(v byte, username, topic string, want byte) {
		t.Helper()
		r := start(t, nil, nil)
		defer r.stop()
		d := dial(t, r.Addr(), connectOptions{id: "c", version: v, username: username, willTopic: topic, will: "x"})
		if p := d.read(); p.kind != pConnack || p.body[1] != want {
			t.Errorf("MQTT %d, user %q, will on %s: code %#x, want %#x", v, username, topic, p.body[1], want)
		}
	}
	f(4, "", stateTopic, 0)
	f(4, "gw-1", stateTopic, 0)
	f(4, "gw-2", stateTopic, 5)
	f(5, "gw-2", stateTopic, 0x90)
	f(4, "", topic, 5) // a will is no reading
	f(5, "", "elsewhere", 0x90)
}

func TestSubscriptionsReadOurTopicsOnly(t *testing.T) {
	r := start(t, nil, nil)
	f := func(v byte, filter string, want byte) {
		t.Helper()
		d := connect(t, r.Addr(), connectOptions{id: "c" + filter, version: v})
		if code := d.subscribe(filter); code != want {
			t.Errorf("MQTT %d: SUBACK for %s: %#x, want %#x", v, filter, code, want)
		}
	}
	f(4, "gridloom/v1/#", 1)
	f(5, "$share/g/gridloom/v1/+/+/state", 1)
	f(4, "#", 0x80)
	f(5, "#", 0x87)
	f(5, "$SYS/#", 0x87)
	f(5, "$share/g/#", 0x87)
}

func TestReadingsAreNotHandedOn(t *testing.T) {
	r := start(t, nil, nil)
	watcher := connect(t, r.Addr(), connectOptions{id: "w"})
	watcher.subscribe("gridloom/v1/#")
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	d.write(publishPacket(4, topic, 1, 1, 1, []byte(object("m1", 1)))) // retain set
	d.wantAck(1)
	watcher.wantSilence()
}

func TestConnectionsAreBounded(t *testing.T) {
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.MaxConnections = 2 })
	connect(t, r.Addr(), connectOptions{id: "a"})
	b := connect(t, r.Addr(), connectOptions{id: "b"})
	for v, want := range map[byte]byte{4: 0x03, 5: 0x97} {
		d := dial(t, r.Addr(), connectOptions{id: "c", version: v})
		if p := d.read(); p.kind != pConnack || p.body[1] != want {
			t.Errorf("MQTT %d: CONNACK % x, want code %#x", v, p.body, want)
		}
		d.wantClosed()
	}
	if n := r.metric(t, "refused_connections_total", "reason", "connections"); n != 2 {
		t.Errorf("refused_connections_total = %v, want 2", n)
	}
	connect(t, r.Addr(), connectOptions{id: "a"}) // takes over its own place
	b.conn.Close()
	eventually(t, "the place of b is free", func() bool {
		d := dial(t, r.Addr(), connectOptions{id: "c"})
		return d.read().body[1] == 0
	})
}

func TestUsersAndTheirAgents(t *testing.T) {
	users := map[string]string{"gw-1": "secret", "gw-2": "other"}
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.Users = users })
	f := func(v byte, username, password string, want byte) {
		t.Helper()
		d := dial(t, r.Addr(), connectOptions{id: "c", version: v, username: username, password: password})
		if p := d.read(); p.kind != pConnack || p.body[1] != want {
			t.Errorf("MQTT %d as %q with %q: CONNACK % x, want code %#x", v, username, password, p.body, want)
		}
	}
	f(4, "gw-1", "secret", 0)
	f(4, "gw-1", "other", 4)
	f(5, "gw-1", "", 0x86)
	f(5, "", "", 0x86)
	f(4, "unknown", "", 4)
}

func TestLargePacketClosesTheConnection(t *testing.T) {
	for _, v := range []byte{4, 5} {
		r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) { b.MaxPacketBytes = 1000 })
		d := dial(t, r.Addr(), connectOptions{id: "c", version: v})
		if p := d.read(); v == 5 && !bytes.Contains(p.body, []byte{39, 0, 0, 0x03, 0xe8}) {
			t.Errorf("CONNACK % x does not tell the maximum packet size", p.body)
		}
		d.wantAck(d.publish(topic, object("m1", 1)))
		d.publish(topic, strings.Repeat("x", 1001))
		d.wantClosed()
		eventually(t, "it is counted", func() bool { return r.metric(t, "closed_connections_total", "reason", "packet_size") == 1 })
		r.stop()
	}
}

func TestMalformedPacketsHurtNobody(t *testing.T) {
	r := start(t, nil, nil)
	ok := connect(t, r.Addr(), connectOptions{id: "ok"})
	hello := connectPacket(connectOptions{id: "c", version: 5})
	for _, p := range [][]byte{
		{},
		{0},
		{0x10},
		{0x10, 0xff, 0xff, 0xff, 0xff, 0xff},
		{0x30, 2, 0, 0},
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		hello[:len(hello)-1],
		append(bytes.Clone(hello), hello...),
		append(bytes.Clone(hello), 0x36, 4, 0, 1, 'a', 0),                                                         // QoS 3
		append(bytes.Clone(hello), publishPacket(5, topic, 0, 1, 0, []byte(object("m1", 1)))...),                  // packet id 0
		append(bytes.Clone(hello), publishPacket(5, "gridloom/v1/+/a/readings", 1, 1, 0, nil)...),                 // wildcard
		append(bytes.Clone(hello), publishPacket(5, "", 1, 1, 0, nil)...),                                         // no topic
		append(bytes.Clone(hello), mqttPacket(0x32, append(mqttString(nil, topic), 0, 1, 3, 0x23, 0, 1, 'x'))...), // a topic alias
		append(bytes.Clone(hello), 0x32, 5, 0, 9, 'a', 'b', 'c'),
	} {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write(p)
		c.(*net.TCPConn).CloseWrite()
		d := &device{t: t, conn: c, r: newReader(c)}
		for _, got := range d.wantClosed() {
			if got.kind == pPuback {
				t.Errorf("% x: PUBACK", p)
			}
		}
		c.Close()
		ok.wantAck(ok.publish(topic, object("m1", 1)))
	}
}

func TestPersistentSessionKeepsSubscriptions(t *testing.T) {
	r := start(t, nil, nil)
	w := connect(t, r.Addr(), connectOptions{id: "w", resume: true})
	w.subscribe("gridloom/v1/#")
	w.conn.Close()
	d := connect(t, r.Addr(), connectOptions{id: "gw-1"})
	d.write(publishPacket(4, stateTopic, 1, 1, 0, []byte("online")))
	d.wantAck(1)
	w = dial(t, r.Addr(), connectOptions{id: "w", resume: true})
	if p := w.read(); p.kind != pConnack || p.body[0] != 1 {
		t.Fatalf("CONNACK % x, want the session", p.body)
	}
	w.wantMessage(stateTopic, "online")
}

func TestPorts(t *testing.T) {
	r := start(t, nil, nil)
	bridge, err := New(BridgeConfig{Partitions: 1}, new(fakeLog), new(fakeLog))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(BrokerConfig{Listen: r.Addr().String()}, bridge); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Errorf("Open(taken port) = %v, want ErrUnavailable", err)
	}
}

func TestValidate(t *testing.T) {
	f := func(field string, err error) {
		t.Helper()
		if !errors.Is(err, gridloom.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("Validate() = %v, want ErrInvalid that names %s", err, field)
		}
	}
	f("Partitions", new(BridgeConfig).Validate())
	f("Listen", new(BrokerConfig).Validate())
	f("CertFile", (&BrokerConfig{TLSListen: ":0"}).Validate())
	f("MaxInFlight", (&BrokerConfig{Listen: ":0", MaxInFlight: 70_000}).Validate())
	f("MaxPacketBytes", (&BrokerConfig{Listen: ":0", MaxPacketBytes: 5}).Validate())
	f("MaxConnections", (&BrokerConfig{Listen: ":0", MaxConnections: -1}).Validate())
}

// certificates writes a CA, and a key and certificate for name, below dir.
func certificates(t *testing.T, dir, name string) (cert, key, ca string) {
	t.Helper()
	pair := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = k
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return k, der
	}
	write := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	until := time.Now().Add(time.Hour)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootKey, rootDER := pair(root, root, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafKey, leafDER := pair(leaf, root, rootKey)
	keyDER, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "EC PRIVATE KEY", keyDER), write("ca.pem", "CERTIFICATE", rootDER)
}

func TestTLSWithClientCertificate(t *testing.T) {
	cert, key, ca := certificates(t, t.TempDir(), "gw-1")
	r := start(t, nil, func(_ *BridgeConfig, b *BrokerConfig) {
		b.TLSListen, b.CertFile, b.KeyFile, b.ClientCAFile = "127.0.0.1:0", cert, key, ca
	})
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	data, _ := os.ReadFile(ca)
	roots.AppendCertsFromPEM(data)

	c, err := tls.Dial("tcp", r.TLSAddr().String(), &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := &device{t: t, conn: c, r: newReader(c), version: 5}
	d.write(connectPacket(connectOptions{id: "x", version: 5}))
	if p := d.read(); p.kind != pConnack || p.body[1] != 0 {
		t.Fatalf("CONNACK % x", p.body)
	}
	if code := d.wantAck(d.publish(topic, object("m1", 1))); code != 0 {
		t.Errorf("own agent: code %#x, want 0", code)
	}
	if code := d.wantAck(d.publish("gridloom/v1/home/gw-2/readings", object("m1", 1))); code != 0x87 {
		t.Errorf("another agent: code %#x, want 0x87", code)
	}

	bare, err := tls.Dial("tcp", r.TLSAddr().String(), &tls.Config{RootCAs: roots})
	if err == nil { // TLS 1.3 tells the client with its first read
		defer bare.Close()
		b := &device{t: t, conn: bare, r: newReader(bare)}
		bare.Write(connectPacket(connectOptions{id: "y", version: 4}))
		if got := b.wantClosed(); len(got) != 0 {
			t.Errorf("without a certificate: got %v, want nothing", got)
		}
	}
}

func TestPaho(t *testing.T) {
	r := start(t, nil, nil)
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://"+r.Addr().String()).SetClientID("gw-1").
		SetAutoReconnect(false).SetWill(stateTopic, "offline", 1, true))
	if tok := client.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer client.Disconnect(100)
	var wg sync.WaitGroup
	for i := range 200 {
		tok := client.Publish(topic, byte(i%3), false, object("m1", i))
		wg.Go(func() {
			if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
				t.Errorf("publish %d: %v", i, tok.Error())
			}
		})
	}
	wg.Wait()
	eventually(t, "all are stored", func() bool { return len(r.log.readings(t)) == 200 })
}

// pubProgram is the client of many devices and of those who try something out.
const pubProgram = "mosquitto_pub (Debian: mosquitto-clients)"

func TestMosquittoPub(t *testing.T) {
	name, _, _ := strings.Cut(pubProgram, " ")
	pub, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("GRIDLOOM_REQUIRE") == "1" {
			t.Fatal(pubProgram, "is not installed")
		}
		t.Skip(pubProgram, "is not installed")
	}
	r := start(t, nil, nil)
	_, port, _ := net.SplitHostPort(r.Addr().String())
	for i, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for qos := range 3 {
			args := []string{"-h", "127.0.0.1", "-p", port, "-V", version, "-q", strconv.Itoa(qos), "-t", topic, "-m", object("m1", 10*i+qos)}
			if out, err := exec.Command(pub, args...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v %s", args, err, out)
			}
		}
	}
	eventually(t, "all are stored", func() bool { return len(r.log.readings(t)) == 9 })
}
