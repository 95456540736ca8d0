package device

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/gridloom/gridloom"
)

// maxLineBytes bounds one line of NDJSON, as long as an MQTT packet may be.
const maxLineBytes = 1 << 20

// LinesConfig says how lines are read. The zero value of a field is what its comment says.
type LinesConfig struct {
	// StampArrival dates readings that bring no time with this device's clock; else they are left out.
	StampArrival bool
}

// Lines reads the JSON payload of docs/format/topics.md, one value a line: a
// reading, an object of several registers, an array of these, or a batch, whose
// agent, epoch and seq are ignored because this agent seals its own.
type Lines struct {
	cfg     LinesConfig
	clock   *Clock
	log     *slog.Logger
	in      *bufio.Reader
	lines   chan line
	started bool
	rest    *line // is to be read first

	readings, bad atomic.Uint64
}

// line is one line of the input.
type line struct {
	text   []byte
	number int
	at     gridloom.Millis // when it came, with StampArrival
	stamp  Stamp
	half   bool  // its stamped readings are handed over, those that bring their time are not
	err    error // of reading; text is then empty
}

// NewLines reads from in until its end. clock is used with StampArrival only.
func NewLines(cfg LinesConfig, in io.Reader, clock *Clock, log *slog.Logger) *Lines {
	return &Lines{
		cfg: cfg, clock: clock, log: log,
		in:    bufio.NewReaderSize(in, 64<<10),
		lines: make(chan line, 64), // read ahead of Next, so that what has arrived travels together
	}
}

// Traits implements Source. Whoever writes the lines is not asked to write them
// again: what does not fit is refused.
func (l *Lines) Traits() Traits { return Traits{} }

// Counts implements Source.
func (l *Lines) Counts() Counts { return Counts{l.readings.Load(), l.bad.Load()} }

// Next implements Source. A line with readings that were stamped before the clock
// was set has a chunk of its own, without its readings that bring their time.
func (l *Lines) Next(ctx context.Context, c *Chunk) error {
	if !l.started {
		l.started = true
		// The goroutine ends with the input; a read of a terminal or pipe cannot be
		// called back, so it may outlive ctx, waiting for a line that nobody takes.
		go l.read(ctx)
	}
	before := c.Len()
	defer func() { l.readings.Add(uint64(c.Len() - before)) }()
	for c.Len() < c.Limit {
		next, err := l.take(ctx, c.Len() > before)
		if err != nil || next == nil {
			return err
		}
		switch {
		case errors.Is(next.err, gridloom.ErrInvalid):
			l.refuse(next.number, "", next.err)
		case next.err != nil:
			return next.err
		case next.stamp.Trust != Undated || next.half:
			l.parse(next, c, !next.half, true)
		case c.Len() > before:
			l.rest = next
			return nil
		default:
			l.parse(next, c, true, false)
			next.half = true
			l.rest = next
			if c.Len() > before {
				c.Stamp = next.stamp
				return nil
			}
		}
	}
	return nil
}

// take returns the next line; nil if there is none yet and some readings are there already.
func (l *Lines) take(ctx context.Context, some bool) (*line, error) {
	if next := l.rest; next != nil {
		l.rest = nil
		return next, nil
	}
	if some {
		select {
		case next, ok := <-l.lines:
			return ended(&next, ok)
		default:
			return nil, nil
		}
	}
	select {
	case next, ok := <-l.lines:
		return ended(&next, ok)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func ended(next *line, ok bool) (*line, error) {
	if !ok {
		return nil, io.EOF
	}
	return next, nil
}

// parse appends the readings of a line that were stamped, that bring their time, or both.
func (l *Lines) parse(in *line, c *Chunk, stamped, given bool) {
	p := payloadParser{chunk: c, takeStamped: stamped, takeGiven: given}
	if l.cfg.StampArrival {
		p.at, p.suspect = in.at, in.stamp.Trust == Doubtful
	}
	p.bad = func(place string, err error) {
		if given { // each is named once, although a line may be read twice
			l.refuse(in.number, place, err)
		}
	}
	p.payload(in.text)
}

func (l *Lines) refuse(number int, place string, err error) {
	l.bad.Add(1)
	l.log.Warn("stdin leaves a reading out", "line", number, "place", place, "err", err)
}

// read feeds l.lines until the input ends.
func (l *Lines) read(ctx context.Context) {
	defer close(l.lines)
	for number := 1; ; number++ {
		next := line{number: number}
		var last bool
		next.text, last, next.err = l.readLine()
		if l.cfg.StampArrival {
			next.at, next.stamp = l.clock.Stamp()
		}
		if len(trim(next.text)) > 0 || next.err != nil {
			select {
			case l.lines <- next:
			case <-ctx.Done():
				return
			}
		}
		if last {
			return
		}
	}
}

// readLine returns one line; last says that the input has ended.
func (l *Lines) readLine() (text []byte, last bool, err error) {
	for tooLong := false; ; {
		part, err := l.in.ReadSlice('\n')
		if len(text)+len(part) > maxLineBytes {
			tooLong = true
		}
		if !tooLong {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, true, fmt.Errorf("read standard input: %w", err)
		case tooLong:
			return nil, err != nil, fmt.Errorf("%w: line of more than %d bytes", gridloom.ErrInvalid, maxLineBytes)
		}
		return text, err != nil, nil
	}
}
