// Gridbench measures and torments a running gridloom from outside, over what is
// public: MQTT, the payload formats and the REST API.
//
// gridbench load (load.go) publishes as fast as it is acknowledged or at a fixed
// rate, and reports throughput, latency and what the server spent on it. Its
// messages are templates with patched digits (payload.go) written as raw MQTT
// packets (rawmqtt.go, publisher.go), because a client library would cost ten
// times what the server does. Probes (probe.go) tell when a reading shows up in
// a query; proc.go reads what the process used; histogram.go keeps latencies.
//
// gridbench crash (crash.go) starts a server (server.go), publishes batches of
// every shape (traffic.go, crashconn.go), keeps an fsynced ledger of what was
// acknowledged (ledger.go), kills the server again and again, and has a checker
// (check.go) compare every acknowledged reading and every window (expect.go, expectcounter.go)
// with what the REST API (rest.go) serves. Meanwhile edits.go edits and undoes what was acknowledged; editcheck.go
// knows what stands then. The checker shares no code with
// ingest or aggregate: it could not find a mistake that it makes too.
//
// With --roles it does so to a nats-server and role processes (cluster.go, ordeal.go):
// strike.go kills and stops them, rolling.go restarts them and changes how many there are while
// pauses.go asks for answers, rolesreport.go tells. gridbench soak (soak.go) does a bit
// of everything for a long time and watches the memory of those it spares. fleet.go
// holds the agents of either.
//
// gridbench late (late.go) tells what corrections cost: readings that come when the windows
// around them are long committed, and devices that send their backlog newest first.
//
// gridbench floor (floor.go, floorbroker.go) measures on this machine what package
// floor knows: the least that each stage can cost, and our stage beside it.
//
// gridbench compare ingest (compare.go) lets whole stacks (stack.go), ours and those
// that are used instead (peers.go), take the same load in turns; subscriber.go is the
// cheapest there can be behind a broker.
//
// process.go starts and ends the programs that any of them needs.
//
// docs/benchmarks.md explains flags and JSON keys.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `gridbench measures and torments a running gridloom.

  gridbench load   publish readings, report throughput, latency and cost
  gridbench crash  kill -9 a server under load, then count what it lost
  gridbench compare ingest
                   run gridloom and what is used instead in turns
  gridbench soak   minutes of mixed faults: is anything lost, does memory grow?
  gridbench late   readings that come late or newest first: how soon are they in, and at what cost?
  gridbench floor  measure the least that each stage can cost here, and our stages beside it

gridbench COMMAND -h lists the flags; docs/benchmarks.md explains them.
`

// report is what a command found out.
type report interface{ print(w io.Writer) error }

// tell prints a report for a person, or as JSON.
func tell(w io.Writer, r report, asJSON bool) error {
	if !asJSON {
		return r.print(w)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// errFound is a run that worked and found the server at fault: exit status 1,
// and the report has said why.
var errFound = errors.New("the server did not keep its promise")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "gridbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return errors.New("which command?")
	}
	switch args[0] {
	case "load":
		return runLoad(ctx, args[1:], stdout, stderr)
	case "crash":
		return runCrash(ctx, args[1:], stdout, stderr)
	case "floor":
		return runFloor(ctx, args[1:], stdout, stderr)
	case "soak":
		return runSoak(ctx, args[1:], stdout, stderr)
	case "late":
		return runLate(ctx, args[1:], stdout, stderr)
	case "compare":
		return runCompare(ctx, args[1:], stdout, stderr)
	case floorBroker:
		return runFloorBroker(ctx, args[1:], os.Stdin, stdout)
	case "-h", "-help", "--help", "help":
		fmt.Fprint(stdout, usage)
		return nil
	}
	fmt.Fprint(stderr, usage)
	return fmt.Errorf("there is no command %q", args[0])
}
