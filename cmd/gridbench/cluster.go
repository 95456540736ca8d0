package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// The roles of a cluster. natsRole is no role of gridloom: the server that all talk to.
const (
	ingestRole    = "ingest"
	aggregateRole = "aggregate"
	queryRole     = "query"
	natsRole      = "nats-server"
)

// A cluster is a nats-server and the processes of the roles on it, with one data
// directory between them.
type cluster struct {
	binary, natsBinary string
	args               []string // of every role
	dir                string
	natsAddr           string
	partitions         int
	haste              bool // aggregates merge and sweep every moment, so that kills hit that
	nats               *member
	members            []*member // of the roles
}

// A member is one process of a cluster by role and name, over all its lives. It is
// driven by one goroutine; serves may be called by any.
type member struct {
	role, name string
	cluster    *cluster
	cmd        func() *exec.Cmd
	runFile    string   // "" if it writes none
	log        *os.File // what all its lives print
	proc       *process // nil before the first life
	logFrom    int64    // where the present life's lines begin

	mu   sync.Mutex
	mqtt string // "" while it does not serve
	http string
}

// newCluster makes the files of a cluster in dir; nothing runs yet. args are those of every role.
func newCluster(ctx context.Context, dir, binary, natsBinary string, partitions int, args []string) (*cluster, error) {
	addr, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	c := &cluster{binary: binary, natsBinary: natsBinary, args: args, dir: dir, natsAddr: addr, partitions: partitions}
	conf := fmt.Sprintf("server_name: gridbench\nlisten: %q\nmax_payload: 8MB\nmax_pending: 256MB\njetstream {\n  store_dir: %q\n  sync_interval: always\n  max_file_store: 1TB\n}\n",
		addr, filepath.Join(dir, "nats"))
	path := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	c.nats, err = c.member(natsRole, "")
	if err == nil {
		c.nats.cmd = func() *exec.Cmd {
			return exec.Command(natsBinary, "-c", path) //nolint:noctx // it ends when it is killed, which is what is tested
		}
	}
	return c, err
}

func (c *cluster) member(role, name string) (*member, error) {
	log, err := os.OpenFile(filepath.Join(c.dir, cmp.Or(name, role)+".log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &member{role: role, name: name, cluster: c, log: log}, nil
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

// add makes another member of a role, which does not run yet.
func (c *cluster) add(role string) (*member, error) {
	n := 1
	for _, m := range c.members {
		if m.role == role {
			n++
		}
	}
	m, err := c.member(role, fmt.Sprintf("%s-%d", role, n))
	if err != nil {
		return nil, err
	}
	args := append([]string{
		role, "--nats", "nats://" + c.natsAddr, "--nats-fsync-always", "--partitions", fmt.Sprint(c.partitions),
		"--data", c.data(), "--name", m.name, "--http", "127.0.0.1:0",
	}, c.args...)
	if role == ingestRole {
		args = append(args, "--mqtt", "127.0.0.1:0")
	}
	m.runFile = filepath.Join(c.data(), "run", role+"-"+m.name+".json")
	m.cmd = func() *exec.Cmd {
		return exec.Command(c.binary, args...) //nolint:noctx // it ends when it is killed, which is what is tested
	}
	c.members = append(c.members, m)
	return m, nil
}

// of returns the members of a role.
func (c *cluster) of(role string) []*member {
	if role == natsRole {
		return []*member{c.nats}
	}
	var ms []*member
	for _, m := range c.members {
		if m.role == role {
			ms = append(ms, m)
		}
	}
	return ms
}

// all returns the nats-server and every member.
func (c *cluster) all() []*member { return append([]*member{c.nats}, c.members...) }

// close kills what runs.
func (c *cluster) close() error {
	var errs []error
	for _, m := range c.all() {
		m.kill()
		errs = append(errs, m.log.Close())
	}
	return errors.Join(errs...)
}

// mqtt returns where agent i connects: one of the ingests that serve, "" if none does.
func (c *cluster) mqtt(i int) string {
	var at []string
	for _, m := range c.of(ingestRole) {
		if mqtt, _ := m.serves(); mqtt != "" {
			at = append(at, mqtt)
		}
	}
	if len(at) == 0 {
		return ""
	}
	return at[i%len(at)]
}

// http returns where queries are answered, "" if nowhere.
func (c *cluster) http() string {
	for _, m := range c.of(queryRole) {
		if _, http := m.serves(); http != "" {
			return http
		}
	}
	return ""
}

// serves returns where the member serves; "" while it does not.
func (m *member) serves() (mqtt, http string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mqtt, m.http
}

func (m *member) serveAt(mqtt, http string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mqtt, m.http = mqtt, http
}

func (m *member) String() string { return cmp.Or(m.name, m.role) }

// running reports whether the member has a life.
func (m *member) running() bool { return m.proc != nil && !m.proc.ended() }

// exec begins a life. fault is GRIDLOOM_FAULT, "" for none.
func (m *member) exec(fault string) error {
	m.serveAt("", "")
	if m.runFile != "" {
		if err := os.Remove(m.runFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if info, err := m.log.Stat(); err == nil {
		m.logFrom = info.Size()
	}
	cmd := m.cmd()
	cmd.Stdout = m.log
	cmd.Env = os.Environ()
	if fault != "" {
		cmd.Env = append(cmd.Env, "GRIDLOOM_FAULT="+fault)
	}
	if m.cluster.haste && hasty(fault) {
		cmd.Env = append(cmd.Env, hasteEnv)
	}
	p, err := startProcess(cmd, m.log)
	m.proc = p
	return err
}

// lastWords returns the end of what the present life has printed.
func (m *member) lastWords() string { return lastWords(m.log, m.logFrom) }

// look notes where the member serves, if it does by now.
func (m *member) look() {
	if m.runFile == "" || !m.running() {
		return
	}
	if mqtt, http := m.serves(); mqtt != "" || http != "" {
		return
	}
	text, err := os.ReadFile(m.runFile)
	if err != nil {
		return
	}
	var r runFile
	if json.Unmarshal(text, &r) == nil && r.PID == m.proc.pid() {
		m.serveAt(r.MQTT, r.HTTP)
	}
}

// errNotYet is a member that does not do its whole job yet.
var errNotYet = errors.New("it does not serve yet")

// ready says why the member does not do its whole job, nil if it does: a role by its
// /readyz, the nats-server by its greeting.
func (m *member) ready(ctx context.Context, natsAddr string) error {
	if !m.running() {
		return errNotYet
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if m.role == natsRole {
		return greeted(ctx, natsAddr)
	}
	m.look()
	_, http := m.serves()
	if http == "" {
		return errNotYet
	}
	a := newAPI(http)
	defer a.close()
	return a.ready(ctx)
}

// greeted returns nil when somebody at addr says anything at all.
func greeted(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// kill ends the present life as a power cut would.
func (m *member) kill() {
	if m.proc != nil {
		m.proc.kill()
	}
	m.serveAt("", "")
}

// stop ends the present life cleanly and reports whether it did so by itself, with status 0.
func (m *member) stop(ctx context.Context, patience time.Duration) bool {
	if m.proc == nil {
		return true
	}
	m.proc.stop()
	m.proc.await(ctx, patience)
	clean := m.proc.ended() && m.proc.cmd.ProcessState.Success()
	m.kill()
	return clean
}

// settlePatience is how long a cluster may take until every member does its whole job again.
const settlePatience = 90 * time.Second

// settle waits until every member that was started is ready, and returns who was last
// and why. revive starts one that ended by itself.
func (c *cluster) settle(ctx context.Context, revive func(*member) error) (last string, err error) {
	deadline := time.Now().Add(settlePatience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		waiting := false
		for _, m := range c.all() {
			if m.proc == nil {
				continue
			}
			if m.proc.ended() {
				if err := revive(m); err != nil {
					return last, err
				}
			}
			if waiting {
				continue
			}
			if why := m.ready(ctx, c.natsAddr); why != nil {
				last, waiting = fmt.Sprintf("%s: %v", m, why), true
			}
		}
		if !waiting {
			return last, nil
		}
		if time.Now().After(deadline) {
			return last, fmt.Errorf("not everything is ready %s after the last blow: %s: %w", settlePatience, last, errFound)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}
