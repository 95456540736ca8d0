package decode

import (
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may nest in a value that is skipped.
const maxDepth = 64

// fail notes what is wrong with the syntax at d.i, if nothing was before; it returns false.
func (d *Decoder) fail(what string) bool {
	if d.broken == "" {
		d.broken = what
	}
	return false
}

// blanks moves past white space.
func (d *Decoder) blanks() {
	for d.i < len(d.p) {
		switch d.p[d.i] {
		case ' ', '\n', '\t', '\r':
			d.i++
		default:
			return
		}
	}
}

// next moves past c if it stands here.
func (d *Decoder) next(c byte) bool {
	if d.i < len(d.p) && d.p[d.i] == c {
		d.i++
		return true
	}
	return false
}

// str reads a string, at whose quote it stands. The result is part of the payload,
// or of d.text if it had escapes.
func (d *Decoder) str() (s []byte, ok bool) {
	p := d.p
	i := d.i + 1
	for j := i; j < len(p); j++ {
		switch c := p[j]; {
		case c == '"':
			d.i = j + 1
			return p[i:j], true
		case c == '\\':
			return d.escaped(i, j)
		case c < ' ':
			d.i = j
			return nil, d.fail("control character in a string")
		}
	}
	d.i = len(p)
	return nil, d.fail("the message ends in a string")
}

// escaped reads the rest of a string that began at from and has its first escape at j.
func (d *Decoder) escaped(from, j int) (s []byte, ok bool) {
	p := d.p
	begin := len(d.text)
	d.text = append(d.text, p[from:j]...)
	for j < len(p) {
		switch c := p[j]; {
		case c == '"':
			d.i = j + 1
			return d.text[begin:], true
		case c < ' ':
			d.i = j
			return nil, d.fail("control character in a string")
		case c != '\\':
			d.text = append(d.text, c)
			j++
		case j+1 < len(p) && p[j+1] == 'u':
			r, n := unicodeEscape(p[j:])
			if n == 0 {
				d.i = j
				return nil, d.fail("want four hexadecimal digits after \\u")
			}
			d.text = utf8.AppendRune(d.text, r)
			j += n
		default:
			e := byte(0)
			if j+1 < len(p) {
				e = escapes[p[j+1]]
			}
			if e == 0 {
				d.i = j
				return nil, d.fail("no such escape in a string")
			}
			d.text = append(d.text, e)
			j += 2
		}
	}
	d.i = len(p)
	return nil, d.fail("the message ends in a string")
}

// escapes maps the letter after a backslash to what it stands for.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unicodeEscape reads \uXXXX, or two of them that are a surrogate pair, and returns
// the rune and the length, 0 if it is malformed. A lone surrogate is U+FFFD.
func unicodeEscape(p []byte) (r rune, n int) {
	r, ok := hex4(p)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(p) >= 8 && p[6] == '\\' && p[7] == 'u' {
		low, ok := hex4(p[6:])
		if !ok {
			return 0, 0
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads the four digits of \uXXXX at the start of p.
func hex4(p []byte) (r rune, ok bool) {
	if len(p) < 6 {
		return 0, false
	}
	for _, c := range p[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// numberKind says what stood where a number was wanted.
type numberKind uint8

const (
	isNumber numberKind = iota
	isNull
	isOther
)

// number is mantissa·10^exp exactly, or, of a number with more than 17 digits, one
// that rounds as it does (see long). Its kind says if it is one at all.
type number struct {
	mantissa int64
	exp      int32
	kind     numberKind
}

// integer returns n if it is whole and fits.
func (n number) integer() (v int64, ok bool) {
	v = n.mantissa
	for e := n.exp; e < 0 && v != 0; e++ {
		if v%10 != 0 {
			return 0, false
		}
		v /= 10
	}
	for e := n.exp; e > 0 && v != 0; e-- {
		if v > 1e17 || v < -1e17 {
			return 0, false
		}
		v *= 10
	}
	return v, true
}

// maxExp bounds exponents: nothing between it and infinity is in range.
const maxExp = 1 << 20

// num reads a number, at whose first byte it stands.
func (d *Decoder) num() (n number, ok bool) {
	p, i := d.p, d.i
	neg := p[i] == '-'
	if neg {
		i++
	}
	first := i
	var u uint64
	for i < len(p) && p[i]-'0' <= 9 {
		u = u*10 + uint64(p[i]-'0')
		i++
	}
	digits := i - first
	if digits == 0 || digits > 1 && p[first] == '0' {
		d.i = first
		return n, d.fail("not a JSON number")
	}
	if i < len(p) && p[i] == '.' {
		i++
		point := i
		for i < len(p) && p[i]-'0' <= 9 {
			u = u*10 + uint64(p[i]-'0')
			i++
		}
		if i == point {
			d.i = i
			return n, d.fail("want a digit after the decimal point")
		}
		n.exp = int32(point - i)
		digits += i - point
	}
	if digits > 17 {
		u, n.exp = long(p[first:i])
	}
	if i < len(p) && p[i]|0x20 == 'e' {
		e, k := exponent(p[i:])
		if k == 0 {
			d.i = i
			return n, d.fail("want digits after the e of a number")
		}
		i += k
		n.exp += e
	}
	n.mantissa = int64(u)
	if neg {
		n.mantissa = -n.mantissa
	}
	d.i = i
	return n, true
}

// exponent reads e, a sign and digits, and returns how long they are, 0 if malformed.
func exponent(p []byte) (e int32, n int) {
	i, neg := 1, false
	if i < len(p) && (p[i] == '+' || p[i] == '-') {
		neg = p[i] == '-'
		i++
	}
	begin := i
	for i < len(p) && p[i]-'0' <= 9 {
		if e < maxExp {
			e = e*10 + int32(p[i]-'0')
		}
		i++
	}
	if i == begin {
		return 0, 0
	}
	if neg {
		e = -e
	}
	return e, i
}

// long reads digits with or without a point that are more than 17. The first 17
// that count are kept, and an 18th that is 1 if any digit after them is not 0: no
// tie of rounding to a thousandth of any unit needs more than 17 digits at a value
// within MaxValue, so the result rounds as the whole number does.
func long(p []byte) (mantissa uint64, exp int32) {
	kept, after, dropped, sticky := 0, false, int32(0), false
	for _, c := range p {
		if c == '.' {
			after = true
			continue
		}
		if kept < 17 {
			if after {
				exp--
			}
			if mantissa = mantissa*10 + uint64(c-'0'); mantissa != 0 {
				kept++
			}
			continue
		}
		sticky = sticky || c != '0'
		if !after {
			dropped++
		}
	}
	exp += dropped
	if sticky {
		return mantissa*10 + 1, exp - 1
	}
	return mantissa, exp
}

// numberValue reads any value: a number, null, or one that is skipped and is isOther.
func (d *Decoder) numberValue() (n number, ok bool) {
	if d.i < len(d.p) {
		c := d.p[d.i]
		if c-'0' <= 9 || c == '-' {
			return d.num()
		}
	}
	if d.null() {
		return number{kind: isNull}, true
	}
	return number{kind: isOther}, d.skip(0)
}

// stringValue reads any value: a string, or one that is skipped and not ok. good is
// false if the syntax is broken.
func (d *Decoder) stringValue() (s []byte, ok, good bool) {
	if d.i < len(d.p) && d.p[d.i] == '"' {
		s, good = d.str()
		return s, good, good
	}
	return nil, false, d.skip(0)
}

// null moves past null if it stands here.
func (d *Decoder) null() bool {
	if d.i+4 <= len(d.p) && string(d.p[d.i:d.i+4]) == "null" {
		d.i += 4
		return true
	}
	return false
}

// skip moves past one value of any kind and checks its syntax.
func (d *Decoder) skip(depth int) bool {
	if d.i >= len(d.p) {
		return d.fail("the message ends where a value should be")
	}
	switch c := d.p[d.i]; {
	case c == '"':
		mark := len(d.text)
		_, ok := d.str()
		d.text = d.text[:mark]
		return ok
	case c == '{', c == '[':
		if depth >= maxDepth {
			return d.fail("nested too deep")
		}
		return d.skipInside(c, depth)
	case c == '-', c-'0' <= 9:
		_, ok := d.num()
		return ok
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if n := len(word); d.i+n <= len(d.p) && string(d.p[d.i:d.i+n]) == word {
			d.i += n
			return true
		}
	}
	return d.fail("want a value")
}

// skipInside moves past the object or array that opens here.
func (d *Decoder) skipInside(open byte, depth int) bool {
	end := open + 2 // ']' and '}' stand two after '[' and '{'
	d.i++
	d.blanks()
	if d.next(end) {
		return true
	}
	for {
		if open == '{' && !d.skipKey() {
			return false
		}
		if !d.skip(depth + 1) {
			return false
		}
		d.blanks()
		if d.next(end) {
			return true
		}
		if !d.next(',') {
			return d.fail("want , or the end of an object or array")
		}
		d.blanks()
	}
}

// skipKey moves past a key and its colon.
func (d *Decoder) skipKey() bool {
	if d.i >= len(d.p) || d.p[d.i] != '"' {
		return d.fail("want a key in quotes")
	}
	mark := len(d.text)
	if _, ok := d.str(); !ok {
		return false
	}
	d.text = d.text[:mark]
	d.blanks()
	if !d.next(':') {
		return d.fail("want : after a key")
	}
	d.blanks()
	return true
}
