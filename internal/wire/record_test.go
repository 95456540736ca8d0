package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

func appendRecords(list []Record) (opaque []byte) {
	for i := range list {
		opaque = AppendRecord(opaque, &list[i])
	}
	return opaque
}

func TestRecordsTravelInFrames(t *testing.T) {
	want := []Record{
		{"meter/m1", []byte(`{"zone":"Europe/Amsterdam"}`)},
		{"node/T17", bytes.Repeat([]byte{'x'}, MaxRecordBody)},
		{strings.Repeat("é", MaxRecordKey/2), []byte("null")},
	}
	for _, k := range []Kind{KindRegistry, KindEdit} {
		var rows *Columns
		if k == KindEdit {
			rows = columnsOf(pageRows())
		}
		var c Columns
		info, err := DecodeFrame(AppendFrame(nil, FrameInfo{Kind: k, Opaque: appendRecords(want)}, rows), &c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRecords(info.Opaque)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", k, err, d)
		}
		if k == KindEdit && c.Len() != len(pageRows()) {
			t.Errorf("an edit with records has %d rows, want %d", c.Len(), len(pageRows()))
		}
	}
	for _, k := range []Kind{KindReadings, KindTick} {
		var c Columns
		if _, err := DecodeFrame(AppendFrame(nil, FrameInfo{Kind: k, Opaque: []byte{1}}, nil), &c); !errors.Is(err, gridloom.ErrCorrupt) || errors.Is(err, ErrNewer) {
			t.Errorf("a %s frame with records: %v, want damage", k, err)
		}
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	good := AppendRecord(nil, &Record{"meter/m1", []byte("{}")})
	f := func(opaque []byte, want string, newer bool) {
		t.Helper()
		list, err := DecodeRecords(opaque)
		if !errors.Is(err, gridloom.ErrCorrupt) || errors.Is(err, ErrNewer) != newer || !strings.Contains(fmt.Sprint(err), want) || list != nil {
			t.Errorf("DecodeRecords(% x) = %v, %v, want %q", opaque, list, err, want)
		}
	}
	f(good[:len(good)-1], "record 0: cut short", false)
	f(append(bytes.Clone(good), 0xff), "record 1: cut short", false)
	f(appendUint(nil, recordsRecord, 1), "another type", false)
	f(appendString(nil, recordsRecord, appendString(nil, recordBody, "{}")), "key has", false)
	f(appendString(nil, recordsRecord, appendString(nil, recordKey, "meter/m1")), "body has", false)
	f(AppendRecord(nil, &Record{strings.Repeat("k", MaxRecordKey+1), []byte("{}")}), "key has", false)
	f(AppendRecord(nil, &Record{"\xff", []byte("{}")}), "key has", false)
	f(AppendRecord(nil, &Record{"k", make([]byte, MaxRecordBody+1)}), "body has", false)
	f(appendString(bytes.Clone(good), 2, "moon"), "field 2", true)
	f(appendString(nil, recordsRecord, appendString(nil, 3, "moon")), "record 0: field 3", true)
}

func FuzzDecodeRecords(f *testing.F) {
	f.Add(appendRecords([]Record{{"meter/m1", []byte("{}")}, {"node/n", []byte("null")}}))
	f.Add([]byte{10, 0})
	f.Fuzz(func(t *testing.T, opaque []byte) {
		list, err := DecodeRecords(opaque)
		if err != nil {
			if !errors.Is(err, gridloom.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := DecodeRecords(appendRecords(list))
		if d := cmp.Diff(list, again); err != nil || d != "" {
			t.Errorf("%v (-first +second):\n%s", err, d)
		}
	})
}
