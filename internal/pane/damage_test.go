package pane

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/gridloom/gridloom"
)

// drain reads a segment of any kind to its end.
func drain(s *Store, seg Segment) error {
	ctx := context.Background()
	switch seg.Kind {
	case KindRaw:
		return s.ReadRaw(ctx, seg, Selector{}, func(*gridloom.Reading) error { return nil })
	case KindPane:
		return s.ReadPanes(ctx, seg, Selector{}, AllColumns, func(*gridloom.Pane) error { return nil })
	default:
		return s.ReadSnapshot(ctx, seg, func(*SnapshotRow) error { return nil })
	}
}

// drainBytes decodes a segment's bytes past the check of their crc.
func drainBytes(kind Kind, data []byte) error {
	ctx, mem := context.Background(), memory.NewGoAllocator()
	var err error
	switch kind {
	case KindRaw:
		_, err = decodeRaw(ctx, mem, data, &Selector{}, func(*gridloom.Reading) error { return nil })
	case KindPane:
		_, err = decodePanes(ctx, mem, data, &Selector{}, AllColumns, func(*gridloom.Pane) error { return nil })
	default:
		_, err = decodeSnapshot(ctx, mem, data, func(*SnapshotRow) error { return nil })
	}
	return err
}

// writeOneOfEach stores a small segment of each kind.
func writeOneOfEach(t testing.TB, s *Store) []Segment {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 5))
	raw, err := s.WriteRaw(context.Background(), where, randomReadings(rng, 12))
	if err != nil {
		t.Fatal(err)
	}
	panes, err := s.WritePanes(context.Background(), where, randomPanes(rng, 12))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.WriteSnapshot(context.Background(), where, []SnapshotRow{{"a", 1, []byte("xyz"), 9, 17_250_000}, {"b", 2, nil, 0, 0}}, noon, 7)
	if err != nil {
		t.Fatal(err)
	}
	return []Segment{raw, panes, snap}
}

// TestDamageIsNamed flips a bit of every byte of each kind of file, and cuts it at
// every length: the reader must refuse it by name.
func TestDamageIsNamed(t *testing.T) {
	s, fsys := newStore(t, StoreOptions{CacheBytes: -1})
	check := func(what string, at int, path string, err error) {
		t.Helper()
		if !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Fatalf("%s at %d of %s: %v", what, at, path, err)
		}
	}
	damage := func(path string, read func() error) {
		t.Helper()
		var whole []byte
		set := func(b []byte) {
			if err := fsys.Damage("/store/"+path, func(old []byte) []byte {
				if whole == nil {
					whole = old
				}
				return b
			}); err != nil {
				t.Fatal(err)
			}
		}
		set(nil)
		for at := range whole {
			b := append([]byte(nil), whole...)
			b[at] ^= 1 << (at % 8)
			set(b)
			check("flip", at, path, read())
			if at%17 == 0 {
				set(whole[:at])
				check("cut", at, path, read())
			}
		}
		set(whole)
		if err := read(); err != nil {
			t.Fatalf("%s as written: %v", path, err)
		}
	}
	segs := writeOneOfEach(t, s)
	for _, seg := range segs {
		damage(seg.Path, func() error { return drain(s, seg) })
	}
	m := &Manifest{Head: gridloom.Head{Generation: 1, Partition: 2, Epoch: 3, NextSeq: 8}, Recent: segs[:2], Snapshot: &segs[2]}
	ref, err := s.WriteManifest(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	damage(ref.Path, func() error { _, err := s.ReadManifest(context.Background(), ref); return err })
}

// TestDamageBehindTheCRC does the same to the decoder alone: no panic may leave
// it, whatever the bytes are.
func TestDamageBehindTheCRC(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	for _, seg := range writeOneOfEach(t, s) {
		data, err := s.fetch(t.Context(), string(seg.Kind), gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for at := range data {
			b := append([]byte(nil), data...)
			b[at] ^= 0xff
			if drainBytes(seg.Kind, b) != nil {
				refused++
			}
			if at%5 == 0 && drainBytes(seg.Kind, data[:at]) == nil {
				t.Errorf("%s cut to %d bytes of %d is taken", seg.Kind, at, len(data))
			}
		}
		if refused < len(data)/8 {
			t.Errorf("%s: %d of %d flips are noticed without the crc", seg.Kind, refused, len(data))
		}
	}
}

func TestVanishedAndForeignFilesAreErrors(t *testing.T) {
	s, fsys := newStore(t, StoreOptions{CacheBytes: -1})
	segs := writeOneOfEach(t, s)
	wrong := segs[0]
	wrong.Rows++
	if err := drain(s, wrong); !errors.Is(err, gridloom.ErrCorrupt) || !strings.Contains(err.Error(), wrong.Path) {
		t.Errorf("a segment with fewer rows than listed: %v", err)
	}
	other := segs[0]
	other.Path, other.CRC = segs[1].Path, segs[1].CRC
	if err := drain(s, other); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("panes read as readings: %v", err)
	}
	if err := fsys.Remove("/store/" + segs[0].Path); err != nil {
		t.Fatal(err)
	}
	if err := drain(s, segs[0]); !errors.Is(err, gridloom.ErrNotFound) || !strings.Contains(err.Error(), segs[0].Path) {
		t.Errorf("a vanished segment: %v", err)
	}
}

// TestCallersErrorsComeBackAsTheyAre keeps an error of the caller's function apart from damage.
func TestCallersErrorsComeBackAsTheyAre(t *testing.T) {
	s, _ := newStore(t, StoreOptions{})
	seg := writeOneOfEach(t, s)[0]
	mine := errors.New("enough")
	if err := s.ReadRaw(t.Context(), seg, Selector{}, func(*gridloom.Reading) error { return mine }); err != mine { //nolint:errorlint // as it is
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ReadRaw(ctx, seg, Selector{}, func(*gridloom.Reading) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("a panic of the caller's function became %v", r)
		}
	}()
	_ = s.ReadRaw(t.Context(), seg, Selector{}, func(*gridloom.Reading) error { panic("mine") })
}

// TestNoArrowMemoryIsKept runs a write and a read under a checking allocator.
func TestNoArrowMemoryIsKept(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	s, _ := newStore(t, StoreOptions{})
	s.mem = mem
	for _, seg := range writeOneOfEach(t, s) {
		if err := drain(s, seg); err != nil {
			t.Fatal(err)
		}
	}
	mem.AssertSize(t, 0)
}

func FuzzReadRaw(f *testing.F) { fuzzSegments(f, KindRaw) }

func FuzzReadPanes(f *testing.F) { fuzzSegments(f, KindPane) }

// fuzzSegments decodes bytes past the check of their crc: no panic, no short answer taken for a whole one.
func fuzzSegments(f *testing.F, kind Kind) {
	f.Helper()
	s, _ := newStore(f, StoreOptions{})
	for _, seg := range writeOneOfEach(f, s) {
		data, err := s.fetch(context.Background(), string(seg.Kind), gridloom.FileRef{Path: seg.Path, CRC: seg.CRC})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(_ *testing.T, data []byte) { _ = drainBytes(kind, data) })
}

// TestListThatLiesIsRefused gives a footer whose schema claims 2^32-1 elements:
// Arrow would make room for them, which is more memory than there is.
func TestListThatLiesIsRefused(t *testing.T) {
	footer := []byte{0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f, 0}
	data := append([]byte("PAR1"), footer...)
	data = append(data, byte(len(footer)), 0, 0, 0)
	data = append(data, "PAR1"...)
	if err := checkFooter(data); err == nil {
		t.Error("taken")
	}
	s, _ := newStore(t, StoreOptions{})
	for _, seg := range writeOneOfEach(t, s) {
		whole, err := s.blobs.Get(t.Context(), seg.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkFooter(whole); err != nil {
			t.Errorf("%s as written: %v", seg.Kind, err)
		}
	}
}
