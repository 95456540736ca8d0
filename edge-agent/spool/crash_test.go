package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/internal/blob/faultfs"
)

// TestCrashAtEveryByte cuts the newest file at every length that a crash could
// leave: what was whole is there, the cut is named, and the spool goes on.
func TestCrashAtEveryByte(t *testing.T) {
	f := faultfs.New()
	s := open(t, options(f))
	fill(t, s, 0, 20)
	names := files(t, f, segmentSuffix)
	last := names[len(names)-1]
	whole := content(t, f, last)
	ends := map[int]int{0: 0} // length of the file → records in it
	n := 0
	scan(whole, 0, func(_ *Record, _, to int64) { n++; ends[int(to)] = n })
	before := 20 - n
	for cut := len(whole); cut >= 0; cut-- {
		if err := f.Damage(last, func([]byte) []byte { return slices.Clone(whole[:cut]) }); err != nil {
			t.Fatal(err)
		}
		end := cut
		for ends[end] == 0 && end > 0 {
			end--
		}
		var log bytes.Buffer
		s := open(t, logTo(options(f), &log))
		got := drain(t, s)
		equal(t, fmt.Sprintf("cut at %d", cut), seqs(got), to(0, before+ends[end]))
		same(t, got)
		if st := s.Stats(); st.TornBytes != int64(cut-end) || st.Damaged != 0 {
			t.Fatalf("cut at %d: stats %+v, want %d torn bytes", cut, st, cut-end)
		}
		if named := strings.Contains(log.String(), fmt.Sprintf("file=%s offset=%d bytes=%d", last, end, cut-end)); named != (cut > end) || strings.Count(log.String(), "\n") > 1 {
			t.Fatalf("cut at %d: log %q", cut, log.String())
		}
		if cut%7 == 0 {
			fill(t, s, 50, 51)
			equal(t, "and goes on", seqs(drain(t, s)), append(to(0, before+ends[end]), 50))
			for _, name := range files(t, f, segmentSuffix) {
				if !slices.Contains(names, name) {
					_ = f.Remove(name)
				}
			}
		}
		if err := f.Damage(last, func([]byte) []byte { return nil }); err != nil { // it was removed if nothing was left
			h, err := f.OpenFile(last, openAppend, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_ = h.Close()
		}
	}
}

// TestOneFlippedByteCostsOneRecord flips each byte of each file: every other
// record is served, the lost one is counted and named, and the spool drains.
func TestOneFlippedByteCostsOneRecord(t *testing.T) {
	f := faultfs.New()
	s := open(t, options(f))
	const n = 16
	fill(t, s, 0, n)
	names := files(t, f, segmentSuffix)
	whole := map[string][]byte{}
	for _, name := range names {
		whole[name] = content(t, f, name)
	}
	restore := func() {
		for _, name := range f.Files() {
			_ = f.Remove(name)
		}
		for name, data := range whole {
			h, err := f.OpenFile(name, openAppend, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = h.Write(data)
			_ = h.Close()
		}
	}
	for _, live := range []bool{false, true} { // damaged before Open, or while the spool is open
		for _, name := range names {
			for at := range whole[name] {
				restore()
				flip := func() {
					if err := f.Damage(name, func(b []byte) []byte { b[at] ^= 0x10; return b }); err != nil {
						t.Fatal(err)
					}
				}
				var log bytes.Buffer
				if !live {
					flip()
				}
				s := open(t, logTo(options(f), &log))
				if live {
					flip()
				}
				r := s.Reader()
				var got []Record
				for {
					rec, err := r.Next()
					if err != nil {
						break
					}
					got = append(got, rec)
				}
				same(t, got)
				lost := n - len(got)
				if lost > 1 {
					t.Fatalf("%s byte %d: %d records lost, served %v", name, at, lost, seqs(got))
				}
				st := s.Stats()
				if counted := st.Damaged + uint64(min(st.TornBytes, 1)); lost == 1 && counted != 1 || lost == 0 && counted != 0 {
					t.Fatalf("%s byte %d: %d lost, stats %+v", name, at, lost, st)
				}
				if lost == 1 && (!strings.Contains(log.String(), "file="+name) || strings.Count(log.String(), "\n") != 1) {
					t.Fatalf("%s byte %d: log %q", name, at, log.String())
				}
				for i := range got {
					s.Ack(&got[i])
				}
				s.Settle(r)
				if st := s.Stats(); st.Records != 0 {
					t.Fatalf("%s byte %d: %d records left when all is acknowledged", name, at, st.Records)
				}
				r.Close()
			}
		}
	}
}

func TestADamagedFileIsKeptAside(t *testing.T) {
	f := faultfs.New()
	s := open(t, options(f))
	fill(t, s, 0, 30)
	name := files(t, f, segmentSuffix)[1]
	_ = f.Damage(name, func(b []byte) []byte { b[40] ^= 1; return b })
	s = open(t, options(f))
	r := s.Reader()
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		s.Ack(&rec)
	}
	if got := files(t, f, damagedSuffix); len(got) != 1 || got[0] != name+damagedSuffix {
		t.Errorf("kept aside: %v, want %s", got, name+damagedSuffix)
	}
}

// TestPowerLossAtEveryOperation takes the power away before each operation on the
// disk: whatever Append took before, and was not acknowledged, is there.
func TestPowerLossAtEveryOperation(t *testing.T) {
	// The subject appends, reads and acknowledges; it returns what was taken and how
	// much of that was acknowledged.
	subject := func(f *faultfs.FS, o Options) (taken, acked int) {
		s, err := Open(o)
		if err != nil {
			return 0, 0
		}
		for n := range 24 {
			if s.Append([]Record{batch(2 * n), batch(2*n + 1)}) != nil {
				return taken, acked
			}
			taken += 2
			if n%6 == 5 {
				r := s.Reader()
				for range 4 {
					if rec, err := r.Next(); err == nil {
						s.Ack(&rec)
						acked++
					}
				}
				r.Close()
				_ = s.SaveCursor()
			}
		}
		return taken, acked
	}
	whole := faultfs.New()
	subject(whole, options(whole))
	if whole.Ops() < 60 {
		t.Fatalf("%d operations: the subject does too little", whole.Ops())
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for at := 1; at <= whole.Ops()+1; at++ {
		for _, chance := range []*rand.Rand{nil, rng, rng, rng} {
			f := faultfs.New()
			f.Inject(faultfs.PowerLossAt(at, chance))
			taken, acked := subject(f, options(f))
			f.Restart()
			var log bytes.Buffer
			s := open(t, logTo(options(f), &log))
			got := drain(t, s)
			same(t, got)
			ns := seqs(got)
			// Acknowledged ones may come again; above taken, one group that was on its way may be there.
			from, end := 0, taken
			if len(ns) > 0 {
				from, end = ns[0], ns[len(ns)-1]+1
			}
			if from > acked || end < taken || end > taken+2 || !slices.Equal(ns, to(from, end)) && len(ns) > 0 || len(ns) == 0 && acked < taken {
				t.Fatalf("power lost at operation %d: %d taken, %d acknowledged, but %v are there\n%s", at, taken, acked, ns, log.String())
			}
			if s.Stats().Damaged != 0 {
				t.Fatalf("power lost at operation %d: %s", at, log.String())
			}
			fill(t, s, 100, 101)
			if all := seqs(drain(t, s)); all[len(all)-1] != 100 {
				t.Fatalf("power lost at operation %d: the spool does not go on: %v", at, all)
			}
		}
	}
}

// TestWithoutFsyncPowerLossLoses shows that the test above can fail.
func TestWithoutFsyncPowerLossLoses(t *testing.T) {
	f := faultfs.New()
	o := options(f)
	o.SyncEach, o.SegmentBytes = false, 1<<20
	s := open(t, o)
	fill(t, s, 0, 5)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, s, 5, 9)
	f.LosePower()
	equal(t, "left of 9 of which 5 were synced", seqs(drain(t, open(t, o))), to(0, 5))
}

// TestAFullOrFailingDiskRefusesAndRecovers lets each operation fail, once and for
// a while: what Append took is there, what it refused can be appended again.
func TestAFullOrFailingDiskRefusesAndRecovers(t *testing.T) {
	subject := func(t *testing.T, f *faultfs.FS, s *Spool, lift func()) {
		t.Helper()
		lifted := false
		for n := range 20 {
			tries := 0
			for {
				err := s.Append([]Record{batch(n)})
				if err == nil {
					break
				}
				if !errors.Is(err, gridloom.ErrUnavailable) {
					t.Fatalf("Append = %v, want ErrUnavailable", err)
				}
				if tries++; tries > 2 && !lifted {
					lift()
					lifted = true
				}
				if tries > 4 {
					t.Fatalf("Append goes on failing: %v", err)
				}
			}
		}
		equal(t, "served", seqs(drain(t, s)), to(0, 20))
	}
	for at := 1; at < 60; at++ {
		for name, fault := range map[string]func(faultfs.Op) error{
			"full":       faultfs.FailFrom(at, syscall.ENOSPC),
			"full later": faultfs.FailFrom(at, &faultfs.Partial{Bytes: 17, Err: syscall.ENOSPC}),
			"once":       faultfs.FailAt(at, syscall.EIO),
			"torn":       faultfs.FailAt(at, &faultfs.Partial{Bytes: 30, Err: syscall.EIO}),
			"twice":      failTwice(at), // an fsync, and the truncate that takes the write back
		} {
			f := faultfs.New()
			s := open(t, options(f))
			f.Inject(fault)
			subject(t, f, s, func() { f.Inject(nil) })
			f.Inject(nil)
			f.LosePower() // what was taken was synced, whatever failed before
			s = open(t, options(f))
			got := drain(t, s)
			same(t, got)
			equal(t, fmt.Sprintf("%s at %d, after a power loss", name, at), seqs(got), to(0, 20))
			if t.Failed() {
				return
			}
		}
	}
}

// TestARefusedRecordDoesNotComeBack lets an fsync fail, and the truncate that takes
// the write back: the next record has the same index and is the one that counts.
func TestARefusedRecordDoesNotComeBack(t *testing.T) {
	f := faultfs.New()
	s := open(t, options(f))
	fill(t, s, 0, 2)
	f.Inject(failTwice(2)) // after the write
	if err := s.Append([]Record{batch(2)}); !errors.Is(err, gridloom.ErrUnavailable) {
		t.Fatalf("Append = %v, want ErrUnavailable", err)
	}
	f.Inject(nil)
	fill(t, s, 3, 5)
	want := []int{0, 1, 3, 4}
	equal(t, "served", seqs(drain(t, s)), want)
	equal(t, "served after a crash", seqs(drain(t, open(t, options(f)))), want)
}

func failTwice(at int) func(faultfs.Op) error {
	first, second := faultfs.FailAt(at, syscall.EIO), faultfs.FailAt(at+1, syscall.EIO)
	return func(op faultfs.Op) error { return errors.Join(first(op), second(op)) }
}
