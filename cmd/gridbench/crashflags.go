package main

import (
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"time"
)

// crashConfig is what gridbench crash is told.
type crashConfig struct {
	kills            int
	rate             int // readings per second over all connections
	edits            int // per second
	minKill, maxKill time.Duration
	seed             uint64
	server           string // path of the gridloom binary; "": built
	serverArgs       string
	dir              string // work directory; "": a temporary one
	maxRestart       time.Duration
	connections      int
	meters           int // per connection
	json             bool

	roles      bool // role processes on a nats-server instead of gridloom up
	natsServer string
	partitions int
	ingests    int
	aggregates int
	queries    int
	killsEach  int
	zombies    int
	rolling    bool
	scale      int // cycles
	maxPause   time.Duration
}

func crashFlags(c *crashConfig) *flag.FlagSet {
	fs := flag.NewFlagSet("gridbench crash", flag.ContinueOnError)
	fs.IntVar(&c.kills, "kills", 100, "how often to kill the server")
	fs.IntVar(&c.rate, "rate", 20_000, "readings per second over all connections")
	fs.IntVar(&c.edits, "edits", 50, "edits per second over the REST API, 0 for none; not with --roles")
	fs.DurationVar(&c.minKill, "min-kill", 50*time.Millisecond, "earliest random kill after serving began")
	fs.DurationVar(&c.maxKill, "max-kill", 2*time.Second, "latest random kill")
	fs.Uint64Var(&c.seed, "seed", 0, "seed of kills and readings; 0: a new one, which is printed")
	fs.DurationVar(&c.maxRestart, "max-restart", 5*time.Second, "longest time from exec to serving that passes")
	fs.IntVar(&c.connections, "connections", 8, "MQTT connections, an agent each")
	fs.IntVar(&c.meters, "meters", 20, "meters per connection")
	fs.BoolVar(&c.json, "json", false, "print JSON")
	fs.BoolVar(&c.roles, "roles", false, "a cluster of role processes on a nats-server instead of gridloom up")
	fs.IntVar(&c.killsEach, "kills-each", 10, "with --roles, how often to kill each role, the nats-server and all at once")
	fs.IntVar(&c.zombies, "zombies", 0, "with --roles, how often to stop a process for 1, 10 or 30 s and let it go on")
	fs.BoolVar(&c.rolling, "rolling", false, "with --roles, restart every role process cleanly, one after the other")
	fs.IntVar(&c.scale, "scale", 0, "with --roles, how many `cycles` of 1, 2, 4 and 1 aggregates")
	fs.DurationVar(&c.maxPause, "max-pause", time.Second, "longest time without an answer of a partition whose owner changes as planned that passes")
	clusterFlags(fs, c, 1)
	return fs
}

// clusterFlags are those that a cluster is made by, with n ingests and queries.
func clusterFlags(fs *flag.FlagSet, c *crashConfig, n int) {
	fs.StringVar(&c.server, "server", "", "`path` of the gridloom binary; built from this module if empty")
	fs.StringVar(&c.serverArgs, "server-args", "", "further `flags` of gridloom up, or of each role, separated by blanks")
	fs.StringVar(&c.dir, "dir", "", "work `directory`, which must not exist; a temporary one if empty")
	fs.StringVar(&c.natsServer, "nats-server", "", "`path` of the nats-server; built from this module's go.mod if empty")
	fs.IntVar(&c.partitions, "partitions", 8, "partitions of a cluster")
	fs.IntVar(&c.ingests, "ingests", n, "ingest processes of a cluster")
	fs.IntVar(&c.aggregates, "aggregates", 2, "aggregate processes of a cluster")
	fs.IntVar(&c.queries, "queries", n, "query processes of a cluster")
}

// validateCluster says what is wrong with the flags of a cluster.
func (c *crashConfig) validateCluster() error {
	switch {
	case c.partitions < 1 || c.partitions > 1024 || c.ingests < 1 || c.aggregates < 1 || c.queries < 1:
		return errors.New("--partitions (at most 1024), --ingests, --aggregates, --queries: want at least 1")
	case c.killsEach < 0 || c.zombies < 0 || c.scale < 0:
		return errors.New("--kills-each, --zombies, --scale: want positive ones")
	case !c.roles && (c.zombies > 0 || c.rolling || c.scale > 0):
		return errors.New("--zombies, --rolling and --scale need --roles")
	}
	return nil
}

func parseCrash(args []string, stderr io.Writer) (*crashConfig, error) {
	var c crashConfig
	fs := crashFlags(&c)
	fs.SetOutput(stderr)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if c.seed == 0 {
		c.seed = rand.Uint64()
	}
	if c.kills < 0 || c.rate < 1 || c.edits < 0 || c.edits > 1000 || c.connections < 1 || c.meters < 1 || c.minKill < 0 || c.maxKill < c.minKill {
		return nil, errors.New("--kills, --rate, --edits (at most 1000), --connections, --meters, --min-kill, --max-kill: want positive ones, and --max-kill not below --min-kill")
	}
	return &c, c.validateCluster()
}
