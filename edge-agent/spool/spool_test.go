package spool

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

const dir = "/var/spool"

func options(fsys blob.FS) Options {
	return Options{Dir: dir, FS: fsys, MaxBytes: 64 << 10, SegmentBytes: 500, SyncEach: true}
}

func open(t *testing.T, o Options) *Spool {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// batch returns the n-th record of a test. Lengths differ, and payloads hold the marker now and then.
func batch(n int) Record {
	payload := bytes.Repeat([]byte{byte(n)}, 10+n*7%60)
	if n%3 == 0 {
		payload = append(payload, marker...)
	}
	r := Record{Kind: Sealed, Epoch: 9, Seq: uint32(n), Readings: uint32(1 + n%5), At: gridloom.Millis(1000 * n), Payload: payload}
	if n%4 == 1 {
		r.Kind, r.Boot = Held, "boot-1"
	}
	return r
}

// fill appends records from..to-1, each with its own Append.
func fill(t *testing.T, s *Spool, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.Append([]Record{batch(n)}); err != nil {
			t.Fatalf("Append(%d) = %v", n, err)
		}
	}
}

// drain reads all there is, acknowledging nothing.
func drain(t *testing.T, s *Spool) []Record {
	t.Helper()
	r := s.Reader()
	defer r.Close()
	var all []Record
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
}

func seqs(rs []Record) []int {
	ns := make([]int, len(rs))
	for i := range rs {
		ns[i] = int(rs[i].Seq)
	}
	return ns
}

func to(from, to int) []int {
	ns := []int{}
	for n := from; n < to; n++ {
		ns = append(ns, n)
	}
	return ns
}

func equal(t *testing.T, what string, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// same checks that records are those that batch made.
func same(t *testing.T, rs []Record) {
	t.Helper()
	for _, got := range rs {
		want := batch(int(got.Seq))
		if got.Kind != want.Kind || got.Epoch != want.Epoch || got.Readings != want.Readings || got.At != want.At ||
			got.Boot != want.Boot || !bytes.Equal(got.Payload, want.Payload) {
			t.Errorf("record %+v, want %+v", got, want)
		}
	}
}

func files(t *testing.T, f *faultfs.FS, suffix string) []string {
	t.Helper()
	var names []string
	for _, name := range f.Files() {
		if strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	return names
}

func content(t *testing.T, f *faultfs.FS, name string) []byte {
	t.Helper()
	data, err := blob.ReadFile(f, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func logTo(o Options, w io.Writer) Options {
	o.Logger = slog.New(slog.NewTextHandler(w, nil))
	return o
}

func TestRecordsComeBackInOrderAfterReopening(t *testing.T) {
	f := faultfs.New()
	s := open(t, options(f))
	fill(t, s, 0, 30)
	equal(t, "before", seqs(drain(t, s)), to(0, 30))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, options(f))
	got := drain(t, s)
	equal(t, "after", seqs(got), to(0, 30))
	same(t, got)
	if st := s.Stats(); st.Records != 30 || st.Damaged != 0 || st.TornBytes != 0 {
		t.Errorf("stats %+v", st)
	}
	fill(t, s, 30, 33)
	equal(t, "then", seqs(drain(t, s)), to(0, 33))
	if n := len(files(t, f, segmentSuffix)); n < 4 {
		t.Errorf("%d segments: the test wants several", n)
	}
}

func TestAcknowledgedRecordsGoAndTheCursorStays(t *testing.T) {
	f := faultfs.New()
	s := open(t, options(f))
	fill(t, s, 0, 30)
	all := drain(t, s)
	var readings uint64
	for i := range all[:17] {
		s.Ack(&all[i])
		readings += uint64(all[i].Readings)
	}
	if st := s.Stats(); st.Records != 13 || st.Acknowledged != readings {
		t.Errorf("stats %+v, want 13 records and %d readings acknowledged", st, readings)
	}
	equal(t, "left", seqs(drain(t, s)), to(17, 30))
	if err := s.SaveCursor(); err != nil {
		t.Fatal(err)
	}
	s = open(t, options(f)) // as after kill -9
	equal(t, "after a crash", seqs(drain(t, s)), to(17, 30))
	for _, rec := range drain(t, s) {
		s.Ack(&rec)
	}
	if st := s.Stats(); st.Records != 0 || st.Readings != 0 {
		t.Errorf("stats when all is acknowledged %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, options(f))
	equal(t, "after all", seqs(drain(t, s)), nil)
	fill(t, s, 30, 31)
	if got := drain(t, s); got[0].Index != all[29].Index+1 {
		t.Errorf("index %d after %d", got[0].Index, all[29].Index)
	}
}

func TestALostOrDamagedCursorMeansSendingAgain(t *testing.T) {
	for _, damage := range []string{"lost", "empty", "flipped"} {
		f := faultfs.New()
		o := options(f)
		o.SegmentBytes = 1 << 20
		s := open(t, o)
		fill(t, s, 0, 10)
		for _, rec := range drain(t, s)[:6] {
			s.Ack(&rec)
		}
		if err := s.SaveCursor(); err != nil {
			t.Fatal(err)
		}
		switch damage {
		case "lost":
			_ = f.Remove(dir + "/cursor")
		case "empty":
			_ = f.Damage(dir+"/cursor", func([]byte) []byte { return nil })
		case "flipped":
			_ = f.Damage(dir+"/cursor", func(b []byte) []byte { b[0] ^= 1; return b })
		}
		equal(t, damage, seqs(drain(t, open(t, o))), to(0, 10))
	}
}

func TestAFullSpoolRefusesUntilThereIsRoom(t *testing.T) {
	f := faultfs.New()
	o := options(f)
	o.SegmentBytes = 0
	s := open(t, o)
	n := 0
	for ; ; n++ {
		if err := s.Append([]Record{batch(n)}); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if st := s.Stats(); st.Bytes > o.MaxBytes || st.Bytes < o.MaxBytes-200 {
		t.Errorf("full at %d bytes of %d", st.Bytes, o.MaxBytes)
	}
	for _, rec := range drain(t, s) {
		s.Ack(&rec)
	}
	select {
	case <-s.Room():
	default:
		t.Error("Room was not signalled")
	}
	fill(t, s, n, n+3)
	equal(t, "served", seqs(drain(t, s)), to(n, n+3))
}

func TestAFullSpoolDropsItsOldest(t *testing.T) {
	f := faultfs.New()
	o := options(f)
	o.DropOldest = true
	s := open(t, o)
	r := s.Reader()
	first, err := r.Next()
	if !errors.Is(err, io.EOF) {
		t.Fatal(first, err)
	}
	const n = 2000
	var total uint64
	for i := range n {
		fill(t, s, i, i+1)
		total += uint64(batch(i).Readings)
		if i == 0 {
			if first, err = r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := drain(t, s)
	equal(t, "served", seqs(got), to(n-len(got), n))
	var left uint64
	for _, rec := range got {
		left += uint64(rec.Readings)
	}
	st := s.Stats()
	if st.Bytes > o.MaxBytes || st.Dropped+left != total || st.Readings != left || int(st.Records) != len(got) || len(got) == 0 {
		t.Errorf("%d readings, %d left; stats %+v", total, left, st)
	}
	s.Ack(&first) // its acknowledgement comes after it was dropped
	if rec, err := r.Next(); err != nil || rec.Seq != got[0].Seq {
		t.Errorf("a reader that was behind goes on with %d (%v), want %d", rec.Seq, err, got[0].Seq)
	}
	if after := s.Stats(); after.Records != st.Records {
		t.Errorf("an old acknowledgement changed %+v to %+v", st, after)
	}
}

func TestASecondProcessIsTurnedAway(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	if _, err := Open(o); !errors.Is(err, gridloom.ErrUnavailable) || !strings.Contains(err.Error(), o.Dir) {
		t.Errorf("second Open = %v, want ErrUnavailable that names %s", err, o.Dir)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, o).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEpochFile(t *testing.T) {
	f := faultfs.New()
	if err := blob.MkdirAll(f, dir, 0o700); err != nil {
		t.Fatal(err)
	}
	check := func(want uint32, kind error) {
		t.Helper()
		if got, err := LoadEpoch(f, dir); got != want || !errors.Is(err, kind) {
			t.Errorf("LoadEpoch = %d, %v, want %d, %v", got, err, want, kind)
		}
	}
	check(0, nil)
	if err := SaveEpoch(f, dir, 42); err != nil {
		t.Fatal(err)
	}
	f.LosePower()
	check(42, nil)
	_ = f.Damage(dir+"/epoch", func([]byte) []byte { return []byte("x") })
	check(0, gridloom.ErrCorrupt)
}

func FuzzSpoolRecover(fuzz *testing.F) {
	var whole []byte
	for n := range 4 {
		r := batch(n)
		r.Index = uint64(n + 1)
		whole = appendRecord(whole, &r)
	}
	fuzz.Add(whole, uint16(0))
	fuzz.Add(whole[:len(whole)-3], uint16(100))
	fuzz.Add(append(slices.Clone(whole[30:]), whole...), uint16(7))
	fuzz.Add([]byte(marker+marker), uint16(1))
	fuzz.Fuzz(func(t *testing.T, data []byte, flip uint16) {
		if len(data) > 0 {
			data[int(flip)%len(data)] ^= byte(flip >> 8)
		}
		var sound []int
		scan(data, 1, func(r *Record, _, _ int64) { sound = append(sound, int(r.Seq)) })
		f := faultfs.New()
		if err := blob.MkdirAll(f, dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h, err := f.OpenFile(dir+"/"+segmentName(1), openAppend, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = h.Write(data)
		o := options(f)
		o.MaxBytes = 16 << 20
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "served", seqs(drain(t, s)), sound)
		if s.next == 0 || s.next > 1<<63 {
			return // a record with the last of all indexes
		}
		fill(t, s, 3, 4)
		r := s.Reader()
		var last Record
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			last = rec
			s.Ack(&rec)
		}
		s.Settle(r)
		if st := s.Stats(); last.Seq != 3 || st.Records != 0 {
			t.Errorf("after one more: last %d, stats %+v", last.Seq, st)
		}
	})
}
