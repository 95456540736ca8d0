package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloom/gridloom"
)

// byteSize is a flag such as 64MiB, 16MB or 65536.
type byteSize int64

func (b *byteSize) String() string { return formatBytes(int64(*b)) }

func (b *byteSize) Set(s string) error {
	n, err := parseBytes(s)
	*b = byteSize(n)
	return err
}

type byteSizeInt int

func (b *byteSizeInt) String() string { return formatBytes(int64(*b)) }

func (b *byteSizeInt) Set(s string) error {
	n, err := parseBytes(s)
	if err == nil && n > 1<<30 {
		err = errors.New("too large")
	}
	*b = byteSizeInt(n)
	return err
}

var byteUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1}}

func parseBytes(s string) (int64, error) {
	for _, u := range byteUnits {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err != nil || n < 0 || n > (1<<62)/u.bytes {
				return 0, errors.New("want a size such as 64MiB")
			}
			return n * u.bytes, nil
		}
	}
	panic("unreachable: every string ends in nothing")
}

func formatBytes(n int64) string {
	for _, u := range byteUnits[:3] {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// syncPolicy is a flag: reading (0) or a time.
type syncPolicy time.Duration

func (p *syncPolicy) String() string {
	if *p == 0 {
		return "reading"
	}
	return time.Duration(*p).String()
}

func (p *syncPolicy) Set(s string) error {
	if s == "reading" {
		*p = 0
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 10*time.Millisecond || d > time.Hour {
		return errors.New("want reading, 1s, 10s or another time up to 1h")
	}
	*p = syncPolicy(d)
	return nil
}

// choice is a flag of two words.
type choice struct {
	set     *bool
	no, yes string
}

func (c choice) String() string {
	if c.set == nil {
		return ""
	}
	if *c.set {
		return c.yes
	}
	return c.no
}

func (c choice) Set(s string) error {
	if s != c.no && s != c.yes {
		return fmt.Errorf("want %s or %s", c.no, c.yes)
	}
	*c.set = s == c.yes
	return nil
}

// lengthFlag is a length of time, or next.
type lengthFlag struct {
	length *time.Duration
	next   *bool
}

func (l lengthFlag) String() string {
	switch {
	case l.length == nil:
		return ""
	case *l.next:
		return "next"
	}
	return l.length.String()
}

func (l lengthFlag) Set(s string) error {
	if s == "next" {
		*l.length, *l.next = 0, true
		return nil
	}
	length, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("want a length such as 30m, or next")
	}
	*l.length, *l.next = length, false
	return nil
}

// oneOf is a flag of several words.
type oneOf struct {
	set   *string
	words []string
}

func (o oneOf) String() string {
	if o.set == nil {
		return ""
	}
	return *o.set
}

func (o oneOf) Set(s string) error {
	if slices.Contains(o.words, s) {
		*o.set = s
		return nil
	}
	return fmt.Errorf("want one of %s", strings.Join(o.words, ", "))
}

// instant is a flag in RFC 3339.
type instant gridloom.Millis

func (i *instant) String() string {
	if *i == 0 {
		return ""
	}
	return gridloom.Millis(*i).String()
}

func (i *instant) Set(s string) error {
	at, err := gridloom.ParseInstant(s)
	*i = instant(at)
	return err
}
