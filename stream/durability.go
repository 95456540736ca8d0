package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// Durable reports whether the log fsyncs a frame before it acknowledges it: always
// with the embedded server; elsewhere if the configuration says so. Where it is
// false ("relaxed durability", to be said at start and on /healthz), a frame counts
// as stored for good only when a committed head has passed it.
func (s *Stream) Durable() bool { return s.cfg.InProcess != nil || s.cfg.FsyncAlways }

// checkFsync asks the server's monitor whether it does what the configuration says.
// Without a monitor the configuration is believed.
func checkFsync(ctx context.Context, cfg *Config) error {
	if !cfg.FsyncAlways || cfg.MonitorURL == "" {
		return nil
	}
	url := strings.TrimSuffix(cfg.MonitorURL, "/") + "/jsz"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("%w: monitor URL: %w", gridloom.ErrInvalid, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: ask %s whether NATS fsyncs: %w", gridloom.ErrUnavailable, url, err)
	}
	defer resp.Body.Close()
	var jsz struct {
		Config struct {
			SyncAlways bool `json:"sync_always"`
		} `json:"config"`
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answers %s without the configuration of JetStream", gridloom.ErrUnavailable, url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&jsz); err != nil {
		return fmt.Errorf("%w: %s answers without the configuration of JetStream: %w", gridloom.ErrUnavailable, url, err)
	}
	if !jsz.Config.SyncAlways {
		return fmt.Errorf("%w: the NATS server of %s does not fsync always: set sync_interval: always in its jetstream block, or do not claim it here", gridloom.ErrInvalid, url)
	}
	return nil
}
