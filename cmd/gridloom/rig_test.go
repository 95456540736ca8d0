package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gridloom/gridloom/client"
)

// What the tests of this package that run the real program share: the binaries,
// built once; server, a data directory with at most one process on it; publisher,
// a raw MQTT client that hides nothing.

// buildDir holds the binaries of this test run; TestMain makes and removes it.
var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "gridloom-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var builds = map[string]func() (string, error){
	"gridloom":    sync.OnceValues(func() (string, error) { return goBuild("gridloom", ".") }),
	"edge-agent":  sync.OnceValues(func() (string, error) { return goBuild("edge-agent", "../../edge-agent") }),
	"nats-server": sync.OnceValues(func() (string, error) { return goBuild("nats-server", "github.com/nats-io/nats-server/v2") }),
}

func goBuild(name, dir string) (string, error) {
	path := filepath.Join(buildDir, name)
	cmd := exec.Command("go", "build", "-o", path, dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", dir, err, out)
	}
	return path, nil
}

// builtBinary returns the path of a program as it is shipped, without the race detector.
func builtBinary(t *testing.T, name string) string {
	t.Helper()
	path, err := builds[name]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// skipWithout skips a test for lack of something installed; under GRIDLOOM_REQUIRE=1 that is a failure.
func skipWithout(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("GRIDLOOM_REQUIRE") == "1" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// needPrograms skips a test unless all programs are there, each of a Debian package.
func needPrograms(t *testing.T, debian string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			skipWithout(t, fmt.Sprintf("%s (Debian package %s)", p, debian))
		}
	}
}

// runGridloom runs a command of the binary to its end and returns what it printed on
// both channels and its exit status.
func runGridloom(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, builtBinary(t, "gridloom"), args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("gridloom %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// server is a data directory and the process that runs on it, if one does.
type server struct {
	t    *testing.T
	data string
	run  string   // file below data that says where it serves
	wrap []string // a command to run gridloom under, such as strace
	env  []string // beside the test's own

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	out  *logFile
	pid  int // of gridloom itself, also below wrap
	mqtt string
	http string
}

// newServer returns a server on a new data directory, not yet started. Whatever
// still runs when the test ends is killed.
func newServer(t *testing.T) *server {
	t.Helper()
	return serverOn(t, filepath.Join(t.TempDir(), "data"))
}

// serverOn is newServer on a directory of the caller's.
func serverOn(t *testing.T, data string) *server {
	t.Helper()
	builtBinary(t, "gridloom") // now, so that no test takes the compiler's time for the server's
	s := &server{t: t, data: data, run: "run.json", out: &logFile{}}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("what gridloom printed:\n%s", s.out.tail(8000))
		}
	})
	return s
}

// launch starts `gridloom up` on the directory and returns at once. args are added.
func (s *server) launch(args ...string) {
	s.t.Helper()
	s.launchLine(slices.Concat([]string{"up", "--data", s.data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args))
}

// launchLine starts any command of gridloom that serves.
func (s *server) launchLine(args []string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.data, s.run)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	line := slices.Concat(s.wrap, []string{builtBinary(s.t, "gridloom")}, args)
	s.cmd = exec.Command(line[0], line[1:]...)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.pid = s.cmd.Process.Pid
	done := make(chan struct{})
	s.done = done
	go func(cmd *exec.Cmd) { // ends with the process
		defer close(done)
		_ = cmd.Wait() // how it ended is asked of ProcessState
	}(s.cmd)
}

// start launches gridloom and waits until /readyz answers 200.
func (s *server) start(args ...string) {
	s.t.Helper()
	s.launch(args...)
	s.awaitReady()
}

// awaitReady waits until /readyz answers 200.
func (s *server) awaitReady() {
	s.t.Helper()
	s.awaitListeners()
	s.await("/readyz answers 200", func() bool {
		status, _ := s.get("/readyz")
		return status == http.StatusOK
	})
}

// awaitListeners waits for its file: gridloom serves, and may not be ready.
func (s *server) awaitListeners() {
	s.t.Helper()
	s.await(s.run+" is there", func() bool {
		var r runInfo
		text, err := os.ReadFile(filepath.Join(s.data, s.run))
		if err != nil || json.Unmarshal(text, &r) != nil {
			return false
		}
		s.pid, s.mqtt, s.http = r.PID, r.MQTT, r.HTTP
		return true
	})
}

// await polls until cond holds. It fails the test if the process ends or 30 s pass.
func (s *server) await(what string, cond func() bool) {
	s.t.Helper()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-s.done:
			s.t.Fatalf("gridloom ended (%v) before %s; it printed:\n%s", s.cmd.ProcessState, what, s.out.tail(4000))
		case <-limit.C:
			s.t.Fatalf("waited 30 s in vain until %s; gridloom printed:\n%s", what, s.out.tail(4000))
		}
	}
}

// signal sends a signal to gridloom itself.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		s.t.Fatalf("signal %v to gridloom: %v", sig, err)
	}
}

// kill ends the process as a crash would, and waits until it is gone. It does nothing if none runs.
func (s *server) kill() {
	if s.cmd == nil || s.ended() {
		return
	}
	_ = syscall.Kill(s.pid, syscall.SIGKILL) // gone already is as good
	if s.pid != s.cmd.Process.Pid {          // a wrapper ends with what it wraps; do not depend on it
		select {
		case <-s.done:
		case <-time.After(5 * time.Second):
		}
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end as Ctrl-C does, and returns its exit status and how long it took.
func (s *server) stop() (status int, took time.Duration) {
	s.t.Helper()
	begun := time.Now()
	s.signal(syscall.SIGINT)
	return s.wait(), time.Since(begun)
}

// wait waits at most 30 s for the end of the process and returns its exit status, -1 after a signal.
func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		s.t.Fatalf("gridloom did not end within 30 s; it printed:\n%s", s.out.tail(4000))
		return 0
	}
}

// get asks for a path and returns the status, 0 if nobody answers, and the body.
func (s *server) get(path string) (status int, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil { // cut off: the status came before the failure
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// client returns a client of the running server's REST API.
func (s *server) client() *client.Client {
	s.t.Helper()
	c, err := client.New("http://"+s.http, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// logFile gathers what a process prints.
type logFile struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *logFile) tail(n int) string {
	text := strings.TrimSpace(l.String())
	return text[max(0, len(text)-n):]
}

// publisher is one MQTT 3.1.1 connection that publishes at QoS 1. Its packets are
// written here by hand, so that a test knows what was acknowledged when.
type publisher struct {
	conn net.Conn
	r    *bufio.Reader
	next uint16
}

// ackTimeout bounds the wait for a PUBACK.
const ackTimeout = 20 * time.Second

// dialPublisher connects a client, and closes it when the test ends.
func dialPublisher(t *testing.T, addr, clientID string) *publisher {
	t.Helper()
	p, err := newPublisher(t.Context(), addr, clientID)
	if err != nil {
		t.Fatalf("connect %s to %s: %v", clientID, addr, err)
	}
	t.Cleanup(p.close)
	return p
}

func newPublisher(ctx context.Context, addr, clientID string) (*publisher, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &publisher{conn: c, r: bufio.NewReader(c)}
	connect := append(mqttString(nil, "MQTT"), 4, 2, 0, 0) // level 4, clean session, keep-alive off
	connect = mqttString(connect, clientID)
	err = p.write(0x10, connect)
	var kind byte
	var body []byte
	if err == nil {
		kind, body, err = p.read()
	}
	if err == nil && (kind != 0x20 || len(body) != 2 || body[1] != 0) {
		err = fmt.Errorf("the server answered %#x % x instead of a good CONNACK", kind, body)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return p, nil
}

func (p *publisher) close() { p.conn.Close() }

// send writes one PUBLISH and returns its packet id. The topic is gridloom/v1/SITE/AGENT/readings.
func (p *publisher) send(topic string, payload []byte) (uint16, error) {
	p.next = max(1, p.next+1) // 0 is no packet id
	body := mqttString(nil, topic)
	body = binary.BigEndian.AppendUint16(body, p.next)
	return p.next, p.write(0x32, append(body, payload...))
}

// ack waits for the next PUBACK and returns its packet id.
func (p *publisher) ack() (uint16, error) {
	for {
		kind, body, err := p.read()
		if err != nil {
			return 0, err
		}
		if kind == 0x40 && len(body) >= 2 {
			return binary.BigEndian.Uint16(body), nil
		}
	}
}

// publish sends one message and waits for its PUBACK. It fails the test if none comes.
func (p *publisher) publish(t *testing.T, topic string, payload []byte) {
	t.Helper()
	id, err := p.send(topic, payload)
	if err == nil {
		var got uint16
		if got, err = p.ack(); err == nil && got != id {
			err = fmt.Errorf("PUBACK of %d", got)
		}
	}
	if err != nil {
		t.Fatalf("publish message %d: %v", id, err)
	}
}

func (p *publisher) write(kind byte, body []byte) error {
	packet := binary.AppendUvarint([]byte{kind}, uint64(len(body)))
	_, err := p.conn.Write(append(packet, body...))
	return err
}

func (p *publisher) read() (kind byte, body []byte, err error) {
	if err = p.conn.SetReadDeadline(time.Now().Add(ackTimeout)); err != nil {
		return 0, nil, err
	}
	if kind, err = p.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(p.r)
	if err != nil || n > 1<<16 {
		return 0, nil, errors.Join(err, fmt.Errorf("packet %#x of %d bytes", kind, n))
	}
	body = make([]byte, n)
	_, err = io.ReadFull(p.r, body)
	return kind, body, err
}

func mqttString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// readingJSON is the payload of one reading, value in units of the register.
func readingJSON(meter, register string, at time.Time, value float64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"meter":%q,"register":%q,"at":%d,"value":%.3f}`, meter, register, at.UnixMilli(), value)
	return b.Bytes()
}
