package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gridloom/gridloom/aggregate"
)

func TestRetentionFlags(t *testing.T) {
	const day = 24 * time.Hour
	f := func(flags string, want aggregate.Retention, refusal string) {
		t.Helper()
		c, err := parseUp(strings.Fields(flags), io.Discard)
		switch {
		case refusal != "":
			if err == nil || !strings.Contains(err.Error(), refusal) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want one line with %q", flags, err, refusal)
			}
		case err != nil || c.retain != want:
			t.Errorf("%s: %+v, %v, want %+v", flags, c.retain, err, want)
		}
	}
	f("", aggregate.Retention{}, "")
	f("--retain-raw 400d", aggregate.Retention{Raw: 400 * day}, "")
	f("--retain-raw 36h --retain-panes 52w", aggregate.Retention{Raw: 36 * time.Hour, Panes: 364 * day}, "")
	f("--retain-raw 2d --retain-panes 2d", aggregate.Retention{Raw: 2 * day, Panes: 2 * day}, "")
	f("--retain-raw 0 --retain-panes 0", aggregate.Retention{}, "")
	f("--retain-raw-bytes 1000000000 --retain-panes-bytes 5", aggregate.Retention{RawBytes: 1e9, PanesBytes: 5}, "")
	f("--retain-raw 400d --retain-panes 399d", aggregate.Retention{}, "keep panes at least as long")
	f("--retain-panes 400d", aggregate.Retention{}, "keep panes at least as long")
	f("--retain-raw 23h", aggregate.Retention{}, "at least 1d")
	f("--retain-raw 999y", aggregate.Retention{}, "-retain-raw")
	f("--retain-raw 900w --retain-panes 50000w", aggregate.Retention{}, "at most 250 years")
	f("--retain-raw-bytes -1", aggregate.Retention{}, "0 for no limit")
}

// TestOnlyOwnersRetain: a role that does not own partitions has no say in it.
func TestOnlyOwnersRetain(t *testing.T) {
	f := func(r role, ok bool) {
		t.Helper()
		if _, err := parseConfig(r, []string{"--nats-fsync-always", "--retain-raw", "400d"}, io.Discard); (err == nil) != ok {
			t.Errorf("%s: %v", r, err)
		}
	}
	f(roleAggregate, true)
	f(roleQuery, false)
	f(roleIngest, false)
}
