package device

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gridloom/gridloom"
)

// replayFile is one open file.
type replayFile struct {
	path    string
	file    io.Closer
	rows    *rows
	columns *columns
	times   instants
	named   int // bad rows that the log names
	bad     int
	ended   bool // nothing more can be read

	label  []byte // of the row in hand, put together of date and time
	series []byte // meter and register of the row in hand

	open openRow // the last row, if the next one tells its length

	held Chunk // the row that comes next, when rows of several files are merged
	due  gridloom.Millis
}

// openNext opens the next file of the queue; nil if it cannot be read.
func (r *Replay) openNext() *replayFile {
	path := r.queue[0]
	r.queue = r.queue[1:]
	f, err := r.openFile(path)
	if err != nil {
		r.bad.Add(1)
		r.log.Error("replay leaves a file out", "file", path, "err", err)
		return nil
	}
	return f
}

func (r *Replay) openFile(path string) (*replayFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	in, err := newRows(file, r.comma)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f := &replayFile{
		path: path, file: file, rows: in, columns: r.columns,
		times: newInstants(r.cfg.Layout, r.zone), held: Chunk{Limit: 1},
	}
	if f.times.layout == "" && r.cfg.Layout != "" && r.cfg.Layout != layoutAuto {
		f.times.layout = r.cfg.Layout
	}
	if r.cfg.NoHeader {
		return f, nil
	}
	err = in.next()
	if err == nil {
		f.columns, err = r.columns.find(in.fields)
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: the file is empty", gridloom.ErrInvalid)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

func (r *Replay) close() {
	for _, f := range r.files {
		_ = f.file.Close()
	}
	r.files = nil
}

// hold reads the next good row into f.held; false at the end of the file.
func (f *replayFile) hold(r *Replay) bool {
	f.held.Reset()
	for f.held.Len() == 0 {
		if !f.row(r, &f.held) {
			return false
		}
	}
	f.due = f.held.Start[0] + f.held.Length[0]
	return true
}

// row appends the readings of the next row to c, none if it is bad. false at the end of the file, which it closes.
func (f *replayFile) row(r *Replay, c *Chunk) bool {
	if f.ended {
		return f.end(r)
	}
	err := f.rows.next()
	switch {
	case err == nil:
		before := c.Len()
		if err = f.readOpen(r, c); err != nil {
			c.Truncate(before)
			f.refuse(r, f.rows.line, err)
		}
		return true
	case errors.Is(err, gridloom.ErrInvalid):
		f.refuse(r, f.rows.line, err)
		return true
	case !errors.Is(err, io.EOF):
		r.bad.Add(1)
		r.log.Error("replay stops reading a file", "file", f.path, "line", f.rows.line+1, "err", err)
	}
	f.ended = true
	f.closeOpen(r, c, 0)
	return true
}

// end closes the file and is false.
func (f *replayFile) end(r *Replay) bool {
	if f.bad > f.named {
		r.log.Warn("replay left out more rows", "file", f.path, "count", f.bad-f.named)
	}
	_ = f.file.Close()
	return false
}

func (f *replayFile) refuse(r *Replay, line int, err error) {
	r.bad.Add(1)
	f.bad++
	if f.bad <= r.cfg.MaxNamedRows {
		f.named++
		r.log.Warn("replay leaves a row out", "file", f.path, "line", line, "err", err)
	}
}

// read turns the row in hand into readings.
func (f *replayFile) read(r *Replay, c *Chunk) error {
	m, fields := f.columns, f.rows.fields
	id, err := m.meter.of(fields)
	if err != nil {
		return err
	}
	meter, err := c.AddMeterBytes(id)
	if err != nil {
		return err
	}
	label, err := f.labelOf(fields)
	if err != nil {
		return err
	}
	f.series = append(f.series[:0], id...)
	var register []byte // what the row calls it
	if m.register.wanted {
		if register, err = m.register.of(fields); err != nil {
			return err
		}
		f.series = append(append(f.series, 0), register...)
	}
	at, quality, err := f.times.read(label, f.series)
	if err != nil {
		return err
	}
	said, err := m.qualityOf(fields)
	if err != nil {
		return err
	}
	quality |= said
	if m.labelEnd {
		at -= m.length
	}
	var serial uint32
	if m.serial.wanted {
		s, err := m.serial.of(fields)
		if err != nil {
			return err
		}
		if serial, err = c.AddSerialBytes(s); err != nil {
			return err
		}
	}
	for i := range m.values {
		v := &m.values[i]
		text, err := v.of(fields)
		if err != nil {
			return err
		}
		if len(text) == 0 && len(m.values) > 1 {
			continue // one of several registers has no value in this row
		}
		if m.register.wanted {
			named, err := m.registerOf(register)
			if err != nil {
				return err
			}
			v = &named
		}
		mantissa, exp, err := parseDecimal(text, m.mark)
		if err != nil {
			return err
		}
		value, err := v.scale.Decimal(mantissa, exp)
		if err != nil {
			return fmt.Errorf("value %q: %w", text, err)
		}
		c.Append(meter, v.register, at+r.shift, m.length, value, false, quality, 0, 0, serial)
	}
	return nil
}

// labelOf returns the time of a row as it is written: a column, or date and time with a blank between them.
func (f *replayFile) labelOf(fields [][]byte) ([]byte, error) {
	m := f.columns
	if m.at.wanted {
		return m.at.of(fields)
	}
	date, err := m.date.of(fields)
	if err != nil {
		return nil, err
	}
	clock, err := m.time.of(fields)
	f.label = append(append(append(f.label[:0], date...), ' '), clock...)
	return f.label, err
}
