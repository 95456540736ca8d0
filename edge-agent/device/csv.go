package device

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/gridloom/gridloom"
)

// maxRowBytes bounds one row of a file and one line of NDJSON is bounded by maxLineBytes.
const maxRowBytes = 64 << 10

// rows reads delimited text row by row. A row is a line: a quoted field may hold
// separators and doubled quotes but no line end, so that a stray quote spoils one
// row and not the rest of the file.
type rows struct {
	in     *bufio.Reader
	zip    *gzip.Reader
	comma  byte
	line   int      // number of the row last returned, from 1
	fields [][]byte // of that row, blanks trimmed; valid until the next call
	quoted []byte   // unquoted fields
}

// newRows reads text, gzip or plain, told apart by its first bytes.
func newRows(src io.Reader, comma byte) (*rows, error) {
	r := &rows{comma: comma}
	buffered := bufio.NewReaderSize(src, maxRowBytes)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		if r.zip, err = gzip.NewReader(buffered); err != nil {
			return nil, err
		}
		buffered = bufio.NewReaderSize(r.zip, maxRowBytes)
	}
	r.in = buffered
	if mark, err := r.in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = r.in.Discard(3)
	}
	return r, nil
}

// next moves to the next row that is not blank. The error is io.EOF at the end,
// of kind ErrInvalid for a row that cannot be read (the next call goes on after
// it), or that of the file, after which nothing more can be read.
func (r *rows) next() error {
	for {
		line, err := r.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			r.line++
			return r.skip()
		}
		if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
			return err
		}
		r.line++
		line = trim(line)
		if len(line) == 0 {
			continue
		}
		return r.split(line)
	}
}

// skip reads to the end of a line that is too long.
func (r *rows) skip() error {
	for {
		_, err := r.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil || errors.Is(err, io.EOF):
			return fmt.Errorf("%w: row of more than %d bytes", gridloom.ErrInvalid, maxRowBytes)
		default:
			return err
		}
	}
}

func (r *rows) split(line []byte) error {
	r.fields = r.fields[:0]
	if bytes.IndexByte(line, '"') >= 0 {
		return r.splitQuoted(line)
	}
	for {
		i := bytes.IndexByte(line, r.comma)
		if i < 0 {
			r.fields = append(r.fields, trim(line))
			return nil
		}
		r.fields = append(r.fields, trim(line[:i]))
		line = line[i+1:]
	}
}

// splitQuoted is split for a row with quotes somewhere.
func (r *rows) splitQuoted(line []byte) error {
	r.quoted = r.quoted[:0]
	if cap(r.quoted) < len(line) {
		r.quoted = make([]byte, 0, 2*len(line)) // fields point into it: it must not move
	}
	for {
		line = bytes.TrimLeft(line, " ")
		var field []byte
		if len(line) > 0 && line[0] == '"' {
			start := len(r.quoted)
			rest := line[1:]
			for {
				i := bytes.IndexByte(rest, '"')
				if i < 0 {
					return fmt.Errorf("%w: a quote is not closed", gridloom.ErrInvalid)
				}
				r.quoted = append(r.quoted, rest[:i]...)
				rest = rest[i+1:]
				if len(rest) == 0 || rest[0] != '"' {
					break
				}
				r.quoted = append(r.quoted, '"')
				rest = rest[1:]
			}
			field = r.quoted[start:len(r.quoted):len(r.quoted)]
			rest = bytes.TrimLeft(rest, " ")
			if len(rest) > 0 && rest[0] != r.comma {
				return fmt.Errorf("%w: text after a closing quote", gridloom.ErrInvalid)
			}
			line = rest
		} else {
			i := bytes.IndexByte(line, r.comma)
			if i < 0 {
				i = len(line)
			}
			field, line = line[:i], line[i:]
		}
		r.fields = append(r.fields, trim(field))
		if len(line) == 0 {
			return nil
		}
		line = line[1:]
	}
}

// trim cuts blanks, tabs and line ends off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 {
		switch b[len(b)-1] {
		case ' ', '\t', '\r', '\n':
			b = b[:len(b)-1]
		default:
			return b
		}
	}
	return b
}

// parseDecimal reads a number such as -12.345 or 1.2e3 exactly, as
// mantissa·10^exp. mark is the decimal mark. Digits beyond 18 significant ones
// are cut, which is far below a thousandth of any unit.
func parseDecimal(b []byte, mark byte) (mantissa int64, exp int, err error) {
	bad := func() (int64, int, error) {
		return 0, 0, fmt.Errorf("%w: %q is not a number", gridloom.ErrInvalid, b)
	}
	s := b
	neg := false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	digits, seen, fraction := 0, false, false
	i := 0
	for ; i < len(s); i++ {
		d := s[i]
		if d == mark && !fraction {
			fraction = true
			continue
		}
		if d < '0' || d > '9' {
			break
		}
		seen = true
		if digits == 18 {
			if !fraction {
				exp++
			}
			continue
		}
		if mantissa != 0 || d != '0' {
			digits++
		}
		mantissa = mantissa*10 + int64(d-'0')
		if fraction {
			exp--
		}
	}
	if !seen {
		return bad()
	}
	if i < len(s) {
		e, ok := parseExponent(s[i:])
		if !ok {
			return bad()
		}
		exp += e
	}
	if neg {
		mantissa = -mantissa
	}
	return mantissa, exp, nil
}

// parseExponent reads e-5, E+05 and the like, up to ±999.
func parseExponent(s []byte) (int, bool) {
	if len(s) < 2 || s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	s = s[1:]
	neg := false
	if s[0] == '-' || s[0] == '+' {
		neg = s[0] == '-'
		s = s[1:]
	}
	if len(s) == 0 || len(s) > 3 {
		return 0, false
	}
	e := 0
	for _, d := range s {
		if d < '0' || d > '9' {
			return 0, false
		}
		e = e*10 + int(d-'0')
	}
	if neg {
		e = -e
	}
	return e, true
}
