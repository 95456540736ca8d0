package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gridloom/gridloom"
)

func TestLedgerKeepsWhatWasNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	l, err := createLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []entry{
		{"m1", 0, 1_795_000_000_000, 0, -12, gridloom.NewOrder(gridloom.ClassDevice, 7, 9)},
		{"m2", 3, 1, 300_000, gridloom.MaxValue, 0},
		{"m1", 1, 2, 0, 0, 1<<64 - 1},
	}
	if err := l.note([][]entry{want[:2], want[2:]}); err != nil {
		t.Fatal(err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	var got []entry
	if err := readLedger(path, map[string]string{}, func(e entry) { got = append(got, e) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readLedger(path, map[string]string{}, func(entry) {}); !errors.Is(err, gridloom.ErrCorrupt) {
		t.Errorf("a damaged ledger reads as %v, want ErrCorrupt", err)
	}
}
