package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A process is a program that gridbench started and ends.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// startProcess starts cmd. Its output goes to out, which must be a file or nil where
// cmd has none yet.
func startProcess(cmd *exec.Cmd, out *os.File) (*process, error) {
	if out != nil {
		if cmd.Stdout == nil {
			cmd.Stdout = out
		}
		cmd.Stderr = out
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the process, which kill or its own fault ends
		defer close(p.done)
		_ = cmd.Wait() // how it ended is asked of ProcessState
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// await returns when the process has ended, d has passed or ctx is done.
func (p *process) await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.done:
	case <-ctx.Done():
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end cleanly.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already is seen by await
}

// kill ends the process as a power cut would and waits until it is gone.
func (p *process) kill() {
	// Gone already is as good.
	_ = p.cmd.Process.Kill()
	<-p.done
}

// end asks the process to end and kills it if it takes longer than d.
func (p *process) end(d time.Duration) {
	p.stop()
	p.await(context.Background(), d)
	p.kill()
}

// killed reports whether the process ended by SIGKILL. Requires that done is closed.
func (p *process) killed() bool {
	st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && st.Signaled() && st.Signal() == syscall.SIGKILL
}

// lastWords returns the end of what a log holds after from.
func lastWords(log *os.File, from int64) string {
	const most = 1000
	info, err := log.Stat()
	if err != nil {
		return err.Error()
	}
	from = max(from, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(log, from, most))
	if err != nil {
		return fmt.Sprintf("(the log cannot be read: %v)", err)
	}
	return strings.TrimSpace(string(text))
}
