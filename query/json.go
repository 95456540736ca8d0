package query

import (
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// flushAt is how much an encoder gathers before it writes.
const flushAt = 32 << 10

// jsonEncoder writes either one JSON object, whose last field counts its rows, or
// one object a line (NDJSON).
type jsonEncoder struct {
	w       io.Writer
	columns []column
	keys    []string // `"name":`, with the comma before it
	lines   bool
	rows    int64
	buf     []byte

	quality     int64 // of the last row that had one, which the next mostly has too
	qualityText []byte
}

func newJSON(t *table, w io.Writer, lines bool) (*jsonEncoder, error) {
	e := &jsonEncoder{w: w, columns: t.columns, lines: lines, buf: make([]byte, 0, flushAt+4<<10)}
	for i, c := range t.columns {
		key := string(appendJSONString(nil, c.name)) + ":"
		if i > 0 {
			key = "," + key
		}
		e.keys = append(e.keys, key)
	}
	if lines {
		return e, nil
	}
	e.buf = append(e.buf, '{')
	for _, f := range t.head {
		e.buf = appendJSONString(e.buf, f.name)
		e.buf = append(e.buf, ':')
		e.buf = appendJSONCell(e.buf, column{kind: f.kind}, f.value)
		e.buf = append(e.buf, ',')
	}
	e.buf = appendJSONString(e.buf, t.noun)
	e.buf = append(e.buf, ":["...)
	return e, nil
}

func (e *jsonEncoder) row(cells []cell) error {
	switch {
	case e.lines:
	case e.rows > 0:
		e.buf = append(e.buf, ",\n"...)
	default:
		e.buf = append(e.buf, '\n')
	}
	e.rows++
	e.buf = append(e.buf, '{')
	for i := range cells {
		e.buf = append(e.buf, e.keys[i]...)
		if c := &e.columns[i]; c.kind == kindQuality && cells[i].n != 0 {
			e.appendQuality(cells[i].n)
			continue
		}
		e.buf = appendJSONCell(e.buf, e.columns[i], cells[i])
	}
	e.buf = append(e.buf, '}')
	if e.lines {
		e.buf = append(e.buf, '\n')
	}
	if len(e.buf) < flushAt {
		return nil
	}
	return e.flush()
}

func (e *jsonEncoder) appendQuality(q int64) {
	if q != e.quality {
		e.quality, e.qualityText = q, appendJSONList(e.qualityText[:0], gridloom.Quality(q).Names())
	}
	e.buf = append(e.buf, e.qualityText...)
}

func (e *jsonEncoder) finish() error {
	if !e.lines {
		e.buf = append(e.buf, "],\"rows\":"...)
		e.buf = strconv.AppendInt(e.buf, e.rows, 10)
		e.buf = append(e.buf, "}\n"...)
	}
	return e.flush()
}

func (e *jsonEncoder) flush() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func appendJSONCell(dst []byte, c column, v cell) []byte {
	if v.null {
		return append(dst, "null"...)
	}
	switch c.kind {
	case kindString:
		return appendJSONString(dst, v.text)
	case kindInstant:
		dst = append(dst, '"')
		dst = appendInstant(dst, gridloom.Millis(v.n))
		return append(dst, '"')
	case kindSpan:
		dst = append(dst, '"')
		dst = appendSpan(dst, gridloom.Millis(v.n))
		return append(dst, '"')
	case kindDecimal:
		return appendDecimal(dst, v.n, c.scale)
	case kindInt:
		return strconv.AppendInt(dst, v.n, 10)
	case kindBool:
		return strconv.AppendBool(dst, v.n != 0)
	case kindQuality:
		if v.n == 0 {
			return append(dst, "[]"...)
		}
		return appendJSONList(dst, gridloom.Quality(v.n).Names())
	case kindList:
		return appendJSONList(dst, *v.list)
	}
	return dst
}

func appendJSONList(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, s)
	}
	return append(dst, ']')
}

// appendJSONString quotes s. Bytes that are no UTF-8 become U+FFFD; <, > and & stay as they are.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= ' ' && b != '"' && b != '\\' && b < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r >= utf8.RuneSelf && (r != utf8.RuneError || n > 1) && r != '\u2028' && r != '\u2029' {
			i += n
			continue
		}
		dst = append(dst, s[start:i]...)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, "\\ufffd"...)
		case r == '"' || r == '\\':
			dst = append(dst, '\\', b)
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		default: // line separators, which old JavaScript takes for the end of a line
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
		}
		i += n
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
