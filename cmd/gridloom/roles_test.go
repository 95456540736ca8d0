package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRolesAnswerAsUp sends the same readings to `up` and to roles that run apart, two
// of each, and compares what they answer.
func TestRolesAnswerAsUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{"a1", "a2"} {
		s.launch(roleAggregate, name)
	}
	for _, name := range []string{"i1", "i2"} {
		s.start(roleIngest, name)
	}
	s.launch(roleQuery, "q1")
	s.launch(roleQuery, "q2")
	for _, name := range []string{"a1", "a2", "q1", "q2"} {
		s.procs[name].awaitListeners()
	}
	s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	s.procs["q1"].awaitReady()
	began := s.at
	s.publish("i1", 10)
	s.publish("i2", 10)

	up := newServer(t)
	up.start()
	same := *s
	same.at, same.sent = began, 0
	p := dialPublisher(t, up.mqtt, "one")
	p.publishAll(t, "gridloom/v1/site/gw/readings", same.messages(20))
	for _, path := range []string{allReadings, allWindows, "/api/v1/meters?"} {
		want := rows(t, up, path)
		if len(want) < 24 {
			t.Errorf("up answers %d rows to %s", len(want), path)
		}
		for _, name := range []string{"q1", "q2"} {
			if diff := cmp.Diff(want, rows(t, s.procs[name], path)); diff != "" {
				t.Errorf("%s of %s differs from that of up:\n%s", path, name, diff)
			}
		}
	}
	editsApart(t, up, s.procs["q1"], s.procs["q2"])
	for _, name := range []string{"a1", "a2", "i1", "i2", "q1", "q2"} {
		p := s.procs[name]
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if status, body := p.get(path); status != 200 {
				t.Errorf("%s of %s answers %d: %s", path, name, status, body)
			}
		}
	}
	// Stopped in any order, each ends well and takes its file along.
	for _, name := range []string{"q1", "a1", "i2", "a2", "i1", "q2"} {
		p := s.procs[name]
		if status, took := p.stop(); status != 0 || took > 10*time.Second {
			t.Errorf("%s ended with %d after %s", name, status, took)
		}
		if _, err := os.Stat(filepath.Join(s.data, p.run)); !os.IsNotExist(err) {
			t.Errorf("%s left its file behind: %v", name, err)
		}
	}
}

// TestAggregatesComeAndGo goes through what happens to the aggregates and the NATS
// server of a site, while queries are asked all the time.
func TestAggregatesComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start(roleAggregate, "a1")
	s.start(roleIngest, "i1")
	s.start(roleQuery, "q1")
	s.publish("i1", 3)

	// Planned: nobody waits longer than an owner's pause, and nobody is refused.
	planned := func(what string, do func()) {
		t.Helper()
		a := s.ask("q1")
		do()
		s.publish("i1", 1)
		slowest, count, failed := a.stop()
		t.Logf("%s: the slowest of %d answers took %s", what, count, slowest)
		if len(failed) > 0 {
			t.Errorf("%s: queries were refused: %q", what, failed)
		}
		s.checkAll("q1", what)
	}
	planned("1 → 2", func() {
		s.start(roleAggregate, "a2")
		s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	})
	planned("2 → 4", func() {
		s.start(roleAggregate, "a3")
		s.start(roleAggregate, "a4")
		s.awaitOwners("q1", map[string]int{"a1": 2, "a2": 2, "a3": 2, "a4": 2})
	})
	planned("4 → 2", func() {
		for _, name := range []string{"a3", "a4"} {
			if status, took := s.procs[name].stop(); status != 0 {
				t.Errorf("%s ended with %d after %s", name, status, took)
			}
		}
		s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	})

	before := rows(t, s.procs["q1"], allWindows)
	same := func(what string) {
		t.Helper()
		s.checkAll("q1", what)
		if diff := cmp.Diff(before, rows(t, s.procs["q1"], allWindows)); diff != "" {
			t.Errorf("%s changed the answer:\n%s", what, diff)
		}
	}
	s.procs["a2"].kill()
	took := s.awaitOwners("q1", map[string]int{"a1": 8})
	t.Logf("kill -9: the others had claimed after %s", took)
	same("kill -9 of an owner")

	s.start(roleAggregate, "a2")
	s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	s.procs["a2"].kill()
	s.start(roleAggregate, "a2")
	took = s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	t.Logf("kill -9 and a new start: it had its own again after %s", took)
	if text := s.procs["a1"].out.String(); strings.Contains(text[strings.LastIndex(text, "handed over"):], "claimed") {
		t.Errorf("another node claimed what a restarted one held:\n%s", s.procs["a1"].out.tail(2000))
	}
	same("a restarted owner")

	zombie := s.procs["a2"]
	zombie.signal(syscall.SIGSTOP)
	s.awaitOwners("q1", map[string]int{"a1": 8})
	s.publish("i1", 1) // the new owners commit, so that the old cannot
	zombie.signal(syscall.SIGCONT)
	s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	if !regexp.MustCompile(`another process has claimed the partition|lost to another owner`).MatchString(zombie.out.String()) {
		t.Errorf("the zombie has not noticed:\n%s", zombie.out.tail(2000))
	}
	s.checkAll("q1", "a zombie that came back")

	s.killNATS()
	s.restartNATS()
	for _, name := range []string{"a1", "a2", "i1", "q1"} {
		s.procs[name].awaitReady()
	}
	s.awaitOwners("q1", map[string]int{"a1": 4, "a2": 4})
	s.publish("i1", 1)
	s.procs["q1"].await("the owners read on", func() bool {
		status, _ := s.procs["q1"].get(allReadings)
		return status == 200
	})
	s.checkAll("q1", "a restarted NATS server")
}

// TestOperationsPageRunsTheRolesApart runs the commands of docs/operations.md, on free
// ports and a directory of its own.
func TestOperationsPageRunsTheRolesApart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	moved := strings.NewReplacer("nats://127.0.0.1:4222", s.url, "http://127.0.0.1:8222", s.check, "/var/lib/gridloom", s.data, ":1883", ":0", ":8080", ":0")
	started := 0
	for _, b := range blocks(t, "../../docs/operations.md") {
		if b.language != "sh" || !strings.Contains(b.text, "gridloom aggregate") {
			continue
		}
		for line := range strings.Lines(b.text) {
			command, _, _ := strings.Cut(line, "   #")
			words := strings.Fields(command)
			switch words[0] {
			case "nats-server":
				if words[1] != "-c" || words[2] != "deploy/nats/nats-server.conf" {
					t.Errorf("%q starts another server than newSite", command)
				}
			case "gridloom":
				name := words[slices.Index(words, "--name")+1]
				s.proc(role(words[1]), name).launchLine(strings.Fields(moved.Replace(command))[1:])
				started++
			default:
				t.Errorf("nobody tries %q", command)
			}
		}
	}
	if started < 4 {
		t.Fatalf("%d roles were started", started)
	}
	for _, p := range s.procs {
		p.awaitReady()
	}
	s.awaitOwners("q-1", map[string]int{"agg-1": 32, "agg-2": 32})
	s.publish("in-1", 1)
	s.checkAll("q-1", "as the page says")
}

// TestRoleThatIsRefused: each mistake is one line that says what and how to mend it.
func TestRoleThatIsRefused(t *testing.T) {
	f := func(status int, pattern string, args ...string) {
		t.Helper()
		got, said := runLine(t, args...)
		if got != status || !regexp.MustCompile(`^gridloom: `+pattern+`\n$`).MatchString(said) {
			t.Errorf("%v ends with %d and %q, want %d and a line like %q", args, got, said, status, pattern)
		}
	}
	data, nats := filepath.Join(t.TempDir(), "data"), newSite(t)
	for _, r := range []string{"ingest", "aggregate", "query"} {
		f(2, `a NATS server that does not fsync every message loses .*sync_interval: always.* --nats-fsync-always`, r, "--data", data)
		f(2, `--name "a b": want letters and digits.*`, r, "--data", data, "--nats-fsync-always", "--name", "a b")
		f(2, `--name "a\.\.b": want .*`, r, "--data", data, "--nats-fsync-always", "--name", "a..b")
		f(2, `--nats-cert and --nats-key go together`, r, "--data", data, "--nats-fsync-always", "--nats-cert", "x")
		f(2, r+` takes no arguments, and got "here"`, r, "here")
		f(1, `refused: --http \S+ can be reached from other machines.*`, r, "--data", data, "--nats-fsync-always", "--http", "0.0.0.0:0")
		f(1, `.*ask \S+/jsz whether NATS fsyncs: .*`, r, "--data", data, "--nats-fsync-always", "--http", "127.0.0.1:0", "--nats", nats.url, "--nats-monitor", "http://"+freeAddress(t))
	}
	f(2, `flag provided but not defined: -window: gridloom query -h lists the flags`, "query", "--window", "15m")

	// A directory belongs to up or to roles, and a name to one process of a role.
	up, err := openDataDir(data, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f(1, `data directory \S+ is in use by gridloom up, which runs every role itself: .*--data`, "query", "--data", data, "--nats-fsync-always")
	up.close()
	one, err := openRoleDir(&config{role: roleAggregate, name: "a1", data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer one.close()
	f(1, `aggregate a1 runs on data directory \S+ already: stop it or choose another --name`, "aggregate", "--data", data, "--nats-fsync-always", "--name", "a1")
	f(1, `data directory \S+ is in use by another process: stop it .*--data`, "up", "--data", data, "--mqtt", "127.0.0.1:0", "--http", "127.0.0.1:0")
	f(1, `data directory \S+ was made with --window 15m0s, and this start asks for 30m0s: .*`, "aggregate", "--data", data, "--nats-fsync-always", "--name", "a2", "--window", "30m")
	other, err := openRoleDir(&config{role: roleQuery, name: "a1", data: data})
	if err != nil {
		t.Errorf("a query of the same name: %v", err)
	} else {
		other.close()
	}
}
