package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress keeps one refreshed line at the bottom of a terminal. Log lines go
// above it; without a terminal it writes nothing.
type progress struct {
	out  io.Writer
	live bool

	mu   sync.Mutex
	line string
}

func newProgress(out io.Writer, live bool) *progress { return &progress{out: out, live: live} }

// isTerminal reports whether w is a character device.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

const clearLine = "\r\x1b[K"

// show replaces the line.
func (p *progress) show(line string) {
	if !p.live {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = line
	fmt.Fprint(p.out, clearLine, line)
}

// end leaves the terminal on a fresh line.
func (p *progress) end() {
	if !p.live {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line != "" {
		fmt.Fprintln(p.out)
		p.line = ""
	}
}

// wrap returns a writer for whole log lines that keeps the progress line last.
func (p *progress) wrap(w io.Writer) io.Writer {
	if !p.live {
		return w
	}
	return &aboveLine{p, w}
}

type aboveLine struct {
	p *progress
	w io.Writer
}

// Write implements io.Writer.
func (a *aboveLine) Write(b []byte) (int, error) {
	a.p.mu.Lock()
	defer a.p.mu.Unlock()
	if a.p.line != "" {
		fmt.Fprint(a.p.out, clearLine)
	}
	n, err := a.w.Write(b)
	if a.p.line != "" && bytes.HasSuffix(b, []byte("\n")) {
		fmt.Fprint(a.p.out, a.p.line)
	}
	return n, err
}

// rate turns a rising count into counts per second between looks.
type rate struct {
	last  float64
	since time.Time
}

func (r *rate) look(count float64, now time.Time) float64 {
	d := now.Sub(r.since).Seconds()
	v := 0.0
	if !r.since.IsZero() && d > 0 {
		v = (count - r.last) / d
	}
	r.last, r.since = count, now
	return v
}
