package floor

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/gridloom/gridloom"
)

// Brokers are the names that Serve knows, each doing more than the one before:
// raw counts and acknowledges, hook does so behind the broker that ingest uses,
// ingest decodes and shards into frames for a log that stores nothing, log stores
// them in the embedded log, fsynced.
func Brokers() []string { return []string{"raw", "hook", "ingest", "log"} }

// Serve runs one of Brokers on a free loopback port until ctx ends. It calls ready
// once with the address. dir is where log keeps its files. An unknown name is ErrInvalid.
func Serve(ctx context.Context, broker, dir string, ready func(addr string) error) error {
	if !slices.Contains(Brokers(), broker) {
		return fmt.Errorf("%w: there is no broker %q: want one of %q", gridloom.ErrInvalid, broker, Brokers())
	}
	switch broker {
	case "ingest":
		return serveIngest(ctx, nothing{}, nothing{}, 4, 1, ready)
	case "log":
		return serveLog(ctx, dir, ready)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	if err := ready(l.Addr().String()); err != nil {
		return err
	}
	if broker == "hook" {
		return serveHook(ctx, l)
	}
	return serveCounter(ctx, l)
}
