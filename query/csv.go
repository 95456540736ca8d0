package query

import (
	"io"
	"strconv"
	"strings"

	"github.com/gridloom/gridloom"
)

// csvEncoder writes RFC 4180 with a header line, lines ending in \r\n. A null is
// an empty field, lists are joined by |.
type csvEncoder struct {
	w       io.Writer
	columns []column
	buf     []byte
}

func newCSV(t *table, w io.Writer) (*csvEncoder, error) {
	e := &csvEncoder{w: w, columns: t.columns, buf: make([]byte, 0, flushAt+4<<10)}
	for i, c := range t.columns {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = appendCSVText(e.buf, c.name)
	}
	e.buf = append(e.buf, "\r\n"...)
	return e, nil
}

func (e *csvEncoder) row(cells []cell) error {
	for i, v := range cells {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = appendCSVCell(e.buf, e.columns[i], v)
	}
	e.buf = append(e.buf, "\r\n"...)
	if len(e.buf) < flushAt {
		return nil
	}
	return e.finish()
}

func (e *csvEncoder) finish() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func appendCSVCell(dst []byte, c column, v cell) []byte {
	if v.null {
		return dst
	}
	switch c.kind {
	case kindString:
		return appendCSVText(dst, v.text)
	case kindInstant:
		return appendInstant(dst, gridloom.Millis(v.n))
	case kindSpan:
		return appendSpan(dst, gridloom.Millis(v.n))
	case kindDecimal:
		return appendDecimal(dst, v.n, c.scale)
	case kindInt:
		return strconv.AppendInt(dst, v.n, 10)
	case kindBool:
		return strconv.AppendBool(dst, v.n != 0)
	case kindQuality:
		if v.n == 0 {
			return dst
		}
		return append(dst, gridloom.Quality(v.n).String()...)
	case kindList:
		return appendCSVText(dst, strings.Join(*v.list, "|"))
	}
	return dst
}

func appendCSVText(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, `""`...) // told apart from null
	}
	if !strings.ContainsAny(s, "\",\r\n") && s[0] != ' ' && s[len(s)-1] != ' ' {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}
