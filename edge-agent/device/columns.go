package device

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/wire"
)

// ReplayConfig says which files are replayed and how their rows are read. The
// zero value of a field is what its comment says.
type ReplayConfig struct {
	Files []string // paths; see ExpandFiles

	// Map names columns, as "meter=LCLid,at=tstp,value=energy(kWh/hh)". The keys are
	// meter, at (or date and time, which are read with a blank between them), value (of
	// Register, or of what the column register says), serial, quality, and any register's
	// name or code for a value column of its own. What a key is mapped to is a column's name, #3
	// for the third column, or =text for the same text in every row.
	Map       string
	NoHeader  bool   // the files have no line of names: columns are #1, #2, ...
	Register  string // of the column value; energy_import
	Registers string // what the column register says, as "Offtake Day=energy_import_t1,…"; else it holds names or codes
	Qualities string // what the column quality says, as "Read=,Estimated=ESTIMATED_LINEAR"; else it holds names of bits with | between them

	Length time.Duration // of interval readings; 0: readings at an instant
	// NextLength: an interval ends where the meter's next row in the file begins, unless
	// that is further than Longest (1 h) or not later; then it is as long as the one before.
	NextLength bool
	Longest    time.Duration
	LabelEnd   bool   // the label of an interval is its end
	Unit       string // of value columns; the register's own
	Separator  string // one byte; ","
	Decimal    string // decimal mark; "."
	Layout     string // a Go time layout, unix, unixms or auto; "auto"
	Zone       string // of times without an offset; "UTC"

	// Speed is how many times real time readings come, by their end; 0 as fast as
	// they are taken.
	Speed float64
	// ShiftToNow moves all times, on the grid of Length, so that the last reading
	// (speed 0) or the first (else) ends now or a little before.
	ShiftToNow bool

	MaxNamedRows int // bad rows of a file that are named in the log, the rest is counted; 100
}

// columns is a map of columns, first as asked for, then found in a file's header.
type columns struct {
	meter, at, serial column
	date, time        column // instead of at
	register, quality column // of the value, by what they say
	values            []valueColumn
	registers         map[string]valueColumn // by what the column register says; their columns are not set
	qualities         map[string]gridloom.Quality
	unit              string
	mark              byte
	length            gridloom.Millis
	longest           gridloom.Millis // 0: length is that of all readings
	labelEnd          bool
}

// column is where a text stands in a row.
type column struct {
	name   string // "" with index or text
	index  int    // from 0; -1: not in the row
	text   []byte // the same in every row
	wanted bool
}

type valueColumn struct {
	column
	register gridloom.RegisterID
	scale    gridloom.Scale
}

// parseColumns reads cfg.Map and what belongs to it.
func parseColumns(cfg *ReplayConfig) (*columns, error) {
	m := &columns{mark: '.', length: gridloom.SpanOf(cfg.Length), labelEnd: cfg.LabelEnd, unit: cfg.Unit}
	switch {
	case len(cfg.Decimal) > 1:
		return nil, fmt.Errorf("%w: decimal mark %q: want one character", gridloom.ErrInvalid, cfg.Decimal)
	case cfg.Decimal != "":
		m.mark = cfg.Decimal[0]
	}
	if m.length < 0 || m.length > gridloom.MaxInterval || cfg.Length > 0 && cfg.Length < time.Second {
		return nil, fmt.Errorf("%w: length %s: want 1s to %s", gridloom.ErrInvalid, cfg.Length, gridloom.MaxInterval.Duration())
	}
	if err := m.lengths(cfg); err != nil {
		return nil, err
	}
	if cfg.Map == "" {
		cfg.Map = "meter=meter,at=at,value=value"
	}
	for part := range strings.SplitSeq(cfg.Map, ",") {
		key, name, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("%w: map %q: %q is not key=column", gridloom.ErrInvalid, cfg.Map, part)
		}
		c, err := parseColumn(name)
		if err != nil {
			return nil, fmt.Errorf("map %q: %w", cfg.Map, err)
		}
		switch key = strings.TrimSpace(key); key {
		case "meter":
			m.meter = c
		case "at":
			m.at = c
		case "date":
			m.date = c
		case "time":
			m.time = c
		case "serial":
			m.serial = c
		case "register":
			m.register = c
		case "quality":
			m.quality = c
		case "value":
			if cfg.Register == "" {
				cfg.Register = "energy_import"
			}
			key = cfg.Register
			fallthrough
		default:
			v, err := m.value(key, cfg.Unit, c)
			if err != nil {
				return nil, fmt.Errorf("map %q: %w", cfg.Map, err)
			}
			m.values = append(m.values, v)
		}
	}
	if !m.meter.wanted || m.at.wanted == (m.date.wanted && m.time.wanted) || m.date.wanted != m.time.wanted || len(m.values) == 0 {
		return nil, fmt.Errorf("%w: map %q: want at least meter=, at= (or date= and time=) and value= (or a register's name)", gridloom.ErrInvalid, cfg.Map)
	}
	if err := m.parseRegisters(cfg); err != nil {
		return nil, err
	}
	return m, m.parseQualities(cfg)
}

// lengths reads how long intervals are whose length the rows themselves tell.
func (m *columns) lengths(cfg *ReplayConfig) error {
	switch {
	case !cfg.NextLength:
		return nil
	case cfg.LabelEnd:
		return fmt.Errorf("%w: length next: want labels that are starts", gridloom.ErrInvalid)
	case cfg.Longest == 0:
		cfg.Longest = time.Hour
	case cfg.Longest < time.Second || gridloom.SpanOf(cfg.Longest) > gridloom.MaxInterval:
		return fmt.Errorf("%w: longest %s: want 1s to %s", gridloom.ErrInvalid, cfg.Longest, gridloom.MaxInterval.Duration())
	}
	m.longest = gridloom.SpanOf(cfg.Longest)
	m.length = m.longest // until the next row tells
	return nil
}

// parseColumn reads what a key is mapped to.
func parseColumn(s string) (column, error) {
	c := column{index: -1, wanted: true}
	switch s[0] {
	case '#':
		n, err := strconv.Atoi(s[1:])
		if err != nil || n < 1 || n > 10_000 {
			return c, fmt.Errorf("%w: column %q: want #1, #2 and so on", gridloom.ErrInvalid, s)
		}
		c.index = n - 1
	case '=':
		c.text = []byte(s[1:])
	default:
		c.name = s
	}
	return c, nil
}

// value resolves the register of a value column: readings with a length belong to an interval register.
func (m *columns) value(name, unit string, c column) (valueColumn, error) {
	id, ok := gridloom.RegisterByName(name)
	if !ok {
		return valueColumn{}, fmt.Errorf("%w: %q is neither meter, at, date, time, value, register, quality nor serial, nor the name of a register such as energy_import or 1-0:1.8.0", gridloom.ErrInvalid, name)
	}
	id, err := wire.Settle(id, m.length)
	if err != nil {
		return valueColumn{}, err
	}
	scale, err := gridloom.ScaleFor(id, unit)
	return valueColumn{c, id, scale}, err
}

// named reports whether a header is needed.
func (m *columns) named() bool {
	for _, c := range m.all() {
		if c.name != "" {
			return true
		}
	}
	return false
}

func (m *columns) all() []*column {
	cs := []*column{&m.meter, &m.at, &m.date, &m.time, &m.serial, &m.register, &m.quality}
	for i := range m.values {
		cs = append(cs, &m.values[i].column)
	}
	return cs
}

// find returns m with the names found in a file's header.
func (m *columns) find(header [][]byte) (*columns, error) {
	found := *m
	found.values = append([]valueColumn(nil), m.values...)
	for _, c := range found.all() {
		if c.name == "" {
			continue
		}
		for i, h := range header {
			if string(h) == c.name {
				c.index = i
				break
			}
		}
		if c.index < 0 {
			return nil, fmt.Errorf("%w: no column %q; the first line names %q", gridloom.ErrInvalid, c.name, bytes.Join(header, []byte(" | ")))
		}
	}
	return &found, nil
}

// of returns the column's text in a row.
func (c *column) of(fields [][]byte) ([]byte, error) {
	switch {
	case c.text != nil:
		return c.text, nil
	case c.index < 0:
		return nil, nil
	case c.index >= len(fields):
		return nil, fmt.Errorf("%w: %d fields, but column %d is needed", gridloom.ErrInvalid, len(fields), c.index+1)
	}
	return fields[c.index], nil
}
