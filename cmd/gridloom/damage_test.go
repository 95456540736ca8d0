package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/client"
)

// partitions is how many an embedded server has.
const partitions = 4

// neighbourhood is one meter in each partition, with readings of a few hours.
type neighbourhood struct {
	from   time.Time
	meters [partitions]string
	sent   [partitions]int // readings of each, ten seconds apart
}

func newNeighbourhood() *neighbourhood {
	// Some meters have readings of three hours and seven minutes, and none may lie in the future.
	n := &neighbourhood{from: time.Now().Add(-4 * time.Hour).Truncate(time.Hour)}
	for i, found := 0, 0; found < partitions; i++ {
		m := fmt.Sprint("house-", i)
		if p := gridloom.PartitionOf(m, partitions); n.meters[p] == "" {
			n.meters[p] = m
			found++
		}
	}
	return n
}

// publish adds count readings of a partition's meter, each a message and so a frame of its own.
func (n *neighbourhood) publish(t *testing.T, s *server, partition, count int) {
	t.Helper()
	p := dialPublisher(t, s.mqtt, "gw")
	defer p.close()
	for range count {
		i := n.sent[partition]
		p.publish(t, "gridloom/v1/s/gw/readings", readingJSON(n.meters[partition], "energy_import", n.from.Add(time.Duration(i)*10*time.Second), float64(10*i)))
		n.sent[partition]++
	}
}

func (n *neighbourhood) query(meters ...string) client.Query {
	return client.Query{Meters: meters, From: gridloom.MillisOf(n.from), To: gridloom.MillisOf(n.from.Add(6 * time.Hour))}
}

// check asks for the readings and windows of meters and returns what was wrong: an
// error of the server, or an answer that is not whole.
func (n *neighbourhood) check(t *testing.T, s *server, partition ...int) (readings, windows error) {
	t.Helper()
	var meters []string
	sent, energy := 0, int64(0)
	for _, p := range partition {
		meters = append(meters, n.meters[p])
		sent += n.sent[p]
		energy += int64(10_000 * (n.sent[p] - 1))
	}
	got := 0
	for _, err := range s.client().Readings(t.Context(), n.query(meters...)) {
		if err != nil {
			readings = err
			break
		}
		got++
	}
	if readings == nil && got != sent {
		readings = fmt.Errorf("%w: %d readings, want %d", errShort, got, sent)
	}
	var sum int64
	for w, err := range s.client().Windows(t.Context(), client.WindowsQuery{Query: n.query(meters...)}) {
		if err != nil {
			windows = err
			break
		}
		sum += w.Energy.Thousandths
	}
	if windows == nil && sum != energy {
		windows = fmt.Errorf("%w: energy %d mWh, want %d", errShort, sum, energy)
	}
	return readings, windows
}

// errShort is what may never be: an answer that looks whole and is not.
var errShort = errors.New("a wrong answer")

// mustServe fails the test unless partitions are answered whole, what was just
// acknowledged a moment later.
func (n *neighbourhood) mustServe(t *testing.T, s *server, partition ...int) {
	t.Helper()
	var readings, windows error
	defer func() {
		if readings != nil || windows != nil {
			t.Logf("partitions %v: %v; %v", partition, readings, windows)
		}
	}()
	s.await(fmt.Sprintf("partitions %v are served whole", partition), func() bool {
		readings, windows = n.check(t, s, partition...)
		for _, err := range []error{readings, windows} {
			if err != nil && !errors.Is(err, errShort) {
				t.Fatalf("partitions %v: %v", partition, err)
			}
		}
		return readings == nil && windows == nil
	})
}

// mustName fails the test unless err is an error of the server that holds every text.
func mustName(t *testing.T, what string, err error, texts ...string) {
	t.Helper()
	if err == nil || errors.Is(err, errShort) {
		t.Errorf("%s: %v, want an error", what, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v: does not say %q", what, err, text)
		}
	}
}

// settled waits until every partition runs or has stopped.
func (s *server) settled() (status string) {
	s.t.Helper()
	s.awaitListeners()
	s.await("every partition runs or has stopped", func() bool {
		var code int
		code, status = s.get("/api/v1/status")
		return code == http.StatusOK && strings.Count(status, `"state":"running"`)+strings.Count(status, `"state":"stopped"`) == partitions
	})
	return status
}

// storeFiles returns the content of every file of the store by its path within it.
func (s *server) storeFiles() map[string]string {
	s.t.Helper()
	files := map[string]string{}
	root := os.DirFS(filepath.Join(s.data, "store"))
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// mustKeep fails the test if a file of before is gone or changed.
func (s *server) mustKeep(before map[string]string) {
	s.t.Helper()
	now := s.storeFiles()
	for path, text := range before {
		if got, ok := now[path]; !ok || got != text {
			s.t.Errorf("%s was removed or changed", path)
		}
	}
}

func flip(b []byte) []byte {
	b[len(b)/2] ^= 0x10
	return b
}

func cut(b []byte) []byte { return b[:len(b)*2/3] }

// TestADamagedStoreFileIsNamedAndTheRestServed flips a byte in, or cuts the end off,
// every kind of file of the store, one in each of three partitions.
func TestADamagedStoreFileIsNamedAndTheRestServed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	n := newNeighbourhood()
	for range 2 { // two commits, so that there are an older and a newer file of each kind
		s.start()
		for p := range partitions {
			n.publish(t, s, p, 60)
		}
		s.stop()
	}
	type harm struct {
		kind   string
		which  int // 0: the older file, 1: the newer
		change func([]byte) []byte
	}
	const healthy = 3
	for _, round := range [][healthy]harm{
		{{"raw", 1, flip}, {"pane", 1, cut}, {"manifest", 1, flip}},
		{{"manifest", 1, cut}, {"raw", 0, cut}, {"pane", 0, flip}},
		{{"pane", 1, flip}, {"snapshot", 1, cut}, {"snapshot", 1, flip}},
	} {
		whole := s.storeFiles()
		damaged := [healthy]string{}
		for p, h := range round {
			var names []string
			for path := range whole {
				if strings.Contains(path, fmt.Sprintf("/p%d/", p)) && strings.HasPrefix(filepath.Base(path), h.kind+"-") {
					names = append(names, path)
				}
			}
			slices.Sort(names)
			damaged[p] = names[len(names)-2+h.which]
			writeFile(t, filepath.Join(s.data, "store", damaged[p]), h.change([]byte(whole[damaged[p]])))
		}
		before := s.storeFiles()
		s.launch()
		status := s.settled()
		for p, h := range round {
			what := fmt.Sprintf("partition %d, %s damaged", p, damaged[p])
			texts := []string{damaged[p], fmt.Sprint("partition ", p), "restore"}
			readings, windows := n.check(t, s, p)
			if h.kind == "pane" { // not needed for readings
				mustName(t, what, windows, texts...)
				windows = nil
			}
			if h.kind == "raw" { // not needed for windows
				mustName(t, what, readings, texts...)
				readings = nil
			}
			if h.kind == "manifest" || h.kind == "snapshot" {
				mustName(t, what, readings, texts...)
				mustName(t, what, windows, texts...)
				readings, windows = nil, nil
				if !strings.Contains(status, damaged[p]) {
					t.Errorf("%s: /api/v1/status does not name it: %s", what, status)
				}
			}
			if readings != nil || windows != nil {
				t.Errorf("%s, which this does not need: %v; %v", what, readings, windows)
			}
			s.await("the log names "+damaged[p], func() bool { return strings.Contains(s.out.String(), damaged[p]) })
		}
		n.mustServe(t, s, healthy)
		readings, windows := n.check(t, s, 0, 1, 2, 3)
		mustName(t, "readings of all", readings, "restore")
		mustName(t, "windows of all", windows, "restore")
		n.publish(t, s, healthy, 5) // and it goes on
		n.mustServe(t, s, healthy)
		s.stop()
		s.mustKeep(before)
		for _, path := range damaged { // mended as the message says
			writeFile(t, filepath.Join(s.data, "store", path), []byte(whole[path]))
		}
		s.start()
		n.mustServe(t, s, 0, 1, 2, 3)
		s.stop()
	}
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// streamDir is where the embedded server keeps a stream.
func (s *server) streamDir(name string) string {
	return filepath.Join(s.data, "log", "jetstream", "$G", "streams", name)
}

// TestLostHeadsAreRepaired takes the heads away under a store that has files.
func TestLostHeadsAreRepaired(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	n := newNeighbourhood()
	s.start()
	for p := range partitions {
		n.publish(t, s, p, 40)
	}
	s.stop()
	s.start()
	for p := range partitions {
		n.publish(t, s, p, 40)
	}
	s.kill() // what was not committed yet is only in the log
	if err := os.RemoveAll(s.streamDir("KV_GRIDLOOM_HEADS")); err != nil {
		t.Fatal(err)
	}
	before := s.storeFiles()
	s.launch()
	status := s.settled()
	if strings.Count(status, "gridloom repair head") != partitions {
		t.Errorf("/api/v1/status does not name the mend for each partition: %s", status)
	}
	for p := range partitions {
		for _, path := range []string{"readings", "windows"} {
			code, body := s.get(fmt.Sprintf("/api/v1/%s?meter=%s", path, n.meters[p]))
			if code != http.StatusServiceUnavailable || !strings.Contains(body, "gridloom repair head") {
				t.Errorf("%s of partition %d: %d %s, want 503 that names gridloom repair head", path, p, code, body)
			}
		}
	}
	if code, body := s.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "gridloom repair head") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if out, code := runGridloom(t, "repair", "head", "--data", s.data); code != 1 || !strings.Contains(out, "in use") {
		t.Errorf("repair while gridloom runs: %d %s", code, out)
	}
	s.stop()
	s.mustKeep(before)
	out, code := runGridloom(t, "repair", "head", "--data", s.data)
	if code != 0 || strings.Count(out, "restored from") != partitions {
		t.Fatalf("repair head: %d %s", code, out)
	}
	s.start()
	n.mustServe(t, s, 0, 1, 2, 3)
	for p := range partitions {
		n.publish(t, s, p, 10)
	}
	n.mustServe(t, s, 0, 1, 2, 3)
	s.stop()
	s.mustKeep(before)
	s.start()
	n.mustServe(t, s, 0, 1, 2, 3)
	s.stop()
}

// TestALogRolledBackStopsItsPartition puts an older copy of the log under newer
// heads: 1,000 frames that one partition has read are gone.
func TestALogRolledBackStopsItsPartition(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	n := newNeighbourhood()
	s.start()
	for p := range partitions {
		n.publish(t, s, p, 20)
	}
	s.stop()
	log, older := s.streamDir("GRIDLOOM_LOG"), filepath.Join(t.TempDir(), "log")
	command(t, "cp", "-a", log, older)
	s.start()
	const back = 1
	n.publish(t, s, back, 1000)
	s.stop()
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	command(t, "cp", "-a", older, log)
	before := s.storeFiles()
	stopped := func() bool {
		_, status := s.get("/api/v1/status")
		return strings.Contains(status, `"partition":1,"state":"stopped"`)
	}
	s.launch()
	s.settled()
	s.await("the partition has stopped", stopped)
	_, status := s.get("/api/v1/status")
	if !strings.Contains(status, "the log ends at sequence 80, but it was read to 1080") {
		t.Errorf("/api/v1/status does not tell what is wrong: %s", status)
	}
	readings, windows := n.check(t, s, back)
	mustName(t, "readings", readings, fmt.Sprint("partition ", back), "log", "restore")
	mustName(t, "windows", windows, fmt.Sprint("partition ", back), "log", "restore")
	readings, windows = n.check(t, s, 0, 1, 2, 3)
	mustName(t, "readings of all", readings, "log", "restore")
	mustName(t, "windows of all", windows, "log", "restore")
	n.mustServe(t, s, 0, 2, 3)
	// What would go into that log is not acknowledged: the right one may come back without it.
	mqtt := dialPublisher(t, s.mqtt, "hopeful")
	defer mqtt.close()
	if _, err := mqtt.send("gridloom/v1/site/hopeful/readings", readingJSON(n.meters[back], "energy_import", time.Now(), 1)); err != nil {
		t.Fatal(err)
	}
	if pid, err := mqtt.ack(); err == nil {
		t.Errorf("message %d for the stopped partition was acknowledged", pid)
	}
	s.stop()
	s.mustKeep(before)
	// The log grows past what had been read: still another log.
	s.launch()
	s.settled()
	n.mustServe(t, s, 0, 2, 3)
	for range 11 {
		n.publish(t, s, 0, 100)
	}
	n.mustServe(t, s, 0)
	s.stop()
	s.launch()
	s.settled()
	s.await("the partition has stopped", stopped)
	readings, _ = n.check(t, s, back)
	mustName(t, "readings after the log grew", readings, fmt.Sprint("partition ", back), "log", "restore")
	s.stop()
	s.mustKeep(before)
}

// TestADamagedSpoolIsNamedAndTheRestPublished harms the spool of an agent that was
// killed before it reached a server: the log names the file and how many records
// are left out, all others arrive, and of a flipped byte the file is kept.
func TestADamagedSpoolIsNamedAndTheRestPublished(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	for _, c := range []struct {
		name, says string
		change     func([]byte) []byte
		lost       int
	}{
		{name: "whole", change: func(b []byte) []byte { return b }},
		{name: "flipped", says: "spool records are damaged or missing and left out", change: flip, lost: 1},
		{name: "torn", says: "spool ends in a torn record, which is cut off", change: func(b []byte) []byte { return b[:len(b)-5] }, lost: 1},
	} {
		spool := filepath.Join(t.TempDir(), "spool")
		agent := func(connect, input string) (*exec.Cmd, *logFile) {
			cmd := exec.CommandContext(t.Context(), builtBinary(t, "edge-agent"), "stdin", "--connect", connect, "--agent", "gw-"+c.name, "--spool", spool,
				"--sync", "reading", "--batch-readings", "1", "--clock", "trust", "--status-every", "0")
			out := &logFile{}
			cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader(input), out, out, time.Second
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			return cmd, out
		}
		const batches = 40
		from := time.Now().Add(-time.Hour)
		var input strings.Builder
		for i := range batches {
			input.Write(append(readingJSON("spool-"+c.name, "power_import", from.Add(time.Duration(i)*time.Second), float64(i)), '\n'))
		}
		offline, _ := agent("mqtt://127.0.0.1:1", input.String())
		var segment string
		s.await("the agent has spooled everything", func() bool {
			names, err := filepath.Glob(filepath.Join(spool, "*.spool"))
			if err != nil || len(names) != 1 {
				return false
			}
			segment = names[0]
			text, err := os.ReadFile(segment)
			return err == nil && strings.Count(string(text), "GLs1") == batches // the marker of a record
		})
		if err := offline.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = offline.Wait() // it was killed
		text, err := os.ReadFile(segment)
		if err != nil {
			t.Fatal(err)
		}
		text = c.change(text)
		writeFile(t, segment, text)

		online, out := agent("mqtt://"+s.mqtt, "")
		if err := online.Wait(); err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, out)
		}
		// Wait has returned: all that the agent printed is here.
		if log := out.String(); c.says != "" && (!strings.Contains(log, c.says) || !strings.Contains(log, segment)) {
			t.Errorf("%s: the agent does not say %q of %s:\n%s", c.name, c.says, segment, out)
		}
		arrived := func() (n int) {
			for _, err := range s.client().Readings(t.Context(), client.Query{
				Meters: []string{"spool-" + c.name}, From: gridloom.MillisOf(from), To: gridloom.MillisOf(time.Now()),
			}) {
				if err == nil { // not there yet
					n++
				}
			}
			return n
		}
		s.await("what the spool still held has arrived", func() bool { return arrived() >= batches-c.lost })
		if n := arrived(); n != batches-c.lost {
			t.Errorf("%s: %d of %d readings arrived, want %d", c.name, n, batches, batches-c.lost)
		}
	}
}
