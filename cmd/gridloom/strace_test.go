package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What strace saw of a process, and the laws of what must be on the disk before
// something is said: acknowledgements (checkAcks), heads (checkHeads) and an
// agent's PUBLISH packets (checkPublished).

// straceArgs is the command line of strace before the program; the log goes to file.
func straceArgs(file string, more ...string) []string {
	return slices.Concat([]string{
		"strace", "-f", "--seccomp-bpf", "-yy", "-s", "2097152", "-o", file,
		"-e", "trace=write,writev,pwrite64,fsync,fdatasync,sendto,sendmsg,rename,renameat,renameat2,link,linkat,mkdir,mkdirat",
	}, more)
}

// syscallSeen is one finished system call. What happened before begun had happened
// when it began; what comes after ended may rely on it.
type syscallSeen struct {
	begun, ended int // lines of the log, from 1
	name         string
	on           string   // what its first argument, a file descriptor, stands for
	strings      [][]byte // its string arguments
	result       int64
}

// parseStrace reads a log of `strace -f -yy`. Calls that never returned are left
// out, and so are those that strace injected a result for: they did not happen.
func parseStrace(log []byte) ([]syscallSeen, error) {
	var calls []syscallSeen
	open := map[string]syscallSeen{} // by thread: begun, not yet ended
	n := 0
	for line := range bytes.Lines(log) {
		n++
		thread, rest, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		rest = strings.TrimSpace(rest)
		if !ok || strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") || strings.HasPrefix(rest, "????") {
			continue
		}
		if resumed, ok := strings.CutPrefix(rest, "<... "); ok {
			c, ok := open[thread]
			if !ok {
				return nil, fmt.Errorf("line %d: resumes a call that did not begin: %.80s", n, rest)
			}
			delete(open, thread)
			if err := c.end(n, resumed); err != nil {
				return nil, err
			}
			calls = appendHappened(calls, c, rest)
			continue
		}
		name, args, ok := strings.Cut(rest, "(")
		if !ok {
			return nil, fmt.Errorf("line %d is no call: %.80s", n, rest)
		}
		c := syscallSeen{begun: n, name: name}
		if err := c.arguments(n, args); err != nil {
			return nil, err
		}
		if strings.HasSuffix(rest, "<unfinished ...>") {
			open[thread] = c
			continue
		}
		if err := c.end(n, rest); err != nil {
			return nil, err
		}
		calls = appendHappened(calls, c, rest)
	}
	return calls, nil
}

func appendHappened(calls []syscallSeen, c syscallSeen, line string) []syscallSeen {
	if c.result < 0 || strings.HasSuffix(line, "(INJECTED)") {
		return calls
	}
	return append(calls, c)
}

// descriptor matches a first argument with what -yy says of it.
var descriptor = regexp.MustCompile(`^\d+<(.*?[^-])>[,)\s]`)

// arguments takes the descriptor and the strings out of a call's arguments.
func (c *syscallSeen) arguments(line int, args string) error {
	if m := descriptor.FindStringSubmatch(args); m != nil {
		c.on = m[1]
		args = args[len(m[0]):]
	}
	for {
		from := strings.IndexByte(args, '"')
		if from < 0 {
			return nil
		}
		text, used, err := unquoteC(args[from+1:])
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		args = args[from+1+used:]
		if strings.HasPrefix(args, "...") {
			return fmt.Errorf("line %d: strace cut a string off after %d bytes", line, len(text))
		}
		c.strings = append(c.strings, text)
	}
}

// unquoteC reads a string of C up to its closing quote and tells how much it used.
func unquoteC(s string) (text []byte, used int, err error) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return text, i + 1, nil
		case '\\':
			i++
			if i == len(s) {
				return nil, 0, errors.New("string ends within an escape")
			}
			if at := strings.IndexByte(`abfnrtv\"`, s[i]); at >= 0 {
				text = append(text, "\a\b\f\n\r\t\v\\\""[at])
				continue
			}
			base, from, most := 8, i, 3
			if s[i] == 'x' {
				base, from, most = 16, i+1, 2
			}
			to := from
			for to < len(s) && to < from+most && strings.IndexByte("0123456789abcdef"[:base], s[to]) >= 0 {
				to++
			}
			v, err := strconv.ParseUint(s[from:to], base, 8)
			if err != nil {
				return nil, 0, fmt.Errorf("escape %q: %w", s[i-1:to], err)
			}
			text = append(text, byte(v))
			i = to - 1
		default:
			text = append(text, s[i])
		}
	}
	return nil, 0, errors.New("string without an end")
}

var resultOf = regexp.MustCompile(`\)\s+= (-?\d+)(?: [^"]*)?$`)

func (c *syscallSeen) end(line int, text string) error {
	m := resultOf.FindStringSubmatch(text[max(0, len(text)-200):])
	if m == nil {
		if strings.HasSuffix(text, "= ?") { // the process ended within it
			c.result = -1
			return nil
		}
		return fmt.Errorf("line %d: no result: %.80s", line, text)
	}
	c.ended = line
	var err error
	c.result, err = strconv.ParseInt(m[1], 10, 64)
	return err
}

func (c *syscallSeen) writes() bool {
	switch c.name {
	case "write", "writev", "pwrite64", "sendto", "sendmsg":
		return true
	}
	return false
}

func (c *syscallSeen) syncs() bool { return c.name == "fsync" || c.name == "fdatasync" }

// bytes is what a write wrote.
func (c *syscallSeen) bytes() []byte {
	if len(c.strings) == 1 {
		return c.strings[0]
	}
	return bytes.Join(c.strings, nil)
}

// syncedBy returns when the file or directory of that name was on the disk with
// all that had been done to it by line from. ok is false if it never was.
func syncedBy(calls []syscallSeen, name string, from int) (line int, ok bool) {
	for i := range calls {
		if c := &calls[i]; c.syncs() && c.on == name && c.begun > from && (!ok || c.ended < line) {
			line, ok = c.ended, true
		}
	}
	return line, ok
}

// written returns the first finished write of the text to a file that is.
func written(calls []syscallSeen, is func(name string) bool, text string) *syscallSeen {
	for i := range calls {
		if c := &calls[i]; c.writes() && is(c.on) && bytes.Contains(c.bytes(), []byte(text)) {
			return c
		}
	}
	return nil
}

// logFileOf tells the files of a stream of the embedded server apart.
func logFileOf(stream string) func(string) bool {
	return func(name string) bool {
		return strings.Contains(name, "/streams/"+stream+"/") && strings.HasSuffix(name, ".blk")
	}
}

// packets calls f with each MQTT packet of a write's bytes. Writes of the server
// and of agents hold whole packets; anything else is passed over.
func packets(data []byte, f func(kind byte, body []byte)) {
	for len(data) > 1 {
		n, w := binary.Uvarint(data[1:])
		if w <= 0 || uint64(len(data)-1-w) < n {
			return
		}
		f(data[0], data[1+w:1+w+int(n)])
		data = data[1+w+int(n):]
	}
}

// checkAcks returns what is wrong with the acknowledgements of one connection.
// peer is the client's end of it, and messages the texts, such as a meter's id,
// that tell each packet id's reading. Every message must have one PUBACK, and it
// must begin after the end of an fsync of the log's file that began after the end
// of the write of the frame.
func checkAcks(calls []syscallSeen, peer string, messages map[uint16]string) (faults []string) {
	acked := map[uint16]int{}
	for i := range calls {
		c := &calls[i]
		if !c.writes() || !strings.HasSuffix(c.on, "->"+peer+"]") {
			continue
		}
		packets(c.bytes(), func(kind byte, body []byte) {
			if kind != 0x40 || len(body) != 2 {
				return
			}
			id := binary.BigEndian.Uint16(body)
			if acked[id]++; acked[id] > 1 {
				faults = append(faults, fmt.Sprintf("line %d: a second PUBACK of %d", c.begun, id))
				return
			}
			w := written(calls, logFileOf("GRIDLOOM_LOG"), messages[id])
			if messages[id] == "" || w == nil {
				faults = append(faults, fmt.Sprintf("line %d: PUBACK of %d, whose reading was never written to the log", c.begun, id))
				return
			}
			if at, ok := syncedBy(calls, w.on, w.ended); !ok || at > c.begun {
				faults = append(faults, fmt.Sprintf("line %d: PUBACK of %d before %s, written in line %d, was synced", c.begun, id, path.Base(w.on), w.begun))
			}
		})
	}
	for id := range messages {
		if acked[id] == 0 {
			faults = append(faults, fmt.Sprintf("no PUBACK of %d", id))
		}
	}
	return faults
}

// checkPublished returns what is wrong with what an agent published: each text
// that stands in a PUBLISH must be in a spool file that was synced after it was
// written there and before the packet was sent.
func checkPublished(calls []syscallSeen, texts []string) (faults []string) {
	inSpool := func(name string) bool { return strings.Contains(name, "/spool/") }
	toServer := func(name string) bool { return strings.HasPrefix(name, "TCP:") }
	for _, text := range texts {
		sent, w := written(calls, toServer, text), written(calls, inSpool, text)
		switch {
		case sent == nil:
			faults = append(faults, text+" was not published")
		case w == nil || w.ended > sent.begun:
			faults = append(faults, fmt.Sprintf("line %d: %s was published before it was in the spool", sent.begun, text))
		default:
			if at, ok := syncedBy(calls, w.on, w.ended); !ok || at > sent.begun {
				faults = append(faults, fmt.Sprintf("line %d: %s was published before %s was synced", sent.begun, text, path.Base(w.on)))
			}
		}
	}
	return faults
}

// headJSON finds a head with a manifest in a write to the heads' stream.
var headJSON = regexp.MustCompile(`\{"format":\d+,"generation":.*?"manifest":\{"path":"([^"]+)"`)

// checkHeads returns how many heads with a manifest were written and what is
// wrong with them: the manifest, each file that it names, and every directory on
// the way must have been synced, all under their final names, before. store is
// the store's directory; all its files were made within calls.
func checkHeads(calls []syscallSeen, store string) (heads int, faults []string) {
	for i := range calls {
		c := &calls[i]
		if !c.writes() || !logFileOf("KV_GRIDLOOM_HEADS")(c.on) {
			continue
		}
		for _, m := range headJSON.FindAllSubmatch(c.bytes(), -1) {
			heads++
			manifest := path.Join(store, string(m[1]))
			content, err := durable(calls, store, manifest, c.begun)
			if err != nil {
				faults = append(faults, fmt.Sprintf("line %d: head swap: %v", c.begun, err))
				continue
			}
			named, err := namedFiles(content)
			if err != nil {
				faults = append(faults, fmt.Sprintf("line %d: head swap: %s: %v", c.begun, manifest, err))
			}
			for _, f := range named {
				if _, err := durable(calls, store, path.Join(store, f), c.begun); err != nil {
					faults = append(faults, fmt.Sprintf("line %d: head swap: %v", c.begun, err))
				}
			}
		}
	}
	return heads, faults
}

// namedFiles returns every segment and day list that a manifest names.
func namedFiles(manifest []byte) (paths []string, err error) {
	var v any
	if err := json.Unmarshal(manifest, &v); err != nil {
		return nil, err
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if p, ok := v["path"].(string); ok && p != "" && strings.Contains(p, "/") {
				paths = append(paths, p)
			}
			for key, child := range v {
				if key != "head" && key != "dropped" { // the head before this one; files no longer named
					walk(child)
				}
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		}
	}
	walk(v)
	return paths, nil
}

// durable returns the content of a file that was written under a temporary name,
// or why a power loss at line by could take it or its name.
func durable(calls []syscallSeen, store, name string, by int) ([]byte, error) {
	var temp string
	named := 0
	for i := range calls {
		c := &calls[i]
		if (strings.HasPrefix(c.name, "link") || strings.HasPrefix(c.name, "rename")) && len(c.strings) == 2 && string(c.strings[1]) == name {
			temp, named = string(c.strings[0]), c.ended
			if at, ok := syncedBy(calls, path.Dir(name), c.ended); !ok || at > by {
				return nil, fmt.Errorf("the directory of %s was not synced after it got its name in line %d", name, c.begun)
			}
		}
	}
	if named == 0 || named > by {
		return nil, fmt.Errorf("%s was not there", name)
	}
	var content []byte
	for i := range calls {
		c := &calls[i]
		if c.writes() && c.on == temp {
			content = append(content, c.bytes()...)
			if at, ok := syncedBy(calls, temp, c.ended); !ok || at > named {
				return nil, fmt.Errorf("%s, written in line %d, was not synced before it got its name", name, c.begun)
			}
		}
	}
	if content == nil {
		return nil, fmt.Errorf("%s is empty", name)
	}
	for dir := path.Dir(name); len(dir) > len(store); dir = path.Dir(dir) {
		made := 0
		for i := range calls {
			if c := &calls[i]; strings.HasPrefix(c.name, "mkdir") && len(c.strings) == 1 && string(c.strings[0]) == dir {
				made = c.ended
			}
		}
		if at, ok := syncedBy(calls, path.Dir(dir), made); made == 0 || !ok || at > by {
			return nil, fmt.Errorf("the name of the directory %s of %s was not synced", dir, path.Base(name))
		}
	}
	return content, nil
}

// without returns the calls without those that drop chooses.
func without(calls []syscallSeen, drop func(*syscallSeen) bool) []syscallSeen {
	return slices.DeleteFunc(slices.Clone(calls), func(c syscallSeen) bool { return drop(&c) })
}

const straceSample = `7 mkdirat(AT_FDCWD</w>, "/d/store/g1", 0750) = 0
7 fsync(9</d/store>) = 0
7 write(8<TCP:[127.0.0.1:18->127.0.0.1:99]>, "\x20\2\0\0", 4) = 4
7 pwrite64(5</d/log/jetstream/$G/streams/GRIDLOOM_LOG/msgs/1.blk>, "frame\0m-1\"\\\n\1771", 10, 0 <unfinished ...>
8 write(6</d/store/g1/.tmp-A>, "raw", 3) = 3
7 <... pwrite64 resumed>) = 10
7 fsync(5</d/log/jetstream/$G/streams/GRIDLOOM_LOG/msgs/1.blk> <unfinished ...>
8 fsync(6</d/store/g1/.tmp-A>) = 0
7 <... fsync resumed>)              = 0
7 write(8<TCP:[127.0.0.1:18->127.0.0.1:99]>, "@\2\0\1", 4) = 4
8 linkat(AT_FDCWD</w>, "/d/store/g1/.tmp-A", AT_FDCWD</w>, "/d/store/g1/raw-1", 0) = 0
8 write(6</d/store/g1/.tmp-B>, "{\"head\":{\"manifest\":{\"path\":\"g1/old\"}},\"recent\":[{\"path\":\"g1/raw-1\"}]}", 70) = 70
8 fsync(6</d/store/g1/.tmp-B>) = 0
8 renameat(AT_FDCWD</w>, "/d/store/g1/.tmp-B", AT_FDCWD</w>, "/d/store/g1/manifest-1") = 0
8 fsync(9</d/store/g1>) = 0
7 pwrite64(5</d/log/jetstream/$G/streams/KV_GRIDLOOM_HEADS/msgs/1.blk>, "{\"format\":1,\"generation\":1,\"manifest\":{\"path\":\"g1/manifest-1\",\"crc\":1}}", 70, 0) = 70
9 write(2</dev/null<char 1:3>>, "x", 1) = -1 EBADF (Bad file descriptor)
9 fsync(5</d/log/other> <unfinished ...>
9 +++ killed by SIGKILL +++
`

// TestStraceChecksSeeAMissingSync takes one sync after the other out of a log that
// is in order, by leaving its line out and by marking it as not done.
func TestStraceChecksSeeAMissingSync(t *testing.T) {
	faults := func(log string) []string {
		t.Helper()
		calls, err := parseStrace([]byte(log))
		if err != nil {
			t.Fatal(err)
		}
		f := checkAcks(calls, "127.0.0.1:99", map[uint16]string{1: "m-1\"\\\n\x7f1"})
		heads, g := checkHeads(calls, "/d/store")
		if heads != 1 {
			t.Fatalf("%d heads, want 1", heads)
		}
		return append(f, g...)
	}
	if f := faults(straceSample); len(f) > 0 {
		t.Fatalf("the log in order has faults: %q", f)
	}
	lines := strings.SplitAfter(straceSample, "\n")
	syncs := 0
	for i, line := range lines {
		if !strings.Contains(line, "fsync(") || !strings.Contains(line, " = 0\n") {
			continue
		}
		syncs++
		left := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
		if f := faults(left); len(f) == 0 {
			t.Errorf("no fault without %s", line)
		}
		lines[i] = strings.Replace(line, " = 0", " = 0 (INJECTED)", 1)
		if f := faults(strings.Join(lines, "")); len(f) == 0 {
			t.Errorf("no fault with %s", lines[i])
		}
		lines[i] = line
	}
	if syncs != 4 {
		t.Errorf("%d syncs were taken out, want 4", syncs)
	}
	resumed := strings.Replace(straceSample, "<... fsync resumed>)              = 0", "<... fsync resumed>)              = 0 (INJECTED)", 1)
	if f := faults(resumed); len(f) != 1 || !strings.Contains(f[0], "PUBACK of 1 before 1.blk") {
		t.Errorf("faults without the log's fsync: %q", f)
	}
}
