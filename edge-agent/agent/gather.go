package agent

import (
	"context"
	"errors"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/edge-agent/device"
	"github.com/gridloom/gridloom/edge-agent/spool"
	"github.com/gridloom/gridloom/internal/wire"
)

const (
	// chunksAhead is how far the source is read ahead while the spool syncs.
	chunksAhead = 8
	// groupBytes bounds what is appended with one fsync.
	groupBytes = 256 << 10
	// retryFull is how often a full or failing disk is tried again.
	retryFull = 200 * time.Millisecond
	// lastChunk is how long a source is waited for that is told to stop.
	lastChunk = time.Second
)

// gatherer is the loop between the source and the spool.
type gatherer struct {
	a        *Agent
	canWait  bool
	open     wire.Builder // rows of the open batch
	stamp    device.Stamp // of its rows
	since    time.Time    // when its first row came
	group    []spool.Record
	bytes    int64
	refusing bool
	dropped  uint64 // readings since refusing began
}

type filled struct {
	chunk *device.Chunk
	err   error
}

// gather reads the source to its end, io.EOF, or the end of ctx, whose error it then returns.
func (a *Agent) gather(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	free, ready := make(chan *device.Chunk, chunksAhead), make(chan filled, chunksAhead)
	for range chunksAhead {
		c := &device.Chunk{Limit: a.cfg.BatchReadings}
		c.Reset()
		free <- c
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.read(reading, free, ready)
	}()
	defer func() {
		stop()
		<-done
	}()
	g := &gatherer{a: a, canWait: a.source.Traits().CanWait}
	g.open.Reset()
	return g.run(ctx, free, ready)
}

// read fills chunks until the source ends, and then closes ready.
func (a *Agent) read(ctx context.Context, free <-chan *device.Chunk, ready chan<- filled) {
	defer close(ready)
	for {
		var c *device.Chunk
		select {
		case c = <-free:
		case <-ctx.Done():
			return
		}
		c.Reset()
		err := a.source.Next(ctx, c)
		select {
		case ready <- filled{c, err}:
		case <-ctx.Done():
			// What the source has handed over is taken: there is room, each chunk has its place.
			ready <- filled{c, err}
			return
		}
		if err != nil {
			return
		}
	}
}

func (g *gatherer) run(ctx context.Context, free chan<- *device.Chunk, ready <-chan filled) error {
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	var syncC <-chan time.Time
	if g.a.cfg.Sync > 0 {
		syncing := time.NewTicker(g.a.cfg.Sync)
		defer syncing.Stop()
		syncC = syncing.C
	}
	for {
		var ageC <-chan time.Time
		if g.open.Columns().Len() > 0 {
			age.Reset(max(0, g.a.cfg.BatchAge-time.Since(g.since)))
			ageC = age.C
		}
		select {
		case in := <-ready:
			g.take(ctx, in.chunk)
			free <- in.chunk
			if in.err != nil {
				g.seal()
				g.flush(ctx)
				return in.err
			}
			if len(ready) == 0 {
				if !g.canWait && g.a.cfg.Sync == 0 {
					g.seal() // a reading that cannot be asked for again does not wait for others
				}
				g.flush(ctx)
			}
		case <-ageC:
			g.seal()
			g.flush(ctx)
		case <-syncC:
			g.sync()
		case <-ctx.Done():
			g.last(ctx, ready)
			return ctx.Err()
		}
	}
}

// last takes what the source had handed over when it was told to stop.
func (g *gatherer) last(ctx context.Context, ready <-chan filled) {
	if !g.canWait { // a source that can wait hands it over again
		grace := time.NewTimer(lastChunk)
		defer grace.Stop()
		for more := true; more; {
			select {
			case in, ok := <-ready:
				if more = ok; ok {
					g.take(ctx, in.chunk)
				}
			case <-grace.C:
				more = false
			}
		}
	}
	g.seal()
	g.flush(ctx)
	g.sync()
}

// take appends a chunk's rows to the open batch and seals what is full.
func (g *gatherer) take(ctx context.Context, c *device.Chunk) {
	undated := c.Stamp.Trust == device.Undated
	if was := g.stamp.Trust == device.Undated; undated != was || undated && c.Stamp != g.stamp {
		g.seal()
	}
	g.stamp = c.Stamp
	for row := range c.Len() {
		if g.open.Columns().Len() == 0 {
			g.since = time.Now()
		}
		g.open.AppendRow(&c.Columns, row)
		if n := g.open.Columns().Len(); n >= g.a.cfg.BatchReadings ||
			g.open.Bytes()+(wire.MaxSerialBytes+2)*len(g.open.Columns().Serials) >= g.a.cfg.BatchBytes {
			g.seal()
			if g.bytes >= min(groupBytes, g.a.cfg.SpoolMax/4) {
				g.flush(ctx)
			}
		}
	}
}

// seal closes the open batch.
func (g *gatherer) seal() {
	rows := g.open.Columns()
	if rows.Len() == 0 {
		return
	}
	r, err := g.a.sealer.seal(rows, g.stamp)
	if err != nil {
		g.refuse(uint64(rows.Len()), err)
	} else {
		g.group = append(g.group, r)
		g.bytes += int64(len(r.Payload))
	}
	g.open.Reset()
}

// flush appends the sealed batches to the spool: a source that can wait is held
// back until there is room, what another one said is refused.
func (g *gatherer) flush(ctx context.Context) {
	for len(g.group) > 0 {
		err := g.a.spool.Append(g.group)
		if err == nil {
			g.accept()
			break
		}
		if !g.canWait || !errors.Is(err, gridloom.ErrUnavailable) {
			var n uint64
			for i := range g.group {
				n += uint64(g.group[i].Readings)
			}
			g.refuse(n, err)
			break
		}
		g.wait(err)
		if !g.room(ctx) {
			break
		}
	}
	clear(g.group)
	g.group, g.bytes = g.group[:0], 0
}

// room waits until it is worth trying again; false if ctx is done.
func (g *gatherer) room(ctx context.Context) bool {
	t := time.NewTimer(retryFull)
	defer t.Stop()
	select {
	case <-g.a.spool.Room():
	case <-t.C:
	case <-ctx.Done():
		return false
	}
	return true
}

func (g *gatherer) sync() {
	if err := g.a.spool.Sync(); err != nil {
		g.a.log.Error("spool cannot be synced", "err", err)
	}
}

// wait, refuse and accept say in the log what changes, once.
func (g *gatherer) wait(err error) {
	if !g.refusing && !errors.Is(err, spool.ErrFull) {
		g.refusing = true
		g.a.log.Error("spool takes no readings: the source waits", "err", err)
	}
}

func (g *gatherer) refuse(readings uint64, err error) {
	if !g.refusing {
		g.refusing, g.dropped = true, 0
		g.a.log.Error("spool takes no readings: new ones are refused", "err", err)
	}
	g.dropped += readings
	g.a.refused.Add(readings)
}

func (g *gatherer) accept() {
	if g.refusing {
		g.refusing = false
		g.a.log.Info("spool takes readings again", "refused", g.dropped)
	}
}
