package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/client"
)

// readStrace parses the log of a traced process that has ended.
func readStrace(t *testing.T, file string) []syscallSeen {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := parseStrace(text)
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

// needStrace skips a test where strace is missing or may not trace.
func needStrace(t *testing.T) {
	t.Helper()
	needPrograms(t, "strace", "strace")
	if out, err := exec.CommandContext(t.Context(), "strace", "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		skipWithout(t, fmt.Sprintf("the right to trace: %v %s", err, out))
	}
}

// firstFaults is a few of many.
func firstFaults(faults []string) string { return strings.Join(faults[:min(len(faults), 5)], "\n") }

// TestEveryPubackFollowsAnFsyncOfItsFrame watches the system calls of `gridloom
// up`: of 1,000 messages sent one after another, and 1,000 with many in flight, no
// PUBACK is written before the log's file that holds the message's frame was
// synced, and no head before all that it names was. Then it takes the fsyncs out of
// the log of calls, and out of a real process, and sees the check fail.
func TestEveryPubackFollowsAnFsyncOfItsFrame(t *testing.T) {
	needStrace(t)
	t.Parallel()
	s := newServer(t)
	var all []syscallSeen // of both lives: a head of the second names files of the first
	swaps := 0
	for life, inFlight := range []int{1, 40} {
		trace := filepath.Join(t.TempDir(), "calls")
		s.wrap = straceArgs(trace)
		s.start()
		p := dialPublisher(t, s.mqtt, fmt.Sprint("gw-", life))
		messages := map[uint16]string{}
		at, waiting := time.Now(), 0
		for i := range 1000 {
			meter := fmt.Sprintf("life%d-meter%04d.", life, i)
			id, err := p.send("gridloom/v1/s/gw/readings", readingJSON(meter, "energy_import", at, float64(i)))
			if err != nil {
				t.Fatal(err)
			}
			messages[id] = meter
			for waiting++; waiting >= inFlight || i == 999 && waiting > 0; waiting-- {
				if _, err := p.ack(); err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
			}
		}
		t.Logf("%d in flight: 1000 messages in %s", inFlight, time.Since(at).Round(time.Millisecond))
		peer := p.conn.LocalAddr().String()
		if status, _ := s.stop(); status != 0 {
			t.Fatalf("exit status %d", status)
		}
		calls := readStrace(t, trace)
		if faults := checkAcks(calls, peer, messages); len(faults) > 0 {
			t.Errorf("%d in flight: %d faults, such as\n%s", inFlight, len(faults), firstFaults(faults))
		}
		noSync := without(calls, func(c *syscallSeen) bool { return c.syncs() && logFileOf("GRIDLOOM_LOG")(c.on) })
		if faults := checkAcks(noSync, peer, messages); len(faults) != len(messages) {
			t.Errorf("without the log's %d fsyncs, %d of %d messages are at fault, want all", len(calls)-len(noSync), len(faults), len(messages))
		}
		shift := 0
		if n := len(all); n > 0 {
			shift = all[n-1].ended + 1
		}
		for _, c := range calls {
			c.begun += shift
			c.ended += shift
			all = append(all, c)
		}
		heads, faults := checkHeads(all, filepath.Join(s.data, "store"))
		if len(faults) > 0 {
			t.Errorf("%d faults of heads, such as\n%s", len(faults), firstFaults(faults))
		}
		swaps = heads
		t.Logf("%d in flight: %d PUBACKs after %d fsyncs of the log", inFlight, len(messages), len(calls)-len(noSync))
	}
	if swaps < 8 {
		t.Errorf("%d heads with a manifest were seen, want at least one of each partition in each life", swaps)
	}
	t.Logf("%d heads written after all that they name", swaps)
	store := filepath.Join(s.data, "store")
	for what, drop := range map[string]func(*syscallSeen) bool{
		"directories": func(c *syscallSeen) bool {
			return strings.HasPrefix(c.on, store) && filepath.Ext(c.on) == "" && !strings.Contains(c.on, ".tmp-")
		},
		"files": func(c *syscallSeen) bool { return strings.Contains(c.on, ".tmp-") },
	} {
		heads, faults := checkHeads(without(all, func(c *syscallSeen) bool { return c.syncs() && drop(c) }), store)
		if len(faults) < heads {
			t.Errorf("without the fsyncs of %s only %d faults in %d heads", what, len(faults), heads)
		}
	}
}

// TestWithFsyncTakenOutPubacksAreAtFault runs the real thing with fsyncs that do nothing.
func TestWithFsyncTakenOutPubacksAreAtFault(t *testing.T) {
	needStrace(t)
	t.Parallel()
	s := newServer(t)
	trace := filepath.Join(t.TempDir(), "calls")
	s.wrap = straceArgs(trace, "-e", "inject=fsync,fdatasync:retval=0")
	s.start()
	p := dialPublisher(t, s.mqtt, "gw")
	messages := map[uint16]string{}
	for i := range uint16(50) {
		meter := fmt.Sprintf("meter%04d.", i)
		p.publish(t, "gridloom/v1/s/gw/readings", readingJSON(meter, "energy_import", time.Now(), float64(i)))
		messages[i+1] = meter
	}
	peer := p.conn.LocalAddr().String()
	s.stop()
	calls := readStrace(t, trace)
	if faults := checkAcks(calls, peer, messages); len(faults) != len(messages) {
		t.Errorf("%d of %d messages are at fault, want all:\n%s", len(faults), len(messages), firstFaults(faults))
	}
	if heads, faults := checkHeads(calls, filepath.Join(s.data, "store")); heads == 0 || len(faults) < heads {
		t.Errorf("%d faults in %d heads, want at least one in each", len(faults), heads)
	}
}

// TestAgentSyncsItsSpoolBeforeItPublishes watches an agent with --sync=reading.
func TestAgentSyncsItsSpoolBeforeItPublishes(t *testing.T) {
	needStrace(t)
	t.Parallel()
	s := newServer(t)
	s.start()
	run := func(injected ...string) (calls []syscallSeen, meters []string) {
		trace := filepath.Join(t.TempDir(), "calls")
		var lines strings.Builder
		for i := range 300 {
			meters = append(meters, fmt.Sprintf("agent-meter%04d.", i))
			lines.Write(append(readingJSON(meters[i], "energy_import", time.Now(), float64(i)), '\n'))
		}
		args := append(straceArgs(trace, injected...), builtBinary(t, "edge-agent"), "stdin", "--connect", "mqtt://"+s.mqtt, "--agent", "gw",
			"--spool", filepath.Join(t.TempDir(), "spool"), "--sync", "reading", "--batch-readings", "1", "--clock", "trust")
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(lines.String())
		cmd.WaitDelay = time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("edge-agent: %v\n%s", err, out)
		}
		return readStrace(t, trace), meters
	}
	calls, meters := run()
	if faults := checkPublished(calls, meters); len(faults) > 0 {
		t.Errorf("%d faults, such as\n%s", len(faults), firstFaults(faults))
	}
	noSync := without(calls, (*syscallSeen).syncs)
	if faults := checkPublished(noSync, meters); len(faults) != len(meters) {
		t.Errorf("without fsyncs %d of %d readings are at fault, want all", len(faults), len(meters))
	}
	t.Logf("%d batches published after %d fsyncs", len(meters), len(calls)-len(noSync))
	calls, meters = run("-e", "inject=fsync,fdatasync:retval=0")
	if faults := checkPublished(calls, meters); len(faults) != len(meters) {
		t.Errorf("with an agent whose fsyncs do nothing, %d of %d readings are at fault, want all", len(faults), len(meters))
	}
}

// loopDisk is a small ext4 in a file.
type loopDisk struct {
	t     *testing.T
	image string
	dir   string
}

// newLoopDisk makes and mounts a file system of 256 MiB that writes back what
// nobody syncs as late as it can.
func newLoopDisk(t *testing.T) *loopDisk {
	t.Helper()
	needPrograms(t, "e2fsprogs, mount", "mkfs.ext4", "mount", "umount")
	if os.Getuid() != 0 {
		skipWithout(t, "root, to mount a file system")
	}
	d := &loopDisk{t: t, image: filepath.Join(t.TempDir(), "image")}
	command(t, "truncate", "-s", "256M", d.image)
	command(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	d.mount()
	return d
}

func (d *loopDisk) mount() {
	d.t.Helper()
	d.dir = filepath.Join(d.t.TempDir(), "disk")
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	if out, err := exec.CommandContext(d.t.Context(), "mount", "-o", "loop,commit=300", d.image, d.dir).CombinedOutput(); err != nil {
		skipWithout(d.t, fmt.Sprintf("the right to mount a file: %s", out))
	}
	dir := d.dir
	d.t.Cleanup(func() { _ = exec.Command("umount", "-q", dir).Run() }) // unmounted by the test, or now
}

// cutPower replaces the image by a copy of what has reached it, and mounts that.
// Nothing runs on the file system any more: kill ends what did.
func (d *loopDisk) cutPower(kill func()) {
	d.t.Helper()
	left := d.image + ".left"
	command(d.t, "cp", "--sparse=always", d.image, left)
	kill()
	command(d.t, "umount", d.dir)
	if err := os.Rename(left, d.image); err != nil {
		d.t.Fatal(err)
	}
	d.mount()
}

// freeze stops the process and waits until each of its threads has left the kernel.
func (s *server) freeze() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	s.await("all threads stand still", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.pid))
		if err != nil || len(threads) == 0 {
			s.t.Fatalf("threads of %d: %v", s.pid, err)
		}
		for _, name := range threads {
			text, err := os.ReadFile(name)
			_, rest, ok := strings.Cut(string(text), ") ") // pid (command) state
			if err != nil || !ok || !strings.HasPrefix(rest, "T") && !strings.HasPrefix(rest, "t") {
				return false
			}
		}
		return true
	})
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// ledger is what was acknowledged: meters and how many readings of each, whose
// values and times count up.
type ledger struct {
	mu    sync.Mutex
	acked map[string]int
}

// load publishes at speed over several connections until stop is closed or the server is gone.
func (l *ledger) load(t *testing.T, addr string, round int, from time.Time, stop chan struct{}) (wait func()) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 4 {
		meter := fmt.Sprintf("loop-%d-%d", round, i)
		p := dialPublisher(t, addr, meter)
		wg.Go(func() {
			const window = 16
			sent, acked := 0, 0
			for {
				select {
				case <-stop:
					p.close()
					return
				default:
				}
				for ; sent-acked < window; sent++ {
					if _, err := p.send("gridloom/v1/s/gw/readings", readingJSON(meter, "energy_import", from.Add(time.Duration(sent)*time.Millisecond), float64(sent))); err != nil {
						return // the server was killed
					}
				}
				id, err := p.ack()
				if err != nil {
					return
				}
				if acked++; id != uint16(acked) { // a meter has one partition: its messages are stored in order
					t.Errorf("%s: PUBACK of %d, want %d", meter, id, uint16(acked))
				}
				l.mu.Lock()
				l.acked[meter] = acked
				l.mu.Unlock()
			}
		})
	}
	return wg.Wait
}

func (l *ledger) count() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.acked {
		n += k
	}
	return n
}

// lost asks for everything and returns how much of it is not there.
func (l *ledger) lost(t *testing.T, s *server, from time.Time) (n int) {
	t.Helper()
	for meter, acked := range l.acked {
		there := map[gridloom.Millis]bool{}
		for r, err := range s.client().Readings(t.Context(), client.Query{
			Meters: []string{meter}, From: gridloom.Millis(from.UnixMilli()), To: gridloom.Millis(from.Add(time.Hour).UnixMilli()),
		}) {
			if errors.Is(err, gridloom.ErrNotFound) {
				break // no reading of this meter
			}
			if err != nil {
				t.Fatalf("readings of %s: %v", meter, err)
			}
			there[r.Start] = true
		}
		for i := range acked {
			if !there[gridloom.Millis(from.UnixMilli())+gridloom.Millis(i)] {
				n++
			}
		}
	}
	return n
}

// TestAcknowledgedReadingsSurvivePowerLoss cuts the power under load: the server on
// a file system of its own is stopped, and what has reached the disk by then is
// started again. Every reading that was acknowledged is there, each time.
func TestAcknowledgedReadingsSurvivePowerLoss(t *testing.T) {
	t.Parallel()
	disk := newLoopDisk(t)
	l := &ledger{acked: map[string]int{}}
	from := time.Now().Add(-2 * time.Hour)
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 4 {
		s := serverOn(t, filepath.Join(disk.dir, "data"))
		s.start()
		if n := l.lost(t, s, from); n > 0 {
			t.Fatalf("after %d power cuts %d of %d acknowledged readings are lost", round, n, l.count())
		}
		before := l.count()
		stop := make(chan struct{})
		wait := l.load(t, s.mqtt, round, from, stop)
		target := before + 2000 + rnd.IntN(4000)
		s.await("the load is on the log", func() bool { return l.count() >= target })
		s.freeze()
		disk.cutPower(func() { s.kill(); close(stop); wait() })
		t.Logf("power cut %d with %d readings acknowledged", round+1, l.count())
	}
	s := serverOn(t, filepath.Join(disk.dir, "data"))
	s.start()
	if n := l.lost(t, s, from); n > 0 {
		t.Fatalf("%d of %d acknowledged readings are lost", n, l.count())
	}
	s.stop()
}

// TestWithFsyncTakenOutPowerLossLoses shows that the test above can fail.
func TestWithFsyncTakenOutPowerLossLoses(t *testing.T) {
	needStrace(t)
	t.Parallel()
	disk := newLoopDisk(t)
	s := serverOn(t, filepath.Join(disk.dir, "data"))
	s.start() // streams and directories are made with fsync: only the readings are at stake
	s.stop()
	s.wrap = []string{"strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"}
	s.start()
	l := &ledger{acked: map[string]int{}}
	from := time.Now().Add(-2 * time.Hour)
	stop := make(chan struct{})
	wait := l.load(t, s.mqtt, 0, from, stop)
	s.await("the load is on the log", func() bool { return l.count() >= 2000 })
	s.freeze()
	disk.cutPower(func() { s.kill(); close(stop); wait() })
	s = serverOn(t, filepath.Join(disk.dir, "data"))
	s.start()
	n := l.lost(t, s, from)
	if n == 0 {
		t.Errorf("nothing of %d acknowledged readings is lost although nothing was synced: the test does not cut the power", l.count())
	}
	t.Logf("%d of %d acknowledged readings are lost", n, l.count())
	s.stop()
}
