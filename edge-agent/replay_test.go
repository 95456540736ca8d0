package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
	"github.com/gridloom/gridloom/internal/wire"
)

// dataDir returns a directory of the real data, or skips the test.
func dataDir(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("GRIDLOOM_DATA")
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); root == "" || err != nil {
		skip(t, "needs GRIDLOOM_DATA with "+name)
	}
	return dir
}

// skip skips a test for lack of something installed; under GRIDLOOM_REQUIRE=1 that is a failure.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("GRIDLOOM_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestLondonYear replays a year of 100 households: every reading arrives once, and
// what they add up to is the sum of the files.
func TestLondonYear(t *testing.T) {
	dir := dataDir(t, "intervals/lcl-london-2013")
	b := brokertest.New()
	type total struct {
		n   int
		sum int64
	}
	meters := map[string]total{}
	all := total{}
	bytesIn := 0
	var c wire.Columns
	b.OnPublish = func(conn *brokertest.Conn, m brokertest.Message) {
		if strings.HasSuffix(m.Topic, "/readings") {
			bytesIn += len(m.Payload)
			c.Reset()
			if err := wire.DecodeBatch(m.Payload, &wire.Batch{Columns: &c}, func(place, reason, detail string) { t.Error(place, reason, detail) }); err != nil {
				t.Error(err)
			}
			for i := range c.Len() {
				k := c.Meters[c.Meter[i]]
				meters[k] = total{meters[k].n + 1, meters[k].sum + c.Value[i]}
				all.n, all.sum = all.n+1, all.sum+c.Value[i]
				if c.Register[i].String() != "energy_import_interval" || c.Length[i] != 30*gridloom.Minute {
					t.Fatal(c.Reading(i))
				}
			}
		}
		conn.Ack(m.ID)
	}
	addr, err := b.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	began, used := time.Now(), cpu()
	status := run(context.Background(), []string{
		"replay", "--connect", "mqtt://" + addr, "--agent", "london", "--spool", t.TempDir(), "--batch-readings", "1000",
		"--map", "meter=LCLid,at=tstp,value=energy(kWh/hh)", "--register", "energy_import", "--length", "30m", "--unit", "kWh",
		filepath.Join(dir, "*.csv.gz"),
	}, func(string) string { return "" }, nil, &stderr, &stderr)
	b.Close()
	t.Logf("%v wall, %v CPU with the broker's decoding, %d bytes of payload", time.Since(began), cpu()-used, bytesIn)
	if status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr.String())
	}
	if want := (total{1_674_718, 371_668_934_000}); all != want {
		t.Errorf("all = %v, want %v", all, want)
	}
	for meter, want := range map[string]int64{"MAC000002": 4_214_648_000, "MAC000003": 7_010_249_000, "MAC000051": 5_344_818_000} {
		if got := meters[meter].sum; got != want {
			t.Errorf("%s = %d mWh, want %d", meter, got, want)
		}
	}
}
