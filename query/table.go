package query

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gridloom/gridloom"
)

// cellKind is the type of a column, and with it which field of a cell holds its value.
type cellKind uint8

const (
	kindString  cellKind = iota // text
	kindInstant                 // n: Millis; RFC 3339 in UTC, in Arrow timestamp[ms, UTC]
	kindSpan                    // n: Millis; such as 30m, in Arrow duration[ms]
	kindDecimal                 // n·10^-scale; a JSON number, in Arrow decimal128(19+, scale)
	kindInt                     // n
	kindBool                    // n != 0
	kindQuality                 // n: gridloom.Quality; list of names, in CSV joined by |
	kindList                    // list: in CSV joined by |
)

// column is one column of an answer.
type column struct {
	name  string
	kind  cellKind
	scale int // decimal places of kindDecimal
}

// cell is one value of a row; its column says how to read it.
type cell struct {
	null bool
	n    int64
	text string
	list *[]string
}

func text(s string) cell                         { return cell{text: s} }
func textOrNull(s string) cell                   { return cell{text: s, null: s == ""} }
func number[T ~int | ~int64 | ~uint32](n T) cell { return cell{n: int64(n)} }
func instant(at gridloom.Millis) cell            { return cell{n: int64(at)} }
func when(ok bool, n int64) cell                 { return cell{n: n, null: !ok} }
func quality(q gridloom.Quality) cell            { return cell{n: int64(q)} }
func truth(b bool) cell {
	if b {
		return cell{n: 1}
	}
	return cell{}
}

// table says what an answer's rows look like and what is said once about them.
type table struct {
	noun    string // the JSON key that holds the rows
	columns []column
	head    []field // said before the rows in JSON; other formats carry rows only
}

// field is one name and its text, number or bool of a JSON answer's head.
type field struct {
	name  string
	kind  cellKind
	value cell
}

// encoder writes the rows of one answer. Rows are read before row returns, so a
// caller may reuse them. finish is called once, after the last row, and only if all
// rows came; an encoder that was not finished leaves its answer visibly incomplete.
type encoder interface {
	row(cells []cell) error
	finish() error
}

// format is one of the forms an answer can take.
type format uint8

const (
	formatJSON format = iota
	formatNDJSON
	formatCSV
	formatArrow
)

var formats = []struct{ name, media string }{
	formatJSON:   {"json", "application/json"},
	formatNDJSON: {"ndjson", "application/x-ndjson"},
	formatCSV:    {"csv", "text/csv"},
	formatArrow:  {"arrow", "application/vnd.apache.arrow.stream"},
}

func (f format) mediaType() string {
	if f == formatCSV {
		return "text/csv; charset=utf-8; header=present"
	}
	return formats[f].media
}

// newEncoder returns the encoder of f that writes t's rows to w.
func newEncoder(f format, t *table, w io.Writer) (encoder, error) {
	switch f {
	case formatJSON:
		return newJSON(t, w, false)
	case formatNDJSON:
		return newJSON(t, w, true)
	case formatCSV:
		return newCSV(t, w)
	case formatArrow:
		return newArrow(t, w)
	}
	panic(fmt.Sprintf("query: no format %d", f))
}

// formatOf chooses by the parameter format, else by the Accept header, else JSON.
func formatOf(r *http.Request, name string) (format, error) {
	if name != "" {
		if i := slices.IndexFunc(formats, func(f struct{ name, media string }) bool { return f.name == name }); i >= 0 {
			return format(i), nil
		}
		return 0, badParam("format", name, "want json, ndjson, csv or arrow")
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return formatJSON, nil
	}
	best, bestQ := format(0), 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, args, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := args["q"]; ok {
			q, err = strconv.ParseFloat(s, 64)
			if err != nil {
				continue
			}
		}
		if f, ok := formatOfMedia(media); ok && q > bestQ {
			best, bestQ = f, q
		}
	}
	if bestQ == 0 {
		return 0, &problem{
			kind: problemFormat, status: http.StatusNotAcceptable,
			detail: fmt.Sprintf("none of the types in Accept: %s can be given", accept),
			mend:   "ask for application/json, application/x-ndjson, text/csv or application/vnd.apache.arrow.stream, or set format=",
		}
	}
	return best, nil
}

func formatOfMedia(media string) (format, bool) {
	switch media {
	case "*/*", "application/*":
		return formatJSON, true
	case "text/*":
		return formatCSV, true
	case "application/jsonl", "application/ndjson", "application/jsonlines":
		return formatNDJSON, true
	}
	i := slices.IndexFunc(formats, func(f struct{ name, media string }) bool { return f.media == media })
	return format(max(i, 0)), i >= 0
}

// appendSpan appends a span as people write it: 30m, 1h30m, 500ms. 0 is 0s.
func appendSpan(dst []byte, span gridloom.Millis) []byte {
	if span == 0 {
		return append(dst, "0s"...)
	}
	if span < 0 {
		dst, span = append(dst, '-'), -span
	}
	for _, u := range []struct {
		unit gridloom.Millis
		name string
	}{{gridloom.Day, "d"}, {gridloom.Hour, "h"}, {gridloom.Minute, "m"}, {gridloom.Second, "s"}, {1, "ms"}} {
		if n := span / u.unit; n > 0 {
			dst = strconv.AppendInt(dst, int64(n), 10)
			dst = append(dst, u.name...)
			span -= n * u.unit
		}
	}
	return dst
}

// appendInstant appends RFC 3339 in UTC, with milliseconds where there are any. It
// does what Millis.String does at a third of its cost.
func appendInstant(dst []byte, at gridloom.Millis) []byte {
	if at%gridloom.Second == 0 {
		return at.Time().AppendFormat(dst, "2006-01-02T15:04:05Z")
	}
	return at.Time().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// payloadText returns a payload as it is when it is UTF-8 text, else in base64, and which it was.
func payloadText(p []byte) (s, encoding string) {
	if utf8.Valid(p) {
		return string(p), "utf-8"
	}
	return base64.StdEncoding.EncodeToString(p), "base64"
}
