package ingest

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// loaderEnv makes the test binary a load generator: a process of its own, so that
// its CPU time is not counted with the broker's. Its value is
// "address connections messages window kind".
const loaderEnv = "GRIDLOOM_INGEST_LOADER"

func TestMain(m *testing.M) {
	if job := os.Getenv(loaderEnv); job != "" {
		if err := load(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// load publishes over some connections, each with a window of messages in flight.
func load(job string) error {
	var addr, kind string
	var conns, messages, window int
	if _, err := fmt.Sscan(job, &addr, &conns, &messages, &window, &kind); err != nil {
		return err
	}
	errs := make(chan error, conns)
	for i := range conns {
		go func() { errs <- loadOne(addr, i, messages/conns, window, loadPayload(kind, i)) }()
	}
	for range conns {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func loadOne(addr string, i, messages, window int, payload []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	id := fmt.Sprint("gw-", i)
	if _, err := c.Write(connectPacket(connectOptions{id: id, version: 4})); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 32<<10)
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		return err
	}
	one := publishPacket(4, "gridloom/v1/home/"+id+"/readings", 0, 1, 0, payload)
	at := len(one) - len(payload) - 2
	var out []byte
	ack := make([]byte, 4)
	sent, acked := 0, 0
	for acked < messages {
		out = out[:0]
		for sent < messages && sent-acked < window && len(out) < 64<<10 {
			n := len(out)
			out = append(out, one...)
			binary.BigEndian.PutUint16(out[n+at:], uint16(sent%65535)+1)
			sent++
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err
			}
		}
		for ok := true; ok && acked < sent; ok = r.Buffered() >= 4 {
			if _, err := io.ReadFull(r, ack); err != nil {
				return err
			}
			if ack[0] != 0x40 {
				return fmt.Errorf("packet % x, want PUBACK", ack)
			}
			acked++
		}
	}
	return nil
}

// loadPayload is one message: json1 and pb1 hold one object of three readings
// (about 200 B of JSON), json100 and pb100 a hundred of as many meters.
func loadPayload(kind string, device int) []byte {
	encoding, n := kind[:len(kind)-1], 1
	if rest, ok := strings.CutSuffix(kind, "100"); ok {
		encoding, n = rest, 100
	}
	var c wire.Columns
	c.Reset()
	var objects []string
	for i := range n {
		meter := fmt.Sprintf("NL-%04d-%06d", device, i)
		at := testStart + gridloom.Millis(i)*gridloom.Second
		objects = append(objects, fmt.Sprintf(`{"meter":%q,"at":%d,"energy_import":%d.19,"power_import":432.1,"voltage_l1":231.4}`, meter, at, 5415414+i))
		for k, alias := range []string{"energy_import", "power_import", "voltage_l1"} {
			reg, _ := gridloom.RegisterByName(alias)
			c.AppendReading(&gridloom.Reading{Meter: meter, Register: reg, Start: at, Value: int64(1000*(k+1) + i)})
		}
	}
	agent := fmt.Sprint("gw-", device)
	if encoding == "json" {
		return fmt.Appendf(nil, `{"agent":%q,"epoch":42,"seq":981,"readings":[%s]}`, agent, strings.Join(objects, ","))
	}
	return wire.AppendBatch(nil, &wire.Batch{Agent: agent, Epoch: 42, Seq: 981, HasOrder: true, Columns: &c})
}

// memoryLog counts what is stored and forgets it, a frame in 600 µs as a disk would.
type memoryLog struct {
	frames, bytes atomic.Int64
}

func (l *memoryLog) Append(_ context.Context, _ int, frame []byte) (uint64, error) {
	timer := time.NewTimer(600 * time.Microsecond)
	<-timer.C
	l.bytes.Add(int64(len(frame)))
	return uint64(l.frames.Add(1)), nil
}

func (l *memoryLog) AppendRejects(context.Context, []gridloom.Reject) error { return nil }

// cpu is the CPU time of this process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runLoad drives the broker at addr and reports what b.N messages cost it.
func runLoad(b *testing.B, addr net.Addr, kind string, conns int) {
	b.Helper()
	messages := max(b.N/conns, 1) * conns
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d %s", loaderEnv, addr, conns, messages, 200, kind))
	cmd.Stderr = os.Stderr
	b.ResetTimer()
	before := cpu()
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	used := cpu() - before
	b.StopTimer()
	b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(used.Seconds()/float64(messages)*1e6, "CPU-s/M")
}

// BenchmarkPublish is the whole way from the socket to the answer, with a log that
// takes 600 µs a frame. Compare with BenchmarkBareHook: the target is 1.5 × of it.
func BenchmarkPublish(b *testing.B) {
	for _, kind := range []string{"json1", "pb1", "json100", "pb100"} {
		b.Run(kind, func(b *testing.B) {
			log := new(memoryLog)
			bridge, err := New(BridgeConfig{Partitions: 4}, log, log)
			if err != nil {
				b.Fatal(err)
			}
			broker, err := Open(BrokerConfig{Listen: "127.0.0.1:0"}, bridge)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- broker.Run(ctx) }()
			runLoad(b, broker.Addr(), kind, 8)
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
			if n := log.frames.Load(); n > 0 {
				b.ReportMetric(float64(log.bytes.Load())/float64(n)/1024, "KiB/frame")
			}
		})
	}
}

// bareHook takes messages as ours does and has nothing behind it: one goroutine
// writes the answers, gathered per connection.
type bareHook struct {
	mqtt.HookBase
	taken chan bareMessage
}

type bareMessage struct {
	cl *mqtt.Client
	id uint16
}

func (h *bareHook) ID() string { return "bare" }
func (h *bareHook) Provides(b byte) bool {
	return b == mqtt.OnPublish || b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}
func (h *bareHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (h *bareHook) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }
func (h *bareHook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.taken <- bareMessage{cl, pk.PacketID}
	return pk, packets.ErrRejectPacket
}

func (h *bareHook) run() {
	answers := map[*mqtt.Client][]byte{}
	for m := range h.taken {
		answers[m.cl] = appendAnswer(answers[m.cl][:0], tag{m.id, 1}, 0)
		timer := time.NewTimer(600 * time.Microsecond)
	gather:
		for {
			select {
			case m, ok := <-h.taken:
				if !ok {
					break gather
				}
				answers[m.cl] = appendAnswer(answers[m.cl], tag{m.id, 1}, 0)
			case <-timer.C:
				break gather
			}
		}
		timer.Stop()
		for cl, a := range answers {
			cl.Lock()
			cl.Net.Conn.Write(a)
			cl.Unlock()
			answers[cl] = a[:0]
		}
	}
}

// BenchmarkBareHook is the floor for BenchmarkPublish.
func BenchmarkBareHook(b *testing.B) {
	for _, kind := range []string{"json1", "pb1", "json100", "pb100"} {
		b.Run(kind, func(b *testing.B) {
			caps := mqtt.NewDefaultServerCapabilities()
			caps.MaximumClientWritesPending = pendingWrites
			srv := mqtt.New(&mqtt.Options{Capabilities: caps, Logger: slog.New(slog.DiscardHandler), ClientNetReadBufferSize: readBufferBytes})
			h := &bareHook{taken: make(chan bareMessage, 4096)}
			if err := srv.AddHook(h, nil); err != nil {
				b.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			if err := srv.AddListener(listeners.NewNet("bare", l)); err != nil {
				b.Fatal(err)
			}
			var wg sync.WaitGroup
			wg.Go(h.run)
			if err := srv.Serve(); err != nil {
				b.Fatal(err)
			}
			runLoad(b, l.Addr(), kind, 8)
			srv.Close()
			close(h.taken)
			wg.Wait()
		})
	}
}
