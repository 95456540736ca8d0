//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gridloom/gridloom/edge-agent/agent/brokertest"
)

// TestANamedPipeHasNoEnd: writers come and go.
func TestANamedPipeHasNoEnd(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "readings")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	b := brokertest.New()
	address, err := b.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	log := make(chan string, 1000)
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"stdin", "--input", pipe, "--connect", "mqtt://" + address, "--spool", t.TempDir()},
			func(string) string { return "" }, nil, lineWriter(log), lineWriter(log))
	}()
	for n := 1; n <= 3; n++ {
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"meter":"m","at":"2026-03-01T12:00:0` + string(rune('0'+n)) + `Z","power":1}` + "\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for {
			news := b.News()
			if readingsIn(t, b.Messages()) == n {
				break
			}
			select {
			case <-news:
			case <-ctx.Done():
				t.Fatalf("%d readings arrived, want %d", readingsIn(t, b.Messages()), n)
			}
		}
	}
	cancel()
	if status := <-done; status != 0 {
		t.Errorf("exit status %d", status)
	}
}
