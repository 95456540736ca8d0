package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/gridloom/gridloom"
)

// A ledger is a file of what was acknowledged on one connection: records of one
// batch each, length and CRC-32C before the entries. A record is on disk before
// the connection makes use of the PUBACK, so that the ledger never claims less
// than the server promised. Not safe for concurrent use.
type ledger struct {
	file *os.File
	buf  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func createLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &ledger{file: f}, nil
}

// note appends batches and returns when they are on disk.
func (l *ledger) note(batches [][]entry) error {
	l.buf = l.buf[:0]
	for _, es := range batches {
		head := len(l.buf)
		l.buf = append(l.buf, make([]byte, 8)...)
		for i := range es {
			l.buf = appendEntry(l.buf, &es[i])
		}
		body := l.buf[head+8:]
		binary.LittleEndian.PutUint32(l.buf[head:], uint32(len(body)))
		binary.LittleEndian.PutUint32(l.buf[head+4:], crc32.Checksum(body, castagnoli))
	}
	if _, err := l.file.Write(l.buf); err != nil {
		return err
	}
	return l.file.Sync()
}

func (l *ledger) close() error { return l.file.Close() }

// appendEntry: the register goes by its place in the catalog, since one build
// writes and reads a ledger.
func appendEntry(dst []byte, e *entry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(e.meter)))
	dst = append(dst, e.meter...)
	dst = binary.AppendUvarint(dst, uint64(e.register))
	dst = binary.AppendVarint(dst, int64(e.start))
	dst = binary.AppendVarint(dst, int64(e.length))
	dst = binary.AppendVarint(dst, e.value)
	return binary.AppendUvarint(dst, uint64(e.order))
}

// readLedger calls fn for every entry of a ledger. The meters of entries share
// their memory by way of names.
func readLedger(path string, names map[string]string, fn func(entry)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	var body []byte
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		body = append(body[:0], make([]byte, binary.LittleEndian.Uint32(head[:]))...)
		if _, err := io.ReadFull(r, body); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return fmt.Errorf("%w: %s: the checksum of a record is wrong", gridloom.ErrCorrupt, path)
		}
		for d := (ledgerDecoder{b: body}); len(d.b) > 0; {
			fn(d.entry(names))
		}
	}
}

// ledgerDecoder takes entries off bytes whose checksum was right.
type ledgerDecoder struct{ b []byte }

func (d *ledgerDecoder) entry(names map[string]string) entry {
	n := d.unsigned()
	name, ok := names[string(d.b[:n])]
	if !ok {
		name = string(d.b[:n])
		names[name] = name
	}
	d.b = d.b[n:]
	return entry{
		meter: name, register: gridloom.RegisterID(d.unsigned()),
		start: gridloom.Millis(d.signed()), length: gridloom.Millis(d.signed()),
		value: d.signed(), order: gridloom.Order(d.unsigned()),
	}
}

func (d *ledgerDecoder) unsigned() uint64 {
	v, n := binary.Uvarint(d.b)
	d.b = d.b[n:]
	return v
}

func (d *ledgerDecoder) signed() int64 {
	v, n := binary.Varint(d.b)
	d.b = d.b[n:]
	return v
}
