package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gridloom/gridloom"
)

// Replay sends the rows of files as readings. At speed 0 it reads file after
// file, so that one meter's readings travel together; else all files are open at
// once and their rows come in the order of their times.
type Replay struct {
	cfg     ReplayConfig
	columns *columns
	zone    *time.Location
	comma   byte
	log     *slog.Logger

	shift  gridloom.Millis
	opened bool
	queue  []string // files to come, speed 0
	files  []*replayFile
	first  gridloom.Millis // end of the first reading, shifted
	began  time.Time       // when that was due

	readings, bad atomic.Uint64
}

// ExpandFiles resolves patterns such as data/*.csv.gz. A pattern that matches
// nothing is ErrInvalid. Each file is named once, in order of appearance.
func ExpandFiles(patterns []string) ([]string, error) {
	var files []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("%w: file pattern %q: %w", gridloom.ErrInvalid, p, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%w: no file matches %q", gridloom.ErrInvalid, p)
		}
		slices.Sort(found)
		for _, f := range found {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// NewReplay checks the configuration. Files are opened when they are read: one
// that cannot be opened is named, counted as bad and left out.
func NewReplay(cfg ReplayConfig, log *slog.Logger) (*Replay, error) {
	r := &Replay{cfg: cfg, comma: ',', log: log}
	if len(cfg.Files) == 0 {
		return nil, fmt.Errorf("%w: no files to replay", gridloom.ErrInvalid)
	}
	switch {
	case cfg.Separator == "tab" || cfg.Separator == `\t`:
		r.comma = '\t'
	case len(cfg.Separator) > 1:
		return nil, fmt.Errorf("%w: separator %q: want one character or tab", gridloom.ErrInvalid, cfg.Separator)
	case cfg.Separator != "":
		r.comma = cfg.Separator[0]
	}
	if cfg.Speed < 0 {
		return nil, fmt.Errorf("%w: speed %v: want 0 (as fast as it is taken) or more", gridloom.ErrInvalid, cfg.Speed)
	}
	if cfg.ShiftToNow && cfg.Speed > 1 {
		return nil, fmt.Errorf("%w: shift-to now with a speed above 1 runs into the future, which is refused; use speed 0 or 1", gridloom.ErrInvalid)
	}
	if r.cfg.MaxNamedRows == 0 {
		r.cfg.MaxNamedRows = 100
	}
	zone := cfg.Zone
	if zone == "" {
		zone = "UTC"
	}
	var err error
	if r.zone, err = time.LoadLocation(zone); err != nil {
		return nil, fmt.Errorf("%w: zone %q is unknown; want a name such as Europe/Amsterdam", gridloom.ErrInvalid, zone)
	}
	if r.columns, err = parseColumns(&r.cfg); err != nil {
		return nil, err
	}
	if cfg.NoHeader && r.columns.named() {
		return nil, fmt.Errorf("%w: without a header columns are named by number: #1, #2", gridloom.ErrInvalid)
	}
	return r, nil
}

// Traits implements Source: files wait, unless they are played in time.
func (r *Replay) Traits() Traits { return Traits{CanWait: r.cfg.Speed == 0} }

// Counts implements Source.
func (r *Replay) Counts() Counts { return Counts{r.readings.Load(), r.bad.Load()} }

// Next implements Source.
func (r *Replay) Next(ctx context.Context, c *Chunk) error {
	if !r.opened {
		if err := r.open(ctx); err != nil {
			return err
		}
	}
	before := c.Len()
	var err error
	if r.cfg.Speed == 0 {
		err = r.gather(ctx, c)
	} else {
		err = r.play(ctx, c)
	}
	r.readings.Add(uint64(c.Len() - before))
	if err != nil {
		r.close()
	}
	return err
}

// open finds the shift and, for play, opens all files.
func (r *Replay) open(ctx context.Context) error {
	if r.cfg.ShiftToNow {
		if err := r.findShift(ctx); err != nil {
			return err
		}
	}
	r.opened, r.queue = true, slices.Clone(r.cfg.Files)
	if r.cfg.Speed == 0 {
		return nil
	}
	for len(r.queue) > 0 {
		if f := r.openNext(); f != nil && f.hold(r) {
			r.files = append(r.files, f)
		}
	}
	for i, f := range r.files {
		if i == 0 || f.due < r.first {
			r.first = f.due
		}
	}
	r.began = time.Now()
	return nil
}

// findShift reads all files once for their first and last instant.
func (r *Replay) findShift(ctx context.Context) error {
	quiet := Replay{cfg: r.cfg, columns: r.columns, zone: r.zone, comma: r.comma}
	quiet.log = slog.New(slog.DiscardHandler)
	quiet.opened, quiet.queue = true, slices.Clone(r.cfg.Files)
	quiet.cfg.Speed, quiet.cfg.ShiftToNow = 0, false
	var first, last gridloom.Millis
	c := Chunk{Limit: 1000}
	for found := false; ; {
		c.Reset()
		err := quiet.gather(ctx, &c)
		for i, start := range c.Start {
			end := start + c.Length[i]
			if !found {
				first, last, found = end, end, true
			}
			first, last = min(first, end), max(last, end)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	step := max(r.columns.length, gridloom.Second) // labels stay on their grid
	target := last
	if r.cfg.Speed > 0 {
		target = first
	}
	r.shift = (gridloom.MillisOf(time.Now()) - target).Floor(step)
	return nil
}

// gather appends rows of file after file until c is full.
func (r *Replay) gather(ctx context.Context, c *Chunk) error {
	for c.Len() < c.Limit {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(r.files) == 0 {
			if len(r.queue) == 0 {
				return io.EOF
			}
			if f := r.openNext(); f != nil {
				r.files = append(r.files, f)
			}
			continue
		}
		f := r.files[0]
		for c.Len() < c.Limit {
			if !f.row(r, c) {
				r.files = r.files[:0]
				break
			}
		}
	}
	return nil
}

// play waits for the earliest row of all files and appends what is due with it.
func (r *Replay) play(ctx context.Context, c *Chunk) error {
	if len(r.files) == 0 {
		return io.EOF
	}
	next := slices.MinFunc(r.files, func(a, b *replayFile) int { return int(min(1, max(-1, a.due-b.due))) })
	due := r.began.Add(time.Duration(float64((next.due - r.first).Duration()) / r.cfg.Speed))
	if err := sleep(ctx, time.Until(due)); err != nil {
		return err
	}
	now := time.Now()
	for i := 0; i < len(r.files) && c.Len() < c.Limit; {
		f := r.files[i]
		for c.Len() < c.Limit && !r.began.Add(time.Duration(float64((f.due-r.first).Duration())/r.cfg.Speed)).After(now) {
			h := &f.held
			for row := range h.Start {
				reading := h.Reading(row)
				c.AppendReading(&reading)
			}
			if !f.hold(r) {
				r.files = slices.Delete(r.files, i, i+1)
				f = nil
				break
			}
		}
		if f != nil {
			i++
		}
	}
	return nil
}
